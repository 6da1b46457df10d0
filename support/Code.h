// What kind of refusal or warning a message is: a number that stays, on every message. Codes.def
// lists them; driver/Explain.h has their pages.
#pragma once

#include <cstdint>
#include <string>

namespace plait {

enum class Code : uint16_t {
  None, ///< of an error that is not plait's, such as one of LLVM's
#define CODE(NAME, NUMBER) NAME = NUMBER,
#include "support/Codes.def"
};

/// "P0101"; "" for None.
std::string name(Code code);

/// What is warned of.
struct Warning {
  Code code;
  std::string text;
};

/// A message with its code at the end of its first line: "cannot open 'a': … [P0101]".
std::string withCode(Code code, const std::string &message);

} // namespace plait
