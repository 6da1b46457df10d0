// The table of opsets.
#include "mil/Opset.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::mil {

namespace {

constexpr DTypeSet kFloat32AndInt32 = setOf(DType::F32) | setOf(DType::I32);
constexpr DTypeSet kInterface = kFloat32AndInt32 | setOf(DType::F16);
constexpr DTypeSet kBasic = kInterface | setOf(DType::Bool) | setOf(DType::String);
constexpr DTypeSet kNarrow =
    setOf(DType::I8) | setOf(DType::U8) | setOf(DType::I16) | setOf(DType::U16);

// clang-format off
//                                                                functions states constexprOperands allBlobs negativeIndices
constexpr OpsetInfo kOpsets[] = {
    {Opset::iOS15, "ios15", "CoreML5", 6, "iOS 15 and macOS 12",  false, false, false, false, true,  kFloat32AndInt32, kBasic},
    {Opset::iOS16, "ios16", "CoreML6", 7, "iOS 16 and macOS 13",  false, false, false, false, true,  kInterface, kBasic},
    {Opset::iOS17, "ios17", "CoreML7", 8, "iOS 17 and macOS 14",  false, false, false, false, false, kInterface, kBasic | kNarrow},
    {Opset::iOS18, "ios18", "CoreML8", 9, "iOS 18 and macOS 15",  true,  true,  true,  true,  false, kInterface, kBasic | kNarrow},
    {Opset::iOS26, "ios26", "CoreML9", 10, "iOS 26 and macOS 26", true,  true,  true,  true,  false, kInterface | setOf(DType::I8), kBasic | kNarrow},
};
// clang-format on
static_assert(std::size(kOpsets) == kNumOpsets);

} // namespace

const OpsetInfo &info(Opset opset) { return kOpsets[unsigned(opset)]; }

llvm::ArrayRef<OpsetInfo> allOpsets() { return kOpsets; }

std::optional<Opset> parseOpset(llvm::StringRef text) {
  for (const OpsetInfo &row : kOpsets)
    if (text == row.name || text == row.packageName)
      return row.opset;
  return std::nullopt;
}

std::string opsetNames(Opset first) {
  return llvm::join(llvm::map_range(allOpsets().drop_front(unsigned(first)),
                                    [](const OpsetInfo &row) { return row.name; }),
                    ", ");
}

} // namespace plait::mil
