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

/// How a call is handled if its arguments are all known and small.
enum class WhenKnown : uint8_t {
  Compute,     ///< LibTorch runs it
  Zero,        ///< the same of memory that nothing sets: it becomes zeros
  Lower,       ///< what LibTorch gives would not be what it gives in the model
  LowerLazily, ///< a lazy constant, which LibTorch computes where nothing else will do
};
/// Known tensors of up to this size are computed with; what derives from larger weights stays a
/// computed constant: it is lowered, and the passes decide.
constexpr int64_t kEagerBytes = 64 * 1024;

/// How a call with complex tensors is handled that are not known while compiling.
enum class WhenComplex : uint8_t {
  Refuse, ///< it is not supported
  Parts   ///< of the real parts and of the imaginary parts separately: the operation is linear
};

/// How a call on a selection by a run-time mask is handled.
/// `pointwise` operators need no rule.
enum class WhenSelected : uint8_t {
  Refuse, ///< the result's size would depend on the data
  Rows,   ///< each row for itself: the operation on all rows, of which the mask selects
};

/// How an operator is lowered. An operator may have both functions: `aten::add.Tensor` adds sizes
/// that tracing made tensors of, and tensors.
struct Row {
  /// Tried first, whatever is known: views, lists, sizes, statements.
  ValuesFn values = nullptr;
  /// Tried last. LibTorch runs calls whose arguments are all known.
  LowerFn lower = nullptr;
  /// Instead of `lower`: a function of decompositions/, which expresses the operator by others.
  std::string decomposition = "";
  /// The same for complex tensors.
  std::string complexDecomposition = "";
  WhenComplex whenComplex = WhenComplex::Refuse;
  /// A function of decompositions/ that takes source and mask in the place of each selection.
  std::string selectedDecomposition = "";
  WhenSelected whenSelected = WhenSelected::Refuse;
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
  /// The function of decompositions/ for an operator, or for an operator on complex tensors.
  void addDecomposition(llvm::StringRef name, const std::string &function);
  void addComplexDecomposition(llvm::StringRef name, const std::string &function);
  void addSelectedDecomposition(llvm::StringRef name, const std::string &function);
  void setComplexParts(Names names);
  void setSelectedRows(Names names);
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
  friend void registerDecompositions(Table &table);
  const char *family_ = "";
};

} // namespace plait::frontend
