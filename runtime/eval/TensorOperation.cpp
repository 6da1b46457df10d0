// Operations that make, join, split or pad tensors, and classify.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

/// The matrix diagonals from -lower to upper; a negative bound keeps that whole side.
Results evalBandPart(EvalContext &c) {
  at::Tensor x = c.raw(band_part::x);
  int64_t lower = c.integer(band_part::lower, -1), upper = c.integer(band_part::upper, -1);
  if (lower >= 0)
    x = x.triu(-lower);
  return upper >= 0 ? x.tril(upper) : x;
}

Results evalConcat(EvalContext &c) {
  std::vector<at::Tensor> values = c.raws(concat::values);
  if (values[0].dim() == 0)
    return at::stack(values, 0);
  int64_t axis = c.axis(concat::axis, values[0].dim(), 0);
  if (!c.boolean(concat::interleave))
    return at::cat(values, axis);
  // Element i of every operand, then element i + 1 of every operand …
  return at::stack(values, axis + 1).flatten(axis, axis + 1);
}

Results evalCumsum(EvalContext &c) {
  at::Tensor x = c.value(cumsum::x);
  int64_t axis = c.axis(cumsum::axis, x.dim(), 0);
  bool reverse = c.boolean(cumsum::reverse);
  if (reverse)
    x = x.flip(axis);
  at::Tensor sum = at::cumsum(x, axis);
  if (c.boolean(cumsum::exclusive) && x.size(axis) > 0)
    sum = at::cat({at::zeros_like(sum.slice(axis, 0, 1)), sum.slice(axis, 0, x.size(axis) - 1)},
                  axis);
  return reverse ? sum.flip(axis) : sum;
}

at::Tensor filled(EvalContext &c, at::IntArrayRef shape, unsigned value) {
  at::Tensor element =
      c.has(value) ? c.raw(value) : at::zeros({}, heldType(c.resultType().dtype(), c.compute()));
  return element.reshape({}).expand(shape).contiguous();
}

Results evalFill(EvalContext &c) { return filled(c, c.ints(fill::shape), fill::value); }

Results evalFillLike(EvalContext &c) {
  return filled(c, c.raw(fill_like::ref_tensor).sizes(), fill_like::value);
}

Results evalFlatten2d(EvalContext &c) {
  at::Tensor x = c.raw(flatten2d::x);
  int64_t axis = c.integer(flatten2d::axis, 1);
  TORCH_CHECK(axis >= -x.dim() && axis <= x.dim(), "axis ", axis, " is out of range for rank ",
              x.dim());
  axis = axis < 0 ? axis + x.dim() : axis;
  int64_t rows = 1;
  for (int64_t i = 0; i < axis; ++i)
    rows *= x.size(i);
  return x.reshape({rows, rows ? x.numel() / rows : 0});
}

/// An index outside [0, size) marks nothing.
Results evalOneHot(EvalContext &c) {
  at::Tensor indices = c.raw(one_hot::indices).to(at::kLong);
  int64_t size = c.integer(one_hot::one_hot_vector_size);
  int64_t axis = c.axis(one_hot::axis, indices.dim() + 1, -1);
  at::ScalarType held = heldType(c.resultType().dtype(), c.compute());
  at::Tensor on = c.has(one_hot::on_value) ? c.raw(one_hot::on_value) : at::ones({}, held);
  at::Tensor off = c.has(one_hot::off_value) ? c.raw(one_hot::off_value) : at::zeros({}, held);
  std::vector<int64_t> shape(indices.dim() + 1, 1);
  shape[axis] = size;
  at::Tensor hot = indices.unsqueeze(axis).eq(at::arange(size, at::kLong).reshape(shape));
  return at::where(hot, on.to(held).reshape({}), off.to(held).reshape({}));
}

/// The last axes of x, each padded by picking its elements by number.
Results evalPad(EvalContext &c) {
  at::Tensor x = c.raw(pad::x);
  std::vector<int64_t> amounts = c.ints(pad::pad);
  std::string mode = c.string(pad::mode, "constant");
  TORCH_CHECK(amounts.size() % 2 == 0 && int64_t(amounts.size()) <= 2 * x.dim(), "pad has ",
              amounts.size(), " elements for x of rank ", x.dim());
  int64_t axes = int64_t(amounts.size()) / 2;
  if (mode == "constant") {
    std::vector<int64_t> lastFirst;
    for (int64_t i = axes; i-- > 0;) {
      lastFirst.push_back(amounts[2 * i]);
      lastFirst.push_back(amounts[2 * i + 1]);
    }
    return at::constant_pad_nd(x, lastFirst, c.number(pad::constant_val, 0));
  }
  TORCH_CHECK(mode == "reflect" || mode == "replicate", "mode is '", mode,
              "'; it may be constant, reflect or replicate");
  for (int64_t i = 0; i < axes; ++i) {
    int64_t axis = x.dim() - axes + i, size = x.size(axis);
    int64_t before = amounts[2 * i], after = amounts[2 * i + 1];
    if (before == 0 && after == 0)
      continue;
    TORCH_CHECK(mode == "replicate" ? size > 0 : std::max(before, after) < size, "axis ", axis,
                " of size ", size, " cannot be padded by ", before, " and ", after, " (", mode,
                ")");
    at::Tensor numbers = at::arange(-before, size + after, at::kLong);
    if (mode == "replicate") {
      numbers = numbers.clamp(0, size - 1);
    } else {
      numbers = numbers.abs();
      numbers = at::where(numbers >= size, 2 * (size - 1) - numbers, numbers);
    }
    x = x.index_select(axis, numbers);
  }
  return x;
}

