// Where a TorchScript node comes from, for those who have nodes and no business with archives.
#pragma once

#include <string>

namespace torch::jit {
struct Node;
}

namespace plait {

/// `model.py:12 in forward: y = self.linear(x)`, as far as known; else the empty string.
std::string describeLocation(const torch::jit::Node &node);

} // namespace plait
