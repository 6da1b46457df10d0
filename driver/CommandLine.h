// The command line as tables. A subcommand states its options once, in sections; parsing, help and
// "did you mean" all derive from that table. Order is kept, because some options belong to the one
// before them: `--function a=a.pt --input … --function b=b.pt --input …`.
//
//   argument := '--' name | '--' name '=' value | '--' name value | '-' letter value
//             | '-' letter '=' value | '--' | operand
//
// Everything after a bare `--` is an operand, and so is a lone `-`.
#pragma once

#include "support/Failure.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/JSON.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace llvm {
class raw_ostream;
}

namespace plait::driver {

/// A mistake in how the command was called: exit status 2.
class UsageError : public llvm::ErrorInfo<UsageError, Failure> {
public:
  static char ID;
  explicit UsageError(Failure failure)
      : ErrorInfo(failure.kind, Code::None, std::move(failure.message),
                  std::move(failure.problems)) {
    parts = std::move(failure.parts);
  }
};

template <typename... Args>
Error usageError(Code code, fmt::format_string<Args...> format, Args &&...args) {
  return llvm::make_error<UsageError>(
      Failure(FailureKind::Unknown, code, fmt::format(format, std::forward<Args>(args)...)));
}
/// The same error as a mistake in how the command was called, by `prefix: `.
Error usageError(Error error, const llvm::Twine &prefix);

enum class Scope : uint8_t {
  Once,     ///< at most once
  Many,     ///< any number of times
  Function, ///< any number of times; of the --function before it, before any: of all
};

/// One option. Objects have static life; their addresses identify them.
struct Option {
  const char *name;               ///< without the dashes
  const char *argument = nullptr; ///< what the value is called in help; null for a flag
  const char *help;
  char letter = 0; ///< of the short form; 0 for none
  Scope scope = Scope::Once;
};

struct Section {
  const char *title;
  llvm::ArrayRef<const Option *> options;
};

/// What to say of an option that people try and that does not exist.
struct Hint {
  const char *name;
  const char *text;
};

class Arguments;

struct Command {
  const char *name;
  const char *summary;
  /// Everything after the name, one line a form.
  llvm::ArrayRef<const char *> usage;
  llvm::ArrayRef<Section> sections;
  /// Free text after the options in help; may be empty.
  const char *notes;
  llvm::ArrayRef<Hint> hints;
  /// The exit status, or an error (a UsageError exits with 2, any other with 1).
  Expected<int> (*run)(const Arguments &);

  const Option *find(llvm::StringRef name) const;
};

/// What the user gave, in order.
class Arguments {
public:
  struct Item {
    const Option *option; ///< null for an operand
    std::string value;    ///< empty for a flag
  };

  /// Parses what follows the subcommand. Errors are UsageErrors.
  static Expected<Arguments> parse(const Command &command, llvm::ArrayRef<const char *> arguments);

  const Command &command() const { return *command_; }
  llvm::ArrayRef<Item> items() const { return items_; }
  std::vector<std::string> operands() const;

  bool has(const Option &option) const;
  /// Of an option that was given at most once; nullopt where it was not.
  std::optional<std::string> value(const Option &option) const;
  std::vector<std::string> values(const Option &option) const;
  /// The value, or a UsageError that names the option.
  Expected<std::string> required(const Option &option) const;
  /// The index of the value among `words`; `fallback` where the option was not given.
  Expected<unsigned> choice(const Option &option, llvm::ArrayRef<const char *> words,
                            unsigned fallback) const;
  Expected<uint64_t> number(const Option &option, uint64_t fallback, uint64_t limit) const;
  Expected<double> real(const Option &option, double fallback) const;
  /// The single operand, or a UsageError that calls it `what`.
  Expected<std::string> operand(const char *what) const;

  /// What the command says with --json (JsonOutput.h). It is printed when the command is done.
  llvm::json::Object &reply() const { return *reply_; }

private:
  const Command *command_ = nullptr;
  std::vector<Item> items_;
  std::unique_ptr<llvm::json::Object> reply_ = std::make_unique<llvm::json::Object>();
};

/// "--input": how an option is called in messages.
std::string spelling(const Option &option);
/// `NAME=VALUE` cut at the first '='; a UsageError where either side is missing.
Expected<std::pair<std::string, std::string>> splitPair(const Option &option,
                                                        llvm::StringRef value);

/// The text of `plait help SUBCOMMAND`.
void printHelp(const Command &command, llvm::raw_ostream &out);

} // namespace plait::driver
