// docs/operators.md is the table of PyTorch's operators as a page. UPDATE_GOLDEN=1 writes it anew.
#include "frontend/engine/Table.h"
#include "frontend/lower/Decompositions.h"
#include "frontend/lower/Families.h"
#include "frontend/lower/Refusals.h"
#include "tests/GoldenPage.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"

#include <gtest/gtest.h>
#include <map>
#include <set>
#include <torch/csrc/jit/runtime/operator.h>
#include <torch/version.h>

namespace plait::frontend {

namespace {

constexpr const char *kOperatorsIntroduction = R"(# Operators

What becomes of every operator of PyTorch (`aten`, LibTorch 2.13). Made from the table by a test (`UPDATE_GOLDEN=1`);
[architecture](architecture.md) says how an operator is lowered. First those that are supported, by the file of
`frontend/lower/` or `frontend/decompositions/` that has them; what is under [Statements](#statements) is ignored on purpose,
or does nothing where a model is only run. [Refused](#refused) has the others, with the reason.

- **overloads**: those of the operator's schemas that have a row; `""` is the one without a name.
- **values**: sizes, lists, views and numbers are decided on what is known while compiling.
- **tensors**: operations of MIL are made.
- **others**: it is said by other operators.
- **complex**: it takes [complex tensors](architecture.md#complex-tensors-and-selections).

An operator that is not here still compiles where all its arguments are known: LibTorch runs it then. In-place and `out=`
forms, as `aten::relu_` and `aten::add.out`, are lowered as their functional form.
)";

std::vector<std::string> families() {
  std::vector<std::string> names = {
#define F(NAME) #NAME,
      PLAIT_LOWERING_FAMILIES(F)
#undef F
  };
  for (const DecompositionText &text : decompositionTexts())
    if (!llvm::is_contained(names, text.family))
      names.push_back(text.family);
  return names;
}

std::string supported() {
  std::string text;
  for (const std::string &family : families()) {
    // Overloads that are lowered alike are one line.
    llvm::MapVector<std::string, std::vector<std::string>, std::map<std::string, unsigned>> lines;
    for (const std::string &name : Table::get().names()) {
      const Row &row = *Table::get().find(name);
      if (row.family != llvm::StringRef(family))
        continue;
      auto [base, overload] = llvm::StringRef(name).split('.');
      auto yes = [](bool holds) { return holds ? "yes" : ""; };
      bool complex =
          !row.complexDecomposition.empty() || row.whenComplex == WhenComplex::Parts ||
          (row.values && (family == "Views" || family == "Splits" || family == "Copies"));
      lines[fmt::format("| `{0}` | {{}} | {1} | {2} | {3} | {4} |\n", base, yes(row.values),
                        yes(row.lower), yes(!row.decomposition.empty()), yes(complex))]
          .push_back(overload.empty() ? "\"\"" : fmt::format("`{0}`", overload));
    }
    if (lines.empty())
      continue;
    std::string title = family;
    title[0] = llvm::toUpper(title[0]);
    text +=
        fmt::format("\n## {0}\n\n| operator | overloads | values | tensors | others | complex |\n"
                    "|---|---|---|---|---|---|\n",
                    title);
    for (const auto &[line, overloads] : lines)
      text += fmt::format(fmt::runtime(line), llvm::join(overloads, " "));
  }
  return text;
}

/// Operators that have no row, nor one of their functional form, by the reason.
std::string refused(std::map<std::string, unsigned> &count) {
  std::map<std::string, std::set<std::string>> reasons;
  for (const auto &operation : torch::jit::getAllOperators()) {
    const c10::FunctionSchema &schema = operation->schema();
    llvm::StringRef base = schema.name();
    if (!base.starts_with("aten::") || base.starts_with("aten::plait_")) // those of tests
      continue;
    auto hasRow = [](llvm::StringRef name, llvm::StringRef overload) {
      return Table::get().find(overload.empty() ? name.str() : (name + "." + overload).str()) !=
             nullptr;
    };
    bool found = hasRow(base, schema.overload_name());
    // The functional form may have another overload name.
    llvm::StringRef plain = base;
    bool inPlace = !base.ends_with("__") && plain.consume_back("_");
    bool isOut = llvm::any_of(schema.arguments(), [](const auto &a) { return a.is_out(); });
    if (inPlace || isOut)
      found |= llvm::any_of(Table::get().names(), [&](const std::string &name) {
        return llvm::StringRef(name).split('.').first == plain;
      });
    ++count[found ? "supported" : "refused"];
    if (found)
      continue;
    std::string full = schema.overload_name().empty()
                           ? schema.name()
                           : schema.name() + "." + schema.overload_name();
    llvm::StringRef why = refusalOf(full);
    reasons[why.empty() ? "no lowering is made of it so far" : why.str()].insert(base.str());
  }
  std::string text = "\n## Refused\n\n| reason | operators |\n|---|---|\n";
  for (const auto &[why, names] : reasons) {
    text += fmt::format("| {0} |", why);
    for (const std::string &name : names)
      text += fmt::format(" `{0}`", name);
    text += " |\n";
  }
  return text;
}

std::string operatorsPage() {
  std::map<std::string, unsigned> count;
  std::string no = refused(count);
  return fmt::format("{0}\nOf {1} schemas of LibTorch {2} are supported or ignored on purpose, {3} "
                     "refused.\n{4}{5}",
                     kOperatorsIntroduction, count["supported"] + count["refused"],
                     count["supported"], count["refused"], supported(), no);
}

TEST(OperatorsPage, IsTheTable) {
  if (TORCH_VERSION_MAJOR != 2 || TORCH_VERSION_MINOR != 13)
    GTEST_SKIP() << "the page is that of LibTorch 2.13";
  expectPage("docs/operators.md", operatorsPage());
}

} // namespace

} // namespace plait::frontend
