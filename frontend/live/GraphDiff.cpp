// A walk over two traces side by side. Traces are straight lines: no node has a block.
#include "frontend/live/GraphDiff.h"

#include "frontend/script/libtorch/Internals.h"
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

/// "trunk.0.weight" of the attribute's attribute; "" where `value` is none.
static std::string attributePath(const Value *value) {
  const Node *node = value->node();
  if (node->kind() != c10::prim::GetAttr)
    return "";
  std::string outer = attributePath(node->input());
  return (outer.empty() ? "" : outer + ".") + node->s(c10::attr::name);
}

std::string lastParameter(const Graph &graph, size_t operation) {
  std::string path;
  size_t number = 0;
  for (const Node *node : graph.nodes()) {
    if (!libtorch::isOperation(*node))
      continue;
    if (++number > operation)
      break;
    for (const Value *input : node->inputs())
      if (std::string used = attributePath(input); !used.empty())
        path = std::move(used);
  }
  return path;
}

/// The number of dimensions and the element type, as far as the trace knows them.
static std::string kindOf(const Value &value) {
  auto tensor = value.type()->cast<c10::TensorType>();
  if (!tensor)
    return value.type()->str();
  auto rank = tensor->dim();
  auto dtype = tensor->scalarType();
  return fmt::format("{0} of {1} dimensions", dtype ? c10::toString(*dtype) : "a tensor",
                     rank ? std::to_string(*rank) : "any");
}

namespace {

class Comparison {
public:
  Comparison(const Graph &a, const Graph &b) : a_(a), b_(b) {}

  std::optional<std::string> run() {
    for (auto [x, y] : llvm::zip(a_.inputs(), b_.inputs()))
      counterpart_[x] = y;
    auto nodesA = a_.nodes(), nodesB = b_.nodes();
    auto x = nodesA.begin(), y = nodesB.begin();
    for (; x != nodesA.end() && y != nodesB.end(); ++x, ++y) {
      number_ += libtorch::isOperation(**x);
      if (auto difference = compare(**x, **y)) {
        std::string parameter = lastParameter(a_, number_);
        return *difference +
               (parameter.empty() ? "" : ", behind the one that uses '" + parameter + "'");
      }
    }
    if (x != nodesA.end() || y != nodesB.end())
      return std::string("one has more operations than the other");
    return sameValues(a_.outputs(), b_.outputs())
               ? std::nullopt
               : std::optional<std::string>("they return other values");
  }

private:
  template <typename Values> bool sameValues(const Values &a, const Values &b) const {
    return a.size() == b.size() && llvm::all_of(llvm::zip(a, b), [&](const auto &pair) {
             return counterpart_.lookup(std::get<0>(pair)) == std::get<1>(pair);
           });
  }

  std::optional<std::string> compare(const Node &n, const Node &m) {
    if (n.kind() != m.kind())
      return fmt::format("operation {0} is {1} in one and {2} in the other", number_,
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
    if (!sameValues(n.inputs(), m.inputs()) || n.outputs().size() != m.outputs().size())
      return fmt::format("operation {0}, {1}, works on other values", number_,
                         n.kind().toQualString());
    for (auto [p, q] : llvm::zip(n.outputs(), m.outputs())) {
      if (libtorch::isOperation(n))
        if (std::string one = kindOf(*p), other = kindOf(*q); one != other)
          return fmt::format("operation {0}, {1}, gives {2} in one and {3} in the other", number_,
                             n.kind().toQualString(), one, other);
      counterpart_[p] = q;
    }
    return std::nullopt;
  }

  const Graph &a_, &b_;
  llvm::DenseMap<const Value *, const Value *> counterpart_;
  size_t number_ = 0;
};

} // namespace

std::optional<std::string> firstDifference(const Graph &a, const Graph &b) {
  return Comparison(a, b).run();
}

} // namespace plait::frontend
