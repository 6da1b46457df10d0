// Signals are blocked in every thread and waited for in one, where any function may be called.
#include "driver/Interrupt.h"

#include "driver/ProgressLine.h"
#include "support/MappedFile.h"
#include "support/Unfinished.h"

#include <atomic>
#include <csignal>
#include <cstring>
#include <pthread.h>
#include <thread>
#include <unistd.h>

namespace plait::driver {

namespace {

/// What wakes the waiting thread where a thread has stopped for good.
constexpr int kWake = SIGUSR1;
pthread_t waiting;
std::atomic<bool> lost = false;

/// What can be called in a handler.
void say(const char *text) {
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, text, std::strlen(text));
}

/// Pages that a file no longer has. What stands in memory is not known, so this thread does not go
/// on; the waiting one cleans up and ends the process.
void onBusError(int, siginfo_t *info, void *) {
  const char *path = MappedFile::fileAt(info->si_addr);
  if (!path) { // It happens again at once, and ends the process.
    std::signal(SIGBUS, SIG_DFL);
    return;
  }
  if (!lost.exchange(true)) {
    say("plait: error: '");
    say(path);
    say("' became shorter while it was read, or its disk fails; start again once nobody writes to "
        "it\n");
    ::pthread_kill(waiting, kWake);
  }
  for (;;)
    ::pause();
}

} // namespace

void handleSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, kWake);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action;
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN)
      sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread waiter([signals] {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0)
      return;
    std::unique_lock stopped = Unfinished::removeAll();
    ProgressLine::Pause pause; // the shell goes on where the line was
    if (lost)
      ::_exit(1);
    std::signal(signal, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    std::raise(signal);
  });
  waiting = waiter.native_handle();
  waiter.detach();

  struct sigaction action = {};
  action.sa_sigaction = onBusError;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
}

} // namespace plait::driver
