// Reads tables, folders and packages for the word at the cursor.
#include "driver/shell/Completion.h"

#include "backend/PackageReader.h"
#include "driver/Commands.h"
#include "driver/Explain.h"
#include "mil/Verifier.h"
#include "passes/Pass.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SaveAndRestore.h"

#include <algorithm>
#include <cstdlib>

namespace plait::driver {

using llvm::StringRef;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

namespace {

bool isPackageName(StringRef name) {
  return name.ends_with(".mlpackage") || name.ends_with(".mlmodelc");
}

/// The first sentence, without what is in parentheses at its end.
std::string brief(StringRef help) {
  return help.take_until([](char c) { return c == ';'; }).str();
}

class Completer {
public:
  explicit Completer(llvm::ArrayRef<std::string> words) : words_(words) {}

  std::vector<Candidate> run() {
    StringRef word = words_.back();
    if (words_.size() == 1) {
      for (const Command *command : commands())
        offer(command->name, command->summary);
      if (word.starts_with("-"))
        offer("--help", helpCommand.summary), offer("--version", versionCommand.summary);
      return std::move(found_);
    }
    command_ = findCommand(words_.front());
    if (!command_)
      return {};
    // The words before the cursor: operands, and an option that waits for its value.
    const Option *waiting = nullptr;
    bool onlyOperands = false;
    for (StringRef before : words_.drop_front().drop_back()) {
      if (waiting)
        waiting = nullptr;
      else if (onlyOperands || !before.starts_with("-") || before == "-")
        operands_.push_back(before);
      else if (before == "--")
        onlyOperands = true;
      else if (const Option *option = optionOf(before)) {
        given_.insert(option->name);
        if (option->argument && !before.contains('=') && isWhole(before))
          waiting = option;
      }
    }
    if (waiting)
      value(*waiting, word);
    else if (!onlyOperands && word.starts_with("--") && word.contains('=')) {
      start_ = word.take_front(word.find('=') + 1);
      if (const Option *option = optionOf(word))
        value(*option, word.drop_front(start_.size()));
    } else if (!onlyOperands && word.starts_with("-") && word != "-")
      options();
    else
      operand(word);
    if (llvm::all_of(found_, [](const Candidate &one) { return one.text.back() == '/'; })) {
      std::sort(others_.begin(), others_.end());
      start_.clear();
      for (const std::string &file : others_)
        offer(file);
    }
    return std::move(found_);
  }

private:
  /// Where it begins as the word at the cursor does.
  void offer(const llvm::Twine &text, const llvm::Twine &description = "") {
    std::string whole = (start_ + text).str();
    if (StringRef(whole).starts_with(words_.back()) && offered_.insert(whole).second)
      found_.push_back({std::move(whole), description.str()});
  }

  const Option *optionOf(StringRef word) const {
    if (word.starts_with("--"))
      return command_->find(word.drop_front(2).split('=').first);
    return command_->find(word.substr(1, 1));
  }
  /// `-o`, and not `-oVALUE`.
  static bool isWhole(StringRef word) { return word.starts_with("--") || word.size() == 2; }

  void options() {
    for (const Section &section : command_->sections)
      for (const Option *option : section.options)
        if (option->scope != Scope::Once || !given_.contains(option->name))
          offer(spelling(*option), brief(option->help));
    offer("--help", "what the command does and takes");
  }

  /// What the usage lines have in the place of this operand.
  void operand(StringRef word) {
    for (StringRef line : command_->usage) {
      llvm::SmallVector<StringRef, 4> places;
      bool isOperand = false, repeats = false, isValue = false;
      for (StringRef part : llvm::split(line, ' ')) {
        bool wasValue = std::exchange(isValue, false);
        bool wasOperand = std::exchange(isOperand, false);
        StringRef inner = part;
        if (inner.count('[') != inner.count(']')) // the border of several words in brackets
          inner = inner.starts_with("[") ? inner.drop_front() : inner.drop_back();
        if (inner.starts_with("-")) {
          const Option *option = optionOf(inner);
          isValue = option && option->argument && isWhole(inner);
        } else if (part == "...") {
          repeats |= wasOperand;
        } else if (!wasValue && !inner.empty() && part != "|" && part != "[options]") {
          isOperand = true;
          places.push_back(part);
        }
      }
      size_t place = operands_.size();
      if (place >= places.size() && repeats)
        place = places.size() - 1;
      if (place < places.size())
        alternatives(places[place], word);
    }
  }

  void value(const Option &option, StringRef word) {
    StringRef argument = option.argument ? option.argument : "";
    StringRef name = option.name;
    if (argument == "NAME" && (name == "function" || name == "default"))
      return functions();
    if (argument.starts_with("NAME=") && !word.contains('=') && !package().empty()) {
      if (name == "input" || name == "range" || name == "image")
        inputs();
      return;
    }
    alternatives(argument.split(' ').first, word);
  }

  /// Whatever `argument` names; `word` is what is there of it.
  void alternatives(StringRef argument, StringRef word) {
    llvm::SaveAndRestore restore(start_);
    // `NAME=` is the user's to choose; what is behind it is not.
    if (argument.starts_with("[") && argument.ends_with("]"))
      argument = argument.drop_front().drop_back();
    argument.consume_front("[");
    size_t equals = argument.find('=');
    StringRef head = equals == StringRef::npos ? "" : argument.take_front(equals);
    if (!head.empty() && llvm::all_of(head, [](char c) { return c >= 'A' && c <= 'Z'; })) {
      StringRef rest = argument.drop_front(equals + 1);
      bool mayLack = rest.consume_front("]");
      if (word.contains('='))
        start(word.take_front(word.find('=') + 1), word);
      else if (!mayLack)
        return;
      argument = rest;
    }
    argument = argument.split('[').first;
    for (StringRef one : llvm::split(argument, '|')) {
      llvm::SaveAndRestore restoreOne(start_);
      alternative(one, word);
    }
  }

