// In-place and out= forms, from the schema's alias annotations:
//
//     x.add_(y)               aten::add_(Tensor(a!) self, …)
//     torch.add(x, y, out=z)  aten::add.out(…, Tensor(a!) out)
//
// Both are lowered as aten::add, and the result is stored through the view of x or z. The
// functional form is found among the operation's overloads by the names of its arguments, so only
// assignments need code of their own (lower/Assignments.cpp). An operation that writes and has no
// functional form is refused.
#include "frontend/engine/Engine.h"

#include <ATen/Functions.h>
#include <torch/csrc/jit/runtime/operator.h>

namespace plait::frontend {

static bool isWritten(const c10::Argument &argument) {
  return argument.alias_info() && argument.alias_info()->isWrite();
}

static bool isOutForm(const c10::FunctionSchema &schema) { return schema.name().back() != '_'; }

const c10::FunctionSchema *Engine::functionalTwin(const c10::FunctionSchema &schema) {
  bool isOut = isOutForm(schema);
  const std::string &own = schema.name();
  std::string name = isOut ? own : own.substr(0, own.size() - 1);
  std::vector<const c10::Argument *> wanted;
  for (const c10::Argument &argument : schema.arguments())
    if (!isOut || !isWritten(argument))
      wanted.push_back(&argument);
  for (const auto &candidate : torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(name))) {
    const c10::FunctionSchema &twin = candidate->schema();
    if (twin.is_mutable() || twin.arguments().size() != wanted.size())
      continue;
    bool matches = llvm::all_of(llvm::zip(wanted, twin.arguments()), [](auto pair) {
      const auto &[a, b] = pair;
      return a->name() == b.name() && *a->type() == *b.type();
    });
    if (matches)
      return &twin;
  }
  return nullptr;
}

std::optional<Engine::Results> Engine::functional(const c10::FunctionSchema &schema,
                                                  Arguments arguments) {
  bool isOut = isOutForm(schema);
  const c10::FunctionSchema *twin = functionalTwin(schema);
  if (!twin) {
    bool hasOut = llvm::any_of(schema.arguments(), [](const auto &a) { return a.is_out(); });
    refuseWrite(schema, !isOut   ? "and no functional form of it is known; write it without the "
                                   "in-place operation"
                        : hasOut ? "and no form of it without one is known; call it without out="
                                 : "which is not supported");
    return std::nullopt;
  }
  std::vector<Val> inputs;
  for (const auto &[argument, value] : llvm::zip(schema.arguments(), arguments))
    if (!isOut || !isWritten(argument))
      inputs.push_back(value);
  // sum, prod, cumsum and the like compute in the element type of `out` where no other is asked
  // for; everything else computes as without `out`, and its result is cast.
  if (auto dtype = isOut ? twin->argumentIndexWithName("dtype") : std::nullopt) {
    const Val &given = inputs[*dtype];
    for (const auto &[argument, value] : llvm::zip(schema.arguments(), arguments))
      if (auto out = isWritten(argument) && given.known() && given.known()->isNone()
                         ? value.tensor()
                         : nullptr)
        inputs[*dtype] = Val(c10::IValue(int64_t(out->dtype())));
  }
  auto results = call(*twin, std::move(inputs));
  return results && !results->empty() ? std::move(results) : std::nullopt;
}

void Engine::refuseWrite(const c10::FunctionSchema &schema, const char *why) {
  fail(makeError(Code::SharedMemory, "{0} writes to its argument, {1}", schema.operator_name().name,
                 why));
}

Engine::Handled Engine::mutation(const c10::FunctionSchema &schema, Arguments arguments) {
  if (!schema.is_mutable())
    return std::nullopt;
  std::vector<unsigned> written;
  for (auto [i, argument] : llvm::enumerate(schema.arguments()))
    if (isWritten(argument))
      written.push_back(i);
  auto refuse = [&](const char *why) {
    refuseWrite(schema, why);
    return Results();
  };
  if (!arguments[written[0]].tensor())
    return refuse("which is no tensor that can be written here");
  bool isOut = isOutForm(schema);
  auto isEmptyTensor = [&](unsigned index) {
    auto tensor = arguments[index].tensor();
    return tensor && isEmpty(tensor->shape);
  };
  // Every tensor that is written is empty: there is nothing to compute.
  Results outputs;
  if (!isOut && llvm::all_of(written, isEmptyTensor)) {
    for (unsigned index : written)
      outputs.push_back(arguments[index]);
    return outputs;
  }
  auto results = functional(schema, arguments);
  if (!results)
    return Results();
  for (auto [i, index] : llvm::enumerate(written)) {
    auto target = arguments[index].tensor();
    auto value = i < results->size() ? (*results)[i].tensor() : nullptr;
    if (!target || !value)
      return refuse("and its functional form gives no tensor for it");
    bool sameShape = llvm::ArrayRef<Dim>(target->shape) == llvm::ArrayRef<Dim>(value->shape);
    if (isOut && !sameShape) {
      // LibTorch resizes `out`; that is only sound to follow where nothing else can see the old
      // storage.
      if (!target->view.empty() || !isEmpty(target->shape))
        return refuse("an `out` of another shape than the result");
      touch(target);
      touch(target->cell);
      target->cell->shape = value->shape;
      target->shape = value->shape;
      target->strides = contiguousStrides(value->shape);
      if (value->isComplex())
        return refuse("an `out` of another shape than the complex result");
      if (at::Tensor known = readKnown(*value); known.defined())
        setContent(target->cell, Cell::Known{known.to(target->dtype()), false,
                                             originOf(Val(value)).asComputed()});
      else
        setContent(target->cell, read(*castTensor(value, target->dtype()).tensor()));
    } else {
      write(*target, Val(value));
    }
    outputs.push_back(arguments[index]);
  }
  return outputs;
}

} // namespace plait::frontend
