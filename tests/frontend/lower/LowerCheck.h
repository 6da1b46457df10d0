// One line a case: an expression of TorchScript in x, y, z, w is lowered, run by the interpreter on
// these inputs, and compared with LibTorch.
//
//     check("torch.softmax(x, -1)", {randn({2, 3, 4})});
//
// Source that begins with "def forward(self" is taken as it is. ops.NAMESPACE.NAME is an operator
// of another namespace than aten. Results may be tensors, or tuples and lists of them; shapes and
// element types must agree too. A run of all tests fails where a registered lowering was reached by
// none of them.
#pragma once

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace plait::frontend {

/// The source of a forward of that body.
inline std::string forward(const std::string &body, const std::string &arguments = "x: Tensor") {
  return "def forward(self, " + arguments + "):\n" + body;
}

struct CheckOptions {
  double rtol = 1e-4, atol = 1e-5;
  /// Axes of the first input whose size is not known while compiling.
  std::vector<int64_t> dynamic = {};
};

void check(const std::string &source, std::vector<at::Tensor> inputs, CheckOptions options = {});
/// The same for every expression.
void checkAll(const std::vector<std::string> &sources, const std::vector<at::Tensor> &inputs,
              CheckOptions options = {});
/// With inputs of unknown size along some axes of x.
inline void checkDynamic(const std::string &source, std::vector<at::Tensor> inputs,
                         std::vector<int64_t> axes) {
  check(source, std::move(inputs), {.dynamic = std::move(axes)});
}
/// What the lowered program and LibTorch give, one tensor each; undefined after a failure.
std::pair<at::Tensor, at::Tensor> outputs(const std::string &source,
                                          std::vector<at::Tensor> inputs);
/// What the source is lowered to: the kinds of its operations in order, constants left out.
std::vector<std::string> operations(const std::string &source, std::vector<at::Tensor> inputs);
/// The message that lowering gives.
std::string refusal(const std::string &source, std::vector<at::Tensor> inputs,
                    CheckOptions options = {});

/// Reproducible inputs: each call of a test gives other numbers, each run the same.
at::Tensor randn(at::IntArrayRef shape);
at::Tensor rand(at::IntArrayRef shape, double low = 0, double high = 1);
at::Tensor randint(int64_t low, int64_t high, at::IntArrayRef shape);
at::Tensor randbool(at::IntArrayRef shape);
at::Tensor floats(std::initializer_list<double> values);
at::Tensor ints(std::initializer_list<int64_t> values);
at::Tensor bools(std::initializer_list<bool> values);

} // namespace plait::frontend
