// One check a kind.
#include "adapters/BranchShapes.h"

#include "adapters/Tensors.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::adapters {

using llvm::StringRef;
using mil::DType;

static constexpr const char *kTraceInstead =
    "trace the adapted model and give it as --function NAME=MODEL.pt";

namespace {

/// Element types that a weight can be made of: not the eight bits of newer PyTorch.
bool isRead(DType type) {
  return type == DType::F16 || type == DType::BF16 || type == DType::F32 || type == DType::F64;
}

class Checker {
public:
  Checker(StringRef type, const AdaptedModule &module, AdapterBranch &branch)
      : type_(type), module_(module), branch_(branch) {}

  Expected<int64_t> check() {
    if (Error error = checkWeight())
      return error;
    for (const auto &[name, factor] : branch_.factors) {
      DType dtype = factor.tensor.dtype();
      if (name == "alpha" && factor.tensor.numElements() != 1)
        return makeError(Code::AdapterTensor, "'{0}' is {1}, and one number is wanted", factor.key,
                         shapeText(factor.tensor.shape()));
      // Extracted LoRAs have their rank as alpha.
      bool isWhole = name == "alpha" && mil::isInteger(dtype);
      if (!isRead(dtype) && !isWhole)
        return makeError(Code::AdapterTensor,
                         "'{0}' is no tensor of floating-point numbers of 16 bits or more",
                         factor.key);
      if (factor.tensor.numElements() == 0)
        return makeError(Code::AdapterTensor,
                         "'{0}' is empty, {1}: what DeepSpeed ZeRO-3 and FSDP leave where the "
                         "shards were not gathered before saving; gather them and save the adapter "
                         "again",
                         factor.key, shapeText(factor.tensor.shape()));
    }
    if (Error error = magnitude())
      return error;
    switch (branch_.kind) {
    case AdapterKind::Lora:
      return layer() == Layer::Embedding ? embedding() : lora();
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
  Layer::Kind layer() const { return module_.layer.kind; }

  Error checkWeight() {
    if (!module_.weight)
      return makeError(Code::AdapterLayer,
                       "a {0} has no tensor 'weight' to adapt; trace the adapted model and give it "
                       "as --function NAME=MODEL.pt",
                       type_);
    bool fits =
        layer() == Layer::Convolution ? module_.weight.rank() >= 3 : module_.weight.rank() == 2;
    if (layer() == Layer::Other || !fits)
      return makeError(Code::AdapterLayer,
                       "a {0} is no linear layer, convolution or embedding that plait can adapt; "
                       "trace the adapted model and give it as --function NAME=MODEL.pt",
                       type_);
    bool transposed = layer() == Layer::TransposedLinear;
    out_ = module_.weight.shape()[transposed ? 1 : 0];
    in_ = module_.weight.shape()[transposed ? 0 : 1];
    return Error::success();
  }

  /// The factor's shape: -1 takes anything.
  Error expect(StringRef name, llvm::ArrayRef<int64_t> shape) {
    auto it = branch_.factors.find(name.str());
    if (it == branch_.factors.end())
      return makeError(Code::AdapterTensor, "'{0}' is missing", name);
    TensorData &tensor = it->second.tensor;
    auto fits = [&] {
      return tensor.rank() == shape.size() &&
             llvm::all_of(llvm::zip(tensor.shape(), shape), [](auto pair) {
               return std::get<1>(pair) < 0 || std::get<0>(pair) == std::get<1>(pair);
             });
    };
    // A linear layer and a 1x1 convolution are one to the tools: ones at the end come and go.
    if (tensor.rank() != shape.size()) {
      std::vector<int64_t> sizes = tensor.shape().vec();
      while (sizes.size() > std::max<size_t>(shape.size(), 1) && sizes.back() == 1)
        sizes.pop_back();
      sizes.resize(std::max(sizes.size(), shape.size()), 1);
      tensor = tensor.reshape(sizes);
    }
    if (!fits())
      return makeError(Code::AdapterMisfit,
                       "'{0}' is {1}, where {2} fits the base's weight {3}: the adapter belongs to "
                       "another base",
                       it->second.key, shapeText(tensor.shape()),
                       shapeText({shape.data(), shape.size()}), shapeText(module_.weight.shape()));
    return Error::success();
  }

  /// A kernel that lies flat, [r, in * k], as AdaLoRA has it, in the shape of the weight.
  void unflatten(StringRef name) {
    auto it = branch_.factors.find(name.str());
    if (it == branch_.factors.end())
      return;
    TensorData &tensor = it->second.tensor;
    int64_t inner = module_.weight.numElements() / out_;
    if (inner == in_ || tensor.rank() != 2 || tensor.shape()[1] != inner)
      return;
    std::vector<int64_t> sizes = module_.weight.shape().vec();
    sizes[0] = tensor.shape()[0];
    tensor = tensor.reshape(sizes);
  }

  /// A vector of `size` elements in whatever shape.
  Error expectVector(StringRef name, int64_t size) {
    const TensorData *tensor = branch_.find(name);
    if (!tensor)
      return makeError(Code::AdapterTensor, "'{0}' is missing", name);
    if (tensor->numElements() != size)
      return makeError(Code::AdapterMisfit,
                       "'{0}' is {1}, where {2} elements fit the base's weight {3}",
                       branch_.factors[name.str()].key, shapeText(tensor->shape()), size,
                       shapeText(module_.weight.shape()));
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
      const TensorData &tensor = scale->second.tensor;
      bool ofOutputs =
          tensor.rank() > 0 && tensor.shape()[0] == out_ && tensor.numElements() == out_;
      branch_.doraInputs = !ofOutputs && tensor.numElements() == in_ && layer() != Layer::Embedding;
      branch_.factors["lora_magnitude_vector"] = scale->second;
      branch_.factors.erase(scale);
    }
    branch_.dora = branch_.find("lora_magnitude_vector");
    if (!branch_.dora)
      return Error::success();
    if (branch_.doraInputs && layer() == Layer::Convolution && isGrouped())
      return makeError(Code::AdapterKind,
                       "dora_scale of the inputs of a grouped convolution is not supported; {0}",
                       kTraceInstead);
    bool ofInputs = branch_.doraInputs || layer() == Layer::Embedding;
    return expectVector("lora_magnitude_vector", ofInputs ? in_ : out_);
  }

  bool isGrouped() const { return module_.layer.isGrouped(); }

  Expected<int64_t> embedding() {
    if (Error error = expect("lora_embedding_A", {-1, out_}))
      return error;
    int64_t rank = branch_["lora_embedding_A"].shape()[0];
    if (Error error = expect("lora_embedding_B", {in_, rank}))
      return error;
    if (Error error = optional())
      return error;
    return rank;
  }

  Expected<int64_t> lora() {
    if (layer() == Layer::Convolution)
      return loraOfConvolution();
    if (branch_.find("lora_mid"))
      return makeError(Code::AdapterKind, "lora_mid of a linear layer is not supported; {0}",
                       kTraceInstead);
    if (Error error = expect("lora_A", {-1, in_}))
      return error;
    int64_t rank = branch_["lora_A"].shape()[0];
    if (Error error = expect("lora_B", {out_, rank}))
      return error;
    if (Error error = optional())
      return error;
    return rank;
  }

  Expected<int64_t> loraOfConvolution() {
    llvm::SmallVector<int64_t, 5> pointwise = {-1, -1}, kernel = {-1, -1};
    for (int64_t size : module_.weight.shape().slice(2)) {
      pointwise.push_back(1);
      kernel.push_back(size);
    }
    bool tucker = branch_.find("lora_mid");
    if (tucker && isGrouped())
      return makeError(Code::AdapterKind, "lora_mid of a grouped convolution is not supported; {0}",
                       kTraceInstead);
    unflatten("lora_A");
    if (Error error = expect("lora_A", tucker ? pointwise : kernel))
      return error;
    int64_t rank = branch_["lora_A"].shape()[0], channels = branch_["lora_A"].shape()[1],
            last = rank;
    if (tucker) {
      kernel[1] = rank;
      if (Error error = expect("lora_mid", kernel))
        return error;
      last = branch_["lora_mid"].shape()[0];
    }
    pointwise[0] = out_;
    if (Error error = expect("lora_B", pointwise))
      return error;
    // Of a grouped convolution A sees all channels, the weight those of one group.
    int64_t groups = channels / in_, columns = branch_["lora_B"].shape()[1];
    bool isGrouped = columns * groups == rank; // B too, as PEFT has it
    if (channels % in_ != 0 || (groups != 1 && (tucker || (branch_.dora && !isGrouped))))
      return makeError(Code::AdapterMisfit,
                       "'{0}' is {1}, which does not fit the base's weight {2}",
                       branch_.factors["lora_A"].key, shapeText(branch_["lora_A"].shape()),
                       shapeText(module_.weight.shape()));
    if (tucker ? last != columns : last % columns != 0)
      return makeError(Code::AdapterTensor, "the ranks of lora_A {0} and lora_B {1} do not fit",
                       shapeText(branch_["lora_A"].shape()), shapeText(branch_["lora_B"].shape()));
    if (Error error = optional())
      return error;
    return rank;
  }

  Expected<int64_t> scaling() {
    const TensorData *scale = branch_.find("ia3_l");
    if (layer() == Layer::Embedding)
      return makeError(Code::AdapterKind, "(IA)3 of an embedding is not supported");
    if (!scale)
      return makeError(Code::AdapterTensor, "'ia3_l' is missing");
    // Of a linear layer [1, in] goes in and [out, 1] comes out; of a convolution the configuration
    // says which.
    if (layer() != Layer::Convolution && scale->rank() == 2 && in_ * out_ > 1)
      branch_.feedforward = scale->shape()[0] == 1 && scale->shape()[1] == in_;
    int64_t inputs = in_;
    if (layer() == Layer::Convolution && isGrouped() && scale->numElements() % in_ == 0 &&
        out_ % (scale->numElements() / in_) == 0)
      inputs = scale->numElements(); // of all groups
    if (Error error = expectVector("ia3_l", branch_.feedforward ? inputs : out_))
      return error;
    return 1;
  }

  Error linearOrConvolution() const {
    if (layer() == Layer::Embedding)
      return makeError(Code::AdapterKind, "{0} of an embedding is not supported",
                       name(branch_.kind));
    if (layer() == Layer::TransposedLinear)
      return makeError(Code::AdapterKind,
                       "{0} of a layer with a transposed weight is not supported",
                       name(branch_.kind));
    return Error::success();
  }

  Expected<int64_t> loha() {
    if (Error error = linearOrConvolution())
      return error;
    int64_t inner = module_.weight.numElements() / out_;
    bool tucker = branch_.find("hada_t1") != nullptr;
    for (StringRef k : {"1", "2"}) {
      std::string a = ("hada_w" + k + "_a").str(), b = ("hada_w" + k + "_b").str();
      if (Error error = tucker ? expect(a, {-1, out_}) : expect(a, {out_, -1}))
        return error;
      int64_t rank = branch_[a].shape()[tucker ? 0 : 1];
      if (Error error = expect(b, {rank, tucker ? in_ : inner}))
        return error;
      if (tucker) {
        const TensorData *core = branch_.find(("hada_t" + k).str());
        if (!core || core->rank() < 3 || core->shape()[0] != rank || core->shape()[1] != rank ||
            core->numElements() != rank * rank * (inner / in_))
          return makeError(Code::AdapterMisfit, "'hada_t{0}' does not fit the base's weight {1}", k,
                           shapeText(module_.weight.shape()));
      }
    }
    return branch_["hada_w1_b"].shape()[0];
  }

  Expected<int64_t> lokr() {
    if (Error error = linearOrConvolution())
      return error;
    // Of both factors the rows and columns, and the rank where it is a product.
    int64_t rank = 1, rows[2], columns[2];
    int64_t inner = module_.weight.numElements() / out_ / in_;
    const TensorData *core = branch_.find("lokr_t2");
    for (int k : {1, 2}) {
      std::string name = "lokr_w" + std::to_string(k);
      const TensorData *whole = branch_.find(name), *a = branch_.find(name + "_a"),
                       *b = branch_.find(name + "_b");
      bool tucker = k == 2 && !whole && core;
      if (whole ? whole->rank() < 2
                : !a || !b || a->rank() != 2 || b->rank() != 2 ||
                      (!tucker && a->shape()[1] != b->shape()[0]))
        return makeError(Code::AdapterTensor,
                         "'{0}' is missing, or its factors do not fit each other", name);
      if (tucker && (core->rank() < 3 || core->shape()[0] != a->shape()[0] ||
                     core->shape()[1] != b->shape()[0] ||
                     core->numElements() != a->shape()[0] * b->shape()[0] * inner))
        return makeError(Code::AdapterMisfit, "'lokr_t2' does not fit the base's weight {0}",
                         shapeText(module_.weight.shape()));
      if (!whole)
        rank = b->shape()[0];
      rows[k - 1] = whole ? whole->shape()[0] : a->shape()[tucker ? 1 : 0];
      columns[k - 1] = (whole ? whole : b)->shape()[1];
    }
    const TensorData *whole = branch_.find("lokr_w2");
    // An undecomposed kernel is flattened into the columns.
    bool flat = !whole && !core;
    branch_.leadingKron &= module_.weight.rank() == 3 && whole && whole->rank() == 3;
    const TensorData *first = branch_.find("lokr_w1");
    if (rows[0] * rows[1] != out_ || columns[0] * columns[1] != in_ * (flat ? inner : 1) ||
        (whole && whole->numElements() != rows[1] * columns[1] * inner) ||
        (first && first->numElements() != rows[0] * columns[0]))
      return makeError(Code::AdapterMisfit, "lokr_w1 and lokr_w2 do not make the base's weight {0}",
                       shapeText(module_.weight.shape()));
    return rank;
  }

  Expected<int64_t> vera() {
    if (layer() != Layer::Linear && layer() != Layer::TransposedLinear)
      return makeError(Code::AdapterKind, "VeRA of anything but a linear layer is not supported");
    if (!branch_.find("vera_A") || !branch_.find("vera_B"))
      return makeError(Code::AdapterTensor,
                       "the adapter was saved without its projections vera_A and vera_B; save it "
                       "with save_projection=True");
    if (Error error = expect("vera_A", {-1, -1}))
      return error;
    int64_t rank = branch_["vera_A"].shape()[0];
    if (Error error = expect("vera_B", {-1, rank}))
      return error;
    if (branch_["vera_A"].shape()[1] < in_ || branch_["vera_B"].shape()[0] < out_)
      return makeError(Code::AdapterMisfit,
                       "its projections are too small for the base's weight {0}",
                       shapeText(module_.weight.shape()));
    if (Error error = expectVector("vera_lambda_d", rank))
      return error;
    if (Error error = expectVector("vera_lambda_b", out_))
      return error;
    return 1;
  }

  StringRef type_; ///< of the module
  const AdaptedModule &module_;
  AdapterBranch &branch_;
  int64_t out_ = 0, in_ = 0;
};

} // namespace

Expected<int64_t> checkBranch(StringRef type, const AdaptedModule &module, AdapterBranch &branch) {
  return Checker(type, module, branch).check();
}

} // namespace plait::adapters
