// Schemas as the libraries register them, and kernels that run compiled functions.
#include "frontend/script/libtorch/QuantizedOperators.h"

#include "frontend/engine/Decomposition.h"
#include "frontend/lower/Decompositions.h"

#include "llvm/ADT/STLExtras.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <mutex>
#include <torch/library.h>

namespace plait::frontend {
namespace {

// Of torch.ao.quantization.fx._decomposed, and of torchao.quantization.quant_primitives.
constexpr const char *kSchemas[] = {
    "quantized_decomposed::quantize_per_tensor(Tensor input, float scale, int zero_point, int "
    "quant_min, int quant_max, ScalarType dtype) -> Tensor",
    "quantized_decomposed::quantize_per_tensor.tensor(Tensor input, Tensor scale, Tensor "
    "zero_point, int quant_min, int quant_max, ScalarType dtype) -> Tensor",
    "quantized_decomposed::dequantize_per_tensor(Tensor input, float scale, int zero_point, int "
    "quant_min, int quant_max, ScalarType dtype, *, ScalarType? out_dtype=None) -> Tensor",
    "quantized_decomposed::dequantize_per_tensor.tensor(Tensor input, Tensor scale, Tensor "
    "zero_point, int quant_min, int quant_max, ScalarType dtype, *, ScalarType? out_dtype=None) "
    "-> Tensor",
    "quantized_decomposed::quantize_per_channel(Tensor input, Tensor scales, Tensor zero_points, "
    "int axis, int quant_min, int quant_max, ScalarType dtype) -> Tensor",
    "quantized_decomposed::dequantize_per_channel(Tensor input, Tensor scales, Tensor? "
    "zero_points, int axis, int quant_min, int quant_max, ScalarType dtype, *, ScalarType? "
    "out_dtype=None) -> Tensor",
    "quantized_decomposed::dequantize_per_channel_group(Tensor input, Tensor scales, Tensor? "
    "zero_points, int quant_min, int quant_max, ScalarType dtype, int group_size, ScalarType "
    "output_dtype) -> Tensor",
    "quantized_decomposed::choose_qparams_per_token_asymmetric(Tensor input, ScalarType dtype) -> "
    "(Tensor, Tensor)",
    "quantized_decomposed::quantize_per_token(Tensor input, Tensor scales, Tensor zero_points, int "
    "quant_min, int quant_max, ScalarType dtype) -> Tensor",
    "quantized_decomposed::dequantize_per_token(Tensor input, Tensor scales, Tensor zero_points, "
    "int quant_min, int quant_max, ScalarType dtype, ScalarType output_dtype) -> Tensor",
    "torchao::quantize_affine(Tensor input, int[] block_size, Tensor scale, Tensor? zero_point, "
    "ScalarType output_dtype, Scalar? quant_min=None, Scalar? quant_max=None) -> Tensor",
    "torchao::dequantize_affine(Tensor input, int[] block_size, Tensor scale, Tensor? zero_point, "
    "ScalarType input_dtype, Scalar? quant_min=None, Scalar? quant_max=None, ScalarType "
    "output_dtype=6) -> Tensor",
    "torchao::choose_qparams_affine(Tensor? input, str mapping_type, int[] block_size, ScalarType "
    "target_dtype, Scalar? quant_min=None, Scalar? quant_max=None, float? eps=None, ScalarType? "
    "scale_dtype=None, ScalarType? zero_point_dtype=None, bool keepdim=False) -> (Tensor, Tensor)",
};

/// What an operator computes, by the function that it is lowered with.
class Kernel final : public c10::OperatorKernel {
public:
  explicit Kernel(std::string function) : function_(std::move(function)) {}
  void operator()(const c10::OperatorHandle &op, c10::DispatchKeySet, torch::jit::Stack *stack) {
    auto arguments = torch::jit::pop(*stack, op.schema().arguments().size());
    c10::IValue result = computeDecomposition(function_, std::move(arguments));
    if (op.schema().returns().size() == 1) {
      stack->push_back(std::move(result));
      return;
    }
    for (const c10::IValue &one : result.toTupleRef().elements())
      stack->push_back(one);
  }

private:
  std::string function_;
};

std::string functionOf(llvm::StringRef name) {
  for (const DecompositionText &text : decompositionTexts())
    if (llvm::is_contained(text.operators, name))
      return text.function;
  llvm_unreachable("each of the schemas has a function");
}

} // namespace

void declareQuantizedOperators() {
  static std::once_flag once;
  std::call_once(once, [] {
    for (llvm::StringRef text : kSchemas) {
      std::string full = text.split('(').first.str();
      auto [name, overload] = llvm::StringRef(full).split('.');
      if (c10::Dispatcher::singleton().findSchema({name.str(), overload.str()}))
        continue;
      // Declared as long as the process is there: models that were read refer to them.
      auto [space, schema] = text.split("::");
      static auto &libraries = *new std::vector<std::unique_ptr<torch::Library>>;
      auto &library = *libraries.emplace_back(std::make_unique<torch::Library>(
          torch::Library::FRAGMENT, space.str(), std::nullopt, __FILE__, __LINE__));
      library.def(schema.str().c_str());
      library.impl(
          schema.split('(').first.str().c_str(),
          torch::dispatch(c10::DispatchKey::CPU, torch::CppFunction::makeFromBoxedFunctor(
                                                     std::make_unique<Kernel>(functionOf(full)))));
    }
  });
}

bool isOfQuantizedOperators(llvm::StringRef text) {
  return text.contains("quantized_decomposed") || text.contains("torchao");
}

} // namespace plait::frontend
