// Each is one call of the engine, as a node of a graph would be.
#include "frontend/adapter/Ops.h"

#include <torch/csrc/jit/runtime/operator.h>

namespace plait::frontend {

static Val number(int64_t value) { return Val(c10::IValue(value)); }

Val Ops::constant(const at::Tensor &tensor, llvm::StringRef hint) {
  // A weight, though the model has no name for it.
  return engine_.makeTensor(engine_.constant(tensor, hint, mil::Origin::unnamed()), at::kFloat);
}

Val Ops::constant(mil::TensorData tensor, llvm::StringRef hint) {
  return engine_.makeTensor(engine_.builder().constant(tensor.cast(mil::DType::F32), hint),
                            at::kFloat);
}

mil::TensorData Ops::data(const Val &constant) {
  auto tensor = constant.tensor();
  mil::Value *value = tensor ? engine_.read(*tensor) : nullptr;
  const mil::TensorData *data = value ? mil::constTensor(value) : nullptr;
  assert((data || !value || mil::Builder::isPoison(value)) && "made by constant()");
  return data ? *data : mil::TensorData::splat(mil::DType::F32, {1, 1}, 0);
}

Val Ops::call(const char *name, const char *overload, std::vector<Val> arguments) {
  auto operation = torch::jit::findOperatorFor({name, overload});
  assert(operation && "an operation of LibTorch");
  auto results = engine_.call(operation->schema(), std::move(arguments));
  return results && !results->empty() ? (*results)[0] : Val();
}

Val Ops::linear(const Val &x, const Val &weight) {
  return call("aten::linear", "", {x, weight, Val(c10::IValue())});
}

Val Ops::add(const Val &x, const Val &y) { return call("aten::add", "Tensor", {x, y, number(1)}); }

Val Ops::mul(const Val &x, double factor) {
  if (factor == 1)
    return x;
  return call("aten::mul", "Scalar", {x, Val(c10::IValue(factor))});
}

Val Ops::ints(llvm::ArrayRef<int64_t> values) {
  std::vector<Val> elements;
  for (int64_t value : values)
    elements.push_back(number(value));
  return engine_.makeList(c10::IntType::get(), std::move(elements));
}

Val Ops::reshape(const Val &x, llvm::ArrayRef<Dim> shape) {
  std::vector<Val> elements;
  for (const Dim &dim : shape)
    elements.push_back(Val(dim));
  return call("aten::reshape", "", {x, engine_.makeList(c10::IntType::get(), std::move(elements))});
}

Val Ops::permute(const Val &x, llvm::ArrayRef<int64_t> axes) {
  return call("aten::permute", "", {x, ints(axes)});
}

Val Ops::swapLast(const Val &x) {
  return call("aten::transpose", "int", {x, number(-1), number(-2)});
}

Val Ops::sum(const Val &x, int64_t axis) {
  return call("aten::sum", "dim_IntList",
              {x, ints(axis), Val(c10::IValue(false)), Val(c10::IValue())});
}

Val Ops::cast(const Val &x, at::ScalarType dtype) {
  auto tensor = x.tensor();
  return tensor ? engine_.castTensor(tensor, dtype) : Val();
}

Shape Ops::shapeOf(const Val &x) {
  auto tensor = x.tensor();
  return tensor ? tensor->shape : Shape();
}

} // namespace plait::frontend
