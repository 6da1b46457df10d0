// Reading debug records, and finding the line and function of a range.
#include "frontend/script/libtorch/internal/DebugRanges.h"
#include "frontend/archive/PickleCheck.h"

#include <torch/csrc/jit/serialization/pickle.h>

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::libtorch {
namespace {

using c10::IValue;
using llvm::StringRef;
using torch::jit::Source;
using torch::jit::SourceRange;

/// The function that a scripted range lies in: the nearest `def` above it.
std::string enclosingFunction(StringRef textBefore) {
  while (!textBefore.empty()) {
    auto [above, line] = textBefore.rsplit('\n');
    if (above.size() == textBefore.size())
      std::swap(above, line); // The first line: there is nothing above it.
    line = line.ltrim();
    if (line.consume_front("def "))
      return line.take_while([](char c) { return llvm::isAlnum(c) || c == '_'; }).str();
    textBefore = above;
  }
  return {};
}

/// The place of `range` in a named text.
std::optional<SourceLocation> locateInText(const SourceRange &range) {
  auto position = range.file_line_col();
  if (!position || range.start() > range.source()->size())
    return std::nullopt;
  const Source &source = *range.source();
  std::string text = source.text_str().str();
  StringRef before = StringRef(text).take_front(range.start());
  StringRef line = StringRef(text).substr(before.rfind('\n') + 1).split('\n').first;
  // A range on the `def` line itself begins behind the name.
  return SourceLocation{std::get<0>(*position), std::get<1>(*position), enclosingFunction(before),
                        line.trim().str()};
}

} // namespace

std::optional<SourceLocation> locateRange(const SourceRange &range) {
  if (!range.source())
    return std::nullopt;
  if (auto original = range.findSourceRangeThatGenerated(); original && original->source()) {
    if (auto frame = parseStack(original->source()->text_str().str()))
      return frame;
    if (original->source()->size() != 0)
      if (auto location = locateInText(*original))
        return location;
  }
  // A graph that was traced in this process carries the stack itself.
  if (auto frame = parseStack(range.source()->text_str().str()))
    return frame;
  return locateInText(range);
}

std::optional<SourceRange> DebugRanges::findSourceRangeThatGenerated(const SourceRange &range) {
  // A location only decorates another message: a damaged pickle means that there is none.
  try {
    std::call_once(once, [this] { load(); });
    auto it = llvm::upper_bound(rows, static_cast<int64_t>(range.start()),
                                [](int64_t offset, const Row &row) { return offset < row.offset; });
    if (it == rows.begin())
      return std::nullopt;
    return decode(std::prev(it)->range);
  } catch (const std::exception &) {
    return std::nullopt;
  }
}

void DebugRanges::load() {
  auto bytes = read();
  read = nullptr;
  if (!bytes || llvm::errorToBool(checkPickle(*bytes)))
    return;
  IValue root = torch::jit::unpickle(bytes->data(), bytes->size());
  const auto &top = root.toTupleRef().elements();
  IValue table = root;
  if (top.size() == 3 && top[0].isString()) {
    for (const IValue &string : top[1].toTupleRef().elements())
      strings.push_back(string);
    table = top[2];
  }
  for (const IValue &value : table.toTupleRef().elements()) {
    const auto &row = value.toTupleRef().elements();
    const IValue &range = row.at(1).isTuple() ? row.at(1) : row.at(2);
    rows.push_back({row.at(0).toInt(), range});
  }
}

SourceRange DebugRanges::decode(const IValue &range) const {
  const auto &fields = range.toTupleRef().elements();
  const auto &source = fields.at(0).toTupleRef().elements();
  std::string text;
  std::optional<std::string> file;
  if (source.at(0).isString()) {
    text = source[0].toStringRef();
    if (source.at(1).isString())
      file = source[1].toStringRef();
  } else {
    for (int64_t index : source[0].toIntVector())
      text += strings.at(index).toStringRef();
    file = strings.at(source.at(1).toInt()).toStringRef();
  }
  if (file && file->empty())
    file.reset();
  auto clamp = [&](const IValue &offset) {
    return std::min<size_t>(static_cast<size_t>(std::max<int64_t>(offset.toInt(), 0)), text.size());
  };
  size_t begin = clamp(fields.at(1)), end = clamp(fields.at(2));
  auto firstLine = static_cast<size_t>(source.at(2).toInt());
  return SourceRange(std::make_shared<Source>(text, file, firstLine), begin, end);
}

} // namespace plait::libtorch
