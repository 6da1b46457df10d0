// How the command line and recipes write adapters and what becomes of them.
//
//   adapters := path | part ('+' part)*
//   part     := path ':' weight
//
// A colon that no number follows belongs to the path.
#pragma once

#include "driver/CommandLine.h"
#include "driver/Compiler.h"

namespace plait::driver {

Expected<std::vector<adapters::AdapterSpec>> parseAdapters(llvm::StringRef text);

/// A number of --lora-scale or --lora-alpha.
Expected<adapters::GivenScale> parseScale(bool isAlpha, llvm::StringRef text);
/// Of an option that says it; a UsageError where `scale` is said already.
Error addScale(const Option &option, bool isAlpha, llvm::StringRef text,
               std::optional<adapters::GivenScale> &scale);

/// Options of every command that applies adapters: how the one of a function is applied.
extern const Option adapterRootOption, allowUnmatchedOption, loraAlphaOption, loraScaleOption;

/// What they say of one function.
struct AdapterChoices {
  std::optional<std::string> root;
  bool allowUnmatched = false;
  std::optional<adapters::GivenScale> scale;

  /// Takes the item where it is one of these options; whether it is.
  Expected<bool> take(const Arguments::Item &item);
  /// Where nothing is said here, what is said there.
  void inherit(const AdapterChoices &from);
};

/// Gives it to each adapter.
void setScale(std::vector<adapters::AdapterSpec> &adapters,
              const std::optional<adapters::GivenScale> &scale);

/// Only functions with adapters can have inputs for them: an error where that is chosen for one
/// without. What is chosen for the whole package is no matter to it.
Error checkLora(const FunctionOptions &function);

} // namespace plait::driver
