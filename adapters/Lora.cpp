// LoRA, DoRA and VeRA: two factors with a small rank between them.
#include "adapters/Branch.h"
#include "adapters/Tensors.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"

namespace plait::adapters {

using llvm::StringRef;
using mil::LoraMode;

Value *loraOutput(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                  const AdapterBranch &branch, Value *x) {
  auto factor = [&](StringRef name) { return factors.get(build, module, branch, name); };
  Value *y;
  if (module.layer.kind == Layer::Embedding) {
    Value *gathered = build.gather(build.swapLast(factor("lora_embedding_A")), x);
    y = build.linear(gathered, factor("lora_embedding_B"));
    y = build.mul(y, module.layer.scale);
  } else if (module.layer.kind == Layer::Convolution) {
    // The kernel with the base's geometry (PEFT leaves its dilation and groups out), then B at each
    // point. A Tucker core has the kernel where A has none.
    bool tucker = branch.find("lora_mid");
    Value *h = convolve(build, module, x, factor("lora_A"),
                        tucker           ? Geometry::Pointwise
                        : branch.dilated ? Geometry::AllOfBase
                                         : Geometry::OfBase);
    if (tucker)
      h = convolve(build, module, h, factor("lora_mid"), Geometry::AllOfBase);
    int64_t groups = tucker ? 1 : branch["lora_A"].shape()[0] / branch["lora_B"].shape()[1];
    y = convolve(build, module, h, factor("lora_B"), Geometry::Pointwise, groups);
  } else {
    y = build.linear(x, factor("lora_A"));
    y = build.linear(y, factor("lora_B"));
  }
  if (branch.find("lora_B.bias"))
    y = build.add(y, perFeature(build, module, factor("lora_B.bias")));
  return build.mul(y, factors.scaleOf(branch));
}

// ---- VeRA --------------------------------------------------------------------------------------

namespace {
/// Of a linear layer.
struct Features {
  int64_t in, out;
};
} // namespace

static Features featuresOf(const AdaptedModule &module) {
  bool transposed = module.layer.kind == Layer::TransposedLinear;
  return {module.weight.shape()[transposed ? 0 : 1], module.weight.shape()[transposed ? 1 : 0]};
}

/// The projections are cut to the module's size. Stored are not the pieces, which would take more
/// than the whole where modules differ in size: the whole multiplies x with zeros behind it, and of
/// what it gives, the first features are taken.
Value *veraOutput(FactorSource &factors, BranchBuilder &build, const AdaptedModule &module,
                  const AdapterBranch &branch, Value *x) {
  auto [in, out] = featuresOf(module);
  auto factor = [&](StringRef name) { return factors.get(build, module, branch, name); };
  Value *lambda = factor("vera_lambda_d"), *y;
  if (factors.mode() == LoraMode::Inputs) {
    Value *h = build.linear(x, build.slice(factor("vera_A"), 1, 0, in));
    y = build.linear(build.mul(h, lambda), build.slice(factor("vera_B"), 0, 0, out));
  } else {
    const TensorData &a = branch["vera_A"], &b = branch["vera_B"];
    Value *h = build.linear(build.widen(x, a.shape()[1]), build.constant(a, "vera_A"));
    y = build.slice(build.linear(build.mul(h, lambda), build.constant(b, "vera_B")), -1, 0, out);
  }
  return build.mul(build.mul(y, factor("vera_lambda_b")), factors.scaleOf(branch));
}

Value *veraDelta(BranchBuilder &build, const AdaptedModule &module, const AdapterBranch &branch) {
  auto [in, out] = featuresOf(module);
  auto column = [&](StringRef name) {
    return build.reshape(build.constant(branch[name], name),
                         {Dim(branch[name].numElements()), Dim(1)});
  };
  Value *a = build.slice(build.constant(branch["vera_A"], "A"), 1, 0, in);
  Value *b = build.slice(build.constant(branch["vera_B"], "B"), 0, 0, out);
  Value *left = build.mul(b, column("vera_lambda_b"));
  Value *delta = build.matmul(left, build.mul(a, column("vera_lambda_d")));
  return module.layer.kind == Layer::TransposedLinear ? build.swapLast(delta) : delta;
}

// ---- Merging -----------------------------------------------------------------------------------

/// A, with a Tucker core in it: [r, s, K] and [s, in, 1] make [r, in, K].
static TensorData downOf(const AdapterBranch &branch) {
  const TensorData &a = branch["lora_A"], *mid = branch.find("lora_mid");
  if (!mid)
    return a;
  Sizes shape(mid->shape().begin(), mid->shape().end());
  int64_t rows = shape[0], inner = shape[1], in = a.shape()[1];
  int64_t kernel = mid->numElements() / (rows * inner);
  shape[1] = in;
  std::vector<float> core = floatsOf(*mid), factor = floatsOf(a), values(rows * in * kernel);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t s = 0; s < inner; ++s)
      for (int64_t i = 0; i < in; ++i)
        for (int64_t k = 0; k < kernel; ++k)
          values[(r * in + i) * kernel + k] +=
              core[(r * inner + s) * kernel + k] * factor[s * in + i];
  return ofFloats(shape, values);
}

TensorData mergedLora(const AdaptedModule &module, const AdapterBranch &branch,
                      const TensorData &weight) {
  auto factor = [&](StringRef name) { return branch[name].cast(mil::DType::F32); };
  switch (module.layer.kind) {
  case Layer::Embedding: // [num, dim] + s (B A)'
    return weight.loraMerge(factor("lora_embedding_A").permute({1, 0}),
                            factor("lora_embedding_B").permute({1, 0}), branch.scale);
  case Layer::TransposedLinear:
    return weight.permute({1, 0})
        .loraMerge(factor("lora_B"), factor("lora_A"), branch.scale)
        .permute({1, 0});
  case Layer::Convolution: {
    // Of a grouped convolution this is no weight that could be folded into, but what PEFT takes a
    // DoRA's norm of: B and A as matrices, whatever belongs to which group.
    TensorData a = downOf(branch).cast(mil::DType::F32), b = factor("lora_B");
    int64_t rank = a.shape()[0], rows = b.numElements() / rank;
    return weight.reshape({rows, weight.numElements() / rows})
        .loraMerge(b.reshape({rows, rank}), a.reshape({rank, a.numElements() / rank}), branch.scale)
        .reshape(weight.shape());
  }
  default:
    return weight.loraMerge(factor("lora_B"), factor("lora_A"), branch.scale);
  }
}

Value *doraScale(BranchBuilder &build, const AdaptedModule &module, const AdapterBranch &branch,
                 Value *merged) {
  const TensorData &magnitude = branch["lora_magnitude_vector"];
  int64_t count = magnitude.numElements();
  // What one magnitude scales as a row: it lies along the weight's first axis, or its second.
  bool second = (module.layer.kind == Layer::Embedding ||
                 module.layer.kind == Layer::TransposedLinear) != branch.doraInputs;
  Value *rows = merged;
  if (second) {
    auto axes = llvm::to_vector<5>(llvm::seq<int64_t>(0, module.weight.rank()));
    std::swap(axes[0], axes[1]);
    rows = build.permute(rows, axes);
  }
  rows = build.reshape(rows, {Dim(count), Dim(module.weight.numElements() / count)});
  return build.div(build.reshape(build.constant(magnitude, "magnitude"), {Dim(count)}),
                   build.norm(rows));
}

} // namespace plait::adapters
