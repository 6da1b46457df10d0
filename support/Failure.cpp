// Errors of a kind.
#include "support/Failure.h"

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/raw_ostream.h"

namespace plait {

char Failure::ID = 0;

void Failure::log(llvm::raw_ostream &out) const { out << message; }
std::error_code Failure::convertToErrorCode() const { return llvm::inconvertibleErrorCode(); }

Error makeFailure(FailureKind kind, std::string message, std::vector<FailureProblem> problems) {
  return llvm::make_error<Failure>(kind, std::move(message), std::move(problems));
}

Failure takeFailure(Error error) {
  Failure all(FailureKind::Unknown, "");
  auto add = [&](const std::string &message) {
    all.message += (all.message.empty() ? "" : "\n") + message;
  };
  llvm::handleAllErrors(
      std::move(error),
      [&](Failure &one) {
        if (all.kind == FailureKind::Unknown)
          all.kind = one.kind;
        add(one.message);
        std::move(one.problems.begin(), one.problems.end(), std::back_inserter(all.problems));
      },
      [&](const llvm::ErrorInfoBase &one) { add(one.message()); });
  return all;
}

Error classify(Error error, FailureKind kind) {
  if (!error)
    return Error::success();
  Failure failure = takeFailure(std::move(error));
  return makeFailure(failure.kind == FailureKind::Unknown ? kind : failure.kind,
                     std::move(failure.message), std::move(failure.problems));
}

Error inFunction(Error error, llvm::StringRef function) {
  if (!error)
    return Error::success();
  Failure failure = takeFailure(std::move(error));
  for (FailureProblem &problem : failure.problems)
    if (problem.function.empty())
      problem.function = function.str();
  return makeFailure(failure.kind, std::move(failure.message), std::move(failure.problems));
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
