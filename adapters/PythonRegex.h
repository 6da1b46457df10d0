// Regular expressions as adapter configurations have them: Python's `re`, over module names. A
// matcher of its own, because neither LLVM's (POSIX) nor the C++ library's is Python's language,
// and because a pattern from a file may not take exponential time: matching counts its steps and
// gives up with an error.
//
//   pattern  := branch ('|' branch)*
//   branch   := piece*
//   piece    := atom (('*' | '+' | '?' | '{' m '}' | '{' m? ',' n? '}') '?'?)?
//   atom     := char | '.' | '^' | '$' | '\' escape | '[' '^'? range+ ']'
//             | '(' pattern ')' | '(?:' pattern ')' | '(?P<' name '>' pattern ')'
//             | '(?=' pattern ')' | '(?!' pattern ')'
//   escape   := d D w W s S b B A Z | a character that is neither letter nor digit
//
// Refused by name: backreferences, lookbehind, flags, possessive and atomic groups.
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

  struct Node;

private:
  Expected<std::optional<Groups>> run(llvm::StringRef text, bool whole) const;

  std::string pattern_;
  std::shared_ptr<const Node> root_;
};

} // namespace plait::adapters
