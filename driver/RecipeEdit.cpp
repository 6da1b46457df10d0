// Lines are left out and added: a recipe is a person's text, and keeps its comments.
#include "driver/RecipeEdit.h"

#include "driver/Unreadable.h"
#include "support/NewFile.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <cmath>

namespace plait::driver {

using llvm::StringRef;

Expected<std::string> withChoice(StringRef recipe, llvm::ArrayRef<std::string> kept,
                                 const PrecisionReport &choice) {
  if (recipe.ltrim().starts_with("{"))
    return makeError(Code::Recipe, "it is written in braces; write a line for each key");
  std::string text;
  bool dropping = false;
  llvm::SmallVector<StringRef, 64> lines;
  recipe.split(lines, '\n');
  if (!lines.empty() && lines.back().empty())
    lines.pop_back();
  for (StringRef line : lines) {
    bool startsKey = !line.empty() && StringRef(" \t-#").find(line.front()) == StringRef::npos;
    if (startsKey)
      dropping =
          llvm::is_contained({"precision", "keep_fp32", "min_snr"}, line.split(':').first.rtrim());
    else if (line.starts_with("#"))
      dropping = false;
    if (!dropping)
      text += line.str() + '\n';
  }
  text += "precision: fp16\n";
  if (!kept.empty() || !choice.kept.empty())
    text += "keep_fp32:\n";
  for (const std::string &pattern : kept)
    text += fmt::format("  - '{0}'\n", pattern);
  for (const PrecisionReport::Kept &one : choice.kept)
    text += fmt::format("  - '{0}'  # {1} without\n", one.pattern,
                        std::isinf(one.without) ? "an overflow"
                                                : fmt::format("{0:.1f} dB", one.without));
  return text;
}

Error checkRecipeTarget(StringRef from, StringRef to) {
  auto folderOf = [](StringRef file) {
    StringRef parent = llvm::sys::path::parent_path(file);
    return parent.empty() ? StringRef(".") : parent;
  };
  bool same = false;
  if (llvm::sys::fs::equivalent(folderOf(from), folderOf(to), same) || !same)
    return makeError(Code::Recipe,
                     "--write-recipe {0}: a recipe's paths are relative to its folder, so that it "
                     "has to lie beside {1}",
                     to, from);
  return Error::success();
}

Error writeChoice(StringRef from, StringRef to, llvm::ArrayRef<std::string> kept,
                  const PrecisionReport &choice) {
  auto recipe = llvm::MemoryBuffer::getFile(from);
  if (!recipe)
    return unreadable(from, recipe.getError());
  auto text = withChoice((*recipe)->getBuffer(), kept, choice);
  if (!text)
    return addContext(text.takeError(), from);
  return writeNewFile(to, *text, /*flush=*/false);
}

} // namespace plait::driver