  void alternative(StringRef what, StringRef word) {
    if (what.empty() || what.contains('='))
      return;
    if (!(what.front() >= 'A' && what.front() <= 'Z')) {
      if (llvm::all_of(what, [](char c) { return llvm::isAlnum(c) || c == '-' || c == '_'; }))
        offer(what);
    } else if (isPackageName(what)) {
      files(word, [](StringRef name, bool) { return isPackageName(name); });
    } else if (what == "FOLDER") {
      files(word, [](StringRef name, bool isFolder) { return isFolder && !isPackageName(name); });
    } else if (what == "DIR") {
      if (size_t plus = word.rfind('+'); plus != StringRef::npos)
        start(word.take_front(plus + 1), word);
      files(word, [](StringRef, bool) { return true; });
    } else if (what == "FILE" || what.contains('.')) {
      StringRef ending = path::extension(what);
      files(
          word,
          [&](StringRef name, bool isFolder) {
            return !isFolder && path::extension(name).starts_with(ending);
          },
          /*orAny=*/true);
    } else if (what == "PASS" || what.starts_with("PASS,")) {
      if (size_t comma = word.rfind(','); comma != StringRef::npos)
        start(word.take_front(comma + 1), word);
      for (const passes::PassInfo &pass : passes::allPasses())
        offer(pass.name, pass.summary);
    } else if (what == "RULE") {
      for (const mil::Rule &rule : mil::listRules())
        offer(rule.id, rule.text);
    } else if (what == "CODE") {
      for (const CodePage *page = codePages; page->code; ++page)
        offer(page->code, titleOf(*page));
    } else if (what == "COMMAND") {
      for (const Command *command : commands())
        offer(command->name, command->summary);
    } else if (what == "FUNCTION") {
      functions();
    } else if (what == "VALUE") {
      values();
    }
  }

  /// `given` is the beginning of `word`, which stays as it is.
  void start(StringRef given, StringRef &word) {
    start_ += given.str();
    word = word.drop_front(given.size());
  }

  /// Entries of the folder that `word` names: folders, and what is `wanted`. With `orAny` all files
  /// where nothing else is found.
  void files(StringRef word, llvm::function_ref<bool(StringRef name, bool isFolder)> wanted,
             bool orAny = false) {
    StringRef name = word.take_back(word.size() - (word.rfind('/') + 1));
    StringRef folder = word.drop_back(name.size());
    std::string place = folder.empty() ? "." : folder.str();
    if (const char *home = std::getenv("HOME"); home && folder.starts_with("~/"))
      place = home + folder.drop_front(1).str();
    std::vector<std::string> chosen;
    std::error_code code;
    for (fs::directory_iterator it(place, code), end; it != end && !code; it.increment(code)) {
      StringRef entry = path::filename(it->path());
      if (!entry.starts_with(name) || (entry.starts_with(".") && name.empty()))
        continue;
      bool isFolder = fs::is_directory(it->path());
      bool isPackage = isFolder && isPackageName(entry);
      std::string text = (folder + entry).str();
      if (wanted(entry, isFolder))
        chosen.push_back(text + (isFolder && !isPackage ? "/" : ""));
      else if (isFolder && !isPackage)
        chosen.push_back(text + "/");
      else if (!isFolder && orAny)
        others_.push_back(start_ + text);
    }
    std::sort(chosen.begin(), chosen.end());
    for (const std::string &text : chosen)
      offer(text);
  }

  /// The package that is named before the cursor; "" where there is none.
  StringRef package() const {
    auto it = llvm::find_if(operands_, isPackageName);
    return it == operands_.end() ? StringRef() : *it;
  }
  std::unique_ptr<mil::Program> program() const {
    if (package().empty())
      return nullptr;
    auto read = readPackage(package());
    if (read)
      return std::move(*read);
    llvm::consumeError(read.takeError());
    return nullptr;
  }
  void functions() {
    if (auto read = program())
      for (const auto &function : read->functions())
        offer(function->name);
  }
  void inputs() {
    llvm::StringSet<> seen;
    if (auto read = program())
      for (const auto &function : read->functions())
        for (const auto &input : function->inputs())
          if (!input->type.isState() && seen.insert(input->name).second)
            offer(input->name + "=", input->type.str());
  }
  void values() {
    llvm::StringSet<> seen;
    if (auto read = program())
      for (const auto &function : read->functions())
        mil::walk(function->body(), [&](mil::Op &op) {
          for (const auto &result : op.results())
            if (!op.is(mil::OpKind::const_) && seen.insert(result->name).second)
              offer(StringRef(result->name), op.info().name);
        });
  }

  llvm::ArrayRef<std::string> words_;
  const Command *command_ = nullptr;
  std::vector<StringRef> operands_;
  llvm::StringSet<> given_;
  std::string start_;               // what of the word at the cursor is behind us
  std::vector<std::string> others_; // files that are offered where there is nothing better
  llvm::StringSet<> offered_;
  std::vector<Candidate> found_;
};

} // namespace

std::vector<Candidate> complete(llvm::ArrayRef<std::string> words) {
  return words.empty() ? std::vector<Candidate>() : Completer(words).run();
}

} // namespace plait::driver
