// The walk over a module's attributes.
#include "frontend/script/ParameterNames.h"

#include "llvm/ADT/STLExtras.h"

#include <ATen/core/class_type.h>

namespace plait::frontend {

static constexpr unsigned kNamesOfAModule = 16;

ParameterNames::ParameterNames(const c10::IValue &root) { add(root, ""); }

void ParameterNames::add(const c10::IValue &value, const std::string &path) {
  auto below = [&](const std::string &name) { return path.empty() ? name : path + "." + name; };
  if (value.isTensor()) {
    const at::Tensor &tensor = value.toTensor();
    if (!tensor.defined() || tensor.layout() != at::kStrided || tensor.numel() == 0)
      return;
    if (Named *known = find(tensor))
      known->paths.push_back(path);
    else
      tensors_[tensor.const_data_ptr()].push_back({tensor, {path}});
  } else if (value.isObject()) {
    const auto &object = value.toObjectRef();
    if (++visits_[&object] > kNamesOfAModule)
      return;
    auto type = object.type();
    for (size_t slot = 0; slot < type->numAttributes(); ++slot)
      add(object.getSlot(slot), below(type->getAttributeName(slot)));
  } else if (value.isList()) {
    for (auto [i, element] : llvm::enumerate(value.toListRef()))
      add(element, below(std::to_string(i)));
  } else if (value.isTuple()) {
    for (auto [i, element] : llvm::enumerate(value.toTupleRef().elements()))
      add(element, below(std::to_string(i)));
  } else if (value.isGenericDict()) {
    for (const auto &entry : value.toGenericDict())
      if (entry.key().isString())
        add(entry.value(), below(entry.key().toStringRef()));
  }
}

ParameterNames::Named *ParameterNames::find(const at::Tensor &tensor) const {
  auto found = tensors_.find(tensor.const_data_ptr());
  if (found == tensors_.end())
    return nullptr;
  auto named = llvm::find_if(found->second, [&](const Named &one) {
    return one.tensor.scalar_type() == tensor.scalar_type() &&
           one.tensor.sizes() == tensor.sizes() && one.tensor.strides() == tensor.strides();
  });
  return named == found->second.end() ? nullptr : named;
}

mil::Origin ParameterNames::originOf(const at::Tensor &tensor) const {
  if (!tensor.defined() || tensor.layout() != at::kStrided || tensor.numel() == 0)
    return {};
  const Named *named = find(tensor);
  return named ? mil::Origin::parameter(named->paths) : mil::Origin();
}

at::Tensor ParameterNames::tensorAt(llvm::StringRef path) const {
  for (const auto &[first, list] : tensors_)
    for (const Named &named : list)
      if (llvm::is_contained(named.paths, path))
        return named.tensor;
  return {};
}

/// From its first element to behind its last.
static std::pair<const char *, const char *> extent(const at::Tensor &tensor) {
  auto *first = static_cast<const char *>(tensor.const_data_ptr());
  int64_t last = 0;
  for (auto [size, stride] : llvm::zip(tensor.sizes(), tensor.strides()))
    last += (size - 1) * stride;
  return {first, first + (last + 1) * int64_t(tensor.element_size())};
}

std::string ParameterNames::overlapping(const at::Tensor &tensor) const {
  if (tensor.layout() != at::kStrided || tensor.numel() == 0)
    return "";
  const Named *own = find(tensor);
  auto [begin, end] = extent(tensor);
  std::string found;
  for (const auto &[pointer, list] : tensors_)
    for (const Named &named : list) {
      auto [first, last] = extent(named.tensor);
      if (&named != own && first < end && begin < last)
        found = found.empty() ? named.paths[0] : std::min(found, named.paths[0]);
    }
  return found;
}

std::vector<std::string> ParameterNames::paths() const {
  std::vector<std::string> paths;
  for (const auto &[first, list] : tensors_)
    for (const Named &named : list)
      paths.push_back(named.paths[0]);
  llvm::sort(paths);
  return paths;
}

} // namespace plait::frontend
