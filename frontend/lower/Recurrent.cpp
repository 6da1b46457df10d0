// lstm, gru and rnn: layers one after the other, each one MIL operation a direction; their cells,
// which are one step of one layer, as formulas.
//
// PyTorch's gates lie in the order input, forget, cell, output (lstm) and reset, update, new (gru);
// MIL's in the order input, forget, output, cell and reset, new, update: rows of constant weights
// are moved while compiling.
#include "frontend/engine/Engine.h"
#include "frontend/lower/Contract.h"
#include "frontend/lower/Families.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using namespace mil;

namespace {
enum class Recurrence { Lstm, Gru, Tanh, Relu };

/// The weights of one layer in one direction; biases and the projection of the hidden state are
/// undefined without.
struct Weights {
  at::Tensor ih, hh, biasIh, biasHh, hr;
};

at::Tensor reorder(const at::Tensor &rows, Recurrence kind) {
  if (!rows.defined() || kind == Recurrence::Tanh || kind == Recurrence::Relu)
    return rows;
  if (kind == Recurrence::Gru) {
    auto g = rows.chunk(3, 0);
    return at::cat({g[0], g[2], g[1]}, 0);
  }
  auto g = rows.chunk(4, 0);
  return at::cat({g[0], g[1], g[3], g[2]}, 0);
}

Value *constant(Call &c, const at::Tensor &tensor, Recurrence kind) {
  return c.engine().constant(reorder(tensor, kind).to(at::kFloat).contiguous());
}
Value *sumOfBiases(Call &c, const Weights &w, Recurrence kind) {
  return constant(c, w.biasIh + w.biasHh, kind);
}

/// The output of all steps and the last state.
struct Layer {
  Expr output, h, cell;
};

/// One layer in one direction (both, for lstm): states are [batch, hidden], or [batch, 2 hidden].
Layer lstmLayer(const Expr &x, const Expr &h, const Expr &cell, llvm::ArrayRef<Weights> w) {
  Call &c = x.call();
  llvm::SmallVector<Arg, 12> args = {{lstm::x, x.value()},
                                     {lstm::initial_h, h.value()},
                                     {lstm::initial_c, cell.value()},
                                     {lstm::weight_ih, constant(c, w[0].ih, Recurrence::Lstm)},
                                     {lstm::weight_hh, constant(c, w[0].hh, Recurrence::Lstm)},
                                     {lstm::direction, w.size() == 2 ? "bidirectional" : "forward"},
                                     {lstm::output_sequence, true}};
  if (w[0].biasIh.defined())
    args.push_back({lstm::bias, sumOfBiases(c, w[0], Recurrence::Lstm)});
  if (w.size() == 2) {
    args.push_back({lstm::weight_ih_back, constant(c, w[1].ih, Recurrence::Lstm)});
    args.push_back({lstm::weight_hh_back, constant(c, w[1].hh, Recurrence::Lstm)});
    if (w[1].biasIh.defined())
      args.push_back({lstm::bias_back, sumOfBiases(c, w[1], Recurrence::Lstm)});
  }
  Op *op = c.create(OpKind::lstm, args);
  if (!op)
    return {x, h, cell};
  return {Expr(c, op->result(0)), Expr(c, op->result(1)), Expr(c, op->result(2))};
}

/// The same with a projection of the hidden state, which MIL's lstm has not: it computes the state
/// before the projection, with W_hh W_hr as the weight of that. The given state comes projected;
/// where it is not zero, it is a further input of a direction's first step, with the weight W_hh.
///
/// `h` are the directions' states, none where they are zero.
Layer projectedLayer(const Expr &x, llvm::ArrayRef<Expr> h, const Expr &cell,
                     llvm::ArrayRef<Weights> w) {
  Call &c = x.call();
  std::vector<Weights> folded(w.begin(), w.end());
  llvm::SmallVector<Value *, 3> inputs{x};
  int64_t directions = int64_t(w.size()), hidden = w[0].hr.size(1);
  for (Weights &own : folded)
    own.hh = at::matmul(own.hh.to(at::kDouble), own.hr.to(at::kDouble));
  Dim steps = x.shape()[0], batch = x.shape()[1];
  for (auto [d, state] : llvm::enumerate(h)) {
    Expr time = expandDims(iota(c, steps), {1, 2});
    Expr isFirst = equal(time, sizeOf(c, d == 0 ? Dim(0) : steps - 1));
    inputs.push_back(select(isFirst, expandDims(state, {0}), 0.0));
    for (auto [k, own] : llvm::enumerate(folded))
      own.ih = at::cat({own.ih, k == d ? w[d].hh : at::zeros_like(w[d].hh)}, 1);
  }
  Expr zero(c, c.full({batch, Dim(hidden * directions)}, cell.dtype(), 0));
  Layer layer = lstmLayer(inputs.size() == 1 ? x : concat(c, inputs, 2), zero, cell, folded);
  if (!layer.output.valid())
    return layer;
  auto projected = [&](const Expr &all) {
    llvm::SmallVector<Value *, 2> parts;
    for (int64_t d = 0; d < directions; ++d)
      parts.push_back(linearLayer(slice(all, all.rank() - 1, Dim(d) * hidden, Dim(d + 1) * hidden),
                                  c.engine().constant(w[size_t(d)].hr.to(at::kFloat).contiguous()),
                                  nullptr));
    return parts.size() == 1 ? Expr(c, parts[0]) : concat(c, parts, all.rank() - 1);
  };
  return {projected(layer.output), projected(layer.h), layer.cell};
}

/// Whether a state is zero, as layers that are given none have it.
bool isZero(Call &c, const Val &state) {
  auto object = state.tensor();
  if (!object)
    return false;
  if (at::Tensor known = c.engine().compute(*object); known.defined())
    return !known.any().item<bool>();
  const Op *op = c.engine().read(*object)->def();
  return op && op->is(OpKind::fill) && constFloat((*op)[fill::value]) == 0.0;
}

Layer simpleLayer(const Expr &x, const Expr &h, const Weights &w, Recurrence kind) {
  Call &c = x.call();
  Op *op = nullptr;
  if (kind == Recurrence::Gru) {
    llvm::SmallVector<Arg, 8> args = {{gru::x, x.value()},
                                      {gru::initial_h, h.value()},
                                      {gru::weight_ih, constant(c, w.ih, kind)},
                                      {gru::weight_hh, constant(c, w.hh, kind)},
                                      {gru::output_sequence, true},
                                      {gru::reset_after, true}};
    if (w.biasIh.defined()) {
      args.push_back({gru::bias, constant(c, w.biasHh, kind)});
      args.push_back({gru::input_bias, constant(c, w.biasIh, kind)});
    }
    op = c.create(OpKind::gru, args);
  } else {
    llvm::SmallVector<Arg, 8> args = {
        {rnn::x, x.value()},
        {rnn::initial_h, h.value()},
        {rnn::weight_ih, constant(c, w.ih, kind)},
        {rnn::weight_hh, constant(c, w.hh, kind)},
        {rnn::output_sequence, true},
        {rnn::activation, kind == Recurrence::Tanh ? "tanh" : "relu"}};
    if (w.biasIh.defined())
      args.push_back({rnn::bias, sumOfBiases(c, w, kind)});
    op = c.create(OpKind::rnn, args);
  }
  if (!op)
    return {x, h, h};
  return {Expr(c, op->result(0)), Expr(c, op->result(1)), h};
}

Expr backwards(const Expr &x) {
  return Expr(x.call(),
              x.call().emit(OpKind::reverse, {{reverse::x, x.value()}, {reverse::axes, {0}}}));
}

/// Row `index` of the stacked states [layers * directions, batch, hidden].
Expr row(const Expr &states, int64_t index) {
  return squeeze(slice(states, 0, index, index + 1), {0});
}

template <Recurrence Kind> void lowerRecurrent(Call &c) {
  Tensor input = c.tensor("input");
  auto states =
      Kind == Recurrence::Lstm ? c.tensors("hx") : llvm::SmallVector<Tensor, 4>{c.tensor("hx")};
  bool biases = c.boolean("has_biases"), both = c.boolean("bidirectional"),
       batchFirst = c.boolean("batch_first");
  int64_t layers = c.integer("num_layers");
  if (c.failed())
    return;
  if (c.boolean("train") && c.number("dropout") != 0)
    return c.refuse(Code::TrainingMode,
                    "dropout between layers in training mode; call model.eval() before tracing");
  auto list = c.val("params").list();
  unsigned directions = both ? 2 : 1, each = biases ? 4 : 2;
  size_t count = size_t(layers) * directions;
  bool projected = Kind == Recurrence::Lstm && list && list->values.size() == count * (each + 1);
  if (!list || (list->values.size() != count * each && !projected))
    return c.refuse(Code::OperandMismatch, "{0} layers need {1} weights", layers, count * each);
  each += projected;
  std::vector<Weights> weights;
  for (int64_t i = 0; i < layers * directions; ++i) {
    at::Tensor w[5];
    for (unsigned k = 0; k < each; ++k) {
      auto object = list->values[i * each + k].tensor();
      w[k] = object ? c.engine().compute(*object) : at::Tensor();
      if (!w[k].defined())
        return c.refuse(Code::NotKnown, "the weights must be constants");
    }
    if (projected)
      weights.push_back(
          {w[0], w[1], biases ? w[2] : at::Tensor(), biases ? w[3] : at::Tensor(), w[each - 1]});
    else
      weights.push_back({w[0], w[1], w[2], w[3], {}});
  }

  Expr x(c, input);
  bool batched = input.rank() == 3;
  if (!batched)
    x = expandDims(x, {1});
  else if (batchFirst)
    x = Expr(c, c.permute(x, {1, 0, 2}));
  llvm::SmallVector<Expr, 2> initial;
  for (const Tensor &state : states)
    initial.push_back(batched ? Expr(c, state) : expandDims(Expr(c, state), {1}));
  bool startsAtZero = projected && isZero(c, c.val("hx").list()->values[0]);
  llvm::SmallVector<Value *, 8> lastH, lastC; // [batch, hidden] each
  for (int64_t layer = 0; layer < layers; ++layer) {
    auto own = llvm::ArrayRef<Weights>(weights).slice(layer * directions, directions);
    int64_t first = layer * directions;
    if constexpr (Kind == Recurrence::Lstm) {
      auto state = [&](const Expr &all) {
        return both ? concat(c, {row(all, first), row(all, first + 1)}, 1) : row(all, first);
      };
      llvm::SmallVector<Expr, 2> given;
      for (unsigned d = 0; d < directions && !startsAtZero; ++d)
        given.push_back(row(initial[0], first + d));
      Layer result = projected ? projectedLayer(x, given, state(initial[1]), own)
                               : lstmLayer(x, state(initial[0]), state(initial[1]), own);
      x = result.output;
      if (!x.valid())
        return;
      for (unsigned d = 0; d < directions; ++d) {
        auto half = [&](const Expr &e, int64_t size) {
          return slice(e, 1, Dim(d) * size, Dim(d + 1) * size);
        };
        lastH.push_back(half(result.h, own[0].hh.size(1)));
        lastC.push_back(half(result.cell, own[0].hh.size(0) / 4));
      }
    } else {
      llvm::SmallVector<Value *, 2> outputs;
      for (unsigned d = 0; d < directions; ++d) {
        Layer result = simpleLayer(d ? backwards(x) : x, row(initial[0], first + d), own[d], Kind);
        outputs.push_back(d ? backwards(result.output) : result.output);
        lastH.push_back(result.h);
      }
      x = concat(c, outputs, 2);
    }
  }
  if (!batched)
    x = squeeze(x, {1});
  else if (batchFirst)
    x = Expr(c, c.permute(x, {1, 0, 2}));
  c.result(x, input.dtype);
  auto give = [&](llvm::ArrayRef<Value *> last) {
    Expr all = last.size() == 1
                   ? expandDims(Expr(c, last[0]), {0})
                   : Expr(c, c.emit(OpKind::stack, {{stack::values, last}, {stack::axis, 0}}));
    c.result(batched ? all : squeeze(all, {1}), input.dtype);
  };
  give(lastH);
  if (Kind == Recurrence::Lstm)
    give(lastC);
}

/// One step: lstm_cell, gru_cell, rnn_tanh_cell, rnn_relu_cell.
template <Recurrence Kind> void lowerCell(Call &c) {
  Tensor input = c.tensor("input"), wIh = c.tensor("w_ih"), wHh = c.tensor("w_hh"),
         bIh = c.optionalTensor("b_ih"), bHh = c.optionalTensor("b_hh");
  auto states =
      Kind == Recurrence::Lstm ? c.tensors("hx") : llvm::SmallVector<Tensor, 4>{c.tensor("hx")};
  if (states.size() != (Kind == Recurrence::Lstm ? 2 : 1))
    c.refuse(Code::OperandMismatch, "{0} states are given", states.size());
  auto width = wHh.size(1).tryValue();
  if (!width)
    return c.refuse(Code::NotKnown, "the hidden size must be known while compiling");
  Expr h(c, states[0]);
  Expr ofInput = linearLayer(Expr(c, input), wIh.value, bIh.value);
  Expr ofState = linearLayer(h, wHh.value, bHh.value);
  if (!ofInput.valid() || !ofState.valid())
    return;
  auto gate = [&](const Expr &all, int64_t index) {
    return slice(all, all.rank() - 1, index * *width, (index + 1) * *width);
  };
  if constexpr (Kind == Recurrence::Lstm) {
    Expr all = ofInput + ofState;
    Expr cell = sigmoidOf(gate(all, 1)) * Expr(c, states[1]) +
                sigmoidOf(gate(all, 0)) * unary(OpKind::tanh, gate(all, 2));
    c.result(sigmoidOf(gate(all, 3)) * unary(OpKind::tanh, cell), input.dtype);
    c.result(cell, input.dtype);
  } else if constexpr (Kind == Recurrence::Gru) {
    Expr reset = sigmoidOf(gate(ofInput, 0) + gate(ofState, 0));
    Expr keep = sigmoidOf(gate(ofInput, 1) + gate(ofState, 1));
    Expr fresh = unary(OpKind::tanh, gate(ofInput, 2) + reset * gate(ofState, 2));
    c.result(fresh + keep * (h - fresh), input.dtype);
  } else {
    c.result(unary(Kind == Recurrence::Tanh ? OpKind::tanh : OpKind::relu, ofInput + ofState),
             input.dtype);
  }
}
} // namespace

void registerRecurrent(Table &table) {
  table.add({"aten::lstm_cell"}, lowerCell<Recurrence::Lstm>);
  table.add({"aten::gru_cell"}, lowerCell<Recurrence::Gru>);
  table.add({"aten::rnn_tanh_cell"}, lowerCell<Recurrence::Tanh>);
  table.add({"aten::rnn_relu_cell"}, lowerCell<Recurrence::Relu>);
  table.add({"aten::lstm.input"}, lowerRecurrent<Recurrence::Lstm>);
  table.add({"aten::gru.input"}, lowerRecurrent<Recurrence::Gru>);
  table.add({"aten::rnn_tanh.input"}, lowerRecurrent<Recurrence::Tanh>);
  table.add({"aten::rnn_relu.input"}, lowerRecurrent<Recurrence::Relu>);
}

} // namespace plait::frontend
