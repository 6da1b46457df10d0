// A signal that ends the command (Ctrl-C, a hang-up) leaves nothing half-written.
#pragma once

namespace plait::driver {

/// From now on a thread waits for SIGINT, SIGTERM and SIGHUP (those that are not ignored), removes
/// what is unfinished and lets the signal end the process. To be called before any thread starts.
void removeUnfinishedOnSignals();

} // namespace plait::driver
