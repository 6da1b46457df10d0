// Signals are blocked in every thread and waited for in one, where any function may be called.
#include "driver/Interrupt.h"

#include "support/Unfinished.h"

#include <csignal>
#include <pthread.h>
#include <thread>

namespace plait::driver {

void removeUnfinishedOnSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action;
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN)
      sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals] {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0)
      return;
    std::unique_lock stopped = Unfinished::removeAll();
    std::signal(signal, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    std::raise(signal);
  }).detach();
}

} // namespace plait::driver
