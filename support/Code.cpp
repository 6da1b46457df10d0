// Codes as text.
#include "support/Code.h"

#include "support/Format.h"

namespace plait {

std::string name(Code code) {
  return code == Code::None ? "" : fmt::format("P{0:04}", unsigned(code));
}

std::string withCode(Code code, const std::string &message) {
  if (code == Code::None)
    return message;
  size_t end = std::min(message.find('\n'), message.size());
  return fmt::format("{0} [{1}]{2}", message.substr(0, end), name(code), message.substr(end));
}

} // namespace plait
