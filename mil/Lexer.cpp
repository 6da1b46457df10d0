// Splits MIL text into tokens.
#include "mil/Lexer.h"

#include "llvm/ADT/StringExtras.h"
#include <optional>

namespace plait::mil {

static bool isIdentifierChar(char c) { return llvm::isAlnum(c) || c == '_' || c == '@'; }

Token Lexer::next() {
  auto at = [&](size_t i) { return i < text_.size() ? text_[i] : '\0'; };
  while (position_ < text_.size()) {
    if (llvm::isSpace(at(position_)))
      ++position_;
    else if (at(position_) == '/' && at(position_ + 1) == '/')
      position_ = std::min(text_.find('\n', position_), text_.size());
    else
      break;
  }
  size_t begin = position_, end = begin + 1;
  auto token = [&](Token::Kind kind) {
    position_ = end;
    return Token{kind, text_.slice(begin, end)};
  };
  if (begin >= text_.size())
    return {Token::End, text_.substr(text_.size())};
  char c = at(begin);
  if (llvm::isAlpha(c) || c == '_') {
    while (isIdentifierChar(at(end)))
      ++end;
    return token(Token::Identifier);
  }
  if (c == '-' && at(end) == '>') {
    ++end;
    return token(Token::Punctuation);
  }
  if (llvm::isDigit(c) || c == '-' || c == '+' || c == '.') {
    // Letters for exponents, hexadecimal digits and "-inf"; signs only behind an exponent.
    bool hex = at(begin + (c == '-' || c == '+')) == '0' &&
               llvm::toLower(at(begin + 1 + (c == '-' || c == '+'))) == 'x';
    while (true) {
      char d = at(end), before = llvm::toLower(at(end - 1));
      bool exponent = hex ? before == 'p' : before == 'e';
      if (!llvm::isAlnum(d) && d != '.' && !((d == '-' || d == '+') && exponent))
        break;
      ++end;
    }
    return token(Token::Number);
  }
  if (c == '"') {
    while (end < text_.size() && at(end) != '"' && at(end) != '\n')
      end += at(end) == '\\' ? 2 : 1;
    if (end >= text_.size() || at(end) != '"') {
      end = std::min(end, text_.size());
      return token(Token::Bad);
    }
    ++end;
    return token(Token::String);
  }
  return token(llvm::StringRef("()[]{}<>,;=?").contains(c) ? Token::Punctuation : Token::Bad);
}

std::optional<std::string> unescape(llvm::StringRef token) {
  llvm::StringRef body = token.drop_front().drop_back();
  std::string text;
  while (!body.empty()) {
    size_t plain = std::min(body.find('\\'), body.size());
    text += body.take_front(plain);
    body = body.drop_front(plain);
    if (body.empty())
      break;
    if (body.size() < 2)
      return std::nullopt;
    char c = body[1];
    size_t length = 2;
    if (c == 'n')
      text += '\n';
    else if (c == 't')
      text += '\t';
    else if (c == 'r')
      text += '\r';
    else if (c == '"' || c == '\\' || c == '\'' || c == '/')
      text += c;
    else if (c == 'x' && body.size() >= 4 && llvm::isHexDigit(body[2]) &&
             llvm::isHexDigit(body[3])) {
      text += char(llvm::hexFromNibbles(body[2], body[3]));
      length = 4;
    } else
      return std::nullopt;
    body = body.drop_front(length);
  }
  return text;
}

} // namespace plait::mil
