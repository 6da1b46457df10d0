// Whether a method computes with an argument as with integers. A file of TorchScript says of its
// arguments that they are tensors, and nothing of their elements; what is done with one tells.
#pragma once

#include <string>

namespace torch::jit {
struct Value;
}

namespace plait::frontend {

/// The first operator that takes the value, or a view of it, where LibTorch takes integers alone:
/// "aten::embedding as indices". "" where there is none. Methods of submodules are looked into.
std::string integerUse(const torch::jit::Value &value);

} // namespace plait::frontend
