// What goes wrong, as the one public exception; and the version.
#include "api/Impl.h"

#include "frontend/live/InCall.h"

namespace plait::inline v0 {

std::string_view version() { return PLAIT_VERSION; }

Exception::~Exception() = default;

/// Where nobody has said of which kind an error is, its code says where the cause is looked for.
static Exception::Reason reasonOf(Code code) {
  switch (code) {
  case Code::NoSuchFunction:
  case Code::DefaultFunction:
  case Code::SharedLess:
  case Code::NameTaken:
    return Exception::Reason::Option;
  case Code::ArrayMismatch:
    return Exception::Reason::Input;
  default:
    break;
  }
  switch (unsigned(code) / 100) {
  case 1: // files, of adapters and of packages too
  case 4:
  case 5:
    return Exception::Reason::File;
  case 3:
    return Exception::Reason::Unsupported;
  case 2:
  case 8:
  case 9:
    return Exception::Reason::Option;
  case 11:
    return Exception::Reason::Input;
  default:
    return Exception::Reason::Failed;
  }
}

static Exception::Reason reasonOf(FailureKind kind, Code code) {
  switch (kind) {
  case FailureKind::Unknown:
    return reasonOf(code);
  case FailureKind::Input:
    return Exception::Reason::Input;
  case FailureKind::Unsupported:
    return Exception::Reason::Unsupported;
  case FailureKind::Option:
    return Exception::Reason::Option;
  case FailureKind::File:
    return Exception::Reason::File;
  case FailureKind::Cancelled:
    return Exception::Reason::Cancelled;
  }
  return Exception::Reason::Failed;
}

void raise(llvm::Error error, FailureKind kind) {
  Failure failure = takeFailure(classify(std::move(error), kind));
  std::vector<Problem> problems;
  for (FailureProblem &problem : failure.problems)
    problems.push_back({std::move(problem.function), std::move(problem.operation),
                        std::move(problem.module), std::move(problem.file), problem.line,
                        forPrograms(problem.message), name(problem.code)});
  throw Exception(forPrograms(failure.message), reasonOf(failure.kind, failure.code()),
                  std::move(problems), name(failure.code()));
}

void refuse(Code code, const std::string &message, Exception::Reason reason) {
  throw Exception(message, reason, {}, name(code));
}

void refuseWhileTracing() {
  if (frontend::isTracing())
    refuse(Code::LibraryMisuse,
           "a forward() that is being traced calls plait; LibTorch would record what plait "
           "does: call it before or after, outside of forward()",
           Exception::Reason::Input);
}

[[noreturn]] void refuseMoved(const char *type) {
  refuse(Code::LibraryMisuse,
         std::string("this ") + type + " was moved from and is empty; make a new one",
         Exception::Reason::Input);
}

namespace detail {

[[noreturn]] PLAIT_API void refuseValues(std::string_view array, std::string_view wanted) {
  refuse(Code::ArrayMismatch,
         "the array holds " + std::string(array) + ", and values of " + std::string(wanted) +
             " are asked for; elementType() says which they are, and data has their bytes",
         Exception::Reason::Input);
}

[[noreturn]] PLAIT_API void refuseSize(std::string_view array, std::size_t bytes) {
  refuse(Code::ArrayMismatch,
         "the array has " + std::to_string(bytes) + " bytes, which is no whole number of " +
             std::string(array) + " elements",
         Exception::Reason::Input);
}

} // namespace detail

} // namespace plait::inline v0
