// Which operators are functions of decompositions/*.py.
#include "frontend/lower/Decompositions.h"

#include "frontend/engine/Table.h"
#include "frontend/lower/Families.h"

#include "llvm/ADT/StringExtras.h"

namespace plait::frontend {

static std::vector<DecompositionText> parse(const DecompositionFile &file) {
  std::vector<DecompositionText> found;
  DecompositionText next;
  bool inside = false;
  auto finish = [&] {
    if (inside)
      found.push_back(std::exchange(next, {}));
    inside = false;
  };
  for (llvm::StringRef line : llvm::split(file.text, '\n')) {
    llvm::StringRef rest = line;
    if (rest.consume_front("def ")) {
      finish();
      inside = true;
      next.function = rest.take_until([](char c) { return c == '('; }).str();
      next.family = file.family;
    } else if (rest.consume_front("#")) {
      finish();
      rest = rest.trim();
      auto *names = rest.consume_front("complex ")    ? &next.complex
                    : rest.consume_front("selected ") ? &next.selected
                                                      : &next.operators;
      if (rest.split(' ').first.contains("::"))
        for (llvm::StringRef name : llvm::split(rest, ' '))
          names->push_back(name.str());
    } else if (!line.empty() && line[0] != ' ' && line[0] != ')') {
      finish();
    }
    if (inside)
      next.source += line.str() + "\n";
  }
  finish();
  return found;
}

const std::vector<DecompositionText> &decompositionTexts() {
  static const std::vector<DecompositionText> texts = [] {
    std::vector<DecompositionText> all;
    for (const DecompositionFile *file = decompositionFiles; file->text; ++file)
      for (DecompositionText &text : parse(*file))
        all.push_back(std::move(text));
    return all;
  }();
  return texts;
}

void registerDecompositions(Table &table) {
  for (const DecompositionText &text : decompositionTexts()) {
    table.family_ = text.family.c_str();
    for (const std::string &name : text.operators)
      table.addDecomposition(name, text.function);
    for (const std::string &name : text.selected)
      table.addSelectedDecomposition(name, text.function);
    for (const std::string &name : text.complex)
      table.addComplexDecomposition(name, text.function);
  }
}

} // namespace plait::frontend
