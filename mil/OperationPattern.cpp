// Patterns are held against kinds, operators, names and paths of an operation.
#include "mil/OperationPattern.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::mil {

using llvm::StringRef;

Expected<OperationPattern::Path> OperationPattern::Path::parse(StringRef text) {
  Path path;
  llvm::SmallVector<StringRef, 8> parts;
  text.split(parts, '.');
  for (StringRef part : parts) {
    if (part.empty())
      return makeError(Code::OptionValue, "a part of the path '{0}' is empty", text);
    if (part == "**") {
      path.parts_.push_back(std::nullopt);
      continue;
    }
    auto glob = llvm::GlobPattern::create(part);
    if (!glob)
      return makeError(Code::OptionValue, "'{0}': {1}", text, llvm::toString(glob.takeError()));
    path.parts_.push_back(std::move(*glob));
  }
  return path;
}

bool OperationPattern::Path::matches(llvm::ArrayRef<StringRef> parts, size_t from,
                                     bool beneath) const {
  if (from == parts_.size())
    return parts.empty() || beneath;
  if (!parts_[from]) {
    for (size_t skipped = 0; skipped <= parts.size(); ++skipped)
      if (matches(parts.drop_front(skipped), from + 1, beneath))
        return true;
    return false;
  }
  return !parts.empty() && parts_[from]->match(parts.front()) &&
         matches(parts.drop_front(), from + 1, beneath);
}

static llvm::SmallVector<StringRef, 8> partsOf(StringRef path) {
  llvm::SmallVector<StringRef, 8> parts;
  if (!path.empty())
    path.split(parts, '.');
  return parts;
}

bool OperationPattern::Path::matches(StringRef path) const {
  return matches(partsOf(path), 0, /*beneath=*/false);
}

bool OperationPattern::Path::covers(StringRef path) const {
  return matches(partsOf(path), 0, /*beneath=*/true);
}

Expected<OperationPattern> OperationPattern::parse(StringRef text) {
  OperationPattern pattern;
  text = text.trim();
  auto [what, module] = text.split(" at ");
  what = what.rtrim();
  bool isName = what.consume_front("%");
  module = module.trim();
  if (what.empty())
    return makeError(Code::OptionValue,
                     "'{0}': the name of an operation, a parameter or a module is wanted", text);
  if (what.find_first_of(" \t") != StringRef::npos ||
      module.find_first_of(" \t") != StringRef::npos)
    return makeError(Code::OptionValue, "'{0}': 'OPERATION at MODULE' is wanted, or one name",
                     text);
  bool placed = text.contains(" at ");
  if (isName && placed)
    return makeError(Code::OptionValue,
                     "'{0}': a result's name says its place; leave out what is behind it", text);
  if (placed) {
    auto path = Path::parse(module);
    if (!path)
      return path.takeError();
    pattern.module_ = std::move(*path);
  }
  if (what != "*" || !placed) {
    auto path = Path::parse(what);
    if (!path)
      return path.takeError();
    pattern.what_ = std::move(*path);
  }
  pattern.text_ = text.str();
  pattern.whatLength_ = what.size();
  pattern.isName_ = isName;
  return pattern;
}

bool OperationPattern::matches(const Op &op) const {
  if (isName_)
    return llvm::any_of(op.results(),
                        [&](const auto &result) { return what_->matches(result->name); });
  auto isOperation = [&] {
    return what() == op.info().name || (op.location && op.location.op() == what());
  };
  if (module_)
    return op.location && module_->covers(op.location.module()) && (!what_ || isOperation());
  if (isOperation() || (op.location && what_->covers(op.location.module())))
    return true;
  for (const Operand &operand : op.operands())
    if (const TensorData *tensor = constTensor(operand))
      for (const std::string &path : parametersOf(*tensor))
        if (what_->matches(path))
          return true;
  return false;
}

} // namespace plait::mil
