// The call that a lowering of values gets. Its arguments may be known, symbolic or known only at
// run time. The lowering handles sizes, lists and views; for other arguments it returns nullopt,
// and LibTorch or the lowering of tensors is tried.
//
//     static Handled transpose(ValueCall &c) {
//       auto self = c.tensor();
//       …
//       return one(c.engine().permuteTensor(self, perm));
//     }
#pragma once

#include "frontend/engine/Engine.h"

#include <ATen/core/function_schema.h>

namespace plait::frontend {

/// The results of a call that was lowered; nullopt: try the next way.
using Handled = std::optional<std::vector<Val>>;

class ValueCall {
public:
  ValueCall(Engine &engine, const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments)
      : engine_(engine), schema_(schema), arguments_(arguments) {}

  Engine &engine() const { return engine_; }
  const c10::FunctionSchema &schema() const { return schema_; }
  /// Without the overload: "aten::softmax".
  llvm::StringRef name() const { return schema_.name(); }

  size_t size() const { return arguments_.size(); }
  llvm::ArrayRef<Val> arguments() const { return arguments_; }
  const Val &operator[](int index) const { return arguments_[index]; }
  /// Null where the schema has no such argument.
  Held<const Val *> find(llvm::StringRef name) const;
  const Val &operator[](llvm::StringRef name) const;
  /// A known int.
  Maybe<int64_t> integer(llvm::StringRef name) const;
  bool isFalse(llvm::StringRef name) const; ///< a known False

  /// The first argument, where it is a tensor.
  Held<Val::TensorPtr> self() const {
    return arguments_.empty() ? nullptr : arguments_[0].tensor();
  }
  /// A known dimension index brought into [0, rank); of a 0-d tensor 0 and -1.
  int64_t axis(llvm::StringRef name, int64_t rank) const;
  static int64_t wrapAxis(int64_t axis, int64_t rank);

private:
  Engine &engine_;
  const c10::FunctionSchema &schema_;
  llvm::ArrayRef<Val> arguments_;
};

/// A call with one result.
inline Handled one(Val result) { return std::vector<Val>{std::move(result)}; }
inline Handled one(c10::IValue result) { return one(Val(std::move(result))); }
/// A call that is done and has no result.
inline Handled none() { return std::vector<Val>(); }

} // namespace plait::frontend
