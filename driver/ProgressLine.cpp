// A thread that draws five times a second, under a lock that everything takes which writes to the
// standard error.
#include "driver/ProgressLine.h"

#include "driver/Terminal.h"
#include "support/Format.h"

#include <algorithm>
#include <unistd.h>
#include <utility>

namespace plait::driver {

namespace {

constexpr std::chrono::milliseconds kPatience(2000), kInterval(200);
/// Columns of "^C", which the terminal writes behind the line: where it wrapped, the line stayed.
constexpr unsigned kEcho = 2;
/// Before as much is done, the rest is anybody's guess.
constexpr double kLeastForEstimate = 0.02;

std::mutex mutex; // guards all of every line
ProgressLine *active = nullptr;

/// The stream is not used: it is other threads' too.
void writeToTerminal(llvm::StringRef text) {
  while (!text.empty()) {
    ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written <= 0)
      return;
    text = text.drop_front(size_t(written));
  }
}

std::string duration(double seconds) {
  auto whole = uint64_t(seconds + 0.5);
  return whole >= 3600 ? fmt::format("{0}:{1:02}:{2:02}", whole / 3600, whole / 60 % 60, whole % 60)
                       : fmt::format("{0}:{1:02}", whole / 60, whole % 60);
}

} // namespace

std::string ProgressLine::text(llvm::StringRef what, double done, double elapsed,
                               unsigned columns) {
  std::string rest = "  " + duration(elapsed);
  if (done >= kLeastForEstimate && done < 1)
    rest = fmt::format("  {0:.0f} %  {1} left", done * 100, duration(elapsed * (1 - done) / done));
  // A line that wraps could not be written over.
  size_t room = columns > rest.size() + 1 ? columns - 1 - rest.size() : 0;
  llvm::StringRef shown = what.take_front(room);
  while (shown.size() < what.size() && !shown.empty() && (what[shown.size()] & 0xC0) == 0x80)
    shown = shown.drop_back();
  return (shown + rest).str();
}

ProgressLine::ProgressLine(bool quiet) : enabled_(!quiet && errorsCanBeOverwritten()) {
  if (!enabled_)
    return;
  {
    std::lock_guard lock(mutex);
    active = this;
  }
  ticker_ = std::thread([this] {
    std::unique_lock lock(mutex);
    if (wake_.wait_for(lock, kPatience, [this] { return finished_; }))
      return;
    do
      draw();
    while (!wake_.wait_for(lock, kInterval, [this] { return finished_; }));
  });
}

ProgressLine::~ProgressLine() {
  if (!enabled_)
    return;
  {
    std::lock_guard lock(mutex);
    finished_ = true;
    erase();
    active = nullptr;
  }
  wake_.notify_one();
  ticker_.join();
}

void ProgressLine::show(const llvm::Twine &what) {
  if (!enabled_)
    return;
  std::lock_guard lock(mutex);
  what_ = what.str();
}

void ProgressLine::reach(double done) {
  if (!enabled_)
    return;
  std::lock_guard lock(mutex);
  done_ = std::max(done_, done);
}

void ProgressLine::draw() {
  std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  unsigned columns = errorColumns();
  columns -= std::min(columns, kEcho);
  writeToTerminal("\r\033[K" + text(what_, done_, elapsed.count(), columns));
  onTerminal_ = true;
}

void ProgressLine::erase() {
  if (std::exchange(onTerminal_, false))
    writeToTerminal("\r\033[K");
}

ProgressLine::Pause::Pause() {
  mutex.lock();
  if (active)
    active->erase();
}

ProgressLine::Pause::~Pause() { mutex.unlock(); }

} // namespace plait::driver
