// A walk over two traces side by side. Traces are straight lines: no node has a block.
#include "frontend/live/GraphDiff.h"

#include "support/Format.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

#include <ATen/Functions.h>
#include <ATen/core/Formatting.h>
#include <torch/csrc/jit/ir/constants.h>

namespace plait::frontend {

using torch::jit::Graph;
using torch::jit::Node;
using torch::jit::Value;

/// Equal as constants: tensors by type and content.
static bool sameConstant(const c10::IValue &a, const c10::IValue &b) {
  if (a.isTensor() && b.isTensor()) {
    const at::Tensor &x = a.toTensor(), &y = b.toTensor();
    return x.defined() == y.defined() &&
           (!x.defined() || x.is_same(y) ||
            (x.scalar_type() == y.scalar_type() && x.device() == y.device() && at::equal(x, y)));
  }
  if (a.tagKind() != b.tagKind())
    return false;
  if (a.isDouble()) // NaN is equal to itself here
    return a.toDouble() == b.toDouble() ||
           (a.toDouble() != a.toDouble() && b.toDouble() != b.toDouble());
  if (a.isList()) {
    auto x = a.toListRef(), y = b.toListRef();
    return x.size() == y.size() && llvm::all_of(llvm::zip(x, y), [](const auto &pair) {
             return sameConstant(std::get<0>(pair), std::get<1>(pair));
           });
  }
  return a == b;
}

/// A constant in a few characters.
static std::string shown(const c10::IValue &value) {
  if (value.isTensor()) {
    const at::Tensor &tensor = value.toTensor();
    if (!tensor.defined())
      return "None";
    if (tensor.numel() != 1)
      return "a tensor";
    return c10::str(tensor.item());
  }
  std::string text = c10::str(value);
  return text.size() > 40 ? text.substr(0, 37) + "..." : text;
}

std::optional<std::string> firstDifference(const Graph &a, const Graph &b) {
  llvm::DenseMap<const Value *, const Value *> counterpart;
  for (auto [x, y] : llvm::zip(a.inputs(), b.inputs()))
    counterpart[x] = y;
  unsigned number = 0;
  auto nodesA = a.nodes(), nodesB = b.nodes();
  auto x = nodesA.begin(), y = nodesB.begin();
  for (; x != nodesA.end() && y != nodesB.end(); ++x, ++y) {
    const Node &n = **x, &m = **y;
    if (n.kind() != c10::prim::Constant && n.kind() != c10::prim::GetAttr)
      ++number;
    if (n.kind() != m.kind())
      return fmt::format("operation {0} is {1} in one and {2} in the other", number,
                         n.kind().toQualString(), m.kind().toQualString());
    if (n.kind() == c10::prim::Constant) {
      auto one = torch::jit::toIValue(n.output()), other = torch::jit::toIValue(m.output());
      if (one && other && !sameConstant(*one, *other)) {
        const auto &uses = n.output()->uses();
        std::string user = uses.empty() ? "an operation" : uses[0].user->kind().toQualString();
        if (user == "prim::ListConstruct" && !uses[0].user->output()->uses().empty())
          user = uses[0].user->output()->uses()[0].user->kind().toQualString();
        return fmt::format("a constant of {0} is {1} in one and {2} in the other", user,
                           shown(*one), shown(*other));
      }
    } else if (n.kind() == c10::prim::GetAttr && n.s(c10::attr::name) != m.s(c10::attr::name)) {
      return fmt::format("one uses the attribute {0} where the other uses {1}",
                         n.s(c10::attr::name), m.s(c10::attr::name));
    }
    bool sameInputs = n.inputs().size() == m.inputs().size() &&
                      n.outputs().size() == m.outputs().size() &&
                      llvm::all_of(llvm::zip(n.inputs(), m.inputs()), [&](const auto &pair) {
                        return counterpart.lookup(std::get<0>(pair)) == std::get<1>(pair);
                      });
    if (!sameInputs)
      return fmt::format("operation {0}, {1}, works on other values", number,
                         n.kind().toQualString());
    for (auto [p, q] : llvm::zip(n.outputs(), m.outputs()))
      counterpart[p] = q;
  }
  if (x != nodesA.end() || y != nodesB.end())
    return std::string("one has more operations than the other");
  bool sameResults = a.outputs().size() == b.outputs().size() &&
                     llvm::all_of(llvm::zip(a.outputs(), b.outputs()), [&](const auto &pair) {
                       return counterpart.lookup(std::get<0>(pair)) == std::get<1>(pair);
                     });
  return sameResults ? std::nullopt : std::optional<std::string>("they return other values");
}

} // namespace plait::frontend
