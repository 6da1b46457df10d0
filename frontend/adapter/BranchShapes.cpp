// One check a kind.
#include "frontend/adapter/BranchShapes.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::frontend {

using llvm::StringRef;

static constexpr const char *kTraceInstead =
    "trace the adapted model and give it as --function NAME=MODEL.pt";

std::string shapeText(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + (shape[i] < 0 ? "any" : std::to_string(shape[i]));
  return text + "]";
}

namespace {

/// Element types that a weight can be made of: not the eight bits of newer PyTorch.
bool isRead(at::ScalarType type) {
  return type == at::kHalf || type == at::kBFloat16 || type == at::kFloat || type == at::kDouble;
}

class Checker {
public:
  Checker(const AdaptedModule &module, AdapterBranch &branch) : module_(module), branch_(branch) {}

  Expected<int64_t> check() {
    if (Error error = checkWeight())
      return error;
    for (const auto &[name, factor] : branch_.factors) {
      at::ScalarType dtype = factor.tensor.scalar_type();
      if (name == "alpha" && factor.tensor.numel() != 1)
        return makeError("'{0}' is {1}, and one number is wanted", factor.key,
                         shapeText(factor.tensor.sizes()));
      // Extracted LoRAs have their rank as alpha.
      bool isWhole = name == "alpha" && at::isIntegralType(dtype, /*includeBool=*/false);
      if (!isRead(dtype) && !isWhole)
        return makeError("'{0}' is no tensor of floating-point numbers of 16 bits or more",
                         factor.key);
      if (factor.tensor.numel() == 0)
        return makeError("'{0}' is empty, {1}: what DeepSpeed ZeRO-3 and FSDP leave where the "
                         "shards were not gathered before saving; gather them and save the adapter "
                         "again",
                         factor.key, shapeText(factor.tensor.sizes()));
    }
    if (Error error = magnitude())
      return error;
    switch (branch_.kind) {
    case AdapterKind::Lora:
      return use() == WeightUse::Embedding ? embedding() : lora();
    case AdapterKind::Ia3:
      return scaling();
    case AdapterKind::Loha:
      return loha();
    case AdapterKind::Lokr:
      return lokr();
    case AdapterKind::Vera:
      return vera();
    case AdapterKind::LnTuning:
      break;
    }
    return 1;
  }

private:
  WeightUse::Kind use() const { return module_.use.kind; }

  Error checkWeight() {
    StringRef type = module_.object->type()->name()->name();
    if (!module_.weight.defined())
      return makeError("a {0} has no tensor 'weight' to adapt; trace the adapted model and give it "
                       "as --function NAME=MODEL.pt",
                       type);
    bool fits =
        use() == WeightUse::Convolution ? module_.weight.dim() >= 3 : module_.weight.dim() == 2;
    if (use() == WeightUse::Other || !fits)
      return makeError("a {0} is no linear layer, convolution or embedding that plait can adapt; "
                       "trace the adapted model and give it as --function NAME=MODEL.pt",
                       type);
    bool transposed = use() == WeightUse::TransposedLinear;
    out_ = module_.weight.size(transposed ? 1 : 0);
    in_ = module_.weight.size(transposed ? 0 : 1);
    return Error::success();
  }

  /// The factor's shape: -1 takes anything.
  Error expect(StringRef name, llvm::ArrayRef<int64_t> shape) {
    auto it = branch_.factors.find(name.str());
    if (it == branch_.factors.end())
      return makeError("'{0}' is missing", name);
    at::Tensor &tensor = it->second.tensor;
    auto fits = [&] {
      return tensor.dim() == int64_t(shape.size()) &&
             llvm::all_of(llvm::zip(tensor.sizes(), shape), [](auto pair) {
               return std::get<1>(pair) < 0 || std::get<0>(pair) == std::get<1>(pair);
             });
    };
    // A linear layer and a 1x1 convolution are one to the tools: ones at the end come and go.
    if (tensor.dim() != int64_t(shape.size()) && tensor.is_contiguous()) {
      std::vector<int64_t> sizes = tensor.sizes().vec();
      while (sizes.size() > std::max<size_t>(shape.size(), 1) && sizes.back() == 1)
        sizes.pop_back();
      sizes.resize(std::max(sizes.size(), shape.size()), 1);
      tensor = tensor.view(sizes);
    }
    if (!fits())
      return makeError("'{0}' is {1}, where {2} fits the base's weight {3}: the adapter belongs to "
                       "another base",
                       it->second.key, shapeText(tensor.sizes()),
                       shapeText({shape.data(), shape.size()}), shapeText(module_.weight.sizes()));
    return Error::success();
  }

