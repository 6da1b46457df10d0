// A value under another shape, by the plainest operation that gives it.
//
//   [4, 8]    to [4, 1, 8]   expand_dims
//   [4, 1, 8] to [4, 8]      squeeze
//   otherwise                reshape; one symbolic size is left to the operation
#pragma once

#include "mil/Builder.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace plait::mil {

/// `x` itself where it has the shape. `materialise` makes an int32 vector of a shape with several
/// symbolic sizes.
Value *reshapeTo(Builder &builder, Value *x, llvm::ArrayRef<Dim> shape,
                 llvm::function_ref<Value *(llvm::ArrayRef<Dim>)> materialise);

} // namespace plait::mil
