// The opsets of MIL, one a generation of systems, and the facts in which they differ. What
// operations and parameters each has is in Ops.def; everything else is in the table of Opset.cpp.
#pragma once

#include "mil/DType.h"

#include "llvm/ADT/ArrayRef.h"
#include <optional>

namespace plait::mil {

enum class Opset : uint8_t { iOS15, iOS16, iOS17, iOS18, iOS26 };
inline constexpr unsigned kNumOpsets = unsigned(Opset::iOS26) + 1;
/// What models are lowered to, and what packages of several functions need at least.
inline constexpr Opset kDefaultOpset = Opset::iOS18;

struct OpsetInfo {
  Opset opset;
  const char *name;         ///< "ios18", as in MIL text and on the command line
  const char *packageName;  ///< "CoreML8", as in packages
  int specificationVersion; ///< the first of packages that may have it
  const char *systems;      ///< the first that run it, for messages
  bool functions;           ///< packages of several functions, or of one with a name
  bool states;              ///< functions may have states
  /// constexpr_* operations have literals as operands, of element types down to one bit. Before,
  /// the literals are attributes, and narrow elements are packed into bytes.
  bool constexprOperands;
  bool allBlobs;        ///< weight files hold every integer type; before, those of 8 bits only
  bool negativeIndices; ///< in gather and scatter, negative indices count from the end
  DTypeSet interface;   ///< element types of inputs and outputs
  DTypeSet computed;    ///< element types of what operations compute
};

const OpsetInfo &info(Opset opset);
inline llvm::StringRef name(Opset opset) { return info(opset).name; }
/// Oldest first.
llvm::ArrayRef<OpsetInfo> allOpsets();
/// By its name in text or in packages.
std::optional<Opset> parseOpset(llvm::StringRef name);
/// "ios15, ios16, …": for messages.
std::string opsetNames(Opset first = Opset::iOS15);

} // namespace plait::mil
