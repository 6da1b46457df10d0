// The table of lowerings, filled once from the list of families.
#include "frontend/Frontend.h"
#include "frontend/lower/Families.h"

namespace plait::frontend {

void Table::add(std::initializer_list<const char *> names, LowerFn fn) {
  for (const char *name : names) {
    [[maybe_unused]] bool fresh = fns_.try_emplace(name, fn).second;
    assert(fresh && "an operation has one lowering");
  }
}

LowerFn Table::find(llvm::StringRef name) const { return fns_.lookup(name); }

std::vector<std::string> Table::names() const {
  std::vector<std::string> names;
  for (const auto &entry : fns_)
    names.push_back(entry.getKey().str());
  llvm::sort(names);
  return names;
}

const Table &Table::get() {
  static const Table table = [] {
    Table t;
#define F(NAME) register##NAME(t);
    PLAIT_LOWERING_FAMILIES(F)
#undef F
    return t;
  }();
  return table;
}

std::vector<std::string> supportedOperations() { return Table::get().names(); }

} // namespace plait::frontend
