// The modules of an exported model: which there are, what tensors they have, and what the first
// node of each computes with its weight.
#include "frontend/exported/ModuleCalls.h"

#include "frontend/engine/Engine.h"
#include "frontend/engine/StoredType.h"
#include "frontend/exported/Places.h"
#include "frontend/exported/Targets.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

namespace plait::frontend {

using exported::Argument;
using exported::Node;
using llvm::StringRef;
using mil::Layer;

namespace {

/// Deeper or larger than any model.
constexpr size_t kMostModules = 1000000, kDeepest = 100;

class ExportDescriber {
public:
  ExportDescriber(const ExportedModel &model, mil::ModuleTree &tree) : model_(model), tree_(tree) {
    for (const Node &node : model.program().graph.nodes)
      for (const Argument &output : node.outputs)
        if (output.kind == Argument::Kind::Name)
          makers_[output.text] = &node;
  }

  void run(llvm::function_ref<std::optional<mil::TensorData>(const at::Tensor &)> view) {
    moduleAt("");
    const exported::Program &program = model_.program();
    // In the order of the model: the program's inputs, then what they leave out (tied weights have
    // one input), then modules without tensors.
    llvm::StringSet<> done;
    auto add = [&](const std::string &path, const at::Tensor &tensor) {
      if (!done.insert(path).second)
        return;
      auto [parent, name] = StringRef(path).contains('.') ? StringRef(path).rsplit('.')
                                                          : std::pair(StringRef(), StringRef(path));
      auto module = moduleAt(parent.str());
      if (auto data = module ? view(tensor) : std::nullopt)
        tree_.edit(*module).tensors.emplace_back(name.str(), std::move(*data));
    };
    for (const exported::InputSpec &spec : program.inputs)
      if (at::Tensor tensor = model_.tensorOf(spec); tensor.defined())
        add(spec.target, tensor);
    for (const auto &attribute : model_.root().named_attributes(/*recurse=*/true))
      if (attribute.value.isTensor())
        add(attribute.name, attribute.value.toTensor());
    std::map<std::string, llvm::StringSet<>> calls;
    for (const Node &node : program.graph.nodes)
      for (const ModuleCallName &entry : moduleStackOf(node.moduleStack)) {
        auto module = moduleAt(entry.path);
        if (!module)
          continue;
        mil::ModuleInfo &info = tree_.edit(*module);
        info.type = entry.type.str();
        info.callable = true;
        calls[entry.path].insert(entry.call);
        info.calledAgain = calls[entry.path].size() > 1;
      }
    for (const Node &node : program.graph.nodes)
      addLayer(node);
  }

private:
  std::optional<unsigned> moduleAt(const std::string &path) {
    if (auto known = tree_.find(path))
      return known;
    if (tree_.modules().size() > kMostModules || StringRef(path).count('.') > kDeepest)
      return std::nullopt;
    std::optional<unsigned> parent;
    StringRef name = path;
    if (!path.empty()) {
      auto [above, last] = name.contains('.') ? name.rsplit('.') : std::pair(StringRef(), name);
      parent = moduleAt(above.str());
      name = last;
    }
    unsigned number = tree_.addModule({});
    tree_.addPath(path, number);
    if (parent)
      tree_.edit(*parent).children.emplace_back(name.str(), number);
    return number;
  }

  // ---- Layers ----

  static const Argument *find(const Node &node, StringRef name) {
    for (const exported::NamedArgument &input : node.inputs)
      if (input.name == name)
        return &input.value;
    return nullptr;
  }

  Layer::Kind kindOf(const Node &node, StringRef name) const {
    if (name == "aten::linear")
      return Layer::Linear;
    if (name == "aten::embedding")
      return Layer::Embedding;
    if (name == "aten::conv1d" || name == "aten::conv2d" || name == "aten::conv3d" ||
        name == "aten::convolution")
      return Layer::Convolution;
    if (name != "aten::addmm" && name != "aten::mm" && name != "aten::matmul")
      return Layer::Other;
    // The product with the weight as it is, or with the weight transposed.
    const Argument *right = find(node, name == "aten::matmul" ? "other" : "mat2");
    auto maker = right ? makers_.find(right->text) : makers_.end();
    bool turned =
        maker != makers_.end() &&
        llvm::is_contained({"t", "transpose", "numpy_T", "mT", "adjoint", "permute", "swapaxes"},
                           StringRef(maker->second->target).split("aten.").second.split('.').first);
    return turned ? Layer::Linear : Layer::TransposedLinear;
  }

  /// One number for each spatial dimension; a single one stands for all.
  std::optional<Layer::Sizes> sizesOf(const Node &node, StringRef name, size_t spatial) const {
    Layer::Sizes sizes;
    if (const Argument *given = find(node, name)) {
      if (given->kind != Argument::Kind::List)
        return std::nullopt;
      for (const Argument &one : given->elements) {
        if (one.kind != Argument::Kind::Int)
          return std::nullopt;
        sizes.push_back(one.integer);
      }
    } else {
      auto op = operatorOfTarget(node.target);
      auto at = op ? op->schema().argumentIndexWithName(name) : std::nullopt;
      auto value = at ? op->schema().arguments()[*at].default_value() : std::nullopt;
      if (!value || !value->isIntList())
        return std::nullopt;
      for (int64_t one : value->toIntVector())
        sizes.push_back(one);
    }
    if (sizes.size() == 1)
      sizes.resize(spatial, sizes[0]);
    return sizes.size() == spatial ? std::optional(sizes) : std::nullopt;
  }

