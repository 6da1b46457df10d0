// How the arguments of a TorchScript method are made of what the user declares: inputs by their
// names and in order, defaults of the method.
//
//     def forward(self, x, pair: Tuple[Tensor, Tensor], mask: Optional[Tensor] = None, n: int = 2)
//
//     x=[1, 8]   pair_0=[4]   pair_1=[4]   n=int32[1]           the mask is None
//     x=[1, 8]   pair_0=[4]   pair_1=2.0   n=3                  constants are no inputs
#pragma once

#include "frontend/Frontend.h"

#include <ATen/core/ivalue.h>
#include <ATen/core/jit_type.h>
#include <torch/csrc/jit/api/module.h>

namespace plait::frontend {

/// How one argument, or a value in one, is made.
struct ArgumentPlan {
  enum class Kind {
    Tensor,  ///< inputs[0]
    Complex, ///< inputs[0] and inputs[1] are its real and its imaginary part
    Number,  ///< an int, float or bool: the only element of inputs[0]
    Known,   ///< `known`
    Tuple,
    List,
    Dict
  } kind = Kind::Known;
  /// What an input without a name is called: "x", "pair_0", "batch_image".
  std::string name = {};
  c10::TypePtr type = {};                ///< that of the argument, without Optional
  llvm::SmallVector<size_t, 2> inputs{}; ///< indices of what is declared
  /// Of an input that is declared without a type: the integers or bools that the method takes, and,
  /// where that follows from what it does with them, what that is.
  std::optional<mil::DType> integers = {};
  std::string integersFor = {};
  c10::IValue known = {};
  /// What the user said of `known`: "2.0"; "" where it is the method's own default.
  std::string said = {};
  std::vector<ArgumentPlan> elements{}; ///< of a tuple, list or dictionary
  std::vector<c10::IValue> keys{};      ///< of a dictionary
};

/// The arguments of the method without `self`. An error where something declared belongs to no
/// argument, an argument gets nothing or, with `checksTypes`, something of another type.
Expected<std::vector<ArgumentPlan>> planArguments(const torch::jit::Module &module,
                                                  const ModelFunction &declared,
                                                  bool checksTypes = true);

/// What the user said of arguments that are no inputs, by their names.
std::map<std::string, std::string> constantsIn(llvm::ArrayRef<ArgumentPlan> plans);

/// The arguments as LibTorch takes them; `tensors` are one for each input. Throws what LibTorch
/// throws.
std::vector<c10::IValue> makeArguments(llvm::ArrayRef<ArgumentPlan> plans,
                                       llvm::ArrayRef<at::Tensor> tensors);

} // namespace plait::frontend
