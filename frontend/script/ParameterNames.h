// All names that a module tree has for its tensors.
#pragma once

#include "mil/Origin.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include "llvm/ADT/DenseMap.h"

namespace plait::frontend {

/// Tied weights have several names, and so has what belongs to a module that is reached by several.
/// One module counts by at most 16 names, so that a file cannot ask for endless work.
class ParameterNames {
public:
  explicit ParameterNames(const c10::IValue &root);

  /// Of the same elements in the same form; a part or a transposed view of a parameter is no
  /// parameter of its own unless the tree has it.
  mil::Origin originOf(const at::Tensor &tensor) const;

  /// The tensor at a path; undefined where there is none.
  at::Tensor tensorAt(llvm::StringRef path) const;
  /// The name of another tensor that has some of this one's memory; "" where there is none.
  std::string overlapping(const at::Tensor &tensor) const;
  /// One of each tensor's.
  std::vector<std::string> paths() const;

private:
  struct Named {
    at::Tensor tensor;
    std::vector<std::string> paths;
  };
  void add(const c10::IValue &value, const std::string &path);
  Named *find(const at::Tensor &tensor) const;

  mutable llvm::DenseMap<const void *, llvm::SmallVector<Named, 1>> tensors_; ///< by first element
  llvm::DenseMap<const void *, unsigned> visits_;                             ///< by object
};

} // namespace plait::frontend
