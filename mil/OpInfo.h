// The table of operations: Ops.def, expanded into an enumeration, a namespace of parameter indices
// for each operation (`op[linear::weight]`), and descriptions. Everything else derives
// from these.
#pragma once

#include "mil/Opset.h"
#include "mil/Type.h"
#include "support/Error.h"

namespace plait::mil {

class Op;
class InferContext;

/// Every MIL operation, and `block_return`: the implicit terminator that holds a block's outputs.
enum class OpKind : uint16_t {
#define OP(NAME, ...) NAME,
#define OP_KEYWORD(NAME, TEXT, ...) NAME,
#include "mil/Ops.def"
  block_return,
};
inline constexpr unsigned kNumOps = unsigned(OpKind::block_return);

/// What an operation does besides computing its results.
enum Trait : uint8_t {
  Pure = 0,             ///< removable when unused, mergeable when repeated
  Effect = 1,           ///< writes a state or list: never removed, reads are not moved across it
  ReadsMemory = 2,      ///< reads a state: removable when unused, not merged across a write
  NonDeterministic = 4, ///< random without a seed: removable, never merged or folded
  Constexpr = 8, ///< constexpr_*: compile-time weight decompression, operands are inline literals
};

/// What --precision fp16 does with an operation's fp32 operands.
enum class HalfPolicy : uint8_t {
  Cast, ///< computes in fp16
  Keep, ///< left in fp32: control flow, lists, states, dtype-carrying operations
};

enum ParamFlags : uint8_t {
  None = 0,
  Const = 1,    ///< must be a const or constexpr_* result
  Opt = 2,      ///< may be absent
  Variadic = 4, ///< one or more values
  ListOnly = 8, ///< a list, not a tensor
  StateOnly = 16,
  Inline = 32, ///< written as a literal in the operation itself, never as a named const
  Gone = 64,   ///< not in the newest form
};

/// The value that an absent optional parameter stands for, as coremltools writes it. Values of
/// `Ones` and those below depend on the operation's other operands; Builder.cpp gives them.
struct Default {
  enum Kind : uint8_t {
    None,
    Int,
    Float,
    Bool,
    String,
    Ones,         ///< int32 ones, one a spatial dimension
    Zeros,        ///< int32 zeros, two a spatial dimension
    AllAxes,      ///< int32 [0 .. rank)
    ZeroBias,     ///< zeros of the weight's first dimension
    BoxIndices,   ///< int32 [0 .. number of boxes)
    IndicesDType, ///< "int32" where return_indices is true, else absent
  } kind = None;
  double number = 0;
  const char *text = nullptr;
};

struct ParamInfo {
  const char *name;
  char var;        ///< parameters of one type variable have one element type; '_' stands alone
  DTypeSet domain; ///< element types allowed; 0 for lists, states and literals that are no tensors
  uint8_t flags;
  Default def;

  bool isConst() const { return flags & Const; }
  bool isOptional() const { return flags & Opt; }
  bool isVariadic() const { return flags & Variadic; }
};

/// Computes the result types of `context`'s operation or says why it is ill-formed.
using InferFn = Error (*)(InferContext &context);

/// A row of the table. What it says of parameters holds for the newest form; form() tells what
/// another opset has.
struct OpInfo {
  const char *name;
  Opset newest; ///< the opset that brought this form
  uint8_t traits;
  HalfPolicy half;
  InferFn infer;
  llvm::ArrayRef<ParamInfo> params; ///< those that only older forms have are marked Gone

  bool isPure() const { return !(traits & (Effect | NonDeterministic)); }
  std::optional<unsigned> findParam(llvm::StringRef name) const;

  /// The first opset that has the operation.
  Opset since() const;
  bool existsIn(Opset opset) const { return since() <= opset; }
  /// The form that the opset has: one entry a parameter of the row, null for those that it does not
  /// have. Of an opset that has no such operation: the first form.
  llvm::ArrayRef<const ParamInfo *> form(Opset opset) const;
  /// The opsets in which the form changed, oldest first; the last is `newest`.
  llvm::SmallVector<Opset, 3> formsSince() const;
};

const OpInfo &info(OpKind kind);
inline llvm::StringRef name(OpKind kind) { return info(kind).name; }
std::optional<OpKind> parseOpKind(llvm::StringRef name);

// One namespace an operation, holding its parameter indices.
#define IN(NAME, VAR, DOMAIN, FLAGS) NAME,
#define DEF(NAME, VAR, DOMAIN, FLAGS, DEFAULT) NAME,
#define GONE(NAME) NAME,
#define OP(NAME, NEWEST, TRAITS, HALF, INFER, ...)                                                 \
  namespace NAME {                                                                                 \
  enum In : unsigned { __VA_ARGS__ };                                                              \
  }
#define OP_KEYWORD(NAME, TEXT, NEWEST, TRAITS, HALF, INFER, ...)                                   \
  OP(NAME, NEWEST, TRAITS, HALF, INFER, __VA_ARGS__)
#include "mil/Ops.def"

} // namespace plait::mil
