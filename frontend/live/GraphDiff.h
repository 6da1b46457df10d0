// Two traces of one model compared: what differs was decided by the inputs while tracing and is
// frozen in the graph.
#pragma once

#include <torch/csrc/jit/ir/ir.h>

#include <optional>
#include <string>

namespace plait::frontend {

/// How the graphs first differ, one sentence's end: "operation 12 is aten::relu in one and
/// aten::tanh in the other, behind the one that uses 'head.weight'". Nothing for graphs of the same
/// operations on the same values with equal constants, whose values have the same element types
/// and numbers of dimensions.
std::optional<std::string> firstDifference(const torch::jit::Graph &a, const torch::jit::Graph &b);

/// The parameter that the operation of that number, or the last one before it that uses any, takes:
/// "head.weight". Where a trace says no module and no line, it tells where in the model that is.
std::string lastParameter(const torch::jit::Graph &graph, size_t operation);

} // namespace plait::frontend
