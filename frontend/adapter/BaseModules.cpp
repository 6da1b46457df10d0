// Walking over module objects and their code.
#include "frontend/adapter/BaseModules.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"

#include <ATen/Functions.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

namespace plait::frontend {

using llvm::StringRef;

/// Deeper or larger than any model: an archive that was made to be.
static constexpr unsigned kMaxModuleDepth = 100;
static constexpr size_t kMaxModules = 1000000;

BaseModules::BaseModules(const torch::jit::Module &base) {
  add("", *base._ivalue(), 0);
  for (auto [i, entry] : llvm::enumerate(entries_)) {
    byPath_.try_emplace(entry.path, entry.object);
    byName_[StringRef(entry.path).rsplit('.').second].push_back(i);
  }
  llvm::DenseSet<const ModuleObject *> seen;
  for (const Entry &entry : entries_) {
    if (!seen.insert(entry.object).second)
      continue;
    for (const c10::IValue &slot : entry.object->slots())
      if (slot.isTensor() && slot.toTensor().defined() && slot.toTensor().numel())
        ++uses_[slot.toTensor().const_data_ptr()];
  }
}

void BaseModules::add(const std::string &path, const ModuleObject &object, unsigned depth) {
  if (depth > kMaxModuleDepth || entries_.size() > kMaxModules)
    return;
  entries_.push_back({path, &object});
  auto type = object.type();
  for (size_t slot = 0; slot < type->numAttributes(); ++slot) {
    const c10::IValue &value = object.getSlot(slot);
    if (value.isObject() && value.toObjectRef().type()->is_module())
      add(path.empty() ? type->getAttributeName(slot) : path + "." + type->getAttributeName(slot),
          value.toObjectRef(), depth + 1);
  }
}

StringRef BaseModules::pathOf(const ModuleObject &object) const {
  auto it = llvm::find_if(entries_, [&](const Entry &entry) { return entry.object == &object; });
  return it == entries_.end() ? StringRef() : StringRef(it->path);
}

static bool haveSameOwnTensors(const ModuleObject &one, const ModuleObject &other) {
  auto type = one.type();
  for (size_t slot = 0; slot < type->numAttributes(); ++slot)
    if (one.getSlot(slot).isTensor()) {
      at::Tensor match = tensorAttribute(other, type->getAttributeName(slot));
      if (!match.defined() ||
          match.const_data_ptr() != one.getSlot(slot).toTensor().const_data_ptr())
        return false;
    }
  return true;
}

bool BaseModules::haveSameTensors(StringRef one, StringRef other) {
  auto [it, isNew] = twins_.try_emplace({one.str(), other.str()}, false);
  if (isNew)
    it->second = llvm::all_of(entries_, [&](const Entry &entry) {
      StringRef rest = entry.path;
      if (!rest.consume_front(one) || !(rest.empty() || rest.starts_with(".")))
        return true;
      const ModuleObject *match = find((other + rest).str());
      return match && haveSameOwnTensors(*entry.object, *match);
    });
  return it->second;
}

bool BaseModules::areBelowTwins(StringRef path, StringRef other, bool traced) {
  auto haveSameName = [&] {
    return path.contains('.') && other.contains('.') &&
           path.rsplit('.').second == other.rsplit('.').second;
  };
  // What both paths end in is below the two names of one module.
  while (haveSameName()) {
    path = path.rsplit('.').first;
    other = other.rsplit('.').first;
    // Two that are both called are two modules, which share a layer. A list is never called, so
    // that it tells nothing unless no longer path does.
    if (traced && (isCallable(*find(path)) || (haveSameName() && !isCallable(*find(other)))))
      continue;
    if (haveSameTensors(path, other))
      return true;
  }
  return false;
}

const ModuleObject *BaseModules::calledTwin(StringRef path) {
  for (unsigned index : byName_.lookup(path.rsplit('.').second)) {
    const Entry &entry = entries_[index];
    if (isCallable(*entry.object) && entry.path != path &&
        areBelowTwins(path, entry.path, /*traced=*/true))
      return entry.object;
  }
  return nullptr;
}

const BaseModules::Entry *BaseModules::scriptedTwin(StringRef path) {
  const ModuleObject *module = find(path);
  for (unsigned index : byName_.lookup(path.rsplit('.').second)) {
    const Entry &entry = entries_[index];
    if (isCallable(*entry.object) && entry.object != module &&
        haveSameOwnTensors(*module, *entry.object) &&
        areBelowTwins(path, entry.path, /*traced=*/false))
      return &entry;
  }
  return nullptr;
}

const BaseModules::Entry *BaseModules::aliasOf(const ModuleObject &module) {
  at::Tensor weight = tensorAttribute(module, "weight");
  if (!isTied(weight))
    return nullptr;
  StringRef path = pathOf(module);
  auto it = llvm::find_if(entries_, [&](const Entry &entry) {
    at::Tensor other = tensorAttribute(*entry.object, "weight");
    return entry.object != &module && !isCallable(*entry.object) && other.defined() &&
           other.const_data_ptr() == weight.const_data_ptr() &&
           entry.object->type()->name()->name() == module.type()->name()->name() &&
           !areBelowTwins(entry.path, path, /*traced=*/true);
  });
  return it == entries_.end() ? nullptr : &*it;
}

bool BaseModules::isTied(const at::Tensor &parameter) const {
  return parameter.defined() && uses_.lookup(parameter.const_data_ptr()) > 1;
}

bool isCallable(const ModuleObject &module) { return module.type()->findMethod("forward"); }

at::Tensor tensorAttribute(const ModuleObject &module, StringRef name) {
  auto slot = module.type()->findAttributeSlot(name.str());
  if (!slot || !module.getSlot(*slot).isTensor())
    return {};
  return module.getSlot(*slot).toTensor();
}

at::Tensor normalisedWeight(const ModuleObject &module) {
  at::Tensor magnitude = tensorAttribute(module, "weight_g");
  at::Tensor direction = tensorAttribute(module, "weight_v");
  auto child = [](const ModuleObject *parent, StringRef name) -> const ModuleObject * {
    auto slot = parent ? parent->type()->findAttributeSlot(name.str()) : std::nullopt;
    return slot && parent->getSlot(*slot).isObject() ? &parent->getSlot(*slot).toObjectRef()
                                                     : nullptr;
  };
  const ModuleObject *parts = child(child(&module, "parametrizations"), "weight");
  const ModuleObject *how = child(parts, "0");
  if (how && how->type()->name()->name() == "_WeightNorm") {
    magnitude = tensorAttribute(*parts, "original0");
    direction = tensorAttribute(*parts, "original1");
  }
  if (!magnitude.defined() || !direction.defined() || magnitude.dim() != direction.dim() ||
      direction.dim() < 2 || !at::isFloatingType(direction.scalar_type()) ||
      !at::isFloatingType(magnitude.scalar_type()))
    return {};
  // One magnitude for each slice along an axis.
  std::vector<int64_t> others;
  for (int64_t axis = 0; axis < direction.dim(); ++axis)
    if (magnitude.size(axis) == 1)
      others.push_back(axis);
    else if (magnitude.size(axis) != direction.size(axis))
      return {};
  at::Tensor values = direction.to(at::kFloat);
  return magnitude.to(at::kFloat) * values /
         at::linalg_vector_norm(values, 2, others, /*keepdim=*/true);
}

namespace {

using torch::jit::Node;

WeightUse::Kind kindOf(const Node &node) {
  StringRef name = node.kind().toQualString();
  if (!name.consume_front("aten::"))
    return WeightUse::Other;
  if (name == "linear")
    return WeightUse::Linear;
  if (name == "embedding")
    return WeightUse::Embedding;
  if (name == "conv1d" || name == "conv2d" || name == "conv3d" || name == "_convolution" ||
      name == "convolution" || name == "_convolution_mode")
    return WeightUse::Convolution;
  // The product with the weight as it is, or with the weight transposed.
  if (name == "addmm" || name == "mm" || name == "matmul") {
    StringRef right = node.input(name == "addmm" ? 2 : 1)->node()->kind().toQualString();
    bool turned = llvm::is_contained({"aten::t", "aten::transpose", "aten::numpy_T", "aten::mT",
                                      "aten::adjoint", "aten::permute", "aten::swapaxes"},
                                     right);
    return turned ? WeightUse::Linear : WeightUse::TransposedLinear;
  }
  return WeightUse::Other;
}

WeightUse search(const torch::jit::Block &block, const c10::ClassType &type, unsigned depth);

WeightUse search(torch::jit::Function &function, const c10::ClassType &type, unsigned depth) {
  auto *graph = torch::jit::tryToGraphFunction(function);
  return graph && depth < 8 ? search(*graph->graph()->block(), type, depth + 1) : WeightUse();
}

WeightUse search(const torch::jit::Block &block, const c10::ClassType &type, unsigned depth) {
  for (const Node *node : block.nodes()) {
    WeightUse use{kindOf(*node), node};
    if (use.kind == WeightUse::Other && node->kind() == c10::prim::CallMethod) {
      if (auto *method = type.findMethod(node->s(c10::attr::name)))
        use = search(*method, type, depth);
    } else if (use.kind == WeightUse::Other && node->kind() == c10::prim::CallFunction) {
      if (auto callee = node->input(0)->type()->cast<c10::FunctionType>())
        use = search(*callee->function(), type, depth);
    }
    for (const torch::jit::Block *inner : node->blocks())
      if (use.kind == WeightUse::Other)
        use = search(*inner, type, depth);
    if (use.kind != WeightUse::Other)
      return use;
  }
  return {};
}

} // namespace

static std::optional<c10::IValue> constantOf(const torch::jit::Value *value) {
  if (auto known = torch::jit::toIValue(value))
    return known;
  const Node *node = value->node();
  if (node->kind() != c10::prim::ListConstruct)
    return std::nullopt;
  c10::List<int64_t> list;
  for (const torch::jit::Value *element : node->inputs()) {
    auto known = torch::jit::toIValue(element);
    if (!known || !known->isInt())
      return std::nullopt;
    list.push_back(known->toInt());
  }
  return c10::IValue(list);
}

std::optional<c10::IValue> constantArgument(const Node &node, StringRef name) {
  const std::vector<c10::Argument> &arguments = node.schema().arguments();
  for (size_t i = 0; i < arguments.size(); ++i)
    if (arguments[i].name() == name)
      return i < node.inputs().size() ? constantOf(node.input(i)) : arguments[i].default_value();
  return std::nullopt;
}

bool WeightUse::isDilated() const {
  auto dilation = constantArgument(*node, "dilation");
  if (!dilation || !(dilation->isInt() || dilation->isIntList()))
    return true;
  if (dilation->isInt())
    return dilation->toInt() != 1;
  return llvm::any_of(dilation->toIntVector(), [](int64_t size) { return size != 1; });
}

WeightUse weightUse(const ModuleObject &module) {
  auto type = module.type();
  auto *forward = type->findMethod("forward");
  return forward ? search(*forward, *type, 0) : WeightUse();
}

} // namespace plait::frontend
