// The first node that multiplies by a weight, convolves or gathers.
#include "frontend/script/Layer.h"

#include "llvm/ADT/STLExtras.h"

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>

namespace plait::frontend {

using llvm::StringRef;
using mil::Layer;
using torch::jit::Node;

static Layer::Kind kindOf(const Node &node) {
  StringRef name = node.kind().toQualString();
  if (!name.consume_front("aten::"))
    return Layer::Other;
  if (name == "linear")
    return Layer::Linear;
  if (name == "embedding")
    return Layer::Embedding;
  if (name == "conv1d" || name == "conv2d" || name == "conv3d" || name == "_convolution" ||
      name == "convolution" || name == "_convolution_mode")
    return Layer::Convolution;
  // The product with the weight as it is, or with the weight transposed.
  if (name == "addmm" || name == "mm" || name == "matmul") {
    StringRef right = node.input(name == "addmm" ? 2 : 1)->node()->kind().toQualString();
    bool turned = llvm::is_contained({"aten::t", "aten::transpose", "aten::numpy_T", "aten::mT",
                                      "aten::adjoint", "aten::permute", "aten::swapaxes"},
                                     right);
    return turned ? Layer::Linear : Layer::TransposedLinear;
  }
  return Layer::Other;
}

static const Node *search(const torch::jit::Block &block, const c10::ClassType &type,
                          unsigned depth);

static const Node *search(torch::jit::Function &function, const c10::ClassType &type,
                          unsigned depth) {
  auto *graph = torch::jit::tryToGraphFunction(function);
  return graph && depth < 8 ? search(*graph->graph()->block(), type, depth + 1) : nullptr;
}

static const Node *search(const torch::jit::Block &block, const c10::ClassType &type,
                          unsigned depth) {
  for (const Node *node : block.nodes()) {
    const Node *found = kindOf(*node) == Layer::Other ? nullptr : node;
    if (!found && node->kind() == c10::prim::CallMethod) {
      // Of the module itself; what a part of it computes is the part's.
      bool ofSelf = node->input(0)->type()->cast<c10::ClassType>().get() == &type;
      if (auto *method = ofSelf ? type.findMethod(node->s(c10::attr::name)) : nullptr)
        found = search(*method, type, depth);
    } else if (!found && node->kind() == c10::prim::CallFunction) {
      if (auto callee = node->input(0)->type()->cast<c10::FunctionType>())
        found = search(*callee->function(), type, depth);
    }
    for (const torch::jit::Block *inner : node->blocks())
      if (!found)
        found = search(*inner, type, depth);
    if (found)
      return found;
  }
  return nullptr;
}

// ---- Arguments ---------------------------------------------------------------------------------

static std::optional<c10::IValue> constantOf(const torch::jit::Value *value) {
  if (auto known = torch::jit::toIValue(value))
    return known;
  const Node *node = value->node();
  if (node->kind() != c10::prim::ListConstruct)
    return std::nullopt;
  c10::List<int64_t> list;
  for (const torch::jit::Value *element : node->inputs()) {
    auto known = torch::jit::toIValue(element);
    if (!known || !known->isInt())
      return std::nullopt;
    list.push_back(known->toInt());
  }
  return c10::IValue(list);
}

/// An argument that the code writes as a constant, or as a list of constant integers; by its name
/// in the schema, or the schema's default. nullopt where it is computed, or there is none.
static std::optional<c10::IValue> constantArgument(const Node &node, StringRef name) {
  const std::vector<c10::Argument> &arguments = node.schema().arguments();
  for (size_t i = 0; i < arguments.size(); ++i)
    if (arguments[i].name() == name)
      return i < node.inputs().size() ? constantOf(node.input(i)) : arguments[i].default_value();
  return std::nullopt;
}

/// One number for each spatial dimension; a single one stands for all.
static std::optional<Layer::Sizes> sizesArgument(const Node &node, StringRef name, size_t spatial) {
  auto value = constantArgument(node, name);
  if (!value || !(value->isInt() || value->isIntList()))
    return std::nullopt;
  std::vector<int64_t> list =
      value->isInt() ? std::vector<int64_t>{value->toInt()} : value->toIntVector();
  if (list.size() == 1)
    list.resize(spatial, list[0]);
  if (list.size() != spatial)
    return std::nullopt;
  return Layer::Sizes(list.begin(), list.end());
}

static void addGeometry(Layer &layer, const Node &node, size_t spatial) {
  layer.strides = sizesArgument(node, "stride", spatial);
  layer.padding = sizesArgument(node, "padding", spatial);
  layer.dilations = sizesArgument(node, "dilation", spatial);
  if (auto padding = constantArgument(node, "padding"); padding && padding->isString())
    layer.paddingMode = padding->toStringRef();
  if (auto groups = constantArgument(node, "groups"); groups && groups->isInt())
    layer.groups = groups->toInt();
  auto transposed = constantArgument(node, "transposed");
  layer.transposed = transposed && transposed->isBool() && transposed->toBool();
  layer.isOfInput = node.input(0)->node()->kind() == c10::prim::Param;
}

/// A scaled embedding (Gemma's, BART's) multiplies what it gathers. A trace keeps no numbers of a
/// module but in its code.
static double scaleOf(const c10::ivalue::Object &module, const Node &gather) {
  auto numberOf = [](const c10::IValue &value) -> std::optional<double> {
    if (value.isDouble() || value.isInt())
      return value.toScalar().toDouble();
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().numel() == 1)
      return value.toTensor().item<double>();
    return std::nullopt;
  };
  if (auto slot = module.type()->findAttributeSlot("embed_scale"))
    if (auto scale = numberOf(module.getSlot(*slot)))
      return *scale;
  for (const torch::jit::Use &use : gather.output()->uses())
    if (use.user->kind() == c10::aten::mul)
      if (auto known = torch::jit::toIValue(use.user->input(1 - use.offset)))
        if (auto scale = numberOf(*known))
          return *scale;
  return 1;
}

mil::Layer findLayer(const c10::ivalue::Object &module) {
  auto type = module.type();
  auto *forward = type->findMethod("forward");
  const Node *node = forward ? search(*forward, *type, 0) : nullptr;
  Layer layer;
  if (!node)
    return layer;
  layer.kind = kindOf(*node);
  if (layer.kind == Layer::Embedding)
    layer.scale = scaleOf(module, *node);
  if (layer.kind != Layer::Convolution)
    return layer;
  size_t rank = 0;
  for (const char *name : {"weight", "weight_v"})
    if (auto slot = type->findAttributeSlot(name); slot && module.getSlot(*slot).isTensor())
      rank = std::max<size_t>(rank, module.getSlot(*slot).toTensor().dim());
  StringRef name = node->kind().toQualString();
  size_t spatial = name.contains("1d") ? 1 : name.contains("2d") ? 2 : name.contains("3d") ? 3 : 0;
  addGeometry(layer, *node, rank > 2 ? rank - 2 : spatial);
  // A weight that is computed elsewhere: as many sizes as the code writes.
  if (rank <= 2 && spatial == 0)
    if (auto stride = constantArgument(*node, "stride"); stride && stride->isIntList())
      addGeometry(layer, *node, stride->toIntVector().size());
  return layer;
}

} // namespace plait::frontend
