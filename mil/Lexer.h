// Tokens of MIL text. Internal to the parser.
#pragma once

#include "llvm/ADT/StringRef.h"
#include <optional>
#include <string>

namespace plait::mil {

struct Token {
  enum Kind : uint8_t { End, Identifier, Number, String, Punctuation, Bad } kind = End;
  /// As in the source; of a string with its quotes.
  llvm::StringRef text;
  bool is(char c) const { return kind == Punctuation && text[0] == c; }
  bool is(llvm::StringRef word) const { return kind == Identifier && text == word; }
};

/// Reads tokens one after the other; "->" is one punctuation token that begins with '-'.
class Lexer {
public:
  explicit Lexer(llvm::StringRef text) : text_(text) {}
  Token next();
  llvm::StringRef text() const { return text_; }

private:
  llvm::StringRef text_;
  size_t position_ = 0;
};

/// The contents of a string token, its escapes resolved; nullopt for a bad escape.
std::optional<std::string> unescape(llvm::StringRef token);

} // namespace plait::mil
