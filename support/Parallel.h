// A bounded parallel loop for work that is cut into independent items (tiles of weights).
#pragma once

#include "support/Error.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace plait {

/// The number of threads to use when the user names none: the processors this process may run on.
unsigned defaultThreads();

/// Calls `body(worker, item)` once for every item in [0, count), on `threads` threads (0 means
/// defaultThreads(); one runs in the caller's). `worker` < threads names the thread, for scratch
/// memory. Items are taken in ascending order. After a failure no further item starts; of several
/// failures the one with the smallest item is returned.
Error parallelFor(unsigned threads, size_t count,
                  llvm::function_ref<Error(unsigned worker, size_t item)> body);

} // namespace plait
