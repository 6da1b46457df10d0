// The operations of random functions, a member function for each of their kinds.
#include "tests/generate/MilWriter.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

namespace plait::generate {

using namespace mil;
using llvm::ArrayRef;

// ---- values ------------------------------------------------------------------------------------

TensorData MilWriter::input(const Type &type, int64_t symbol, std::mt19937 &random) {
  llvm::SmallVector<int64_t, 5> shape;
  for (const Dim &dim : type.shape())
    shape.push_back(dim.isConst() ? dim.value() : symbol);
  std::vector<double> values(numElements(ArrayRef<int64_t>(shape)));
  for (double &value : values)
    value = isFloat(type.dtype())         ? (double(random() % 33) - 16) / 8
            : type.dtype() == DType::Bool ? double(random() % 2)
                                          : double(random() % 4);
  return TensorData::from<double>(DType::F64, shape, values).cast(type.dtype());
}

TensorData MilWriter::numbers(ArrayRef<int64_t> shape) {
  std::vector<float> values(numElements(shape));
  bool same = chance(15); // a fill, which many passes know
  for (float &value : values)
    value = same && &value != values.data() ? values[0] : (float(below(33)) - 16) / 8;
  return TensorData::from<float>(DType::F32, shape, values);
}

Value *MilWriter::pick(llvm::function_ref<bool(const Value &)> wanted) {
  std::vector<Value *> fitting;
  for (Value *value : pool_)
    if (wanted(*value))
      fitting.push_back(value);
  if (fitting.empty())
    return nullptr;
  size_t count = fitting.size();
  // Chains: what came last is taken most often.
  return fitting[chance(60) ? count - 1 - below(std::min<size_t>(count, 3)) : below(count)];
}

Value *MilWriter::pickFloat(unsigned leastRank, bool exact) {
  Value *value = pick([&](const Value &v) {
    return v.type.dtype() == DType::F32 && v.type.rank() >= leastRank &&
           !(exact && rounded_.contains(&v));
  });
  if (value && rounded_.contains(value))
    exact_ = false;
  return value;
}

static std::optional<llvm::SmallVector<int64_t, 5>> staticShape(const Value &value) {
  auto shape = constShape(value.type.shape());
  if (!shape)
    return std::nullopt;
  return llvm::SmallVector<int64_t, 5>(shape->begin(), shape->end());
}

Value *MilWriter::constantFor(const Value &value) {
  llvm::SmallVector<int64_t, 5> shape;
  unsigned rank = unsigned(below(value.type.rank() + 1));
  for (const Dim &dim : value.type.shape().take_back(rank))
    shape.push_back(dim.isConst() && chance(70) ? dim.value() : 1);
  return numbersValue(shape);
}

void MilWriter::keep(Value *value, bool exact) {
  pool_.push_back(value);
  values_.push_back(value);
  if (!exact)
    rounded_.insert(value);
}

// ---- operations --------------------------------------------------------------------------------

MilWriter::Made MilWriter::elementwise() {
  Value *x = pickFloat();
  if (!x)
    return x;
  if (chance(50))
    return builder_->emit(oneOf({OpKind::relu, OpKind::relu6, OpKind::abs, OpKind::square}),
                          {{relu::x, x}});
  exact_ = false;
  switch (below(5)) {
  case 0:
    return builder_->emit(OpKind::leaky_relu, {{leaky_relu::x, x}, {leaky_relu::alpha, 0.25}});
  case 1: // the bounds may be equal, or in the wrong order
    return builder_->emit(OpKind::clip, {{clip::x, x},
                                         {clip::alpha, oneOf({-1.0, -1.0, 0.0, 0.5})},
                                         {clip::beta, oneOf({0.5, 6.0, 6.0, 0.0, -1.0})}});
  case 2:
    return builder_->emit(OpKind::softmax, {{softmax::x, x}, {softmax::axis, -1}});
  default:
    return builder_->emit(
        oneOf({OpKind::tanh, OpKind::sigmoid, OpKind::silu, OpKind::erf, OpKind::gelu}),
        {{relu::x, x}});
  }
}

MilWriter::Made MilWriter::binary() {
  Value *x = pickFloat();
  if (!x)
    return x;
  Value *y = chance(60) ? constantFor(*x) : pickFloat();
  OpKind kind = oneOf({OpKind::add, OpKind::add, OpKind::sub, OpKind::mul, OpKind::mul,
                       OpKind::maximum, OpKind::minimum});
  if (chance(10)) {
    kind = OpKind::real_div;
    y = builder_->scalar(DType::F32, oneOf({2.0, 3.0, -0.5}));
    exact_ = false;
  }
  if (chance(30))
    std::swap(x, y);
  return builder_->emit(kind, {{add::x, x}, {add::y, y}});
}

/// An operation that is there already.
MilWriter::Made MilWriter::again() {
  Value *value = pick([](const Value &v) { return v.def() && v.def()->info().isPure(); });
  if (!value || value->def()->numResults() != 1 || !value->def()->blocks().empty())
    return nullptr;
  std::vector<Arg> args;
  const Op &op = *value->def();
  for (unsigned i = 0; i < op.info().params.size(); ++i) {
    llvm::SmallVector<Value *, 2> operands;
    for (const Operand &operand : op.operands(i))
      operands.push_back(operand.get());
    if (!operands.empty())
      args.emplace_back(i, ArrayRef<Value *>(operands));
  }
  exact_ = !rounded_.contains(value);
  return builder_->emit(op.kind(), args);
}

MilWriter::Made MilWriter::order() {
  Value *x = pick([](const Value &v) { return v.type.rank() >= 2; });
  if (!x)
    return x;
  exact_ = !rounded_.contains(x);
  if (chance(15))
    return builder_->emit(OpKind::reverse, {{reverse::x, x}, {reverse::axes, {axisOf(*x)}}});
  std::vector<int64_t> order(x->type.rank());
  for (size_t i = 0; i < order.size(); ++i)
    order[i] = int64_t(i);
  if (chance(50))
    std::swap(order[order.size() - 1], order[order.size() - 2]);
  else
    std::shuffle(order.begin(), order.end(), random_);
  return builder_->emit(OpKind::transpose,
                        {{transpose::x, x}, {transpose::perm, ArrayRef<int64_t>(order)}});
}

MilWriter::Made MilWriter::reshaping() {
  Value *x = pick([](const Value &v) { return v.type.rank() >= 1; });
  if (!x)
    return x;
  exact_ = !rounded_.contains(x);
  int64_t rank = int64_t(x->type.rank());
  switch (below(4)) {
  case 0:
    if (rank < 5)
      return builder_->emit(OpKind::expand_dims,
                            {{expand_dims::x, x}, {expand_dims::axes, {int64_t(below(rank + 1))}}});
    return nullptr;
  case 1:
    for (int64_t axis = 0; axis < rank; ++axis)
      if (x->type.shape()[axis] == Dim(1))
        return builder_->emit(OpKind::squeeze, {{squeeze::x, x}, {squeeze::axes, {axis}}});
    return nullptr;
  default: {
    auto shape = staticShape(*x);
    std::vector<int64_t> wanted;
    if (!shape)
      return nullptr;
    wanted.assign(shape->begin(), shape->end());
    if (wanted.size() > 1 && chance(60)) { // two dimensions become one
      size_t at = below(wanted.size() - 1);
      wanted[at] *= wanted[at + 1];
      wanted.erase(wanted.begin() + ptrdiff_t(at) + 1);
    } else { // one becomes two
      size_t at = below(wanted.size());
      int64_t factor = wanted[at] % 2 == 0 ? 2 : wanted[at];
      if (wanted.size() == 5 || wanted[at] == 0)
        return nullptr;
      wanted[at] /= factor;
      wanted.insert(wanted.begin() + ptrdiff_t(at), factor);
    }
    return builder_->emit(OpKind::reshape,
                          {{reshape::x, x}, {reshape::shape, ArrayRef<int64_t>(wanted)}});
  }
  }
}

MilWriter::Made MilWriter::slicing() {
  Value *x = pick([](const Value &v) { return v.type.rank() >= 1; });
  auto shape = x ? staticShape(*x) : std::nullopt;
  if (!shape)
    return nullptr;
  exact_ = !rounded_.contains(x);
  std::vector<int64_t> begin, end, stride;
  std::vector<char> none;
  for (int64_t size : *shape) {
    begin.push_back(size > 1 && chance(40) ? int64_t(below(size)) : 0);
    end.push_back(begin.back() + 1 + int64_t(below(size - begin.back())));
    if (chance(50))
      end.back() = size;
    stride.push_back(chance(20) ? 2 : 1);
  }
  return builder_->emit(OpKind::slice_by_index,
                        {{slice_by_index::x, x},
                         {slice_by_index::begin, ArrayRef<int64_t>(begin)},
                         {slice_by_index::end, ArrayRef<int64_t>(end)},
                         {slice_by_index::stride, ArrayRef<int64_t>(stride)}});
}

MilWriter::Made MilWriter::joining() {
  Value *x = pickFloat(1);
  if (!x)
    return x;
  int64_t axis = axisOf(*x);
  Value *y = pick([&](const Value &v) { return v.type == x->type; });
  if (rounded_.contains(y))
    exact_ = false;
  llvm::SmallVector<Value *, 2> both{x, y};
  if (chance(70))
    return builder_->emit(OpKind::concat, {{concat::values, ArrayRef<Value *>(both)},
                                           {concat::axis, axis},
                                           {concat::interleave, false}});
  if (x->type.rank() > 4)
    return nullptr;
  return builder_->emit(OpKind::stack,
                        {{stack::values, ArrayRef<Value *>(both)}, {stack::axis, axis}});
}

MilWriter::Made MilWriter::casts() {
  Value *x = pick([](const Value &) { return true; });
  exact_ = !rounded_.contains(x);
  // fp16 rounds what is no small eighth.
  const char *to = x->type.dtype() == DType::F32 && exact_ && chance(30) ? "int32"
                   : x->type.dtype() != DType::F32 || chance(60)         ? "fp32"
                                                                         : "fp16";
  if (llvm::StringRef(to) == "int32")
    smooth_ = false;
  if (llvm::StringRef(to) == "fp16")
    exact_ = false;
  Value *cast = builder_->emit(OpKind::cast, {{cast::x, x}, {cast::dtype, to}});
  if (llvm::StringRef(to) != "fp16" || Builder::isPoison(cast))
    return cast;
  keep(cast, false);
  return builder_->emit(OpKind::cast, {{cast::x, cast}, {cast::dtype, "fp32"}});
}

MilWriter::Made MilWriter::reduction() {
  Value *x = pickFloat(1);
  if (!x)
    return x;
  OpKind kind = oneOf({OpKind::reduce_sum, OpKind::reduce_mean, OpKind::reduce_max});
  if (kind == OpKind::reduce_mean)
    exact_ = false;
  return builder_->emit(
      kind,
      {{reduce_sum::x, x}, {reduce_sum::axes, {axisOf(*x)}}, {reduce_sum::keep_dims, chance(60)}});
}

MilWriter::Made MilWriter::product() {
  Value *x = pickFloat(2);
  if (!x)
    return x;
  exact_ = false; // a pass may sum in another order
  const Dim &inner = x->type.shape().back();
  if (!inner.isConst())
    return nullptr;
  bool turned = chance(50);
  int64_t width = int64_t(1 + below(4));
  Value *y = turned ? numbersValue({width, inner.value()}) : numbersValue({inner.value(), width});
  if (chance(30)) { // of two values
    if (Value *other = pickFloat(2);
        other && other->type.shape().drop_back(2) == x->type.shape().drop_back(2))
      y = other, turned = other->type.shape().back() == inner;
  }
  if (chance(30)) // a transpose that is a flag
    if (auto rank = int64_t(x->type.rank()); rank == 2) {
      x = builder_->emit(OpKind::transpose, {{transpose::x, x}, {transpose::perm, {1, 0}}});
      keep(x, true);
      return builder_->emit(OpKind::matmul, {{matmul::x, x},
                                             {matmul::y, y},
                                             {matmul::transpose_x, true},
                                             {matmul::transpose_y, turned}});
    }
  return builder_->emit(OpKind::matmul, {{matmul::x, x},
                                         {matmul::y, y},
                                         {matmul::transpose_x, false},
                                         {matmul::transpose_y, turned}});
}

MilWriter::Made MilWriter::layer() {
  Value *x = pickFloat(2);
  if (!x || !x->type.shape().back().isConst())
    return nullptr;
  exact_ = false;
  int64_t width = int64_t(1 + below(4));
  Value *y = builder_->emit(
      OpKind::linear,
      {{linear::x, x}, {linear::weight, numbersValue({width, x->type.shape().back().value()})}});
  if (Builder::isPoison(y) || chance(40))
    return y;
  keep(y, false);
  return builder_->emit(oneOf({OpKind::add, OpKind::mul}),
                        {{add::x, y}, {add::y, numbersValue({width})}});
}

/// W x + s B (A x).
MilWriter::Made MilWriter::lowRank() {
  Value *x = pickFloat(2);
  if (!x || !x->type.shape().back().isConst())
    return nullptr;
  exact_ = false;
  int64_t in = x->type.shape().back().value(), width = int64_t(2 + below(3));
  auto linearOf = [&](Value *of, int64_t from, int64_t to) {
    Value *y = builder_->emit(OpKind::linear,
                              {{linear::x, of}, {linear::weight, numbersValue({to, from})}});
    if (!Builder::isPoison(y))
      keep(y, false);
    return y;
  };
  Value *base = linearOf(x, in, width), *down = linearOf(x, in, 1);
  if (Builder::isPoison(base) || Builder::isPoison(down))
    return base;
  if (chance(30))
    down = builder_->emit(OpKind::mul, {{mul::x, down}, {mul::y, 0.5}});
  Value *up = linearOf(down, 1, width);
  if (chance(70))
    up = builder_->emit(OpKind::mul, {{mul::x, up}, {mul::y, 0.25}});
  return builder_->emit(OpKind::add, {{add::x, base}, {add::y, up}});
}

/// Layers of one input, their results in heads, and the same done to most of these.
MilWriter::Made MilWriter::heads() {
  Value *x = pickFloat(2);
  auto rows = x ? staticShape(*x) : std::nullopt;
  if (!rows || rows->size() > 3)
    return nullptr;
  exact_ = false;
  int64_t in = rows->back(), width = int64_t(1 + below(2));
  bool embeds = chance(50);
  Value *factors = numbersValue({width}), *last = nullptr;
  for (size_t i = 0, count = 2 + below(2); i < count && !Builder::isPoison(last); ++i) {
    if (last)
      keep(last, false);
    int64_t heads = int64_t(1 + below(3));
    Value *bias = chance(50) ? numbersValue({heads * width}) : nullptr;
    last = builder_->emit(OpKind::linear, {{linear::x, x},
                                           {linear::weight, numbersValue({heads * width, in})},
                                           {linear::bias, bias}});
    if (chance(10))
      keep(last, false);
    std::vector<int64_t> shape(rows->begin(), rows->end() - 1), order;
    shape.insert(shape.end(), {heads, width});
    if (chance(10))
      shape.insert(shape.begin(), 1);
    last = builder_->emit(OpKind::reshape,
                          {{reshape::x, last}, {reshape::shape, ArrayRef<int64_t>(shape)}});
    for (size_t axis = 0; axis < shape.size(); ++axis)
      order.push_back(int64_t(axis));
    std::swap(order[order.size() - 2], order[order.size() - 3]);
    if (chance(10))
      std::swap(order.back(), order[order.size() - 2]);
    last = builder_->emit(OpKind::transpose,
                          {{transpose::x, last}, {transpose::perm, ArrayRef<int64_t>(order)}});
    if (!embeds || chance(20) || Builder::isPoison(last) || last->type.shape().back() != Dim(width))
      continue;
    Value *scaled = builder_->emit(OpKind::mul, {{mul::x, last}, {mul::y, factors}});
    last = builder_->emit(OpKind::tanh, {{tanh::x, last}});
    last = builder_->emit(OpKind::add, {{add::x, scaled}, {add::y, last}});
  }
  return last;
}

MilWriter::Made MilWriter::convolution() {
  Value *x = pickFloat(3);
  if (!x || x->type.rank() > 4 || !x->type.shape()[1].isConst())
    return nullptr;
  exact_ = false;
  int64_t in = x->type.shape()[1].value(), width = int64_t(1 + below(4));
  std::vector<int64_t> weight{width, in}, channel{1, width};
  for (size_t i = 2; i < x->type.rank(); ++i) {
    weight.push_back(1);
    channel.push_back(1);
  }
  std::vector<Arg> args{{conv::x, x}, {conv::weight, numbersValue(weight)}};
  if (chance(50))
    args.emplace_back(conv::bias, numbersValue({width}));
  Value *y = builder_->emit(OpKind::conv, args);
  for (unsigned i = 0, count = unsigned(below(3)); i < count && !Builder::isPoison(y); ++i) {
    keep(y, false);
    if (chance(40)) {
      TensorData variance = TensorData::splat(DType::F32, {width}, oneOf({0.5, 2.0}));
      y = builder_->emit(OpKind::batch_norm, {{batch_norm::x, y},
                                              {batch_norm::mean, numbersValue({width})},
                                              {batch_norm::variance, builder_->constant(variance)},
                                              {batch_norm::gamma, numbersValue({width})},
                                              {batch_norm::beta, numbersValue({width})}});
    } else {
      y = builder_->emit(oneOf({OpKind::add, OpKind::mul, OpKind::sub}),
                         {{add::x, y}, {add::y, numbersValue(channel)}});
    }
  }
  return y;
}

/// What frameworks write out: gelu, silu, relu6, layer_norm.
MilWriter::Made MilWriter::pieces() {
  Value *x = pickFloat(1);
  if (!x)
    return x;
  exact_ = false;
  auto op = [&](OpKind kind, Value *a, Arg b) {
    b.param = add::y;
    return builder_->emit(kind, {{add::x, a}, b});
  };
  switch (below(4)) {
  case 0: {
    Value *scaled = op(OpKind::mul, x, {0, std::sqrt(0.5)});
    Value *half = op(OpKind::mul, x, {0, 0.5});
    Value *wave = builder_->emit(OpKind::erf, {{erf::x, scaled}});
    return op(OpKind::mul, half, {0, op(OpKind::add, wave, {0, oneOf({1.0, 1.0, 2.0})})});
  }
  case 1:
    return op(OpKind::mul, x, {0, builder_->emit(OpKind::sigmoid, {{sigmoid::x, x}})});
  case 2:
    return op(OpKind::minimum, op(OpKind::maximum, x, {0, 0.0}), {0, oneOf({6.0, 1.0})});
  default: {
    auto mean = [&](Value *of) {
      return builder_->emit(
          OpKind::reduce_mean,
          {{reduce_mean::x, of}, {reduce_mean::axes, {-1}}, {reduce_mean::keep_dims, true}});
    };
    Value *centred = op(OpKind::sub, x, {0, mean(x)});
    Value *variance = mean(builder_->emit(OpKind::square, {{square::x, centred}}));
    Value *root = builder_->emit(OpKind::rsqrt, {{rsqrt::x, op(OpKind::add, variance, {0, 0.125})},
                                                 {rsqrt::epsilon, 1e-12}});
    return op(OpKind::mul, centred, {0, root});
  }
  }
}

MilWriter::Made MilWriter::comparing() {
  Value *x = pickFloat(0, /*exact=*/true);
  if (!x)
    return x;
  smooth_ = false;
  if (chance(20))
    return builder_->emit(oneOf({OpKind::floor, OpKind::round, OpKind::sign}), {{floor::x, x}});
  Value *flag = builder_->emit(oneOf({OpKind::greater, OpKind::less_equal, OpKind::equal}),
                               {{greater::x, x}, {greater::y, 0.25}});
  if (Builder::isPoison(flag))
    return flag;
  if (chance(30))
    return flag;
  keep(flag, true);
  return builder_->emit(OpKind::select,
                        {{select::cond, flag}, {select::a, x}, {select::b, constantFor(*x)}});
}

MilWriter::Made MilWriter::branch() {
  Value *x = pickFloat(1), *of = pickFloat(1, /*exact=*/true);
  if (!x || !of || !staticShape(*of))
    return nullptr;
  smooth_ = false;
  std::vector<int64_t> axes;
  for (size_t i = 0; i < of->type.rank(); ++i)
    axes.push_back(int64_t(i));
  Value *sum = builder_->emit(OpKind::reduce_sum, {{reduce_sum::x, of},
                                                   {reduce_sum::axes, ArrayRef<int64_t>(axes)},
                                                   {reduce_sum::keep_dims, false}});
  Value *flag = builder_->emit(OpKind::greater, {{greater::x, sum}, {greater::y, 0.5}});
  Op *cond = builder_->openControlFlow(OpKind::cond, {{cond::pred, flag}});
  if (!cond)
    return builder_->poison();
  for (Block *block : {cond->blocks()[0].get(), cond->blocks()[1].get()}) {
    Builder inner(*block);
    Value *y = x;
    for (unsigned i = 0, count = unsigned(below(3)); i < count; ++i)
      y = inner.emit(oneOf({OpKind::add, OpKind::mul}), {{add::x, y}, {add::y, oneOf({0.5, 2.0})}});
    if (y == x)
      y = inner.emit(OpKind::relu, {{relu::x, x}});
    block->setOutputs({y});
  }
  return builder_->closeControlFlow(cond) ? cond->result() : builder_->poison();
}

// ---- functions ---------------------------------------------------------------------------------

Function *MilWriter::write(Program &program, unsigned count) {
  Function *function = program.addFunction("main");
  builder_.emplace(function->body());
  bool dynamic = chance(25);
  for (unsigned i = 0, inputs = 1 + unsigned(below(3)); i < inputs; ++i) {
    Shape shape;
    for (size_t axis = 0, rank = 1 + below(4); axis < rank; ++axis)
      shape.push_back(axis == 0 && dynamic ? Dim::symbol("s", 2, 4) : Dim(oneOf({1, 2, 3, 4})));
    Type type = Type::tensor(i == 2 ? DType::I32 : DType::F32, shape);
    pool_.push_back(function->addInput(type, "x" + std::to_string(i)));
  }
  using Make = Made (MilWriter::*)();
  static constexpr Make makes[] = {
      &MilWriter::elementwise, &MilWriter::elementwise, &MilWriter::binary,  &MilWriter::binary,
      &MilWriter::binary,      &MilWriter::order,       &MilWriter::order,   &MilWriter::reshaping,
      &MilWriter::reshaping,   &MilWriter::slicing,     &MilWriter::joining, &MilWriter::casts,
      &MilWriter::reduction,   &MilWriter::product,     &MilWriter::layer,   &MilWriter::lowRank,
      &MilWriter::heads,       &MilWriter::convolution, &MilWriter::pieces,  &MilWriter::comparing,
      &MilWriter::branch,      &MilWriter::again};
  for (unsigned i = 0; i < count * 2 && values_.size() < count; ++i) {
    exact_ = true;
    Value *made = (this->*makes[below(std::size(makes))])();
    if (!made || Builder::isPoison(made)) {
      llvm::consumeError(builder_->takeError());
      continue;
    }
    auto shape = staticShape(*made);
    keep(made, exact_);
    if (made->type.rank() > 5 || (shape && numElements(ArrayRef<int64_t>(*shape)) > 500))
      pool_.pop_back(); // may be returned, not used
  }
  // A value is returned once, and no input is.
  std::vector<Value *> outputs;
  for (unsigned i = 0; i < 3 && !values_.empty(); ++i)
    if (Value *value = values_[i == 0 ? values_.size() - 1 : below(values_.size())];
        !llvm::is_contained(outputs, value))
      outputs.push_back(value);
  if (outputs.empty())
    outputs.push_back(builder_->emit(OpKind::identity, {{identity::x, pool_[0]}}));
  function->body().setOutputs(outputs);
  return function;
}

} // namespace plait::generate
