// lstm, gru and rnn, one step after the other. Gates lie in the rows of the weights: lstm input,
// forget, output, cell; gru reset, new, update. "reverse" reads the sequence backwards and gives
// its steps in that order; a bidirectional lstm gives the backward half in the order of the input.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

at::Tensor activate(const std::string &name, const at::Tensor &x) {
  if (name == "tanh")
    return at::tanh(x);
  if (name == "sigmoid")
    return at::sigmoid(x);
  if (name == "relu")
    return at::relu(x);
  if (name == "linear")
    return x;
  if (name == "scaled_tanh")
    return 1.7159 * at::tanh(x * (2.0 / 3.0));
  TORCH_CHECK(name == "hard_sigmoid" || name == "sigmoid_hard", "no activation is named '", name,
              "'");
  return at::clamp(0.2 * x + 0.5, 0, 1);
}

/// x W' + b for all steps at once.
at::Tensor project(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &bias) {
  at::Tensor y = at::matmul(x, weight.t());
  return bias.defined() ? y + bias : y;
}

at::Tensor optional(EvalContext &c, unsigned param, const at::Tensor &like) {
  return c.has(param) ? c.value(param).to(like.scalar_type()) : at::Tensor();
}

struct Sequence {
  std::vector<at::Tensor> steps; // in the order computed
  at::Tensor h, c;

  at::Tensor output(bool all) const { return all ? at::stack(steps) : h.unsqueeze(0); }
};

std::vector<at::Tensor> timeSteps(const at::Tensor &projected, bool reverse) {
  std::vector<at::Tensor> steps = at::unbind(projected, 0);
  if (reverse)
    std::reverse(steps.begin(), steps.end());
  return steps;
}

bool isReverse(EvalContext &c, unsigned param) {
  std::string direction = c.string(param, "forward");
  TORCH_CHECK(direction == "forward" || direction == "reverse", "direction is '", direction,
              "'; it may be forward or reverse");
  return direction == "reverse";
}

struct LstmWeights {
  at::Tensor ih, hh, bias, peephole;
};

Sequence runLstm(EvalContext &c, const at::Tensor &x, const LstmWeights &w, at::Tensor h,
                 at::Tensor cell, bool reverse) {
  std::string gate = c.string(lstm::recurrent_activation, "sigmoid");
  std::string cellGate = c.string(lstm::cell_activation, "tanh");
  std::string out = c.string(lstm::activation, "tanh");
  double clip = c.number(lstm::clip, INFINITY);
  Sequence result;
  for (const at::Tensor &step : timeSteps(project(x, w.ih, w.bias), reverse)) {
    std::vector<at::Tensor> g = (step + at::matmul(h, w.hh.t())).chunk(4, -1);
    std::vector<at::Tensor> p =
        w.peephole.defined() ? w.peephole.chunk(3, -1) : std::vector<at::Tensor>();
    at::Tensor i = activate(gate, p.empty() ? g[0] : g[0] + p[0] * cell);
    at::Tensor f = activate(gate, p.empty() ? g[1] : g[1] + p[1] * cell);
    cell = f * cell + i * activate(cellGate, g[3]);
    if (std::isfinite(clip))
      cell = at::clamp(cell, -clip, clip);
    at::Tensor o = activate(gate, p.empty() ? g[2] : g[2] + p[2] * cell);
    h = o * activate(out, cell);
    result.steps.push_back(h);
  }
  result.h = h;
  result.c = cell;
  return result;
}

Results evalLstm(EvalContext &c) {
  at::Tensor x = c.value(lstm::x), h = c.value(lstm::initial_h), cell = c.value(lstm::initial_c);
  LstmWeights forward{c.value(lstm::weight_ih), c.value(lstm::weight_hh),
                      optional(c, lstm::bias, x), optional(c, lstm::peephole, x)};
  bool all = c.boolean(lstm::output_sequence);
  if (c.string(lstm::direction, "forward") != "bidirectional") {
    Sequence s = runLstm(c, x, forward, h, cell, isReverse(c, lstm::direction));
    return Results::of({s.output(all), s.h, s.c});
  }
  TORCH_CHECK(c.has(lstm::weight_ih_back) && c.has(lstm::weight_hh_back),
              "a bidirectional lstm needs weight_ih_back and weight_hh_back");
  LstmWeights backward{c.value(lstm::weight_ih_back), c.value(lstm::weight_hh_back),
                       optional(c, lstm::bias_back, x), optional(c, lstm::peephole_back, x)};
  std::vector<at::Tensor> hs = h.chunk(2, -1), cs = cell.chunk(2, -1);
  Sequence f = runLstm(c, x, forward, hs[0], cs[0], false);
  Sequence b = runLstm(c, x, backward, hs[1], cs[1], true);
  std::reverse(b.steps.begin(), b.steps.end());
  return Results::of({at::cat({f.output(all), b.output(all)}, -1), at::cat({f.h, b.h}, -1),
                      at::cat({f.c, b.c}, -1)});
}

/// h' = (1 - z) o + z h with o = f(W x + b_i + W (r h) + b), or f(W x + b_i + r (W h + b)) with
/// reset_after.
Results evalGru(EvalContext &c) {
  at::Tensor x = c.value(gru::x), h = c.value(gru::initial_h);
  at::Tensor hh = c.value(gru::weight_hh), bias = optional(c, gru::bias, x);
  std::string gate = c.string(gru::recurrent_activation, "sigmoid");
  std::string out = c.string(gru::activation, "tanh");
  bool after = c.boolean(gru::reset_after);
  std::vector<at::Tensor> w = hh.chunk(3, 0);
  if (!bias.defined())
    bias = at::zeros({hh.size(0)}, x.options());
  std::vector<at::Tensor> b = bias.chunk(3, -1);
  at::Tensor projected = project(x, c.value(gru::weight_ih), optional(c, gru::input_bias, x));
  Sequence result;
  for (const at::Tensor &step : timeSteps(projected, isReverse(c, gru::direction))) {
    std::vector<at::Tensor> g = step.chunk(3, -1);
    at::Tensor r = activate(gate, g[0] + at::matmul(h, w[0].t()) + b[0]);
    at::Tensor z = activate(gate, g[2] + at::matmul(h, w[2].t()) + b[2]);
    at::Tensor hidden =
        after ? r * (at::matmul(h, w[1].t()) + b[1]) : at::matmul(r * h, w[1].t()) + b[1];
    at::Tensor o = activate(out, g[1] + hidden);
    h = (1 - z) * o + z * h;
    result.steps.push_back(h);
  }
  result.h = h;
  return Results::of({result.output(c.boolean(gru::output_sequence)), h});
}

Results evalRnn(EvalContext &c) {
  at::Tensor x = c.value(rnn::x), h = c.value(rnn::initial_h), hh = c.value(rnn::weight_hh);
  std::string out = c.string(rnn::activation, "tanh");
  at::Tensor projected = project(x, c.value(rnn::weight_ih), optional(c, rnn::bias, x));
  Sequence result;
  for (const at::Tensor &step : timeSteps(projected, isReverse(c, rnn::direction))) {
    h = activate(out, step + at::matmul(h, hh.t()));
    result.steps.push_back(h);
  }
  result.h = h;
  return Results::of({result.output(c.boolean(rnn::output_sequence)), h});
}

} // namespace

void registerRecurrent(Registry &r) {
  r.add(OpKind::gru, evalGru);
  r.add(OpKind::lstm, evalLstm);
  r.add(OpKind::rnn, evalRnn);
}

} // namespace plait::runtime
