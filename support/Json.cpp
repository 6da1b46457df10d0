// LLVM's writer of JSON, into a string.
#include "support/Json.h"

namespace plait {

std::string jsonText(const llvm::json::Value &value, unsigned indent) {
  std::string text;
  llvm::raw_string_ostream out(text);
  llvm::json::OStream(out, indent).value(value);
  return text;
}

} // namespace plait
