// Parsing and help from the tables of CommandLine.h.
#include "driver/CommandLine.h"

#include "support/DidYouMean.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <cassert>
#include <cmath>

namespace plait::driver {

using llvm::StringRef;

char UsageError::ID;

Error usageError(Error error, const llvm::Twine &prefix) {
  return llvm::make_error<UsageError>(takeFailure(addContext(std::move(error), prefix)));
}

const Option *Command::find(StringRef name) const {
  for (const Section &section : sections)
    for (const Option *option : section.options)
      if (name == option->name || (name.size() == 1 && name[0] == option->letter))
        return option;
  return nullptr;
}

std::string spelling(const Option &option) {
  StringRef name(option.name);
  return (name.size() == 1 ? "-" : "--") + name.str();
}

static Error unknownOption(const Command &command, StringRef given) {
  StringRef name = given.ltrim('-');
  for (const Hint &hint : command.hints)
    if (name == hint.name)
      return usageError(Code::OptionValue, "{0}: {1}", given, hint.text);
  llvm::SmallVector<std::string, 32> spellings;
  for (const Section &section : command.sections)
    for (const Option *option : section.options)
      spellings.push_back(spelling(*option));
  llvm::SmallVector<StringRef, 32> candidates(spellings.begin(), spellings.end());
  return usageError(Code::UnknownOption, "unknown option {0}{1}; see: plait help {2}", given,
                    name.size() > 1 ? didYouMean(given, candidates) : "", command.name);
}

Expected<Arguments> Arguments::parse(const Command &command,
                                     llvm::ArrayRef<const char *> arguments) {
  Arguments result;
  result.command_ = &command;
  for (size_t i = 0; i < arguments.size(); ++i) {
    StringRef argument = arguments[i];
    if (argument == "--") {
      for (StringRef rest : arguments.drop_front(i + 1))
        result.items_.push_back({nullptr, rest.str()});
      break;
    }
    if (!argument.starts_with("-") || argument == "-") {
      result.items_.push_back({nullptr, argument.str()});
      continue;
    }
    auto [given, attached] = argument.split('=');
    bool hasAttached = given.size() != argument.size();
    const Option *option = nullptr;
    if (given.starts_with("--")) {
      option = given.size() > 3 ? command.find(given.drop_front(2)) : nullptr;
    } else {
      option = command.find(given.substr(1, 1));
      if (option && given.size() > 2) { // -oVALUE
        attached = argument.drop_front(2);
        hasAttached = true;
      }
    }
    if (!option)
      return unknownOption(command, given);
    if (option->scope == Scope::Once && result.has(*option))
      return usageError(Code::OptionConflict, "{0} is given twice", spelling(*option));
    if (!option->argument) {
      if (hasAttached)
        return usageError(Code::OptionValue, "{0} takes no value", spelling(*option));
      result.items_.push_back({option, ""});
      continue;
    }
    if (!hasAttached) {
      if (i + 1 == arguments.size())
        return usageError(Code::OptionMissing, "{0} needs a value: {0} {1}", spelling(*option),
                          option->argument);
      attached = arguments[++i];
    }
    result.items_.push_back({option, attached.str()});
  }
  return result;
}

std::vector<std::string> Arguments::operands() const {
  std::vector<std::string> found;
  for (const Item &item : items_)
    if (!item.option)
      found.push_back(item.value);
  return found;
}

bool Arguments::has(const Option &option) const {
  return llvm::any_of(items_, [&](const Item &item) { return item.option == &option; });
}

std::optional<std::string> Arguments::value(const Option &option) const {
  assert(option.scope == Scope::Once);
  for (const Item &item : items_)
    if (item.option == &option)
      return item.value;
  return std::nullopt;
}

std::vector<std::string> Arguments::values(const Option &option) const {
  std::vector<std::string> found;
  for (const Item &item : items_)
    if (item.option == &option)
      found.push_back(item.value);
  return found;
}

Expected<std::string> Arguments::required(const Option &option) const {
  if (auto given = value(option))
    return *given;
  return usageError(Code::OptionMissing, "{0} {1} is missing; see: plait help {2}",
                    spelling(option), option.argument, command_->name);
}

Expected<unsigned> Arguments::choice(const Option &option, llvm::ArrayRef<const char *> words,
                                     unsigned fallback) const {
  auto given = value(option);
  if (!given)
    return fallback;
  for (unsigned i = 0; i < words.size(); ++i)
    if (*given == words[i])
      return i;
  llvm::SmallVector<StringRef, 8> known(words.begin(), words.end());
  return usageError(Code::OptionValue, "{0} {1}: the choices are {2}{3}", spelling(option), *given,
                    llvm::join(words, ", "), didYouMean(*given, known));
}

Expected<uint64_t> Arguments::number(const Option &option, uint64_t fallback,
                                     uint64_t limit) const {
  auto given = value(option);
  if (!given)
    return fallback;
  uint64_t result;
  if (StringRef(*given).getAsInteger(10, result) || result > limit)
    return usageError(Code::OptionValue, "{0} {1}: not a number from 0 to {2}", spelling(option),
                      *given, limit);
  return result;
}

Expected<double> Arguments::real(const Option &option, double fallback) const {
  auto given = value(option);
  if (!given)
    return fallback;
  double result;
  if (StringRef(*given).getAsDouble(result) || !std::isfinite(result) || result < 0)
    return usageError(Code::OptionValue, "{0} {1}: not a number that is 0 or greater",
                      spelling(option), *given);
  return result;
}

Expected<std::string> Arguments::operand(const char *what) const {
  std::vector<std::string> found = operands();
  if (found.empty())
    return usageError(Code::OptionMissing, "{0} is missing; see: plait help {1}", what,
                      command_->name);
  if (found.size() > 1)
    return usageError(Code::OptionValue,
                      "one {0} is wanted, and '{1}' comes after '{2}'; see: plait help {3}", what,
                      found[1], found[0], command_->name);
  return found[0];
}

Expected<std::pair<std::string, std::string>> splitPair(const Option &option, StringRef value) {
  auto [name, rest] = value.split('=');
  if (name.size() == value.size() || rest.empty())
    return usageError(Code::OptionValue, "{0} {1}: {2} is wanted", spelling(option), value,
                      option.argument);
  return std::pair(name.str(), rest.str());
}

/// Prints `text` wrapped at 100 columns, continuation lines indented by `indent`.
static void printWrapped(StringRef text, unsigned column, unsigned indent, llvm::raw_ostream &out) {
  while (!text.empty()) {
    auto [word, rest] = text.split(' ');
    if (column > indent && column + 1 + word.size() > 100) {
      out << '\n';
      out.indent(indent);
      column = indent;
    } else if (column > indent) {
      out << ' ';
      ++column;
    }
    out << word;
    column += word.size();
    text = rest;
  }
  out << '\n';
}

void printHelp(const Command &command, llvm::raw_ostream &out) {
  out << "plait " << command.name << ": " << command.summary << "\n\n";
  for (unsigned i = 0; i < command.usage.size(); ++i)
    out << (i ? "       " : "usage: ") << "plait " << command.name << ' ' << command.usage[i]
        << '\n';
  constexpr unsigned indent = 30;
  for (const Section &section : command.sections) {
    out << '\n' << section.title << ":\n";
    for (const Option *option : section.options) {
      std::string left = "  ";
      if (option->letter)
        left += fmt::format("-{0}, ", option->letter);
      left += spelling(*option);
      if (option->argument)
        left += (" " + StringRef(option->argument)).str();
      out << left;
      if (left.size() + 2 > indent) {
        out << '\n';
        left.clear();
      }
      out.indent(indent - left.size());
      printWrapped(option->help, indent, indent, out);
    }
  }
  if (*command.notes)
    out << '\n' << command.notes;
}

} // namespace plait::driver
