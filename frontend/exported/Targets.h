// What the targets of nodes are in LibTorch.
#pragma once

#include "frontend/archive/ExportSchema.h"

#include <torch/csrc/jit/runtime/operator.h>

#include <memory>
#include <string>

namespace plait::frontend {

/// The operator of "torch.ops.aten.add.Tensor"; null where LibTorch has none.
std::shared_ptr<torch::jit::Operator> operatorOfTarget(llvm::StringRef target);
std::shared_ptr<torch::jit::Operator> operatorNamed(llvm::StringRef name, llvm::StringRef overload);
/// The overload that takes a number where this one takes a tensor: Python passes either. Null where
/// there is none.
std::shared_ptr<torch::jit::Operator> scalarTwin(const c10::FunctionSchema &schema,
                                                 llvm::StringRef argument);

/// The node in ATen's words, where a library registers an operator of its own that ATen has too:
/// transformers::grouped_mm_fallback is aten::_grouped_mm.
std::optional<exported::Node> inWordsOfAten(const exported::Node &node);

/// "cond" of "torch.ops.higher_order.cond"; "" of what is no higher-order operator.
llvm::StringRef higherOrderName(llvm::StringRef target);
/// How messages call a target: "aten::add.Tensor", "cond", "_operator.mul".
std::string targetName(llvm::StringRef target);

/// What a function of Python on numbers is as an operator of TorchScript.
struct NumberFunction {
  enum Kind : uint8_t {
    None,
    Operator, ///< `name` and `overload`
    Power,
    Same,   ///< its argument
    Choice, ///< sym_ite(condition, a, b)
    Sum,    ///< of a list
  } kind = None;
  const char *name = nullptr, *overload = "";
};
/// Of "_operator.mul", "math.trunc", "torch.sym_max".
NumberFunction numberFunction(llvm::StringRef target);

} // namespace plait::frontend
