// The lower half of the parser: tokens, errors, types, literals and attributes. It knows nothing of
// functions and statements. Internal to the parser.
#pragma once

#include "mil/Lexer.h"
#include "mil/Parser.h"

namespace plait::mil {

/// Every parse function returns false after an error, of which the first is kept.
class LiteralParser {
protected:
  LiteralParser(llvm::StringRef text, const ParseOptions &options)
      : lexer_(text), options_(options) {
    advance();
  }

  /// Nesting of blocks, of types and of literals.
  static constexpr unsigned kMaxDepth = 64;

  // ---- tokens ----
  void advance() {
    token_ = next_.kind == Token::End && next_.text.data() == nullptr ? lexer_.next() : next_;
    next_ = lexer_.next();
  }
  bool at(char c) const { return token_.is(c); }
  bool accept(char c) {
    if (!at(c))
      return false;
    advance();
    return true;
  }
  bool expect(char c) { return accept(c) || unexpected(std::string("'") + c + "'"); }
  bool expectArrow() {
    if (token_.text != "->")
      return unexpected("'->'");
    advance();
    return true;
  }
  bool expectWord(llvm::StringRef word) {
    if (!token_.is(word))
      return unexpected("'" + word.str() + "'");
    advance();
    return true;
  }
  bool identifier(llvm::StringRef &text, llvm::StringRef what) {
    if (token_.kind != Token::Identifier)
      return unexpected(what);
    text = token_.text;
    advance();
    return true;
  }
  bool unexpected(llvm::StringRef wanted);
  bool fail(llvm::StringRef where, const std::string &message);
  /// Elements separated by commas up to `close`, which is consumed.
  bool list(char close, llvm::function_ref<bool()> element) {
    if (accept(close))
      return true;
    do {
      if (!element())
        return false;
    } while (accept(','));
    return expect(close);
  }

  // ---- types and literals ----
  using Attributes = std::vector<std::pair<std::string, Attr>>;
  bool parseAttributes(Attributes &attributes);
  /// Whether the token can only begin a type: an element type or tensor, list, tuple, dict, state.
  bool startsType() const;
  bool parseType(Type &type, unsigned depth = 0);
  bool parseLiteral(Attr &attr, unsigned depth = 0);

  /// The current token and the one after it.
  Token token_, next_;
  /// The first error, with its place.
  std::optional<std::string> error_;

private:
  bool parseDim(Dim &dim);
  bool parseContents(const Type &type, Attr &attr, unsigned depth);
  bool parseTensor(const Type &type, Attr &attr);
  bool parseBlob(const Type &type, Attr &attr, unsigned depth);

  Lexer lexer_;
  const ParseOptions &options_;
};

} // namespace plait::mil
