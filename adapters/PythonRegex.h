// Regular expressions as adapter configurations have them: Python's `re`, over module names. PCRE2
// matches them, with limits, because a pattern from a file may take neither exponential time nor
// the stack. Where the two languages differ the pattern is translated:
//
//   \Z  \v  \u00e9  {,3}  [[a]        in Python
//   \z  \x0b  \x{00e9}  {0,3}  [\[a]  in PCRE2
//
// What PCRE2 alone has (recursion, verbs, \K, \R …) is refused as Python refuses it, and so are the
// flags a, L and x.
#pragma once

#include "support/Error.h"

#include <map>
#include <memory>
#include <string>

namespace plait::adapters {

class PythonRegex {
public:
  static Expected<PythonRegex> compile(llvm::StringRef pattern);

  /// The named groups of a match.
  using Groups = std::map<std::string, std::string>;
  /// re.match: at the beginning of `text`; re.fullmatch: all of it. nullopt: no match.
  Expected<std::optional<Groups>> match(llvm::StringRef text) const { return run(text, false); }
  Expected<std::optional<Groups>> fullmatch(llvm::StringRef text) const { return run(text, true); }

private:
  Expected<std::optional<Groups>> run(llvm::StringRef text, bool whole) const;

  std::string pattern_;
  std::shared_ptr<void> code_; ///< PCRE2's
};

} // namespace plait::adapters
