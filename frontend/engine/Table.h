// Every operator that has a lowering, by its full schema name ("aten::softmax.int"): one row an
// operator, filled once from the visible list of families in lower/Families.h.
#pragma once

#include "frontend/engine/Call.h"
#include "frontend/engine/ValueCall.h"

#include "llvm/ADT/StringMap.h"

namespace plait::frontend {

/// Lowers one call on values; nullopt where it is not for these arguments.
using ValuesFn = Handled (*)(ValueCall &);
/// Lowers one call on tensors that are not all known.
using LowerFn = void (*)(Call &);

/// What becomes of a call whose arguments are all known and small.
enum class WhenKnown : uint8_t {
  Compute,     ///< LibTorch runs it
  Zero,        ///< the same of memory that nothing sets: it becomes zeros
  Lower,       ///< what LibTorch gives would not be what it gives in the model
  LowerLazily, ///< a lazy constant, which LibTorch computes where nothing else will do
};
/// Known tensors of up to this size are computed with; what derives from larger weights stays a
/// computed constant: it is lowered, and the passes decide.
constexpr int64_t kEagerBytes = 64 * 1024;

/// How an operator is lowered. An operator may have both functions: `aten::add.Tensor` adds sizes
/// that tracing made tensors of, and tensors.
struct Row {
  /// Tried first, whatever is known: views, lists, sizes, statements.
  ValuesFn values = nullptr;
  /// Tried last: what is known entirely is LibTorch's to run.
  LowerFn lower = nullptr;
  const char *family = "";
  WhenKnown (*whenKnown)(ValueCall &) = nullptr; ///< null: Compute
  /// A narrow integer type may not hold the result, which wraps around as PyTorch's does.
  bool leavesRange = false;
};

class Table {
public:
  using Names = std::initializer_list<const char *>;
  /// Several overloads may share one function.
  void add(Names names, LowerFn fn);
  void addValues(Names names, ValuesFn fn);
  /// For each of `overloads`, NAME.OVERLOAD, or NAME alone where it is "".
  void addValues(llvm::StringRef name, llvm::ArrayRef<const char *> overloads, ValuesFn fn);
  void setLeavesRange(Names names);
  void setWhenKnown(Names names, WhenKnown (*whenKnown)(ValueCall &));

  /// Null where there is none.
  const Row *find(llvm::StringRef name) const;
  /// Sorted names, for the reference page and for messages that suggest what exists.
  std::vector<std::string> names() const;
  static const Table &get();

private:
  Row &row(llvm::StringRef name);

  llvm::StringMap<Row> rows_;
  const char *family_ = "";
};

} // namespace plait::frontend
