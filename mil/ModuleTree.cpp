// Looking up modules, and borders as attributes of identities.
#include "mil/ModuleTree.h"

#include "mil/IR.h"

#include "llvm/ADT/STLExtras.h"

#include <cstring>
#include <map>

namespace plait::mil {

using llvm::StringRef;

bool Layer::isDilated() const {
  return !dilations || llvm::any_of(*dilations, [](int64_t size) { return size != 1; });
}

const TensorData *ModuleInfo::find(StringRef attribute) const {
  auto it = llvm::find_if(tensors, [&](const auto &own) { return own.first == attribute; });
  return it == tensors.end() ? nullptr : &it->second;
}

std::optional<unsigned> ModuleInfo::child(StringRef attribute) const {
  auto it = llvm::find_if(children, [&](const auto &own) { return own.first == attribute; });
  return it == children.end() ? std::nullopt : std::optional(it->second);
}

unsigned ModuleTree::addModule(ModuleInfo info) {
  modules_.push_back(std::move(info));
  return modules_.size() - 1;
}

void ModuleTree::addPath(std::string path, unsigned module) {
  byPath_.try_emplace(path, module);
  entries_.push_back({std::move(path), module});
}

std::optional<unsigned> ModuleTree::find(StringRef path) const {
  auto it = byPath_.find(path);
  return it == byPath_.end() ? std::nullopt : std::optional(it->second);
}

StringRef ModuleTree::pathOf(unsigned module) const {
  auto it = llvm::find_if(entries_, [&](const Entry &entry) { return entry.module == module; });
  return it == entries_.end() ? StringRef() : StringRef(it->path);
}

bool ModuleTree::isIn(StringRef path, unsigned module) const {
  while (true) {
    if (find(path) == module)
      return true;
    if (path.empty())
      return false;
    path = path.contains('.') ? path.rsplit('.').first : StringRef();
  }
}

const uint8_t *addressOf(const TensorData &tensor) {
  if (!tensor || tensor.numElements() == 0 || tensor.kind() != TensorData::Kind::Strided)
    return nullptr;
  return tensor.node().storage->bytes.data() + tensor.node().byteOffset;
}

// ---- Borders -----------------------------------------------------------------------------------

static constexpr const char *kInput = "goes into module", *kOutput = "comes out of module",
                            *kCall = "call";

void markBorder(Op &identity, bool isInput, unsigned module, unsigned call) {
  identity.attributes.emplace_back(isInput ? kInput : kOutput, Attr::integer(int32_t(module)));
  identity.attributes.emplace_back(kCall, Attr::integer(int32_t(call)));
}

static std::optional<unsigned> numberOf(const Op &op, StringRef attribute) {
  for (const auto &[name, value] : op.attributes)
    if (name == attribute) {
      int32_t number;
      std::memcpy(&number, value.tensor()->contiguousBytes().data(), sizeof number);
      return unsigned(number);
    }
  return std::nullopt;
}

static bool isBorder(const Op &op) {
  return op.is(OpKind::identity) && (numberOf(op, kInput) || numberOf(op, kOutput));
}

std::vector<ModuleCall> moduleCalls(Function &function) {
  std::vector<ModuleCall> calls;
  std::map<unsigned, size_t> byNumber;
  walk(function.body(), [&](Op &op) {
    if (!isBorder(op))
      return;
    auto input = numberOf(op, kInput), output = numberOf(op, kOutput);
    auto [it, isNew] = byNumber.try_emplace(*numberOf(op, kCall), calls.size());
    if (isNew)
      calls.push_back({input ? *input : *output});
    (input ? calls[it->second].input : calls[it->second].output) = &op;
  });
  return calls;
}

void removeBorders(Function &function) {
  walk(function.body(), [](Op &op) {
    if (!isBorder(op))
      return;
    op.attributes.clear();
    Value *given = op[identity::x], *made = op.result();
    if (made->isOutput()) {
      // The interface's name goes with what it names, which must be a result of its own.
      if (!given->def() || given->isOutput() || given->def()->is(OpKind::const_))
        return;
      std::swap(made->name, given->name);
    }
    made->replaceAllUsesWith(given);
    op.erase();
  });
}

} // namespace plait::mil
