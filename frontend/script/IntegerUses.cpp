// Follows a value through views, calls, branches and loops.
#include "frontend/script/IntegerUses.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringRef.h"

#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>

namespace plait::frontend {

using torch::jit::Node;
using torch::jit::Value;

namespace {

/// Operators that take integers as one of their arguments, by the schemas' names.
struct IntegerArgument {
  const char *op, *argument;
  bool orBool = false;
};
constexpr IntegerArgument kIntegers[] = {{"aten::embedding", "indices"},
                                         {"aten::embedding_bag", "indices"},
                                         {"aten::index_select", "index"},
                                         {"aten::gather", "index"},
                                         {"aten::take", "index"},
                                         {"aten::take_along_dim", "indices"},
                                         {"aten::one_hot", "self"},
                                         {"aten::index_copy", "index"},
                                         {"aten::index_copy_", "index"},
                                         {"aten::index_add", "index"},
                                         {"aten::index_add_", "index"},
                                         {"aten::index_fill", "index"},
                                         {"aten::index_fill_", "index"},
                                         {"aten::scatter", "index"},
                                         {"aten::scatter_", "index"},
                                         {"aten::scatter_add", "index"},
                                         {"aten::scatter_add_", "index"},
                                         {"aten::scatter_reduce", "index"},
                                         {"aten::__and__", "self", true},
                                         {"aten::__or__", "self", true},
                                         {"aten::__xor__", "self", true},
                                         {"aten::bitwise_and", "self", true},
                                         {"aten::bitwise_or", "self", true},
                                         {"aten::bitwise_xor", "self", true},
                                         {"aten::bitwise_not", "self", true},
                                         {"aten::bitwise_left_shift", "self"},
                                         {"aten::bitwise_right_shift", "self"}};

/// Operators whose result holds the elements of their first argument.
constexpr const char *kViews[] = {
    "aten::view",       "aten::reshape", "aten::flatten",   "aten::unsqueeze", "aten::squeeze",
    "aten::slice",      "aten::select",  "aten::transpose", "aten::permute",   "aten::t",
    "aten::contiguous", "aten::clone",   "aten::detach",    "aten::expand",    "aten::expand_as",
    "aten::narrow",     "aten::view_as", "aten::flip",      "aten::roll",      "aten::repeat",
    "aten::alias",      "aten::movedim"};

/// What the node makes of an element of its operand, and whether it is that element. Null where it
/// takes none out, or another one.
const Value *elementOf(const Node &node, size_t offset, const ElementKey &element) {
  if (offset != 0)
    return nullptr;
  auto constant = [&] {
    return node.inputs().size() > 1 ? torch::jit::toIValue(node.input(1)) : std::nullopt;
  };
  llvm::StringRef kind = node.kind().toQualString();
  if (kind == "prim::TupleUnpack" || kind == "prim::ListUnpack")
    return element.place < node.outputs().size() ? node.output(element.place) : nullptr;
  if (kind != "prim::TupleIndex" && kind != "aten::__getitem__")
    return nullptr;
  auto key = constant();
  bool isIt = key && (key->isInt()      ? key->toInt() == int64_t(element.place)
                      : key->isString() ? key->toStringRef() == element.key
                                        : false);
  return isIt ? node.output() : nullptr;
}

class Search {
public:
  IntegerUse look(const Value &value, llvm::ArrayRef<ElementKey> path) {
    if (path.empty())
      return look(value);
    for (const torch::jit::Use &use : value.uses())
      if (const Value *element = elementOf(*use.user, use.offset, path.front()))
        if (IntegerUse found = look(*element, path.drop_front()))
          return found;
    return {};
  }

  IntegerUse look(const Value &value) {
    if (!seen_.insert(&value).second)
      return {};
    for (const torch::jit::Use &use : value.uses())
      if (IntegerUse found = look(*use.user, use.offset))
        return found;
    return {};
  }

private:
  IntegerUse look(const Node &node, size_t offset) {
    llvm::StringRef kind = node.kind().toQualString();
    switch (node.kind()) {
    case c10::prim::ListConstruct: // of indices
      for (const torch::jit::Use &use : node.output()->uses()) {
        llvm::StringRef op = use.user->kind().toQualString();
        bool isIndex = op == "aten::index" || op == "aten::index_put" || op == "aten::index_put_";
        if (isIndex && use.offset == 1)
          return {op.str() + " as indices", true};
      }
      return {};
    case c10::prim::CallMethod:
    case c10::prim::CallFunction:
      return lookInto(node, offset);
    case c10::prim::If:
    case c10::prim::Loop:
      return {};
    case c10::prim::Return:
      return lookBehind(node, offset);
    default:
      break;
    }
    for (const char *view : kViews)
      if (kind == view && offset == 0 && node.outputs().size() == 1)
        return look(*node.output());
    const c10::FunctionSchema *schema = node.maybeSchema();
    if (!schema || offset >= schema->arguments().size())
      return {};
    for (const auto &[op, argument, orBool] : kIntegers)
      if (kind == op && schema->arguments()[offset].name() == argument)
        return {kind.str() + " as " + argument, orBool};
    return {};
  }

  /// The argument of the method or function that is called.
  IntegerUse lookInto(const Node &node, size_t offset) {
    torch::jit::Function *called = nullptr;
    if (node.kind() == c10::prim::CallFunction) {
      if (auto type = node.input(0)->type()->cast<c10::FunctionType>())
        called = type->function();
    } else if (auto type = node.input(0)->type()->cast<c10::ClassType>()) {
      called = type->findMethod(node.s(c10::attr::name));
    }
    auto *graph = called ? torch::jit::tryToGraphFunction(*called) : nullptr;
    if (!graph || offset == 0)
      return {};
    auto inputs = graph->graph()->inputs();
    size_t own = node.kind() == c10::prim::CallFunction ? offset - 1 : offset;
    return own < inputs.size() ? look(*inputs[own]) : IntegerUse();
  }

  /// What a branch gives is the result of the `if`. What a method gives back is not followed.
  IntegerUse lookBehind(const Node &node, size_t offset) {
    const Node *around = node.owningBlock()->owningNode();
    return around && around->kind() == c10::prim::If && offset < around->outputs().size()
               ? look(*around->outputs()[offset])
               : IntegerUse();
  }

  llvm::DenseSet<const Value *> seen_;
};

} // namespace

IntegerUse integerUse(const Value &value) { return Search().look(value); }

IntegerUse integerUse(const Value &value, llvm::ArrayRef<ElementKey> path) {
  return Search().look(value, path);
}

} // namespace plait::frontend
