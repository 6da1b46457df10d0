// docs/operators.md is the table of PyTorch's operators as a page. UPDATE_GOLDEN=1 writes it anew.
#include "frontend/engine/Table.h"
#include "frontend/lower/Families.h"
#include "tests/GoldenPage.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"

#include <gtest/gtest.h>
#include <map>

namespace plait::frontend {

namespace {

constexpr const char *kOperatorsIntroduction = R"(# Operators

The operators of PyTorch that plait lowers, by the file of `frontend/lower/` that has them. Made from the table by a test
(`UPDATE_GOLDEN=1`); [architecture](architecture.md) says how an operator is lowered.

- **overloads**: those of the operator's schemas that have a row; `""` is the one without a name.
- **by values**: sizes, lists, views and numbers are decided on what is known while compiling.
- **by tensors**: operations of MIL are made.

An operator that is not here still compiles where all its arguments are known: LibTorch runs it then. In-place and `out=`
forms, as `aten::relu_` and `aten::add.out`, are lowered as their functional form.
)";

std::string operatorsPage() {
  std::string text = kOperatorsIntroduction;
  static const char *families[] = {
#define F(NAME) #NAME,
      PLAIT_LOWERING_FAMILIES(F)
#undef F
  };
  for (const char *family : families) {
    text += fmt::format("\n## {0}\n\n| operator | overloads | by values | by tensors |\n"
                        "|---|---|---|---|\n",
                        family);
    // Overloads that are lowered alike are one line.
    llvm::MapVector<std::string, std::vector<std::string>, std::map<std::string, unsigned>> lines;
    for (const std::string &name : Table::get().names()) {
      const Row &row = *Table::get().find(name);
      if (row.family != llvm::StringRef(family))
        continue;
      auto [base, overload] = llvm::StringRef(name).split('.');
      lines[fmt::format("| `{0}` | {{}} | {1} | {2} |\n", base, row.values ? "yes" : "",
                        row.lower ? "yes" : "")]
          .push_back(overload.empty() ? "\"\"" : fmt::format("`{0}`", overload));
    }
    for (const auto &[line, overloads] : lines)
      text += fmt::format(fmt::runtime(line), llvm::join(overloads, " "));
  }
  return text;
}

TEST(OperatorsPage, IsTheTable) { expectPage("docs/operators.md", operatorsPage()); }

} // namespace

} // namespace plait::frontend
