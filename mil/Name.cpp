// The pool that interned names live in: one for the process, freed name by name.
#include "mil/Name.h"

#include <mutex>

namespace plait::mil {

struct Name::Pool {
  std::mutex mutex;
  llvm::StringMap<std::atomic<unsigned>> entries;

  /// Never destroyed: names may live in static objects.
  static Pool &get() {
    static Pool &pool = *new Pool;
    return pool;
  }
};

Name::Name(llvm::StringRef text) {
  if (text.empty())
    return;
  Pool &pool = Pool::get();
  std::lock_guard lock(pool.mutex);
  entry_ = &*pool.entries.try_emplace(text, 0).first;
  retain();
}

void Name::release() {
  if (!counts())
    return;
  // The last one leaves under the lock, so that nobody finds the entry while it goes.
  std::atomic<unsigned> &count = entry_->getValue();
  unsigned seen = count.load(std::memory_order_relaxed);
  while (seen > 1)
    if (count.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel))
      return;
  Pool &pool = Pool::get();
  std::lock_guard lock(pool.mutex);
  if (count.fetch_sub(1, std::memory_order_acq_rel) == 1)
    pool.entries.erase(pool.entries.find(entry_->getKey()));
}

} // namespace plait::mil
