// Shape functions of operations on whole tensors: joins, fills, sorts and what looks at values.
#include "mil/infer/Shapes.h"

#include <cmath>

namespace plait::mil::infer {

Error concat(InferContext &c) {
  auto values = c.op().operands(concat::values);
  Shape shape(values[0]->type.shape());
  // Scalars make a vector.
  unsigned rank = shape.size();
  auto axis = c.axis(concat::axis, std::max(rank, 1u), 0);
  if (!axis)
    return axis.takeError();
  bool interleave = c.constBool(concat::interleave).value_or(false);
  Dim length = 0;
  for (const Operand &value : values) {
    auto other = value->type.shape();
    if (other.size() != rank)
      return c.fail("operands of shapes {0} and {1} differ in rank", str(shape), str(other));
    for (unsigned i = 0; i < rank; ++i) {
      if ((i != *axis || interleave) && !maybeEqual(shape[i], other[i]))
        return c.fail("operands of shapes {0} and {1} differ outside axis {2}",
                      str(values[0]->type.shape()), str(other), *axis);
      // A constant size is more than a dynamic one.
      if (i != *axis && other[i].isConst())
        shape[i] = other[i];
    }
    length = length + (rank ? other[*axis] : Dim(1));
  }
  if (!rank)
    shape.push_back(length);
  else
    shape[*axis] = length;
  return c.result(values[0]->type.dtype(), shape);
}

Error stack(InferContext &c) {
  auto values = c.op().operands(stack::values);
  Shape shape(values[0]->type.shape());
  for (const Operand &value : values) {
    auto other = value->type.shape();
    if (!maybeEqual(shape, other))
      return c.fail("operands of shapes {0} and {1} differ", str(shape), str(other));
    for (size_t i = 0; i < shape.size(); ++i)
      if (other[i].isConst())
        shape[i] = other[i];
  }
  auto axis = c.axis(stack::axis, shape.size() + 1, 0);
  if (!axis)
    return axis.takeError();
  shape.insert(shape.begin() + *axis, Dim(int64_t(values.size())));
  return c.result(values[0]->type.dtype(), shape);
}

Error split(InferContext &c) {
  Shape shape(c.shape(split::x));
  auto axis = c.axis(split::axis, shape.size(), 0);
  if (!axis)
    return axis.takeError();
  Dim whole = shape[*axis];
  auto count = c.constInt(split::num_splits);
  auto sizes = c.constInts(split::split_sizes);
  if (!count && !sizes)
    return c.fail("num_splits or split_sizes is needed");
  if (count && sizes && *count != int64_t(sizes->size()))
    return c.fail("num_splits is {0} for {1} split_sizes", *count, sizes->size());
  if (sizes) {
    int64_t sum = 0;
    for (int64_t size : *sizes)
      sum += size;
    if (!maybeEqual(whole, sum))
      return c.fail("split_sizes add up to {0}, the axis has {1}", sum, whole.str());
    for (int64_t size : *sizes) {
      shape[*axis] = size;
      (void)!c.result(c.dtype(split::x), shape);
    }
    return Error::success();
  }
  // Bounded, so that a corrupt count is no allocation of the machine's memory.
  if (*count < 1 || *count > (1 << 20) || (whole.isConst() && whole.value() % *count != 0))
    return c.fail("num_splits {0} does not divide an axis of {1}", *count, whole.str());
  shape[*axis] = floordiv(whole, *count);
  for (int64_t i = 0; i < *count; ++i)
    (void)!c.result(c.dtype(split::x), shape);
  return Error::success();
}

Error tile(InferContext &c) {
  auto x = c.shape(tile::x);
  auto reps = c.dims(tile::reps);
  if (!reps)
    return c.result(c.dtype(tile::x), unknownDims(x.size()));
  if (x.empty() || reps->size() != x.size())
    return c.fail("{0} reps for x of rank {1}", reps->size(), x.size());
  Shape shape;
  for (size_t i = 0; i < x.size(); ++i) {
    if ((*reps)[i].isConst() && (*reps)[i].value() <= 0)
      return c.fail("the repetition of dimension {0} is {1}", i, (*reps)[i].value());
    shape.push_back(x[i] * (*reps)[i]);
  }
  return c.result(c.dtype(tile::x), shape);
}

Error pad(InferContext &c) {
  llvm::StringRef mode = c.constString(pad::mode).value_or("constant");
  if (mode != "constant" && mode != "reflect" && mode != "replicate")
    return c.fail("mode \"{0}\" is none of constant, reflect, replicate", mode);
  Shape shape(c.shape(pad::x));
  if (c.rank(pad::pad) != 1 || !c.shape(pad::pad)[0].isConst())
    return c.fail("pad must be a vector of known length, not of shape {0}", str(c.shape(pad::pad)));
  size_t length = c.shape(pad::pad)[0].value();
  auto amounts = c.dims(pad::pad);
  if (length % 2 != 0 || length > 2 * shape.size() || (!amounts && length != 2 * shape.size()))
    return c.fail("pad has {0} elements for x of rank {1}", length, shape.size());
  size_t first = shape.size() - length / 2;
  for (size_t i = 0; i < length / 2; ++i) {
    if (!amounts) {
      shape[first + i] = Dim::unknown();
      continue;
    }
    const Dim &before = (*amounts)[2 * i], &after = (*amounts)[2 * i + 1];
    if ((before.isConst() && before.value() < 0) || (after.isConst() && after.value() < 0))
      return c.fail("pad is negative in dimension {0}", first + i);
    shape[first + i] = shape[first + i] + before + after;
  }
  return c.result(c.dtype(pad::x), shape);
}

Error fill(InferContext &c) {
  auto shape = shapeFromOperand(c, fill::shape);
  if (!shape)
    return shape.takeError();
  for (const Dim &d : *shape)
    if (d.isConst() && d.value() < 0)
      return c.fail("shape {0} has a negative size", str(*shape));
  return c.result(c.has(fill::value) ? c.dtype(fill::value) : DType::F32, *shape);
}

Error fillLike(InferContext &c) {
  return c.result(c.has(fill_like::value) ? c.dtype(fill_like::value) : DType::F32,
                  c.shape(fill_like::ref_tensor));
}

Error oneHot(InferContext &c) {
  Shape shape(c.shape(one_hot::indices));
  auto axis = c.axis(one_hot::axis, shape.size() + 1, -1);
  if (!axis)
    return axis.takeError();
  auto size = c.dims(one_hot::one_hot_vector_size);
  Dim depth = size && size->size() == 1 ? (*size)[0] : Dim::unknown();
  if (depth.isConst() && depth.value() < 0)
    return c.fail("one_hot_vector_size is {0}", depth.value());
  shape.insert(shape.begin() + *axis, depth);
  return c.result(c.has(one_hot::on_value) ? c.dtype(one_hot::on_value) : DType::I32, shape);
}

Error range1d(InferContext &c) {
  DType dtype = c.dtype(range_1d::start);
  if (dtype == DType::I32) {
    auto start = c.dims(range_1d::start), end = c.dims(range_1d::end),
         step = c.dims(range_1d::step);
    if (!start || !end || !step || start->size() != 1 || end->size() != 1 || step->size() != 1 ||
        !(*step)[0].isConst())
      return c.result(dtype, Dim::unknown());
    int64_t by = (*step)[0].value();
    if (by == 0)
      return c.fail("step is 0");
    Dim span = by > 0 ? (*end)[0] - (*start)[0] : (*start)[0] - (*end)[0];
    return c.result(dtype, max(Dim(0), ceildiv(span, std::abs(by))));
  }
  auto start = constFloat(c.op()[range_1d::start]), end = constFloat(c.op()[range_1d::end]),
       step = constFloat(c.op()[range_1d::step]);
  if (!start || !end || !step)
    return c.result(dtype, Dim::unknown());
  double count = std::ceil((*end - *start) / *step);
  if (!(std::abs(count) < 2147483648.0)) // also where step is 0
    return c.fail("from {0:.2f} to {1:.2f} by {2:.2f} has no end", *start, *end, *step);
  return c.result(dtype, Dim(std::max<int64_t>(0, int64_t(count))));
}

Error cumsum(InferContext &c) {
  if (auto axis = c.axis(cumsum::axis, c.rank(cumsum::x), 0); !axis)
    return axis.takeError();
  return c.result(c.type(cumsum::x));
}

Error shape(InferContext &c) { return c.result(DType::I32, Dim(int64_t(c.rank(mil::shape::x)))); }

Error nonZero(InferContext &c) {
  return c.result(DType::I32, {Dim::unknown(), Dim(int64_t(c.rank(non_zero::x)))});
}

Error argsort(InferContext &c) {
  if (auto axis = c.axis(argsort::axis, c.rank(argsort::x), -1); !axis)
    return axis.takeError();
  return c.result(DType::I32, c.shape(argsort::x));
}

Error topk(InferContext &c) {
  Shape shape(c.shape(topk::x));
  auto axis = c.axis(topk::axis, shape.size(), -1);
  if (!axis)
    return axis.takeError();
  int64_t k = c.constInt(topk::k).value_or(1);
  if (k < 0 || (shape[*axis].isConst() && k > shape[*axis].value()))
    return c.fail("k is {0} for an axis of {1}", k, shape[*axis].str());
  shape[*axis] = k;
  bool indices = c.constBool(topk::return_indices).value_or(true);
  if (!indices && c.has(topk::output_indices_dtype))
    return c.fail("output_indices_dtype does not go with return_indices false");
  llvm::StringRef text = c.constString(topk::output_indices_dtype).value_or("int32");
  if (text != "int32" && text != "uint16")
    return c.fail("output_indices_dtype \"{0}\" is neither int32 nor uint16", text);
  if (Error error = c.result(c.dtype(topk::x), shape))
    return error;
  return indices ? c.result(text == "int32" ? DType::I32 : DType::U16, shape) : Error::success();
}

Error nonMaximumSuppression(InferContext &c) {
  using namespace non_maximum_suppression;
  auto b = c.shape(boxes), s = c.shape(scores);
  if (b.size() != 3 || s.size() != 3)
    return c.fail("boxes and scores have shapes {0} and {1}; rank 3 is needed", str(b), str(s));
  auto count = c.constInt(max_boxes);
  if (!count || *count < 1)
    return c.fail("max_boxes must be a positive constant");
  if (c.has(score_threshold)) { // iOS15, iOS16: boxes before coordinates, and how many there are
    if (Error error = c.result(c.dtype(boxes), {s[0], Dim(*count), Dim(4)}))
      return error;
    if (Error error = c.result(c.dtype(scores), {s[0], Dim(*count), s[2]}))
      return error;
    if (Error error = c.result(DType::I32, {s[0], Dim(*count)}))
      return error;
    return c.result(DType::I32, {s[0]});
  }
  if (Error error = c.result(c.dtype(boxes), {s[0], Dim(4), Dim(*count)}))
    return error;
  if (Error error = c.result(c.dtype(scores), {s[0], s[1], Dim(*count)}))
    return error;
  return c.result(DType::I32, {s[0], Dim(*count)});
}

} // namespace plait::mil::infer
