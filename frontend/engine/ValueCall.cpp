// Arguments of a lowering of values by schema name.
#include "frontend/engine/ValueCall.h"

namespace plait::frontend {

Held<const Val *> ValueCall::find(llvm::StringRef name) const {
  for (auto [i, argument] : llvm::enumerate(schema_.arguments()))
    if (argument.name() == name)
      return &arguments_[i];
  return nullptr;
}

const Val &ValueCall::operator[](llvm::StringRef name) const {
  if (auto val = find(name))
    return *val;
  refuseArgument(schema_, name);
}

Maybe<int64_t> ValueCall::integer(llvm::StringRef name) const {
  auto val = find(name);
  return val && val->known() && val->known()->isInt() ? Maybe(val->known()->toInt()) : std::nullopt;
}

bool ValueCall::isFalse(llvm::StringRef name) const {
  auto val = find(name);
  return val && val->known() && val->known()->isBool() && !val->known()->toBool();
}

int64_t ValueCall::wrapAxis(int64_t axis, int64_t rank) {
  int64_t bound = std::max<int64_t>(rank, 1);
  TORCH_CHECK(axis >= -bound && axis < bound, "dimension ", axis,
              " is out of range for a tensor of rank ", rank);
  return axis < 0 ? axis + bound : axis;
}

int64_t ValueCall::axis(llvm::StringRef name, int64_t rank) const {
  (*this)[name]; // refuses where there is none
  auto dim = integer(name);
  TORCH_CHECK(dim, "'", name.str(), "' must be an integer that is known while compiling");
  return wrapAxis(*dim, rank);
}

} // namespace plait::frontend
