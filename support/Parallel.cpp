// The parallel loop: workers draw item numbers from one counter.
#include "support/Parallel.h"
#include "llvm/Support/ThreadPool.h"
#include "llvm/Support/Threading.h"
#include <algorithm>
#include <atomic>
#include <mutex>

namespace plait {

unsigned defaultThreads() {
  return std::max(1u, llvm::hardware_concurrency().compute_thread_count());
}

Error parallelFor(unsigned threads, size_t count,
                  llvm::function_ref<Error(unsigned worker, size_t item)> body) {
  if (threads == 0)
    threads = defaultThreads();
  threads = unsigned(std::min<size_t>(threads, count));

  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  size_t failedItem = count;
  Error failure = Error::success(); // the first item's
  llvm::consumeError(std::move(failure));

  auto work = [&](unsigned worker) {
    while (!failed) {
      size_t item = next++;
      if (item >= count)
        return;
      Error error = body(worker, item);
      if (!error)
        continue;
      std::lock_guard lock(mutex);
      if (item < failedItem) {
        failedItem = item;
        std::swap(failure, error);
      }
      llvm::consumeError(std::move(error));
      failed = true;
    }
  };

  if (threads <= 1) {
    work(0);
  } else {
    llvm::DefaultThreadPool pool(llvm::hardware_concurrency(threads));
    for (unsigned worker = 0; worker < threads; ++worker)
      pool.async(work, worker);
    pool.wait();
  }
  return failure;
}

} // namespace plait
