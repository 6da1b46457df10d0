// Errors of a kind.
#include "support/Failure.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"

namespace plait {

char Failure::ID = 0;

Failure::Failure(FailureKind kind, Code code, std::string message,
                 std::vector<FailureProblem> problems)
    : kind(kind), message(std::move(message)), problems(std::move(problems)) {
  if (code != Code::None)
    parts.push_back({0, code});
}

void Failure::append(Code code, const std::string &text) {
  append(Failure(FailureKind::Unknown, code, text));
}

void Failure::append(Failure other) {
  if (kind == FailureKind::Unknown)
    kind = other.kind;
  if (!message.empty())
    message += "\n";
  for (Part part : other.parts)
    parts.push_back({part.begin + message.size(), part.code});
  message += other.message;
  std::move(other.problems.begin(), other.problems.end(), std::back_inserter(problems));
}

void Failure::prepend(const std::string &prefix) {
  message.insert(0, prefix);
  for (Part &part : parts)
    if (part.begin)
      part.begin += prefix.size();
}

std::string Failure::withCodes() const {
  std::string text;
  size_t end = message.size();
  for (const Part &part : llvm::reverse(parts)) {
    text = withCode(part.code, message.substr(part.begin, end - part.begin)) + text;
    end = part.begin;
  }
  return message.substr(0, end) + text;
}

void Failure::log(llvm::raw_ostream &out) const { out << message; }
std::error_code Failure::convertToErrorCode() const { return llvm::inconvertibleErrorCode(); }

Error makeFailure(FailureKind kind, Code code, std::string message,
                  std::vector<FailureProblem> problems) {
  return llvm::make_error<Failure>(kind, code, std::move(message), std::move(problems));
}

Error makeFailure(Failure failure) { return llvm::make_error<Failure>(std::move(failure)); }

Failure takeFailure(Error error) {
  Failure all(FailureKind::Unknown, Code::None, "");
  llvm::handleAllErrors(
      std::move(error), [&](Failure &one) { all.append(std::move(one)); },
      [&](const llvm::ErrorInfoBase &one) { all.append(Code::None, one.message()); });
  return all;
}

Error classify(Error error, FailureKind kind) {
  if (!error)
    return Error::success();
  Failure failure = takeFailure(std::move(error));
  if (failure.kind == FailureKind::Unknown)
    failure.kind = kind;
  return makeFailure(std::move(failure));
}

Error inFunction(Error error, llvm::StringRef function) {
  if (!error)
    return Error::success();
  Failure failure = takeFailure(std::move(error));
  for (FailureProblem &problem : failure.problems)
    if (problem.function.empty())
      problem.function = function.str();
  return makeFailure(std::move(failure));
}

std::pair<std::string, unsigned> sourceLine(llvm::StringRef source) {
  llvm::StringRef place = source.take_front(source.find(" in "));
  auto [file, digits] = place.rsplit(':');
  unsigned line = 0;
  if (digits.getAsInteger(10, line))
    return {"", 0};
  return {file.str(), line};
}

} // namespace plait
