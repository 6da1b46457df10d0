// Printing diagnostics, progress and numbers.
#include "driver/Diagnostics.h"

#include "llvm/Support/JSON.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

/// A message may quote bytes of a damaged file that are no text: they are replaced.
static void print(llvm::StringRef kind, llvm::StringRef text) {
  std::string message = llvm::json::fixUTF8(text.rtrim());
  llvm::errs() << "plait: " << kind << ": ";
  auto [first, rest] = llvm::StringRef(message).split('\n');
  llvm::errs() << first << '\n';
  while (!rest.empty()) {
    std::tie(first, rest) = rest.split('\n');
    llvm::errs() << "  " << first << '\n';
  }
}

void printError(Error error) {
  handleAllErrors(std::move(error),
                  [](const llvm::ErrorInfoBase &info) { print("error", info.message()); });
}

void printWarning(llvm::StringRef message) { print("warning", message); }

ProgressLine::ProgressLine(bool quiet, double patience)
    : enabled_(!quiet && llvm::sys::Process::StandardErrIsDisplayed()),
      from_(std::chrono::steady_clock::now() +
            std::chrono::milliseconds(int64_t(patience * 1000))) {}

void ProgressLine::show(const llvm::Twine &what) {
  if (!enabled_ || std::chrono::steady_clock::now() < from_)
    return;
  llvm::errs() << "\r\033[K" << what;
  shown_ = true;
}

void ProgressLine::clear() {
  if (shown_)
    llvm::errs() << "\r\033[K";
  shown_ = false;
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
