// Memory for what LibTorch allocates when it starts: tens of megabytes in small pieces, which are
// never freed.
#pragma once

namespace plait::driver {

/// Lets the heap grow in large steps and asks the system for huge pages there, so that touching it
/// costs few page faults. Takes effect with glibc on Linux; elsewhere nothing happens. Once.
void reserveResidentHeap();

} // namespace plait::driver
