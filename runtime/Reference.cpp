// TorchScript models as references.
#include "runtime/Reference.h"

#include "runtime/ReferenceModule.h"
#include "runtime/Tensors.h"
#include "support/TorchMessage.h"

namespace plait::runtime {

using mil::DType;
using mil::TensorData;

std::optional<DType> milType(at::ScalarType type) {
  switch (type) {
  case at::kFloat:
    return DType::F32;
  case at::kDouble:
    return DType::F64;
  case at::kHalf:
    return DType::F16;
  case at::kLong:
    return DType::I64;
  case at::kInt:
    return DType::I32;
  case at::kShort:
    return DType::I16;
  case at::kChar:
    return DType::I8;
  case at::kByte:
    return DType::U8;
  case at::kBool:
    return DType::Bool;
  default:
    return std::nullopt;
  }
}

static Error flatten(const c10::IValue &value, std::vector<TensorData> &outputs) {
  if (value.isTensor()) {
    at::Tensor tensor = value.toTensor().detach();
    if (tensor.scalar_type() == at::kBFloat16)
      tensor = tensor.to(at::kFloat);
    auto dtype = milType(tensor.scalar_type());
    if (!dtype)
      return makeError("the model returns a tensor of {0}", c10::toString(tensor.scalar_type()));
    outputs.push_back(toTensorData(tensor, *dtype));
    return Error::success();
  }
  if (value.isInt() || value.isDouble() || value.isBool())
    return flatten(at::scalar_tensor(value.toScalar(), value.isInt()      ? at::kLong
                                                       : value.isDouble() ? at::kDouble
                                                                          : at::kBool),
                   outputs);
  if (value.isTuple() || value.isList()) {
    auto elements = value.isTuple() ? value.toTupleRef().elements().vec() : value.toListRef().vec();
    for (const c10::IValue &element : elements)
      if (Error error = flatten(element, outputs))
        return error;
    return Error::success();
  }
  if (value.isGenericDict()) {
    for (const auto &entry : value.toGenericDict())
      if (Error error = flatten(entry.value(), outputs))
        return error;
    return Error::success();
  }
  return value.isNone() ? Error::success() : makeError("the model returns a {0}", value.tagKind());
}

Expected<std::vector<c10::IValue>> argumentsOf(llvm::ArrayRef<NamedTensor> inputs,
                                               at::ScalarType integers) {
  std::vector<c10::IValue> arguments;
  for (const NamedTensor &input : inputs) {
    auto tensor = toTensor(input.value, Compute::Float32, nullptr);
    if (!tensor)
      return tensor.takeError();
    at::ScalarType type = tensor->scalar_type();
    type = type == at::kHalf ? at::kFloat : type == at::kInt ? integers : type;
    arguments.emplace_back(tensor->to(type, /*non_blocking=*/false, /*copy=*/true));
  }
  return arguments;
}

Expected<std::shared_ptr<torch::jit::Module>> loadModule(llvm::StringRef path) {
  try {
    auto module = std::make_shared<torch::jit::Module>(torch::jit::load(path.str(), at::kCPU));
    module->eval();
    // A model of half precision throughout is widened. One that mixes types casts between them in
    // its code, and so runs as it is only.
    bool narrow = false, wide = false;
    for (const at::Tensor &parameter : module->parameters()) {
      bool isNarrow =
          parameter.scalar_type() == at::kHalf || parameter.scalar_type() == at::kBFloat16;
      narrow |= isNarrow;
      wide |= !isNarrow && parameter.is_floating_point();
    }
    if (narrow && !wide)
      module->to(at::kFloat);
    return module;
  } catch (const c10::Error &error) {
    return makeError(
        "{0}: it cannot be loaded as a TorchScript model: {1}", path,
        llvm::StringRef(torchMessage(error.what_without_backtrace())).split('\n').first);
  }
}

Expected<Reference> loadReference(llvm::StringRef path) {
  auto loaded = loadModule(path);
  if (!loaded)
    return loaded.takeError();
  return referenceOf(std::move(*loaded), path);
}

Reference referenceOf(std::shared_ptr<torch::jit::Module> loaded, llvm::StringRef name) {
  return [module = std::move(loaded), path = name.str()](
             llvm::ArrayRef<NamedTensor> inputs) -> Expected<std::vector<TensorData>> {
    auto outputs = callWithIntegers<std::vector<TensorData>>(
        inputs, [&](std::vector<c10::IValue> arguments) -> Expected<std::vector<TensorData>> {
          std::vector<TensorData> flat;
          if (Error error = flatten(module->forward(std::move(arguments)), flat))
            return error;
          return flat;
        });
    if (!outputs)
      return addContext(outputs.takeError(), path);
    return outputs;
  };
}

} // namespace plait::runtime
