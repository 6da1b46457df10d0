// Two traces of one model compared: what differs was decided by the inputs while tracing and is
// frozen in the graph.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <optional>
#include <string>

namespace plait::frontend {

/// How the graphs first differ, one sentence's end: "operation 12 is aten::relu in one and
/// aten::tanh in the other". Nothing for graphs of the same operations on the same values with
/// equal constants.
std::optional<std::string> firstDifference(const torch::jit::Graph &a, const torch::jit::Graph &b);

} // namespace plait::frontend