  /// A kernel that lies flat, [r, in * k], as AdaLoRA has it, in the shape of the weight.
  void unflatten(StringRef name) {
    auto it = branch_.factors.find(name.str());
    if (it == branch_.factors.end())
      return;
    at::Tensor &tensor = it->second.tensor;
    int64_t inner = module_.weight.numel() / out_;
    if (inner == in_ || tensor.dim() != 2 || tensor.size(1) != inner || !tensor.is_contiguous())
      return;
    std::vector<int64_t> sizes = module_.weight.sizes().vec();
    sizes[0] = tensor.size(0);
    tensor = tensor.view(sizes);
  }

  /// A vector of `size` elements in whatever shape.
  Error expectVector(StringRef name, int64_t size) {
    const at::Tensor *tensor = branch_.find(name);
    if (!tensor)
      return makeError("'{0}' is missing", name);
    if (tensor->numel() != size)
      return makeError("'{0}' is {1}, where {2} elements fit the base's weight {3}",
                       branch_.factors[name.str()].key, shapeText(tensor->sizes()), size,
                       shapeText(module_.weight.sizes()));
    return Error::success();
  }

  Error optional() {
    return branch_.find("lora_B.bias") ? expectVector("lora_B.bias", out_) : Error::success();
  }

  /// PEFT has one magnitude an output, of an embedding one a dimension of its vectors. "dora_scale"
  /// is [out, 1 ...], or [1, in, 1 ...] of files that LyCORIS wrote without wd_on_output.
  Error magnitude() {
    auto scale = branch_.factors.find("dora_scale");
    if (scale != branch_.factors.end()) {
      const at::Tensor &tensor = scale->second.tensor;
      bool ofOutputs = tensor.dim() > 0 && tensor.size(0) == out_ && tensor.numel() == out_;
      branch_.doraInputs = !ofOutputs && tensor.numel() == in_ && use() != WeightUse::Embedding;
      branch_.factors["lora_magnitude_vector"] = scale->second;
      branch_.factors.erase(scale);
    }
    branch_.dora = branch_.find("lora_magnitude_vector");
    if (!branch_.dora)
      return Error::success();
    if (branch_.doraInputs && use() == WeightUse::Convolution && isGrouped())
      return makeError("dora_scale of the inputs of a grouped convolution is not supported; {0}",
                       kTraceInstead);
    bool ofInputs = branch_.doraInputs || use() == WeightUse::Embedding;
    return expectVector("lora_magnitude_vector", ofInputs ? in_ : out_);
  }

  bool isGrouped() const {
    auto groups = constantArgument(*module_.use.node, "groups");
    return !groups || !groups->isInt() || groups->toInt() != 1;
  }

  Expected<int64_t> embedding() {
    if (Error error = expect("lora_embedding_A", {-1, out_}))
      return error;
    int64_t rank = branch_["lora_embedding_A"].size(0);
    if (Error error = expect("lora_embedding_B", {in_, rank}))
      return error;
    if (Error error = optional())
      return error;
    return rank;
  }

