// Result sizes of sliding windows, shapes given by operands, axes.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

Expected<Shape> shapeFromOperand(const InferContext &c, unsigned param) {
  if (auto values = c.dims(param)) {
    Shape shape(values->begin(), values->end());
    return shape;
  }
  auto vector = c.shape(param);
  if (vector.size() != 1 || !vector[0].isConst())
    return c.fail("{0} must be a vector of known length, not of shape {1}",
                  c.op().info().params[param].name, str(vector));
  return unknownDims(vector[0].value());
}

Expected<llvm::SmallVector<int64_t, 8>> normalizeAxes(const InferContext &c,
                                                      llvm::ArrayRef<int64_t> axes, unsigned rank) {
  llvm::SmallVector<int64_t, 8> result;
  for (int64_t axis : axes) {
    if (axis < -int64_t(rank) || axis >= int64_t(rank))
      return c.fail("axis {0} is out of range for rank {1}", axis, rank);
    result.push_back(axis < 0 ? axis + rank : axis);
  }
  return result;
}

Expected<Shape> windowOutput(const Window &w) {
  size_t n = w.kernel.size();
  if (w.input.size() != n || w.strides.size() != n || w.dilations.size() != n)
    return makeError(Code::OperandMismatch,
                     "{0} spatial dimensions, but {1} kernel sizes, {2} strides and {3} dilations",
                     w.input.size(), n, w.strides.size(), w.dilations.size());
  bool same = w.padType == "same" || w.padType == "same_lower";
  bool custom = w.padType == "custom";
  if (!same && !custom && w.padType != "valid")
    return makeError(Code::OperandMismatch,
                     "pad_type \"{0}\" is none of valid, same, same_lower, custom", w.padType);
  if (custom && w.pad.size() != 2 * n)
    return makeError(Code::OperandMismatch,
                     "pad has {0} elements; two a spatial dimension make {1}", w.pad.size(), 2 * n);
  Shape shape;
  for (size_t i = 0; i < n; ++i) {
    int64_t stride = w.strides[i];
    if (stride < 1 || w.dilations[i] < 1)
      return makeError(Code::OperandMismatch, "strides and dilations must be positive");
    const Dim &in = w.input[i];
    Dim kernel = (w.kernel[i] - 1) * w.dilations[i] + 1;
    Dim out;
    if (same) {
      // The padding makes ceil(in / stride) windows; none is needed where the kernel is shorter
      // than the stride.
      Dim padding = max(Dim(0), ceildiv(in, stride) * stride - in + kernel - stride);
      bool covers = kernel.isConst() && kernel.value() >= stride;
      out = covers ? ceildiv(in, stride) : floordiv(in + padding - kernel, stride) + 1;
    } else {
      int64_t padding = custom ? w.pad[2 * i] + w.pad[2 * i + 1] : 0;
      if (!w.ceilMode) {
        out = floordiv(in + padding - kernel, stride) + 1;
      } else {
        out = floordiv(in + padding - kernel + (stride - 1), stride) + 1;
        // A last window that would start in the padding is dropped.
        if (padding > 0) {
          if (!out.isConst() || !in.isConst())
            out = Dim::unknown();
          else if (2 * (out.value() - 1) * stride >= 2 * in.value() + padding)
            out = out - 1;
        }
      }
    }
    if (out.isConst() && out.value() <= 0)
      return makeError(Code::OperandMismatch,
                       "spatial dimension {0} would have {1} elements: input {2}, kernel {3}", i,
                       out.value(), in.str(), kernel.str());
    shape.push_back(out);
  }
  return shape;
}

} // namespace plait::mil::infer
