// Printing diagnostics and numbers.
#include "driver/Diagnostics.h"

#include "support/Failure.h"

#include "driver/CommandLine.h"
#include "driver/ProgressLine.h"
#include "driver/Terminal.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

#include <mutex>
#include <utility>

namespace plait::driver {

static std::mutex printing; // guards what was printed
static std::vector<Message> printed;

/// A message may quote bytes of a damaged file that are no text: they are replaced.
static void print(bool isError, llvm::StringRef text) {
  std::string message = llvm::json::fixUTF8(text.rtrim());
  ProgressLine::Pause pause;
  llvm::errs() << "plait: ";
  printToned(llvm::errs(), isError ? Tone::Bad : Tone::Doubtful, isError ? "error:" : "warning:");
  auto [first, rest] = llvm::StringRef(message).split('\n');
  llvm::errs() << ' ' << first << '\n';
  while (!rest.empty()) {
    std::tie(first, rest) = rest.split('\n');
    llvm::errs() << "  " << first << '\n';
  }
}

static void remember(Message message) {
  std::lock_guard lock(printing);
  printed.push_back(std::move(message));
}

/// The messages of a failure, each with its code.
static std::vector<FailureProblem> problemsOf(const Failure &failure) {
  if (!failure.problems.empty())
    return failure.problems;
  std::vector<FailureProblem> problems;
  size_t end = failure.message.size();
  for (const Failure::Part &part : llvm::reverse(failure.parts)) {
    FailureProblem problem;
    // What is before the first message with a code is a part of it.
    size_t begin = problems.size() + 1 == failure.parts.size() ? 0 : part.begin;
    problem.message = llvm::StringRef(failure.message).slice(begin, end).rtrim().str();
    problem.code = part.code;
    problems.push_back(std::move(problem));
    end = begin;
  }
  if (problems.empty()) {
    problems.emplace_back();
    problems.back().message = failure.message;
  }
  std::reverse(problems.begin(), problems.end());
  return problems;
}

void printError(Error error) {
  handleAllErrors(
      std::move(error),
      [](const Failure &failure) {
        print(/*isError=*/true, failure.withCodes());
        std::optional<FailureKind> kind;
        if (!static_cast<const llvm::ErrorInfoBase &>(failure).isA<UsageError>())
          kind = failure.kind;
        for (FailureProblem &problem : problemsOf(failure))
          remember({true, kind, std::move(problem)});
      },
      [](const llvm::ErrorInfoBase &info) {
        print(/*isError=*/true, info.message());
        FailureProblem whole;
        whole.message = info.message();
        remember({true, FailureKind::Unknown, std::move(whole)});
      });
}

void printWarning(const Warning &warning) {
  print(/*isError=*/false, withCode(warning.code, warning.text));
  FailureProblem problem;
  problem.message = warning.text;
  problem.code = warning.code;
  remember({false, std::nullopt, std::move(problem)});
}

std::vector<Message> takeMessages() {
  std::lock_guard lock(printing);
  return std::exchange(printed, {});
}

std::string grouped(uint64_t number) {
  std::string digits = std::to_string(number);
  for (int i = int(digits.size()) - 3; i > 0; i -= 3)
    digits.insert(i, ",");
  return digits;
}

std::string humanBytes(uint64_t bytes) {
  static constexpr const char *units[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024)
    return fmt::format("{0} bytes", bytes);
  double value = double(bytes) / 1024;
  unsigned unit = 0;
  for (; value >= 1023.95 && unit < 3; ++unit)
    value /= 1024;
  return fmt::format("{0:.1f} {1}", value, units[unit]);
}

} // namespace plait::driver
