// A MIL block that is lowered speculatively: a branch, the body of a loop, or a dry run of one.
// Changes to objects that existed before are recorded,
// so that they can be undone and merged.
#pragma once

#include "frontend/engine/Engine.h"

namespace plait::frontend {

class Region {
public:
  /// Lowers into `block` until close(). Objects made from here on are local to the region.
  Region(Engine &engine, mil::Block &block)
      : engine_(engine), block_(block), saved_(engine.builder_.block()),
        position_(engine.builder_.position()) {
    journal_.start = engine.nextSerial_;
    scope_ = engine.nextScope_++;
    engine.journals_.push_back(&journal_);
    enter();
  }
  Region(const Region &) = delete;

  /// Ends lowering, and restores the engine's objects as they were before the region. The changes
  /// are in changes().
  void close() {
    leave();
    engine_.journals_.pop_back();
    for (auto &[cell, before] : journal_.cells)
      cellsAfter_.emplace_back(cell, *cell);
    for (auto &[list, before] : journal_.lists)
      listsAfter_.emplace_back(list, list->values);
    for (auto &[dict, before] : journal_.dicts)
      dictsAfter_.emplace_back(dict, dict->entries);
    for (auto &[key, before] : journal_.slots)
      slotsAfter_[key] = engine_.slots_[key];
    metadataChanged_ = !journal_.tensors.empty();
    for (const Engine::Link &link : engine_.links_)
      if (link.scope == scope_)
        links_.push_back(link);
    llvm::erase_if(engine_.links_, [&](const Engine::Link &link) { return link.scope == scope_; });
    engine_.rollback(journal_);
  }

  /// Puts the builder back at the end of the closed region's block, for values that leave it.
  void enter() {
    engine_.builder_.setInsertionPointToEnd(block_);
    engine_.scopes_.push_back(scope_);
  }
  void leave() {
    assert(engine_.scopes_.back() == scope_);
    engine_.scopes_.pop_back();
    engine_.builder_.setInsertionPoint(saved_, position_);
  }

  mil::Block &block() { return block_; }
  bool isLocal(const Cell &cell) const { return cell.serial >= journal_.start; }
  bool isLocal(const TensorObj &tensor) const { return tensor.serial >= journal_.start; }
  bool changedMetadata() const { return metadataChanged_; }
  const auto &cells() const { return cellsAfter_; }
  const auto &lists() const { return listsAfter_; }
  const auto &dicts() const { return dictsAfter_; }
  const auto &slots() const { return slotsAfter_; }
  /// Links made in the region, whose conditions are known only there.
  llvm::ArrayRef<Engine::Link> links() const { return links_; }

  /// The value in a form that closing the region does not change, where readAfter() would not know
  /// its content: a complex tensor is copied now. To be called before close().
  Val freeze(const Val &val) {
    if (auto tensor = val.tensor())
      return std::holds_alternative<ComplexParts>(tensor->cell->content) ? engine_.copy(tensor)
                                                                         : val;
    if (auto tuple = val.tuple()) {
      std::vector<Val> values;
      for (const Val &value : tuple->values)
        values.push_back(freeze(value));
      return engine_.makeTuple(tuple->type, std::move(values));
    }
    return val;
  }

private:
  Engine &engine_;
  mil::Block &block_;
  mil::Block &saved_;
  mil::Block::iterator position_;
  uint64_t scope_;
  Engine::Journal journal_;
  std::vector<std::pair<std::shared_ptr<Cell>, Cell>> cellsAfter_;
  std::vector<std::pair<Val::ListPtr, std::vector<Val>>> listsAfter_;
  std::vector<std::pair<Val::DictPtr, std::vector<std::pair<c10::IValue, Val>>>> dictsAfter_;
  std::map<std::pair<c10::ivalue::Object *, size_t>, Val> slotsAfter_;
  std::vector<Engine::Link> links_;
  bool metadataChanged_ = false;
};

} // namespace plait::frontend
