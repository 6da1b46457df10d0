// The table of lowerings, filled once from the list of families.
#include "frontend/engine/Table.h"

#include "frontend/lower/Decompositions.h"
#include "frontend/lower/Families.h"

namespace plait::frontend {

Row &Table::row(llvm::StringRef name) {
  auto [it, fresh] = rows_.try_emplace(name);
  if (fresh)
    it->second.family = family_;
  return it->second;
}

void Table::add(Names names, LowerFn fn) {
  for (const char *name : names) {
    Row &row = this->row(name);
    assert(!row.lower && "an operator has one lowering of tensors");
    row.lower = fn;
  }
}

void Table::addValues(Names names, ValuesFn fn) {
  for (const char *name : names)
    addValues(name, {""}, fn);
}

void Table::addValues(llvm::StringRef name, llvm::ArrayRef<const char *> overloads, ValuesFn fn) {
  for (llvm::StringRef overload : overloads) {
    Row &row = this->row(overload.empty() ? name.str() : (name + "." + overload).str());
    assert(!row.values && "an operator has one lowering of values");
    row.values = fn;
  }
}

void Table::addDecomposition(llvm::StringRef name, const std::string &function) {
  Row &row = this->row(name);
  assert(!row.lower && row.decomposition.empty() && "an operator has one lowering of tensors");
  row.decomposition = function;
}

void Table::addComplexDecomposition(llvm::StringRef name, const std::string &function) {
  Row &row = this->row(name);
  assert(row.complexDecomposition.empty() && "an operator has one lowering of complex tensors");
  row.complexDecomposition = function;
}

void Table::addSelectedDecomposition(llvm::StringRef name, const std::string &function) {
  Row &row = this->row(name);
  assert(row.selectedDecomposition.empty() && "an operator has one lowering of selections");
  row.selectedDecomposition = function;
}

void Table::setSelectedRows(Names names) {
  for (const char *name : names)
    row(name).whenSelected = WhenSelected::Rows;
}

void Table::setComplexParts(Names names) {
  for (const char *name : names)
    row(name).whenComplex = WhenComplex::Parts;
}

void Table::setLeavesRange(Names names) {
  for (const char *name : names)
    row(name).leavesRange = true;
}

void Table::setWhenKnown(Names names, WhenKnown (*whenKnown)(ValueCall &)) {
  for (const char *name : names)
    row(name).whenKnown = whenKnown;
}

const Row *Table::find(llvm::StringRef name) const {
  auto it = rows_.find(name);
  return it == rows_.end() ? nullptr : &it->second;
}

std::vector<std::string> Table::names() const {
  std::vector<std::string> names;
  for (const auto &entry : rows_)
    names.push_back(entry.getKey().str());
  llvm::sort(names);
  return names;
}

const Table &Table::get() {
  static const Table table = [] {
    Table t;
#define F(NAME)                                                                                    \
  t.family_ = #NAME;                                                                               \
  register##NAME(t);
    PLAIT_LOWERING_FAMILIES(F)
#undef F
    registerDecompositions(t);
    return t;
  }();
  return table;
}

} // namespace plait::frontend
