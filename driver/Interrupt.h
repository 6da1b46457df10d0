// Signals of the command: one that ends it (Ctrl-C, a hang-up) leaves nothing half-written, and so
// does a model file that becomes shorter while it is mapped.
#pragma once

namespace plait::driver {

/// From now on a thread waits for SIGINT, SIGTERM and SIGHUP (those that are not ignored), removes
/// what is unfinished and lets the signal end the process. A fault on a mapped file is an error of
/// the command, which ends the same way. To be called before any thread starts.
void handleSignals();

} // namespace plait::driver
