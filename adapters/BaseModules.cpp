// Comparing modules by the memory of their parameters.
#include "adapters/BaseModules.h"

#include "mil/IR.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::adapters {

using llvm::StringRef;
using mil::Attr;
using mil::OpKind;

BaseModules::BaseModules(std::shared_ptr<const mil::ModuleTree> tree) : tree_(std::move(tree)) {
  for (auto [i, entry] : llvm::enumerate(entries()))
    byName_[StringRef(entry.path).rsplit('.').second].push_back(i);
  for (const mil::ModuleInfo &module : tree_->modules())
    for (const auto &[name, tensor] : module.tensors)
      if (const uint8_t *address = mil::addressOf(tensor))
        ++uses_[address];
}

TensorData BaseModules::tensor(unsigned module, StringRef name) const {
  const TensorData *found = (*this)[module].find(name);
  return found ? *found : TensorData();
}

bool BaseModules::haveSameOwnTensors(unsigned one, unsigned other) const {
  return llvm::all_of((*this)[one].tensors, [&](const auto &own) {
    const TensorData *match = (*this)[other].find(own.first);
    return match && mil::addressOf(*match) == mil::addressOf(own.second);
  });
}

bool BaseModules::haveSameTensors(StringRef one, StringRef other) {
  auto [it, isNew] = twins_.try_emplace({one.str(), other.str()}, false);
  if (isNew)
    it->second = llvm::all_of(entries(), [&](const Entry &entry) {
      StringRef rest = entry.path;
      if (!rest.consume_front(one) || !(rest.empty() || rest.starts_with(".")))
        return true;
      auto match = find((other + rest).str());
      return match && haveSameOwnTensors(entry.module, *match);
    });
  return it->second;
}

bool BaseModules::areBelowTwins(StringRef path, StringRef other, bool traced) {
  auto haveSameName = [&] {
    return path.contains('.') && other.contains('.') &&
           path.rsplit('.').second == other.rsplit('.').second;
  };
  auto isCallable = [&](StringRef at) { return (*this)[*find(at)].callable; };
  // What both paths end in is below the two names of one module.
  while (haveSameName()) {
    path = path.rsplit('.').first;
    other = other.rsplit('.').first;
    // Two that are both called are two modules, which share a layer. A list is never called, so
    // that it tells nothing unless no longer path does.
    if (traced && (isCallable(path) || (haveSameName() && !isCallable(other))))
      continue;
    if (haveSameTensors(path, other))
      return true;
  }
  return false;
}

std::optional<unsigned> BaseModules::calledTwin(StringRef path) {
  for (unsigned index : byName_.lookup(path.rsplit('.').second)) {
    const Entry &entry = entries()[index];
    if ((*this)[entry.module].callable && entry.path != path &&
        areBelowTwins(path, entry.path, /*traced=*/true))
      return entry.module;
  }
  return std::nullopt;
}

const BaseModules::Entry *BaseModules::scriptedTwin(StringRef path) {
  unsigned module = *find(path);
  for (unsigned index : byName_.lookup(path.rsplit('.').second)) {
    const Entry &entry = entries()[index];
    if ((*this)[entry.module].callable && entry.module != module &&
        haveSameOwnTensors(module, entry.module) &&
        areBelowTwins(path, entry.path, /*traced=*/false))
      return &entry;
  }
  return nullptr;
}

const BaseModules::Entry *BaseModules::aliasOf(unsigned module) {
  TensorData weight = tensor(module, "weight");
  if (!isTied(weight))
    return nullptr;
  StringRef path = pathOf(module);
  auto it = llvm::find_if(entries(), [&](const Entry &entry) {
    const mil::ModuleInfo &other = (*this)[entry.module];
    return entry.module != module && !other.callable &&
           mil::addressOf(tensor(entry.module, "weight")) == mil::addressOf(weight) &&
           other.type == (*this)[module].type && !areBelowTwins(entry.path, path, /*traced=*/true);
  });
  return it == entries().end() ? nullptr : &*it;
}

bool BaseModules::isTied(const TensorData &parameter) const {
  const uint8_t *address = mil::addressOf(parameter);
  return address && uses_.lookup(address) > 1;
}

TensorData BaseModules::normalisedWeight(unsigned module) const {
  TensorData magnitude = tensor(module, "weight_g"), direction = tensor(module, "weight_v");
  auto child = [&](std::optional<unsigned> parent, StringRef name) {
    return parent ? (*this)[*parent].child(name) : std::nullopt;
  };
  auto parts = child((*this)[module].child("parametrizations"), "weight");
  auto how = child(parts, "0");
  if (how && (*this)[*how].type == "_WeightNorm") {
    magnitude = tensor(*parts, "original0");
    direction = tensor(*parts, "original1");
  }
  if (!magnitude || !direction || magnitude.rank() != direction.rank() || direction.rank() < 2 ||
      !mil::isFloat(direction.dtype()) || !mil::isFloat(magnitude.dtype()))
    return {};
  // One magnitude for each slice along an axis.
  llvm::SmallVector<int64_t, 5> others;
  for (unsigned axis = 0; axis < direction.rank(); ++axis)
    if (magnitude.shape()[axis] == 1)
      others.push_back(axis);
    else if (magnitude.shape()[axis] != direction.shape()[axis])
      return {};
  TensorData values = direction.cast(mil::DType::F32), scale = magnitude.cast(mil::DType::F32);
  TensorData norm = TensorData::computed(
      OpKind::reduce_l2_norm,
      {{Attr(values)}, {Attr(TensorData::ints(others))}, {Attr::boolean(true)}}, scale.type());
  TensorData product =
      TensorData::computed(OpKind::mul, {{Attr(values)}, {Attr(scale)}}, values.type());
  return TensorData::computed(OpKind::real_div, {{Attr(product)}, {Attr(norm)}}, values.type());
}

} // namespace plait::adapters
