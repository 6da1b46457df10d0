// LibTorch's own remarks on the standard error.
#pragma once

namespace plait::runtime {

/// From now on there are none, in the whole process: for the command, whose messages are its own.
void silenceLibTorch();

} // namespace plait::runtime
