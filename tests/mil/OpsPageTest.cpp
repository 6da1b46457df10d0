// docs/ops.md is the table of operations as a page. UPDATE_GOLDEN=1 writes it anew.
#include "mil/Computation.h"
#include "tests/GoldenPage.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"
#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;

namespace {

constexpr const char *kIntroduction = R"(# Operations

Every operation of MIL, as `mil/Ops.def` has it and in its order. Made from the table by a test
(`UPDATE_GOLDEN=1`); [MIL](mil.md) says what the table is for and what is left out.

- **since**: the first opset that has the operation in this form, which all later ones have too.
- **parameters**: element types that are allowed; parameters with the same capital letter have one element type. *const*
  ones are constants or `constexpr_*` results, *inline* ones literals in the operation; `= …` is the default that is
  always written, *optional* ones have none; `…` takes several values.
- **older forms**: from which opset on, and what is otherwise there; `−` marks parameters that are not there.
- **notes**: *effect* writes a state or list, *reads* reads a state, *random* is never merged or folded, *compile time*
  has literals for operands; *elementwise* works on each element of `x`, or of two operands that broadcast; *moves* gives
  elements as they are, *picks* chooses them by comparing; *keeps fp32* is left alone by the fp16 pass.

| operation | since | parameters | older forms | notes |
|---|---|---|---|---|
)";

std::string defaultText(const Default &value) {
  switch (value.kind) {
  case Default::None:
    return "";
  case Default::Int:
    return std::to_string(int64_t(value.number));
  case Default::Float: {
    std::string text;
    llvm::raw_string_ostream(text) << llvm::format("%g", value.number);
    return text;
  }
  case Default::Bool:
    return value.number ? "true" : "false";
  case Default::String:
    return std::string("\"") + value.text + "\"";
  case Default::Ones:
    return "ones";
  case Default::Zeros:
    return "zeros";
  case Default::AllAxes:
    return "all axes";
  case Default::ZeroBias:
    return "zeros";
  case Default::BoxIndices:
    return "0, 1, 2 …";
  case Default::IndicesDType:
    return "\"int32\" with indices";
  }
  llvm_unreachable("every kind of default is listed");
}

std::string parameterText(const ParamInfo &param) {
  std::string text = std::string("`") + param.name + "`";
  if (param.isVariadic())
    text += " …";
  if (param.var != '_')
    text += std::string(" ") + param.var;
  text += ": ";
  text += param.flags & ListOnly    ? "list"
          : param.flags & StateOnly ? "state"
          : param.domain            ? describe(param.domain)
                                    : "any";
  if (param.flags & Inline)
    text += ", *inline*";
  else if (param.isConst())
    text += ", *const*";
  if (std::string value = defaultText(param.def); !value.empty())
    text += " = " + value;
  else if (param.isOptional())
    text += ", *optional*";
  return text;
}

/// What a form has otherwise than the row.
std::string formText(const OpInfo &op, Opset since) {
  llvm::SmallVector<std::string> changes;
  for (auto [newest, old] : llvm::zip(op.form(op.newest), op.form(since)))
    if (!old && newest)
      changes.push_back(std::string("−`") + newest->name + "`");
    else if (old && (!newest || parameterText(*old) != parameterText(*newest)))
      changes.push_back(parameterText(*old));
  return name(since).str() + ": " + (changes.empty() ? "the same" : llvm::join(changes, "; "));
}

std::string page() {
  std::string text = kIntroduction;
  for (unsigned i = 0; i < kNumOps; ++i) {
    const OpInfo &op = info(OpKind(i));
    llvm::SmallVector<std::string> parameters, forms, notes;
    for (const ParamInfo *param : op.form(op.newest))
      if (param)
        parameters.push_back(parameterText(*param));
    auto changes = op.formsSince();
    for (Opset since : llvm::drop_end(changes))
      forms.push_back(formText(op, since));
    for (auto [trait, note] :
         {std::pair(Effect, "effect"), std::pair(ReadsMemory, "reads"),
          std::pair(NonDeterministic, "random"), std::pair(Constexpr, "compile time"),
          std::pair(Unary, "elementwise"), std::pair(Binary, "elementwise of two"),
          std::pair(Moves, "moves"), std::pair(Picks, "picks")})
      if (op.traits & trait)
        notes.push_back(note);
    if (op.half == HalfPolicy::Keep)
      notes.push_back("keeps fp32");
    text += fmt::format("| `{0}` | {1} | {2} | {3} | {4} |\n", op.name, name(op.newest),
                        llvm::join(parameters, "<br>"), llvm::join(forms, "<br>"),
                        llvm::join(notes, ", "));
  }
  return text;
}

TEST(OpsPage, IsTheTable) { expectPage("docs/ops.md", page()); }

} // namespace
