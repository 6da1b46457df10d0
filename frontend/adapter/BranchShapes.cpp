// One check a kind.
#include "frontend/adapter/BranchShapes.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::frontend {

using llvm::StringRef;

std::string shapeText(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

namespace {

class Checker {
public:
  Checker(const AdaptedModule &module, AdapterBranch &branch) : module_(module), branch_(branch) {}

  Expected<int64_t> check() {
    if (Error error = checkWeight())
      return error;
    for (const auto &[name, factor] : branch_.factors)
      if (!at::isFloatingType(factor.tensor.scalar_type()) || factor.tensor.numel() == 0)
        return makeError("'{0}' is no tensor of floating-point numbers", factor.key);
    if (branch_.find("lora_mid") || branch_.find("dora_scale"))
      return makeError("'{0}' is not supported; merge the adapter into the model with the tool "
                       "that made it, and trace that",
                       branch_.find("lora_mid") ? "lora_mid (a Tucker decomposition)"
                                                : "dora_scale");
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
      return makeError("'{0}' is {1}, where {2} fits the base's weight {3}", it->second.key,
                       shapeText(tensor.sizes()), shapeText({shape.data(), shape.size()}),
                       shapeText(module_.weight.sizes()));
    return Error::success();
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
    if (branch_.find("lora_B.bias"))
      if (Error error = expectVector("lora_B.bias", out_))
        return error;
    return branch_.dora
               ? expectVector("lora_magnitude_vector", use() == WeightUse::Embedding ? in_ : out_)
               : Error::success();
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
    bool conv = use() == WeightUse::Convolution;
    llvm::SmallVector<int64_t, 5> a = {-1, conv ? -1 : in_}, b = {out_, -1};
    if (conv)
      for (int64_t kernel : module_.weight.sizes().slice(2)) {
        a.push_back(kernel);
        b.push_back(1);
      }
    if (Error error = expect("lora_A", a))
      return error;
    int64_t rank = branch_["lora_A"].size(0);
    b[1] = conv ? -1 : rank;
    // Of a grouped convolution A sees all channels, the weight those of one group.
    bool grouped = conv && branch_["lora_A"].size(1) != in_;
    if (grouped && (branch_.dora || branch_["lora_A"].size(1) % in_ != 0))
      return makeError("'{0}' is {1}, and the base's weight {2}", branch_.factors["lora_A"].key,
                       shapeText(branch_["lora_A"].sizes()), shapeText(module_.weight.sizes()));
    if (Error error = expect("lora_B", b))
      return error;
    if (rank % branch_["lora_B"].size(1) != 0)
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
    if (Error error = expectVector("ia3_l", branch_.feedforward ? in_ : out_))
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
    for (int k : {1, 2}) {
      std::string name = "lokr_w" + std::to_string(k);
      const at::Tensor *whole = branch_.find(name), *a = branch_.find(name + "_a"),
                       *b = branch_.find(name + "_b");
      bool tucker = k == 2 && branch_.find("lokr_t2");
      if (!whole &&
          (!a || !b || a->dim() != 2 || b->dim() != 2 || a->size(tucker ? 0 : 1) != b->size(0)))
        return makeError("'{0}' is missing, or its factors do not fit each other", name);
      if (!whole)
        rank = b->size(0);
      rows[k - 1] = whole ? whole->size(0) : a->size(tucker ? 1 : 0);
      columns[k - 1] = whole ? (whole->dim() > 1 ? whole->size(1) : 1) : b->size(1);
    }
    const at::Tensor *whole = branch_.find("lokr_w2");
    int64_t inner = module_.weight.numel() / out_ / in_;
    // An undecomposed kernel is flattened into the columns.
    bool flat = !whole && !branch_.find("lokr_t2");
    if (rows[0] * rows[1] != out_ || columns[0] * columns[1] != in_ * (flat ? inner : 1) ||
        (whole && whole->numel() != rows[1] * columns[1] * inner))
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
