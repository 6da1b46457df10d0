// The one type of error, and the version.
#pragma once

#include <plait/export.h>

#include <stdexcept>
#include <string>
#include <string_view>

namespace plait {

/// The version of the interface: its number changes when a program has to be compiled anew.
inline namespace v0 {

/// "0.1.0". Any thread.
PLAIT_API std::string_view version();

/// Every function of plait throws this when it fails. what() is the text that the command prints.
class PLAIT_API Exception : public std::runtime_error {
public:
  enum class Reason {
    Failed,    ///< the input cannot be compiled, read, written or run
    Cancelled, ///< Compiler::cancel()
  };
  explicit Exception(const std::string &message, Reason reason = Reason::Failed)
      : std::runtime_error(message), reason_(reason) {}
  ~Exception() override;

  Reason reason() const noexcept { return reason_; }

private:
  Reason reason_;
};

} // namespace v0
} // namespace plait
