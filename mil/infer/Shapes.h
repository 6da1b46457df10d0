// What several families of shape functions share.
#pragma once

#include "mil/Infer.h"

namespace plait::mil::infer {

/// May be equal: equal, or one of them dynamic.
inline bool maybeEqual(const Dim &a, const Dim &b) {
  return a == b || !a.isConst() || !b.isConst();
}
inline bool maybeEqual(llvm::ArrayRef<Dim> a, llvm::ArrayRef<Dim> b) {
  return a.size() == b.size() && llvm::all_of(llvm::zip(a, b), [](auto pair) {
           return maybeEqual(std::get<0>(pair), std::get<1>(pair));
         });
}

/// Dimensions that nothing is known of.
inline Shape unknownDims(size_t count) {
  Shape shape;
  for (size_t i = 0; i < count; ++i)
    shape.push_back(Dim::unknown());
  return shape;
}

/// The result shape that an integer vector operand states: known dimensions, or unknown ones where
/// the vector is computed. An error when not even its length is known.
Expected<Shape> shapeFromOperand(const InferContext &c, unsigned param);

/// The spatial result sizes of convolution and pooling.
struct Window {
  llvm::ArrayRef<Dim> input;  ///< spatial dimensions
  llvm::ArrayRef<Dim> kernel; ///< its spatial dimensions
  llvm::ArrayRef<int64_t> strides, dilations;
  llvm::StringRef padType;     ///< valid, same, same_lower, custom
  llvm::ArrayRef<int64_t> pad; ///< begin and end of each dimension, for custom
  bool ceilMode = false;
};
Expected<Shape> windowOutput(const Window &window);

/// Axes brought into [0, rank); an error when one is out of range.
Expected<llvm::SmallVector<int64_t, 8>> normalizeAxes(const InferContext &c,
                                                      llvm::ArrayRef<int64_t> axes, unsigned rank);

/// The shape of slice_by_index and of what slice_update replaces; both have parameters of the same
/// names, of which `begin` is the first.
Expected<Shape> sliceShape(const InferContext &c, unsigned beginParam);

} // namespace plait::mil::infer