  void addGeometry(Layer &layer, const Node &node, StringRef path, size_t spatial) {
    layer.strides = sizesOf(node, "stride", spatial);
    layer.padding = sizesOf(node, "padding", spatial);
    layer.dilations = sizesOf(node, "dilation", spatial);
    if (const Argument *padding = find(node, "padding");
        padding && padding->kind == Argument::Kind::String)
      layer.paddingMode = padding->text;
    const Argument *groups = find(node, "groups"), *transposed = find(node, "transposed");
    if (!groups || groups->kind == Argument::Kind::Int)
      layer.groups = groups ? groups->integer : 1;
    layer.transposed = transposed && transposed->integer != 0;
    // Made by a node of the same call: something was done to the input first.
    const Argument *input = find(node, "input");
    auto maker = input ? makers_.find(input->text) : makers_.end();
    if (maker != makers_.end()) {
      auto stack = moduleStackOf(maker->second->moduleStack);
      layer.isOfInput = stack.empty() || stack.back().path != path;
    }
  }

  double scaleOf(const Node &gather, StringRef path) const {
    for (const Node &node : model_.program().graph.nodes) {
      if (!StringRef(node.target).starts_with("torch.ops.aten.mul.") || node.inputs.size() != 2)
        continue;
      auto stack = moduleStackOf(node.moduleStack);
      if (stack.empty() || stack.back().path != path)
        continue;
      const Argument *one = &node.inputs[0].value, *other = &node.inputs[1].value;
      if (one->text != gather.outputs[0].text)
        std::swap(one, other);
      if (one->text != gather.outputs[0].text)
        continue;
      if (other->kind == Argument::Kind::Int || other->kind == Argument::Kind::Float)
        return other->kind == Argument::Kind::Int ? double(other->integer) : other->number;
      for (auto [spec, input] : llvm::zip(model_.program().inputs, model_.program().graph.inputs))
        if (input.text == other->text)
          if (at::Tensor tensor = model_.tensorOf(spec); tensor.defined() && tensor.numel() == 1)
            return tensor.item<double>();
    }
    return 1;
  }

  /// The first node of a module that multiplies by a weight, convolves or gathers.
  void addLayer(const Node &node) {
    std::string name = StringRef(targetName(node.target)).split('.').first.str();
    Layer::Kind kind = kindOf(node, name);
    auto stack = moduleStackOf(node.moduleStack);
    auto module = stack.empty() ? std::nullopt : tree_.find(stack.back().path);
    if (kind == Layer::Other || !module || tree_[*module].layer.kind != Layer::Other)
      return;
    const mil::TensorData *weight = tree_[*module].find("weight");
    if (!weight && !tree_[*module].find("weight_v") && !tree_[*module].child("parametrizations"))
      return;
    Layer layer;
    layer.kind = kind;
    if (kind == Layer::Embedding)
      layer.scale = scaleOf(node, stack.back().path);
    if (kind == Layer::Convolution) {
      const Argument *stride = find(node, "stride");
      size_t spatial = weight && weight->rank() > 2 ? weight->rank() - 2
                       : stride                     ? stride->elements.size()
                                                    : 0;
      addGeometry(layer, node, stack.back().path, spatial);
    }
    tree_.edit(*module).layer = std::move(layer);
  }

  const ExportedModel &model_;
  mil::ModuleTree &tree_;
  llvm::StringMap<const Node *> makers_;
};

} // namespace

mil::ModuleTree describeExported(
    const ExportedModel &model,
    llvm::function_ref<std::shared_ptr<const mil::Storage>(const at::Tensor &)> storageOf,
    llvm::function_ref<mil::Origin(const at::Tensor &)> originOf) {
  mil::ModuleTree tree;
  llvm::DenseMap<const void *, std::shared_ptr<const mil::Storage>> owned;
  ExportDescriber(model, tree).run([&](const at::Tensor &tensor) -> std::optional<mil::TensorData> {
    auto dtype = storedType(tensor.scalar_type());
    if (!dtype)
      return std::nullopt;
    std::shared_ptr<const mil::Storage> storage = storageOf(tensor);
    if (!storage) {
      auto &own = owned[tensor.storage().unsafeGetStorageImpl()];
      if (!own)
        own = Engine::storageOf(tensor);
      storage = own;
    }
    uint64_t offset = tensor.numel() ? static_cast<const uint8_t *>(tensor.const_data_ptr()) -
                                           static_cast<const uint8_t *>(tensor.storage().data())
                                     : 0;
    return mil::TensorData::view(std::move(storage), offset, *dtype, tensor.sizes().vec(),
                                 tensor.strides().vec(), originOf(tensor));
  });
  return tree;
}

} // namespace plait::frontend
