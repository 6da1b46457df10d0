// Stacks, and what LibTorch prints of a range.
#include "frontend/script/libtorch/SourceLocation.h"
#include "frontend/script/libtorch/Internals.h"

#include "support/Format.h"
#include "support/TorchSource.h"
#include "llvm/ADT/SmallVector.h"

namespace plait::libtorch {

using llvm::StringRef;

/// One line of a Python stack as the tracer writes it: `FILE(LINE): FUNCTION`.
static std::optional<SourceLocation> parseFrame(StringRef line) {
  auto [where, function] = line.rsplit("): ");
  auto [file, number] = where.rsplit('(');
  SourceLocation location{file.str(), 0, function.trim().str(), {}};
  if (file.empty() || function.empty() || number.getAsInteger(10, location.line))
    return std::nullopt;
  return location;
}

std::optional<SourceLocation> parseStack(StringRef text) {
  std::optional<SourceLocation> innermost;
  while (!text.empty()) {
    auto [line, rest] = text.split('\n');
    text = rest;
    auto frame = parseFrame(line);
    if (!frame)
      break;
    if (!isTorchSource(frame->file))
      return frame;
    if (!innermost)
      innermost = frame;
  }
  return innermost;
}

std::string SourceLocation::str() const {
  std::string result = fmt::format("{0}:{1}", file, line);
  if (!function.empty())
    result += " in " + function;
  if (!text.empty())
    result += ": " + text;
  return result;
}

std::optional<SourceLocation> parsePrintedRange(StringRef text) {
  llvm::SmallVector<StringRef> lines;
  text.split(lines, '\n');
  StringRef first = lines[0].trim();
  if (!first.consume_front("File \""))
    return parseStack(text);
  auto [file, rest] = first.split("\", line ");
  SourceLocation location{file.str(), 0, {}, {}};
  if (rest.consumeInteger(10, location.line))
    return std::nullopt;
  // The first mark is under the original's line; what follows is of the archive's own text.
  for (size_t i = 1; i + 1 < lines.size(); ++i)
    if (lines[i + 1].contains("<--- HERE")) {
      location.text = lines[i].trim().str();
      break;
    }
  return location;
}

std::optional<SourceLocation> locate(const torch::jit::SourceRange &range) {
  const Internals *internals = libtorch::internals();
  return internals ? internals->locate(range) : parsePrintedRange(range.str());
}

} // namespace plait::libtorch

namespace plait {

std::string describeLocation(const torch::jit::Node &node) {
  auto location = libtorch::locate(node.sourceRange());
  return location ? location->str() : std::string();
}

} // namespace plait
