// PyTorch operations on values of the engine, for the branches that adapters add. Everything
// floating is computed in fp32, as PEFT computes adapters of fp16 and bf16 (it loads them as fp32).
#pragma once

#include "frontend/engine/Engine.h"

namespace plait::frontend {

class Ops {
public:
  explicit Ops(Engine &engine) : engine_(engine) {}

  Engine &engine() const { return engine_; }
  /// A constant of the model or of an adapter, seen as fp32; whatever its size it stays a view.
  Val constant(const at::Tensor &tensor, llvm::StringRef hint);
  Val constant(mil::TensorData tensor, llvm::StringRef hint);
  /// What is behind such a constant.
  mil::TensorData data(const Val &constant);

  Val call(const char *name, const char *overload, std::vector<Val> arguments);
  Val linear(const Val &x, const Val &weight);
  Val matmul(const Val &x, const Val &y) { return call("aten::matmul", "", {x, y}); }
  Val add(const Val &x, const Val &y);
  Val mul(const Val &x, const Val &y) { return call("aten::mul", "Tensor", {x, y}); }
  Val mul(const Val &x, double factor);
  Val div(const Val &x, const Val &y) { return call("aten::div", "Tensor", {x, y}); }
  Val reshape(const Val &x, llvm::ArrayRef<Dim> shape);
  Val permute(const Val &x, llvm::ArrayRef<int64_t> axes);
  Val swapLast(const Val &x); ///< the last two axes
  Val sum(const Val &x, int64_t axis);
  Val toFloat(const Val &x) { return cast(x, at::kFloat); }
  Val cast(const Val &x, at::ScalarType dtype);
  Val ints(llvm::ArrayRef<int64_t> values);
  /// The shape of a tensor; empty of anything else (poison).
  static Shape shapeOf(const Val &x);

private:
  Engine &engine_;
};

} // namespace plait::frontend
