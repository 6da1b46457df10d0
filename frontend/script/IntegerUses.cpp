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
                                         {"aten::__and__", "self"},
                                         {"aten::__or__", "self"},
                                         {"aten::__xor__", "self"},
                                         {"aten::bitwise_and", "self"},
                                         {"aten::bitwise_or", "self"},
                                         {"aten::bitwise_xor", "self"},
                                         {"aten::bitwise_not", "self"},
                                         {"aten::bitwise_left_shift", "self"},
                                         {"aten::bitwise_right_shift", "self"}};

/// Operators whose result holds the elements of their first argument.
constexpr const char *kViews[] = {
    "aten::view",       "aten::reshape", "aten::flatten",   "aten::unsqueeze", "aten::squeeze",
    "aten::slice",      "aten::select",  "aten::transpose", "aten::permute",   "aten::t",
    "aten::contiguous", "aten::clone",   "aten::detach",    "aten::expand",    "aten::expand_as",
    "aten::narrow",     "aten::view_as", "aten::flip",      "aten::roll",      "aten::repeat",
    "aten::alias",      "aten::movedim"};

class Search {
public:
  std::string look(const Value &value) {
    if (!seen_.insert(&value).second)
      return "";
    for (const torch::jit::Use &use : value.uses())
      if (std::string found = look(*use.user, use.offset); !found.empty())
        return found;
    return "";
  }

private:
  std::string look(const Node &node, size_t offset) {
    llvm::StringRef kind = node.kind().toQualString();
    switch (node.kind()) {
    case c10::prim::ListConstruct: // of indices
      for (const torch::jit::Use &use : node.output()->uses()) {
        llvm::StringRef op = use.user->kind().toQualString();
        bool isIndex = op == "aten::index" || op == "aten::index_put" || op == "aten::index_put_";
        if (isIndex && use.offset == 1)
          return op.str() + " as indices";
      }
      return "";
    case c10::prim::CallMethod:
      return lookInto(node, offset);
    case c10::prim::If:
    case c10::prim::Loop:
      return "";
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
      return "";
    for (const auto &[op, argument] : kIntegers)
      if (kind == op && schema->arguments()[offset].name() == argument)
        return kind.str() + " as " + argument;
    return "";
  }

  /// The argument of the method that is called.
  std::string lookInto(const Node &node, size_t offset) {
    auto type = node.input(0)->type()->cast<c10::ClassType>();
    torch::jit::Function *method = type ? type->findMethod(node.s(c10::attr::name)) : nullptr;
    if (!method || offset == 0)
      return "";
    auto inputs = torch::jit::toGraphFunction(*method).graph()->inputs();
    return offset < inputs.size() ? look(*inputs[offset]) : "";
  }

  /// What a branch gives is the result of the `if`. What a method gives back is not followed.
  std::string lookBehind(const Node &node, size_t offset) {
    const Node *around = node.owningBlock()->owningNode();
    return around && around->kind() == c10::prim::If && offset < around->outputs().size()
               ? look(*around->outputs()[offset])
               : "";
  }

  llvm::DenseSet<const Value *> seen_;
};

} // namespace

std::string integerUse(const Value &value) { return Search().look(value); }

} // namespace plait::frontend
