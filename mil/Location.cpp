// The pool of locations: one for the process, freed one by one.
#include "mil/Location.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/Hashing.h"
#include <mutex>

namespace plait::mil {

SourceTable::~SourceTable() = default;

struct Location::Entry {
  Name module, source, op;
  std::shared_ptr<const SourceTable> sources; ///< null where `source` is the text
  uint64_t position = 0;
  mutable std::atomic<unsigned> holders = 0;

  Entry(Name module, Name source, Name op, std::shared_ptr<const SourceTable> sources = nullptr,
        uint64_t position = 0)
      : module(std::move(module)), source(std::move(source)), op(std::move(op)),
        sources(std::move(sources)), position(position) {}
  Entry(Entry &&other) noexcept
      : Entry(std::move(other.module), std::move(other.source), std::move(other.op),
              std::move(other.sources), other.position) {}

  bool isEmpty() const { return module.empty() && source.empty() && op.empty() && !sources; }
};

struct Location::Pool {
  struct ByContent : llvm::DenseMapInfo<Entry *> {
    static unsigned getHashValue(const Entry *entry) {
      using OfName = llvm::DenseMapInfo<Name>;
      return llvm::hash_combine(
          OfName::getHashValue(entry->module), OfName::getHashValue(entry->source),
          OfName::getHashValue(entry->op), entry->sources.get(), entry->position);
    }
    static bool isEqual(const Entry *a, const Entry *b) {
      if (a == b)
        return true;
      for (const Entry *entry : {a, b})
        if (entry == getEmptyKey() || entry == getTombstoneKey())
          return false;
      return a->module == b->module && a->source == b->source && a->op == b->op &&
             a->sources == b->sources && a->position == b->position;
    }
  };
  std::mutex mutex;
  llvm::DenseSet<Entry *, ByContent> entries;

  /// Never destroyed: locations may live in static objects.
  static Pool &get() {
    static Pool &pool = *new Pool;
    return pool;
  }
};

Location::Location(Entry entry) {
  if (entry.isEmpty())
    return;
  Pool &pool = Pool::get();
  std::lock_guard lock(pool.mutex);
  auto found = pool.entries.find(&entry);
  entry_ = found == pool.entries.end() ? *pool.entries.insert(new Entry(std::move(entry))).first
                                       : *found;
  retain();
}

Location::Location(Name module, Name source, Name op)
    : Location(Entry(std::move(module), std::move(source), std::move(op))) {}

Location::Location(Name module, std::shared_ptr<const SourceTable> sources, uint64_t position,
                   Name op)
    : Location(Entry(std::move(module), Name(), std::move(op), std::move(sources), position)) {}

void Location::retain() {
  if (entry_)
    entry_->holders.fetch_add(1, std::memory_order_relaxed);
}

void Location::release() {
  if (!entry_)
    return;
  // The last one leaves under the lock, so that nobody finds the entry while it goes.
  std::atomic<unsigned> &count = entry_->holders;
  unsigned seen = count.load(std::memory_order_relaxed);
  while (seen > 1)
    if (count.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel))
      return;
  std::unique_ptr<Entry> last;
  Pool &pool = Pool::get();
  std::lock_guard lock(pool.mutex);
  if (count.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    pool.entries.erase(entry_);
    last.reset(entry_);
  }
}

static const Name noName;

const Name &Location::module() const { return entry_ ? entry_->module : noName; }
const Name &Location::op() const { return entry_ ? entry_->op : noName; }

std::string Location::source() const {
  if (!entry_)
    return "";
  return entry_->sources ? entry_->sources->describe(entry_->position) : entry_->source.str();
}

std::string Location::str() const {
  std::string text = module().str(), line = source();
  if (!text.empty() && !line.empty())
    text += " at ";
  text += line;
  return text.empty() ? op().str() : text;
}

} // namespace plait::mil
