// What users write by hand: recipes, and the declarations of inputs in them and on the command
// line.
#include "tests/fuzz/Harness.h"

#include "driver/InputSyntax.h"
#include "driver/Recipe.h"

#include "llvm/ADT/StringExtras.h"
#include <cctype>

namespace plait::fuzz {

static void keepsItsText(const frontend::InputSpec &spec) {
  std::string text = driver::inputText(spec);
  auto again = driver::parseInput(text);
  require(bool(again), "a declaration that was accepted does not parse as it is printed");
  require(driver::inputText(*again) == text, "printing a declaration is no fixed point");
}

void declaration(llvm::ArrayRef<uint8_t> input) {
  auto spec = driver::parseInput(llvm::toStringRef(input));
  if (!spec)
    return llvm::consumeError(spec.takeError());
  for (const auto &range : spec->shape)
    require((range.lower >= 1 && range.lower <= range.upper) ||
                (!range.name.empty() && range.lower == 0 && range.upper == 0), // said elsewhere
            "a range that holds nothing");
  keepsItsText(*spec);
}

void recipe(llvm::ArrayRef<uint8_t> input) {
  auto options = driver::parseRecipe(llvm::toStringRef(input), "r.yaml");
  if (!options) {
    std::string message = llvm::toString(options.takeError());
    require(llvm::StringRef(message).starts_with("r.yaml:") && std::isdigit(message[7]),
            "an error without its line");
    return;
  }
  require(!options->functions.empty(), "a recipe of no function");
  for (const driver::FunctionOptions &function : options->functions)
    for (const frontend::InputSpec &spec : function.inputs)
      keepsItsText(spec);
}

} // namespace plait::fuzz
