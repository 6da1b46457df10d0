// The one type of error, and the version.
#pragma once

#include <plait/export.h>

#ifdef PLAIT_CXX20
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace plait {

/// The version of the interface: its number changes when a program has to be compiled anew.
inline namespace v0 {

/// "0.1.0". Any thread.
PLAIT_API std::string_view version();

/// One thing of a model that is in the way. What is not known is "" or 0.
struct Problem {
  std::string function;  ///< of the package
  std::string operation; ///< "aten::linalg_qr"
  std::string module;    ///< the path of the module that runs it, "encoder.layers.0"
  std::string file;      ///< of the model's source, as TorchScript files know it
  unsigned line = 0;     ///< in that file, counted from 1
  std::string message;   ///< without function and place
  std::string code = {}; ///< "P0301": `plait explain P0301` tells more
};

/// Every function of plait throws this when it fails. what() is the text that the command prints,
/// but that it calls options as this interface does.
class PLAIT_API Exception : public std::runtime_error {
public:
  enum class Reason {
    Failed,      ///< none of the others
    Cancelled,   ///< Compiler::cancel(), or a stop token
    Input,       ///< a module, tensor or array that was given cannot be what is wanted
    Unsupported, ///< the model has something that cannot be compiled: problems()
    Option,      ///< a name or an option cannot be, or does not fit the model
    File,        ///< a file or folder cannot be read or written, or is not what is wanted
  };
  explicit Exception(const std::string &message, Reason reason = Reason::Failed,
                     std::vector<Problem> problems = {}, std::string code = {})
      : std::runtime_error(message), reason_(reason),
        details_(std::make_shared<const Details>(Details{std::move(problems), std::move(code)})) {}
  ~Exception() override;

  Reason reason() const noexcept { return reason_; }
  /// Of Reason::Unsupported, every operation in the way, each as often as the model uses it. Lives
  /// as long as a copy of the exception.
  const std::vector<Problem> &problems() const noexcept { return details_->problems; }
  /// What kind of refusal it is, by a number that stays: "P0101". `plait explain P0101` says what
  /// it means, with an example and the way out. Where there are several, of the first.
  const std::string &code() const noexcept { return details_->code; }

private:
  struct Details {
    std::vector<Problem> problems;
    std::string code;
  };
  Reason reason_;
  std::shared_ptr<const Details> details_; ///< exceptions are copied without failing
};

} // namespace v0
} // namespace plait
#endif
