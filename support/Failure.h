// What every error of plait's is: a text with its code, of a kind and, where operations of a model
// caused it, with these. makeError() makes errors of no kind; whoever calls knows what they mean,
// and says so once.
#pragma once

#include "support/Error.h"

#include <string>
#include <vector>

namespace plait {

enum class FailureKind : uint8_t {
  Unknown,
  Input,       ///< tensors, arrays or modules that were given cannot be what is wanted
  Unsupported, ///< the model has something that cannot be compiled
  Option,      ///< what was said of a function or a package cannot be
  File,        ///< a file or folder cannot be read or written, or is not what is wanted
  Cancelled,
};

/// One thing that is in the way, as far as it is known.
struct FailureProblem {
  std::string function;  ///< of the package
  std::string operation; ///< "aten::linalg_qr"
  std::string module;    ///< the path of the module that runs it, "encoder.layers.0"
  std::string file;      ///< of the model's source
  unsigned line = 0;     ///< there, from 1; 0 where it is not known
  std::string message;
  Code code = Code::None;
};

class Failure : public llvm::ErrorInfo<Failure> {
public:
  static char ID;
  /// One of the messages that the text is made of.
  struct Part {
    size_t begin; ///< in the text
    Code code;
  };

  Failure(FailureKind kind, Code code, std::string message,
          std::vector<FailureProblem> problems = {});
  /// Another message, with a code of its own.
  void append(Code code, const std::string &text);
  void append(Failure other);
  void prepend(const std::string &prefix);
  /// Of the first message that has one.
  Code code() const { return parts.empty() ? Code::None : parts.front().code; }
  /// The text with the code of each message at the end of its first line.
  std::string withCodes() const;
  void log(llvm::raw_ostream &out) const override;
  std::error_code convertToErrorCode() const override;

  FailureKind kind;
  std::string message;
  std::vector<FailureProblem> problems;
  std::vector<Part> parts; ///< ascending
};

Error makeFailure(FailureKind kind, Code code, std::string message,
                  std::vector<FailureProblem> problems = {});
Error makeFailure(Failure failure);

/// All that an error says, in one; each message of joined errors keeps its code.
Failure takeFailure(Error error);

/// The error, of this kind where nobody has said of which it is.
Error classify(Error error, FailureKind kind);

/// Names the function in problems that name none.
Error inFunction(Error error, llvm::StringRef function);

/// "model.py:12 in forward: y = …" as a file and a line; "" and 0 where it says none.
std::pair<std::string, unsigned> sourceLine(llvm::StringRef source);

} // namespace plait
