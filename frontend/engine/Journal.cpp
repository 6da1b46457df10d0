// What speculative regions change among older objects: recorded at the first write, undone by
// rollback.
#include "frontend/engine/Engine.h"

namespace plait::frontend {

/// Records `object` in the innermost journal once, if it is older than the region.
template <typename Ptr, typename Entries>
static void record(const Ptr &object, uint64_t start, Entries &entries) {
  if (object->serial < start &&
      llvm::none_of(entries, [&](const auto &entry) { return entry.first == object; }))
    entries.emplace_back(object, *object);
}

void Engine::touch(const std::shared_ptr<Cell> &cell) {
  if (!journals_.empty())
    record(cell, journals_.back()->start, journals_.back()->cells);
}
void Engine::touch(const Val::TensorPtr &tensor) {
  if (!journals_.empty())
    record(tensor, journals_.back()->start, journals_.back()->tensors);
}
void Engine::touch(const Val::ListPtr &list) {
  if (!journals_.empty())
    record(list, journals_.back()->start, journals_.back()->lists);
}
void Engine::touch(const Val::DictPtr &dict) {
  if (!journals_.empty())
    record(dict, journals_.back()->start, journals_.back()->dicts);
}

void Engine::rollback(Journal &journal) {
  for (auto &[cell, before] : journal.cells) {
    // What is known of its memory stays known.
    before.mayBeAliased |= cell->mayBeAliased;
    before.isStale |= cell->isStale;
    *cell = before;
  }
  for (auto &[tensor, before] : journal.tensors)
    *tensor = before;
  for (auto &[list, before] : journal.lists)
    *list = before;
  for (auto &[dict, before] : journal.dicts)
    *dict = before;
  for (auto &[key, before] : llvm::reverse(journal.slots)) {
    if (before)
      slots_[key] = *before;
    else
      slots_.erase(key);
  }
}

} // namespace plait::frontend