  Expected<int64_t> lora() {
    if (use() == WeightUse::Convolution)
      return loraOfConvolution();
    if (branch_.find("lora_mid"))
      return makeError("lora_mid of a linear layer is not supported; {0}", kTraceInstead);
    if (Error error = expect("lora_A", {-1, in_}))
      return error;
    int64_t rank = branch_["lora_A"].size(0);
    if (Error error = expect("lora_B", {out_, rank}))
      return error;
    if (Error error = optional())
      return error;
    return rank;
  }

  Expected<int64_t> loraOfConvolution() {
    llvm::SmallVector<int64_t, 5> pointwise = {-1, -1}, kernel = {-1, -1};
    for (int64_t size : module_.weight.sizes().slice(2)) {
      pointwise.push_back(1);
      kernel.push_back(size);
    }
    bool tucker = branch_.find("lora_mid");
    if (tucker && isGrouped())
      return makeError("lora_mid of a grouped convolution is not supported; {0}", kTraceInstead);
    unflatten("lora_A");
    if (Error error = expect("lora_A", tucker ? pointwise : kernel))
      return error;
    int64_t rank = branch_["lora_A"].size(0), channels = branch_["lora_A"].size(1), last = rank;
    if (tucker) {
      kernel[1] = rank;
      if (Error error = expect("lora_mid", kernel))
        return error;
      last = branch_["lora_mid"].size(0);
    }
    pointwise[0] = out_;
    if (Error error = expect("lora_B", pointwise))
      return error;
    // Of a grouped convolution A sees all channels, the weight those of one group.
    int64_t groups = channels / in_, columns = branch_["lora_B"].size(1);
    bool isGrouped = columns * groups == rank; // B too, as PEFT has it
    if (channels % in_ != 0 || (groups != 1 && (tucker || (branch_.dora && !isGrouped))))
      return makeError("'{0}' is {1}, which does not fit the base's weight {2}",
                       branch_.factors["lora_A"].key, shapeText(branch_["lora_A"].sizes()),
                       shapeText(module_.weight.sizes()));
    if (tucker ? last != columns : last % columns != 0)
      return makeError("the ranks of lora_A {0} and lora_B {1} do not fit",
                       shapeText(branch_["lora_A"].sizes()), shapeText(branch_["lora_B"].sizes()));
    if (Error error = optional())
      return error;
    return rank;
  }

  Expected<int64_t> scaling() {
    const at::Tensor *scale = branch_.find("ia3_l");
    if (use() == WeightUse::Embedding)
      return makeError("(IA)3 of an embedding is not supported");
    if (!scale)
      return makeError("'ia3_l' is missing");
    // Of a linear layer [1, in] goes in and [out, 1] comes out; of a convolution the configuration
    // says which.
    if (use() != WeightUse::Convolution && scale->dim() == 2 && in_ * out_ > 1)
      branch_.feedforward = scale->size(0) == 1 && scale->size(1) == in_;
    int64_t inputs = in_;
    if (use() == WeightUse::Convolution && isGrouped() && scale->numel() % in_ == 0 &&
        out_ % (scale->numel() / in_) == 0)
      inputs = scale->numel(); // of all groups
    if (Error error = expectVector("ia3_l", branch_.feedforward ? inputs : out_))
      return error;
    return 1;
  }

  Error linearOrConvolution() const {
    if (use() == WeightUse::Embedding)
      return makeError("{0} of an embedding is not supported", name(branch_.kind));
    if (use() == WeightUse::TransposedLinear)
      return makeError("{0} of a layer with a transposed weight is not supported",
                       name(branch_.kind));
    return Error::success();
  }

