// Arguments of a lowering of values by schema name.
#include "frontend/engine/ValueCall.h"

namespace plait::frontend {

const Val *ValueCall::find(llvm::StringRef name) const {
  for (auto [i, argument] : llvm::enumerate(schema_.arguments()))
    if (argument.name() == name)
      return &arguments_[i];
  return nullptr;
}

const Val &ValueCall::operator[](llvm::StringRef name) const {
  const Val *val = find(name);
  assert(val && "the schema has this argument");
  return *val;
}

std::optional<int64_t> ValueCall::integer(llvm::StringRef name) const {
  const Val *val = find(name);
  return val && val->known() && val->known()->isInt() ? std::optional(val->known()->toInt())
                                                      : std::nullopt;
}

bool ValueCall::isFalse(llvm::StringRef name) const {
  const Val *val = find(name);
  return val && val->known() && val->known()->isBool() && !val->known()->toBool();
}

int64_t ValueCall::wrapAxis(int64_t axis, int64_t rank) {
  int64_t bound = std::max<int64_t>(rank, 1);
  TORCH_CHECK(axis >= -bound && axis < bound, "dimension ", axis,
              " is out of range for a tensor of rank ", rank);
  return axis < 0 ? axis + bound : axis;
}

int64_t ValueCall::axis(llvm::StringRef name, int64_t rank) const {
  return wrapAxis((*this)[name].known()->toInt(), rank);
}

} // namespace plait::frontend
