// expand_dims, squeeze or reshape.
#include "mil/Reshape.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::mil {

/// The axes of `longer` that are 1 and whose removal gives `shorter`; nullopt if that is not all
/// the difference.
static std::optional<llvm::SmallVector<int64_t, 5>> onesBetween(llvm::ArrayRef<Dim> shorter,
                                                                llvm::ArrayRef<Dim> longer) {
  llvm::SmallVector<int64_t, 5> axes;
  size_t k = 0;
  for (size_t i = 0; i < longer.size(); ++i) {
    // A 1 that the shorter shape has here too is kept while enough are left.
    if (k < shorter.size() && shorter[k] == longer[i])
      ++k;
    else if (longer[i] == Dim(1))
      axes.push_back(i);
    else
      return std::nullopt;
  }
  return k == shorter.size() ? std::optional(axes) : std::nullopt;
}

Value *reshapeTo(Builder &builder, Value *x, llvm::ArrayRef<Dim> shape,
                 llvm::function_ref<Value *(llvm::ArrayRef<Dim>)> materialise) {
  if (Builder::isPoison(x) || x->type.shape() == shape)
    return x;
  Value *result = nullptr;
  if (shape.size() > x->type.rank()) {
    if (auto axes = onesBetween(x->type.shape(), shape))
      result =
          builder.emit(OpKind::expand_dims,
                       {{expand_dims::x, x}, {expand_dims::axes, llvm::ArrayRef<int64_t>(*axes)}});
  } else if (shape.size() < x->type.rank()) {
    if (auto axes = onesBetween(shape, x->type.shape()))
      result = builder.emit(OpKind::squeeze,
                            {{squeeze::x, x}, {squeeze::axes, llvm::ArrayRef<int64_t>(*axes)}});
  }
  if (!result) {
    // One symbolic size can be left to the operation.
    llvm::SmallVector<int64_t, 5> sizes;
    for (const Dim &dim : shape)
      sizes.push_back(dim.isConst() ? dim.value() : -1);
    Value *target = llvm::count(sizes, -1) <= 1 ? builder.ints(sizes) : materialise(shape);
    result = builder.emit(OpKind::reshape, {{reshape::x, x}, {reshape::shape, target}});
  }
  if (!Builder::isPoison(result))
    result->type = result->type.withShape(shape);
  return result;
}

} // namespace plait::mil
