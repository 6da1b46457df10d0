// Whether a method computes with an argument as with integers. A file of TorchScript says of its
// arguments that they are tensors, and nothing of their elements; what is done with one tells.
#pragma once

#include "llvm/ADT/ArrayRef.h"

#include <string>

namespace torch::jit {
struct Value;
}

namespace plait::frontend {

/// What takes a value as integers.
struct IntegerUse {
  std::string what; ///< "aten::embedding as indices"; "" where there is nothing
  /// Whether bools would do as well: as a mask of an index, or where bits are counted.
  bool orBool = false;
  explicit operator bool() const { return !what.empty(); }
};

/// The first operator that takes the value, or a view of it, where LibTorch takes integers alone.
/// Methods and functions that are called are looked into.
IntegerUse integerUse(const torch::jit::Value &value);

/// An element of a tuple, list or dictionary that is an argument: by its place or its key.
struct ElementKey {
  size_t place;
  std::string key; ///< of a dictionary
};
/// The same of an element of the value, and of elements of that, from the outside in.
IntegerUse integerUse(const torch::jit::Value &value, llvm::ArrayRef<ElementKey> path);

} // namespace plait::frontend
