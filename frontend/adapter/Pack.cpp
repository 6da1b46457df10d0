// The arrays of an adapter for a function that takes its matrices as inputs.
#include "frontend/Frontend.h"
#include "frontend/adapter/AdapterKeys.h"
#include "frontend/adapter/BranchScale.h"
#include "frontend/adapter/BranchShapes.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <set>

namespace plait::frontend {

using llvm::StringRef;
using mil::TensorData;

static int64_t rankOf(const AdapterBranch &branch) {
  for (StringRef rows : {"lora_A", "lora_embedding_A", "hada_w1_b", "lokr_w2_b", "lokr_w1_b"})
    if (const at::Tensor *factor = branch.find(rows); factor && factor->dim() > 0)
      return factor->size(0);
  return 1;
}

/// The tensors of an adapter by module.
static std::map<std::string, AdapterBranch> branchesOf(const AdapterFile &file) {
  std::map<std::string, AdapterBranch> branches;
  for (const auto &[key, tensor] : file.tensors()) {
    AdapterKey parsed = parseAdapterKey(key, file.config().has_value());
    AdapterBranch &branch = branches[parsed.module];
    if (!parsed.factor.empty())
      branch.factors[parsed.factor] = {tensor, key};
    branch.kind = file.config() ? file.config()->kind : kindOf(branch);
  }
  return branches;
}

static TensorData dataOf(const AdapterFile &file, const at::Tensor &tensor) {
  auto dtype = tensor.scalar_type();
  if (auto storage = file.storageOf(tensor.const_data_ptr());
      storage && (dtype == at::kHalf || dtype == at::kBFloat16 || dtype == at::kFloat))
    return TensorData::view(storage, 0,
                            dtype == at::kHalf       ? mil::DType::F16
                            : dtype == at::kBFloat16 ? mil::DType::BF16
                                                     : mil::DType::F32,
                            tensor.sizes().vec(), tensor.strides().vec());
  at::Tensor copy = tensor.to(at::kFloat).contiguous();
  auto *bytes = static_cast<const uint8_t *>(copy.const_data_ptr());
  return TensorData::fromBytes(mil::DType::F32, copy.sizes().vec(), {bytes, bytes + copy.nbytes()});
}

Expected<std::vector<PackedInput>> packAdapter(StringRef path,
                                               llvm::ArrayRef<AdapterInput> inputs) {
  auto opened = AdapterFile::open(path);
  if (!opened)
    return opened.takeError();
  const AdapterFile &file = **opened;
  bool fromPeft = file.config().has_value();
  std::map<std::string, AdapterBranch> branches = branchesOf(file);
  std::vector<PackedInput> packed;
  std::set<std::pair<std::string, std::string>> taken; // modules with factors
  for (const AdapterInput &input : inputs) {
    AdapterKey wanted = parseAdapterKey(input.key, fromPeft);
    auto branch = branches.find(wanted.module);
    const at::Tensor *tensor =
        branch == branches.end() ? nullptr : branch->second.find(wanted.factor);
    if (!tensor)
      return makeError("{0}: the adapter has no tensor '{1}', which the function's input '{2}' "
                       "stands for; the function takes adapters of the same modules alone",
                       file.weights(), input.key, input.name);
    llvm::SmallVector<int64_t, 4> shape(tensor->sizes().begin(), tensor->sizes().end());
    if (shape != input.shape)
      return makeError("{0}: tensor '{1}' is {2}, and the function's input '{3}' is {4}; the "
                       "function takes adapters of the same rank alone",
                       file.weights(), input.key, shapeText(tensor->sizes()), input.name,
                       shapeText({input.shape.data(), input.shape.size()}));
    double scale = 1;
    if (carriesScale(branch->second, wanted.factor)) {
      auto own = branchScale(file.config(), wanted.module, branch->second, rankOf(branch->second));
      if (!own)
        return addContext(own.takeError(), file.weights() + ": module '" + wanted.module + "'");
      scale = *own;
    }
    packed.push_back(
        {input.name,
         dataOf(file, *tensor).cast(mil::DType::F32).scale(scale).cast(mil::DType::F16)});
    taken.insert({wanted.module, wanted.factor});
  }
  std::vector<std::string> left;
  for (const auto &[module, branch] : branches)
    for (const auto &[name, factor] : branch.factors)
      if (name != "alpha" && !taken.contains({module, name}))
        left.push_back("'" + factor.key + "'");
  if (left.empty())
    return packed;
  size_t count = left.size();
  left.resize(std::min<size_t>(count, 5));
  return makeError(
      "{0}: the function has no input for {1}{2}; it takes adapters of the same modules "
      "alone",
      file.weights(), llvm::join(left, ", "), count > left.size() ? " …" : "");
}

} // namespace plait::frontend
