// Replacing and deleting operations without losing names: the names of a function's outputs are
// its interface.
#pragma once

#include "mil/Builder.h"
#include "passes/Pass.h"

namespace plait::passes {

/// Each operation of each function, in order, nested blocks included. The callback may erase the
/// operation it is given and those before it.
void walk(mil::Program &program, llvm::function_ref<void(mil::Op &)> callback);

/// Thrown by walk() between two operations where a WalkScope says no. What was rewritten is
/// well-formed, but a pass may have done half of its work.
struct WalkEnded {};

/// Throws WalkEnded where a WalkScope says no; for work between two operations that takes long.
void mayGoOn();

/// While it lives, walk() asks `proceed` on this thread now and then. Null: it does not.
class WalkScope {
public:
  explicit WalkScope(const std::function<bool()> &proceed);
  ~WalkScope();
  WalkScope(const WalkScope &) = delete;

private:
  const std::function<bool()> *outer_;
};

/// Whether all uses of `from` may become uses of `to`: an output of a function needs a value that
/// can carry its name, so not an input, a constant or another output; an output of a nested block
/// one of that block.
bool canReplace(const mil::Value *from, const mil::Value *to);

/// Makes all uses of `from` uses of `to`. Requires canReplace(). `to` takes over the name where
/// `from` is an output of the function, or where `to` is new (without uses).
void replaceUses(mil::Value *from, mil::Value *to);

/// replaceUses() of the single result, then eraseDead(op).
void replaceOp(mil::Op *op, mil::Value *with);

/// Deletes the operation if nothing uses it and it may be deleted, then in the same way the
/// operations that computed its operands. Returns whether it was deleted.
bool eraseDead(mil::Op *op);

/// Neither it nor anything nested in it has an effect.
bool isRemovable(const mil::Op &op);

/// A constant before `op` that takes the place of `from` there, and its name if that has no other
/// use.
mil::Value *derivedConstant(mil::Op *op, mil::TensorData value, mil::Value *from);

/// The location of what stands between a function's input or output and the rest where nothing else
/// is known of it.
const mil::Location &interfaceLocation();

/// Recomputes the result types after operands changed. Returns false, changing nothing, when the
/// operation would be ill-formed.
bool retype(mil::Op *op);

/// The first of these operations of one block; null where `last` is not the last of them. Takes as
/// long as they lie apart.
mil::Op *firstOf(llvm::ArrayRef<mil::Op *> ops, mil::Op &last);

/// A static shape as plain integers.
inline std::optional<llvm::SmallVector<int64_t, 6>> staticShape(const mil::Value *value) {
  return value->type.isTensor() ? mil::constShape(value->type.shape()) : std::nullopt;
}

/// An axis constant brought into [0, rank).
inline int64_t normalAxis(int64_t axis, unsigned rank) { return axis < 0 ? axis + rank : axis; }

} // namespace plait::passes
