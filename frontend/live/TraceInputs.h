// What a model is traced with: its examples, other values of them, and other sizes that are
// declared.
#pragma once

#include "frontend/Frontend.h"

#include <ATen/core/Tensor.h>

#include <functional>

namespace plait::frontend {

/// The inputs as they are declared, completed by the examples: what has no shape takes the
/// example's, and all of it is the example's where nothing is declared. An error where an example
/// is none of what is declared, or cannot be an input.
Expected<std::vector<InputSpec>> inputsOf(llvm::ArrayRef<InputSpec> declared,
                                          llvm::ArrayRef<at::Tensor> examples);

using Tensors = std::vector<at::Tensor>;

/// One run of the model with other inputs, which take memory once they are asked for.
struct Draw {
  std::function<Tensors()> inputs;
  /// The model need not take these: it may ask for values or sizes that agree with one another.
  bool mayFail = false;
};

/// Other values of the sizes of the examples. Floating-point numbers: turned around and of other
/// signs, zeros, negative ones, large ones. Integers, which may be indices: those of the example in
/// another order, its least, its greatest, zeros. All inputs at once, then each by itself.
std::vector<Draw> otherValues(llvm::ArrayRef<at::Tensor> examples);

struct OtherSizes {
  std::vector<Draw> draws;
  /// What was not looked at since it takes too much memory.
  std::vector<Warning> warnings;
};

/// Other sizes that `inputs` declare: of a range its ends, those next to them, 1, 2 and 3 and some
/// between (all of a range of up to 8); every enumerated shape. Dimensions that are declared alike
/// and are equal in the examples stay alike first; then each differs by itself. Values are the
/// examples', repeated.
OtherSizes otherSizes(llvm::ArrayRef<at::Tensor> examples, llvm::ArrayRef<InputSpec> inputs);

/// "[1, 3], [2, 8]"
std::string shapesText(llvm::ArrayRef<at::Tensor> tensors);

} // namespace plait::frontend
