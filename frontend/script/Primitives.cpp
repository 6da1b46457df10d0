// prim:: operations of TorchScript: constants, calls, casts, tuples and lists.
#include "frontend/script/GraphWalk.h"

#include <ATen/core/class_type.h>
#include <ATen/core/jit_type.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/runtime/operator.h>

namespace plait::frontend {

namespace prim = c10::prim;
namespace attr = c10::attr;

GraphWalk::Handled GraphWalk::primitive(Node &node, Arguments arguments) {
  c10::Symbol kind = node.kind();
  if (kind == prim::Constant) {
    if (node.output()->type()->kind() == c10::TypeKind::FunctionType)
      return Results{Val(c10::IValue())}; // read by CallFunction from the node itself
    auto value = torch::jit::toIValue(node.output());
    if (value && value->isTensor() && value->toTensor().defined())
      value = value->toTensor().cpu(); // a model traced on another device runs on this one
    return Results{value ? engine_.fromIValue(*value, "", /*fromWeight=*/value->isTensor())
                         : Val(c10::IValue())};
  }
  if (kind == prim::GetAttr)
    return Results{getAttr(node, arguments[0])};
  if (kind == prim::SetAttr) {
    setAttr(node, arguments[0], arguments[1]);
    return Results{};
  }
  if (kind == prim::CallFunction) {
    auto type = node.input(0)->type()->cast<c10::FunctionType>();
    return callFunction(*type->function(), arguments.drop_front().vec(), frame_->modulePath);
  }
  if (kind == prim::CallMethod)
    return callMethod(node, arguments);
  if (kind == prim::Enter || kind == prim::Exit) {
    // `with`: what the object's own methods do; `torch.no_grad()` is a class of TorchScript too.
    auto self = arguments[0].known();
    if (!self || !self->isObject())
      return Results{};
    bool enter = kind == prim::Enter;
    auto given = arguments.vec();
    if (!enter)
      given.resize(4, Val(c10::IValue())); // no exception has occurred
    return callFunction(self->toObjectRef().type()->getMethod(enter ? "__enter__" : "__exit__"),
                        std::move(given), frame_->modulePath);
  }
  if (kind == prim::fork) {
    // What runs beside the rest in LibTorch runs here and now; `wait` then has nothing to do.
    return runBlock(*node.g(attr::Subgraph)->block(), arguments);
  }
  if (kind == prim::CreateObject) {
    auto type = node.output()->type()->expect<c10::ClassType>();
    auto object =
        c10::ivalue::Object::create(c10::StrongTypePtr(nullptr, type), type->numAttributes());
    localObjects_.insert(object.get());
    localObjectsKept_.emplace_back(object);
    return Results{Val(c10::IValue(object))};
  }
  if (kind == prim::Uninitialized)
    return Results{Val(Val::Uninitialized{})};
  if (kind == prim::unchecked_cast || kind == c10::Symbol::fromQualString("prim::data") ||
      kind == prim::AutogradZero)
    return Results{arguments[0]};
  if (kind == prim::RaiseException) {
    std::string message = arguments[0].known() && arguments[0].known()->isString()
                              ? arguments[0].known()->toStringRef()
                              : "an exception";
    if (!options_.decomposed.empty())
      engine_.fail(makeError(Code::UnsupportedForm, "{0}: {1}", options_.decomposed, message));
    else if (!engine_.hasGuessed()) // it may be the guess that is refused here
      engine_.fail(
          makeError(Code::ModelRaises, "the model raises here for these inputs: {0}", message));
    return Results{};
  }
  if (kind == prim::Print || kind == c10::Symbol::fromQualString("prim::AssertNonZero"))
    return Results{};
  return container(node, arguments);
}

/// Tuples, lists and dictionaries.
GraphWalk::Handled GraphWalk::container(Node &node, Arguments arguments) {
  c10::Symbol kind = node.kind();
  if (kind == prim::ListConstruct)
    return Results{engine_.makeList(
        node.output()->type()->expect<c10::ListType>()->getElementType(), arguments.vec())};
  if (kind == prim::TupleConstruct)
    return Results{engine_.makeTuple(node.output()->type(), arguments.vec())};
  if (kind == prim::DictConstruct) {
    auto type = node.output()->type()->expect<c10::DictType>();
    std::vector<std::pair<c10::IValue, Val>> entries;
    for (size_t i = 0; i + 1 < arguments.size(); i += 2) {
      auto key = engine_.toKnown(arguments[i]);
      if (!key) {
        engine_.fail(
            makeError(Code::NotKnown, "a dictionary has a key that is only known at run time"));
        return Results();
      }
      entries.emplace_back(*key, arguments[i + 1]);
    }
    return Results{engine_.makeDict(type->getKeyType(), type->getValueType(), std::move(entries))};
  }
  if (kind == prim::TupleUnpack || kind == prim::ListUnpack) {
    std::vector<Val> values;
    if (auto tuple = arguments[0].tuple())
      values = tuple->values;
    else if (auto list = arguments[0].list())
      values = list->values;
    else
      return Results();
    if (values.size() != node.outputs().size()) {
      engine_.fail(makeError(Code::UnsupportedForm, "{0} values are unpacked into {1} names",
                             values.size(), node.outputs().size()));
      return Results();
    }
    return values;
  }
  if (kind == prim::TupleIndex) {
    auto tuple = arguments[0].tuple();
    auto index = arguments[1].known() ? std::optional(arguments[1].known()->toInt()) : std::nullopt;
    if (!tuple || !index)
      return Results();
    int64_t size = tuple->values.size(), i = *index < 0 ? *index + size : *index;
    TORCH_CHECK(i >= 0 && i < size, "tuple index ", *index, " is out of range");
    return Results{tuple->values[i]};
  }
  if (kind == prim::TupleSlice) {
    auto tuple = arguments[0].tuple();
    if (!tuple)
      return Results();
    int64_t begin = node.i(attr::beg), end = node.i(attr::end);
    return Results{engine_.makeTuple(node.output()->type(),
                                     {tuple->values.begin() + begin, tuple->values.begin() + end})};
  }
  if (kind == prim::isinstance) {
    bool decided = false;
    c10::TypePtr type = node.input()->type();
    if (arguments[0].known() && !arguments[0].known()->isObject())
      type = arguments[0].known()->type();
    for (const c10::TypePtr &candidate : node.tys(attr::types))
      decided |= type->isSubtypeOf(*candidate);
    return Results{Val(c10::IValue(decided))};
  }
  if (kind == prim::ConstantChunk) {
    auto self = arguments[0].tensor();
    if (!self)
      return Results();
    int64_t dim = node.i(attr::dim), chunks = node.i(attr::chunks);
    auto op = torch::jit::getOperatorForLiteral(
        "aten::chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]");
    auto list =
        engine_.call(op->schema(), {arguments[0], Val(c10::IValue(chunks)), Val(c10::IValue(dim))});
    return list && !list->empty() && (*list)[0].list() ? (*list)[0].list()->values : Results();
  }
  if (kind == prim::unchecked_unwrap_optional)
    return Results{arguments[0]};
  return std::nullopt;
}

} // namespace plait::frontend
