// Symbolic sizes as values of a program: the arithmetic of a Dim as operations on int32 scalars.
#pragma once

#include "mil/Builder.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace plait::mil {

/// The int32 scalar that a symbol stands for; poison where it is not known.
using SymbolValue = llvm::function_ref<Value *(llvm::StringRef symbol)>;

/// `dim` as an int32 scalar. What does not fit int32 is an error of the builder.
Value *materialise(Builder &builder, const Dim &dim, SymbolValue symbol);
/// `shape` as an int32 vector.
Value *materialise(Builder &builder, llvm::ArrayRef<Dim> shape, SymbolValue symbol);
/// The size of one axis of `x`, as an int32 scalar.
Value *sizeOfAxis(Builder &builder, Value *x, int64_t axis);

} // namespace plait::mil
