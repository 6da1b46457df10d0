// Reading labels; the form of a file is in the header.
#include "driver/ClassLabels.h"

#include "driver/Unreadable.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"

namespace plait::driver {

using llvm::StringRef;

static Expected<frontend::ClassLabels> parseLabels(StringRef text, StringRef path) {
  frontend::ClassLabels classes;
  text.consume_front("\xEF\xBB\xBF"); // a byte order mark
  if (!llvm::json::isUTF8(text))
    return makeError(Code::ClassMismatch, "{0}: labels are text in UTF-8", path);
  llvm::SmallVector<StringRef, 0> lines;
  text.rtrim("\r\n").split(lines, '\n');
  llvm::StringSet<> seen;
  for (auto [i, line] : llvm::enumerate(lines)) {
    line = line.rtrim('\r');
    if (line.trim().empty())
      return makeError(Code::ClassMismatch,
                       "{0}:{1}: a label is wanted on each line, and this one is empty", path,
                       i + 1);
    if (!seen.insert(line).second)
      return makeError(Code::ClassMismatch,
                       "{0}:{1}: the label '{2}' is there twice; each class needs one of its own",
                       path, i + 1, line);
    classes.texts.push_back(line.str());
  }
  std::vector<int64_t> numbers(lines.size());
  bool areNumbers = true;
  for (auto [line, number] : llvm::zip(classes.texts, numbers))
    areNumbers = areNumbers && !StringRef(line).getAsInteger(10, number) &&
                 line == std::to_string(number); // 007 is a text
  if (areNumbers) {
    classes.texts.clear();
    classes.numbers = std::move(numbers);
  }
  return classes;
}

Expected<frontend::ClassLabels> readClasses(StringRef path, StringRef label) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer)
    return unreadable(path, buffer.getError());
  auto classes = parseLabels((*buffer)->getBuffer(), path);
  if (classes && !label.empty())
    classes->label = label.str();
  return classes;
}

std::pair<std::string, std::string> splitClasses(StringRef text) {
  auto [name, path] = text.split('=');
  bool isNamed = !path.empty() && mil::isLegalName(name);
  return isNamed ? std::pair(path.str(), name.str()) : std::pair(text.str(), std::string());
}

Expected<frontend::ClassLabels> parseClasses(StringRef text) {
  auto [path, label] = splitClasses(text);
  return readClasses(path, label);
}

} // namespace plait::driver