/// start, start + step … below end; integers exactly, floats as start + i * step in fp64.
Results evalRange1d(EvalContext &c) {
  double start = c.number(range_1d::start), end = c.number(range_1d::end),
         step = c.number(range_1d::step);
  TORCH_CHECK(step != 0, "step is 0");
  double length = std::ceil((end - start) / step);
  TORCH_CHECK(length <= double(INT32_MAX), "start ", start, ", end ", end, " and step ", step,
              " make no range");
  int64_t count = std::max<int64_t>(0, int64_t(length));
  at::Tensor values = at::arange(count, at::kDouble) * step + start;
  return c.raw(range_1d::start).is_floating_point() ? values : values.to(at::kLong);
}

Results evalShape(EvalContext &c) {
  at::Tensor x = c.raw(mil::shape::x);
  return at::tensor(x.sizes(), at::kLong);
}

Results evalSplit(EvalContext &c) {
  at::Tensor x = c.raw(split::x);
  int64_t axis = c.axis(split::axis, x.dim(), 0);
  std::vector<int64_t> sizes = c.ints(split::split_sizes);
  if (sizes.empty()) {
    int64_t parts = c.integer(split::num_splits);
    TORCH_CHECK(parts > 0 && x.size(axis) % parts == 0, "axis ", axis, " of size ", x.size(axis),
                " does not split into ", parts, " equal parts");
    sizes.assign(parts, x.size(axis) / parts);
  }
  return Results::of(at::split_with_sizes(x, sizes, axis));
}

Results evalStack(EvalContext &c) {
  std::vector<at::Tensor> values = c.raws(stack::values);
  return at::stack(values, c.axis(stack::axis, values[0].dim() + 1, 0));
}

Results evalTile(EvalContext &c) {
  at::Tensor x = c.raw(tile::x);
  return x.repeat(c.ints(tile::reps, x.dim(), 1));
}

/// The label of the highest probability, and every label's probability.
Results evalClassify(EvalContext &c) {
  at::Tensor probabilities = c.raw(classify::probabilities).to(at::kDouble).flatten();
  Datum held = c.datum(classify::classes); // keeps the list alive
  const Attr *classes = held.literal.get();
  TORCH_CHECK(classes, "classes is no list of constants");
  std::vector<Attr> labels;
  if (const auto *texts = classes->strings())
    for (const std::string &text : *texts)
      labels.push_back(Attr::string(text));
  if (const auto *elements = classes->elements())
    labels = *elements;
  TORCH_CHECK(!labels.empty() && int64_t(labels.size()) == probabilities.numel(), "there are ",
              labels.size(), " classes for ", probabilities.numel(), " probabilities");
  Attr::Dict entries;
  for (size_t i = 0; i < labels.size(); ++i)
    entries.emplace_back(labels[i], Attr(toTensorData(probabilities[int64_t(i)], DType::F64)));
  int64_t best = probabilities.argmax().item<int64_t>();
  return Results::literals(
      {labels[best], Attr::dict(labels[0].type(), Type::tensor(DType::F64), std::move(entries))});
}

} // namespace

void registerTensorOperations(Registry &r) {
  r.add(OpKind::band_part, evalBandPart);
  r.add(OpKind::classify, evalClassify);
  r.add(OpKind::concat, evalConcat);
  r.add(OpKind::cumsum, evalCumsum);
  r.add(OpKind::fill, evalFill);
  r.add(OpKind::fill_like, evalFillLike);
  r.add(OpKind::flatten2d, evalFlatten2d);
  r.add(OpKind::identity, [](EvalContext &c) -> Results { return c.datum(identity::x); });
  r.add(OpKind::one_hot, evalOneHot);
  r.add(OpKind::pad, evalPad);
  r.add(OpKind::range_1d, evalRange1d);
  r.add(OpKind::shape, evalShape);
  r.add(OpKind::split, evalSplit);
  r.add(OpKind::stack, evalStack);
  r.add(OpKind::tile, evalTile);
}

} // namespace plait::runtime