  Expected<int64_t> loha() {
    if (Error error = linearOrConvolution())
      return error;
    int64_t inner = module_.weight.numel() / out_;
    bool tucker = branch_.find("hada_t1") != nullptr;
    for (StringRef k : {"1", "2"}) {
      std::string a = ("hada_w" + k + "_a").str(), b = ("hada_w" + k + "_b").str();
      if (Error error = tucker ? expect(a, {-1, out_}) : expect(a, {out_, -1}))
        return error;
      int64_t rank = branch_[a].size(tucker ? 0 : 1);
      if (Error error = expect(b, {rank, tucker ? in_ : inner}))
        return error;
      if (tucker) {
        const at::Tensor *core = branch_.find(("hada_t" + k).str());
        if (!core || core->dim() < 3 || core->size(0) != rank || core->size(1) != rank ||
            core->numel() != rank * rank * (inner / in_))
          return makeError("'hada_t{0}' does not fit the base's weight {1}", k,
                           shapeText(module_.weight.sizes()));
      }
    }
    return branch_["hada_w1_b"].size(0);
  }

  Expected<int64_t> lokr() {
    if (Error error = linearOrConvolution())
      return error;
    // Of both factors the rows and columns, and the rank where it is a product.
    int64_t rank = 1, rows[2], columns[2];
    int64_t inner = module_.weight.numel() / out_ / in_;
    const at::Tensor *core = branch_.find("lokr_t2");
    for (int k : {1, 2}) {
      std::string name = "lokr_w" + std::to_string(k);
      const at::Tensor *whole = branch_.find(name), *a = branch_.find(name + "_a"),
                       *b = branch_.find(name + "_b");
      bool tucker = k == 2 && !whole && core;
      if (whole
              ? whole->dim() < 2
              : !a || !b || a->dim() != 2 || b->dim() != 2 || (!tucker && a->size(1) != b->size(0)))
        return makeError("'{0}' is missing, or its factors do not fit each other", name);
      if (tucker &&
          (core->dim() < 3 || core->size(0) != a->size(0) || core->size(1) != b->size(0) ||
           core->numel() != a->size(0) * b->size(0) * inner))
        return makeError("'lokr_t2' does not fit the base's weight {0}",
                         shapeText(module_.weight.sizes()));
      if (!whole)
        rank = b->size(0);
      rows[k - 1] = whole ? whole->size(0) : a->size(tucker ? 1 : 0);
      columns[k - 1] = (whole ? whole : b)->size(1);
    }
    const at::Tensor *whole = branch_.find("lokr_w2");
    // An undecomposed kernel is flattened into the columns.
    bool flat = !whole && !core;
    branch_.leadingKron &= module_.weight.dim() == 3 && whole && whole->dim() == 3;
    const at::Tensor *first = branch_.find("lokr_w1");
    if (rows[0] * rows[1] != out_ || columns[0] * columns[1] != in_ * (flat ? inner : 1) ||
        (whole && whole->numel() != rows[1] * columns[1] * inner) ||
        (first && first->numel() != rows[0] * columns[0]))
      return makeError("lokr_w1 and lokr_w2 do not make the base's weight {0}",
                       shapeText(module_.weight.sizes()));
    return rank;
  }

  Expected<int64_t> vera() {
    if (use() != WeightUse::Linear && use() != WeightUse::TransposedLinear)
      return makeError("VeRA of anything but a linear layer is not supported");
    if (!branch_.find("vera_A") || !branch_.find("vera_B"))
      return makeError("the adapter was saved without its projections vera_A and vera_B; save it "
                       "with save_projection=True");
    if (Error error = expect("vera_A", {-1, -1}))
      return error;
    int64_t rank = branch_["vera_A"].size(0);
    if (Error error = expect("vera_B", {-1, rank}))
      return error;
    if (branch_["vera_A"].size(1) < in_ || branch_["vera_B"].size(0) < out_)
      return makeError("its projections are too small for the base's weight {0}",
                       shapeText(module_.weight.sizes()));
    if (Error error = expectVector("vera_lambda_d", rank))
      return error;
    if (Error error = expectVector("vera_lambda_b", out_))
      return error;
    return 1;
  }

  const AdaptedModule &module_;
  AdapterBranch &branch_;
  int64_t out_ = 0, in_ = 0;
};

} // namespace

Expected<int64_t> checkBranch(const AdaptedModule &module, AdapterBranch &branch) {
  return Checker(module, branch).check();
}

} // namespace plait::frontend
