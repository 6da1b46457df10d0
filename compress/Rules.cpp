// Reading rules, and which weights they mean.
#include "compress/Rules.h"

#include "llvm/Support/GlobPattern.h"

namespace plait::compress {

using llvm::StringRef;

Expected<Rule> parseRule(StringRef text) {
  auto [pattern, scheme] = text.rsplit('=');
  bool bare = scheme.empty() && !text.contains('=');
  auto parsed = parseScheme(bare ? text : scheme);
  if (!parsed)
    return parsed.takeError();
  if (!bare && pattern.trim().empty())
    return makeError(
        Code::CompressionScheme,
        "'{0}': PATTERN=SCHEME has no pattern; without one the scheme alone is written", text);
  return Rule{bare ? "" : pattern.trim().str(), std::move(*parsed)};
}

Fit fitOf(const Rule &rule, llvm::ArrayRef<std::string> names, llvm::ArrayRef<StringRef> operations,
          bool ofAdapter) {
  if (rule.pattern.empty())
    return ofAdapter ? Fit::None : Fit::Kind;
  StringRef pattern = rule.pattern;
  if (pattern == "adapters")
    return ofAdapter ? Fit::Kind : Fit::None;
  Fit fit = Fit::None;
  for (StringRef operation : operations)
    if (operation == pattern)
      fit = Fit::Kind;
  auto glob = llvm::GlobPattern::create(pattern);
  bool isGlob = pattern.contains('*') || pattern.contains('?');
  for (StringRef name : names) {
    if (name == pattern)
      return Fit::Name;
    if (name.starts_with((pattern + ".").str()) || (isGlob && glob && glob->match(name)))
      fit = Fit::Kind;
  }
  if (!glob)
    llvm::consumeError(glob.takeError());
  return fit;
}

} // namespace plait::compress
