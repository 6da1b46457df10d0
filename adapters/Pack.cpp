// The arrays of an adapter for a function that takes its matrices as inputs.
#include "adapters/Pack.h"

#include "adapters/AdapterKeys.h"
#include "adapters/BranchScale.h"
#include "adapters/InputKind.h"
#include "adapters/Tensors.h"
#include "adapters/VeraProjections.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <set>

namespace plait::adapters {

using llvm::StringRef;
using mil::TensorData;

static int64_t rankOf(const AdapterBranch &branch) {
  for (StringRef rows : {"lora_A", "lora_embedding_A", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"})
    if (const TensorData *factor = branch.find(rows); factor && factor->rank() > 0)
      return factor->shape()[0];
  return 1;
}

/// Branches by part of a pipeline and module.
using Branches = std::map<std::pair<std::string, std::string>, AdapterBranch>;

/// The tensors of the parts of an adapter that a function has inputs for. What replaces a parameter
/// of the base has no place in a function that takes matrices; a copy of an adapted embedding,
/// which PEFT saves along, is the base's own.
static Expected<Branches> branchesOf(const AdapterFile &file, const std::set<std::string> &parts) {
  Branches branches;
  for (const auto &[key, tensor] : file.tensors()) {
    AdapterKey parsed = file.parse(key);
    if (!parts.count(parsed.part))
      continue;
    AdapterBranch &branch = branches[{parsed.part, parsed.module}];
    if (!parsed.factor.empty())
      branch.factors[parsed.factor] = {tensor, key};
    else if (!StringRef(key).contains(".base_layer."))
      return makeError(Code::AdapterInputs,
                       "{0}: the adapter replaces '{1}', which the function has no input for; "
                       "compile it with --lora keep",
                       file.weights(), key);
    const auto &config = file.config(parsed.part);
    branch.kind = config ? config->kind : kindOf(branch);
  }
  return branches;
}

/// VeRA's projections in the sizes of the function's inputs, where the adapter has them as a seed.
static void drawMissingProjections(const AdapterFile &file, llvm::ArrayRef<AdapterInput> inputs,
                                   AdapterBranch &shared) {
  const auto &config = file.config(""); // PEFT's own, of no part
  if (!config || !config->projectionSeed || shared.find("vera_A") || shared.find("vera_B"))
    return;
  const AdapterInput *a = nullptr, *b = nullptr;
  for (const AdapterInput &input : inputs)
    if (StringRef factor = file.parse(input.key).factor; input.shape.size() == 2) {
      a = factor == "vera_A" ? &input : a;
      b = factor == "vera_B" ? &input : b;
    }
  if (!a || !b || a->shape[0] != config->rank || b->shape[1] != config->rank)
    return;
  shared.factors.merge(drawProjections(*config, a->shape[1], b->shape[0]));
  shared.kind = config->kind;
}

/// The tensor in the shape of the input that it is for; empty where it does not fit. Ones at
/// the end come and go, and a kernel may lie flat, as where a function is compiled.
static TensorData fitted(const TensorData &tensor, llvm::ArrayRef<int64_t> shape) {
  auto trimmed = [](llvm::ArrayRef<int64_t> sizes) {
    while (!sizes.empty() && sizes.back() == 1)
      sizes = sizes.drop_back();
    return sizes;
  };
  llvm::ArrayRef<int64_t> sizes = tensor.shape();
  bool flat = sizes.size() == 2 && shape.size() > 2 && sizes[0] == shape[0] &&
              tensor.numElements() == mil::numElements(shape);
  if (trimmed(sizes) != trimmed(shape) && !flat)
    return {};
  return tensor.reshape(shape);
}

Expected<std::vector<PackedInput>> packAdapter(const AdapterSpec &adapter,
                                               llvm::ArrayRef<AdapterInput> inputs,
                                               const ReadPickle &readPickle) {
  const std::optional<GivenScale> &given = adapter.scale;
  auto opened = AdapterFile::open(adapter.path, readPickle);
  if (!opened)
    return opened.takeError();
  const AdapterFile &file = **opened;
  // Of a file of several parts of a pipeline the function has one, or those that a wrapper holds.
  std::set<std::string> parts;
  for (const AdapterInput &input : inputs)
    parts.insert(file.parse(input.key).part);
  if (parts.empty())
    parts.insert("");
  auto made = branchesOf(file, parts);
  if (!made)
    return made.takeError();
  Branches &branches = *made;
  drawMissingProjections(file, inputs, branches[{"", ""}]);
  // Scales depend on all factors of a module, so that none may go before the last is packed.
  std::set<const TensorData *> used;
  std::vector<PackedInput> packed;
  bool lacking = false;
  for (const AdapterInput &input : inputs) {
    AdapterKey wanted = file.parse(input.key);
    const auto &config = file.config(wanted.part);
    auto branch = branches.find({wanted.part, wanted.module});
    if (branch != branches.end() && !input.kind.empty()) {
      auto fits = isOfKind(input.kind, config, wanted.module, branch->second.kind);
      if (!fits)
        return addContext(fits.takeError(), file.path());
      if (!*fits)
        return makeError(Code::AdapterInputs,
                         "{0}: the function takes arrays of the kind {1} in module '{2}', and this "
                         "is no such adapter; compile a function of its own for it with --lora "
                         "inputs",
                         file.weights(), input.kind, wanted.module);
    }
    const TensorData *tensor =
        branch == branches.end() ? nullptr : branch->second.find(wanted.factor);
    if (!tensor)
      return makeError(Code::AdapterInputs,
                       "{0}: the adapter has no tensor '{1}', which the function's input '{2}' "
                       "stands for; the function takes adapters of the same modules alone",
                       file.weights(), input.key, input.name);
    TensorData array = fitted(*tensor, input.shape);
    if (!array)
      return makeError(Code::AdapterInputs,
                       "{0}: tensor '{1}' is {2}, and the function's input '{3}' is {4}; the "
                       "function takes adapters of the same rank alone",
                       file.weights(), input.key, shapeText(tensor->shape()), input.name,
                       shapeText(input.shape));
    double scale = 1;
    if (carriesScale(branch->second, wanted.factor)) {
      // The function's inputs are named after the base's modules.
      bool isModule = StringRef(input.name).starts_with(wanted.part + "_");
      AdapterKey key = file.parse(branch->second.factors.at(wanted.factor).key);
      auto own = branchScale(config, wanted.module, branch->second, rankOf(branch->second),
                             {given, file.isOfDiffusers(key, isModule)});
      lacking |= lacksScale(config, branch->second);
      if (!own)
        return addContext(own.takeError(), file.weights() + ": module '" + wanted.module + "'");
      scale = *own;
    }
    packed.push_back({input.name, array.cast(mil::DType::F32).scale(scale).cast(mil::DType::F16)});
    used.insert(tensor);
  }
  std::vector<std::string> left;
  for (const auto &[module, branch] : branches)
    for (const auto &[name, factor] : branch.factors)
      if (name != "alpha" && !used.count(&factor.tensor))
        left.push_back("'" + factor.key + "'");
  if (left.empty() && given && !lacking)
    return makeError(Code::AdapterScale,
                     "{0}: {1} is given, and the adapter says its scale itself; take the option "
                     "away",
                     file.weights(), given->isAlpha ? "--lora-alpha" : "--lora-scale");
  if (left.empty())
    return packed;
  size_t count = left.size();
  left.resize(std::min<size_t>(count, 5));
  return makeError(
      Code::AdapterInputs,
      "{0}: the function has no input for {1}{2}; it takes adapters of the same modules "
      "alone",
      file.weights(), llvm::join(left, ", "), count > left.size() ? " …" : "");
}

} // namespace plait::adapters
