// Inputs, parameters and buffers as the program takes them, its results as outputs.
#include "frontend/exported/ExportedFunction.h"

#include "frontend/exported/ExportedInterface.h"
#include "support/Failure.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"

namespace plait::frontend {

using exported::Argument;
using OutputKind = exported::OutputSpec::Kind;
using exported::Program;
using exported::TensorMeta;
using SpecKind = exported::InputSpec::Kind;

// ---- Inputs ------------------------------------------------------------------------------------

Expected<Val> ExportedFunction::bindTensor(const exported::InputSpec &spec, bool isRead) {
  const ExportedModel::Place *place = model_.find(spec);
  if (!place) {
    if (!isRead)
      return Val();
    return makeError(Code::PickledObject,
                     "the program computes with '{0}', and it cannot be read: {1}", spec.target,
                     model_.problemOf(spec));
  }
  if (calls_)
    if (auto given = calls_->parameter(engine_, spec, isRead))
      return std::move(*given);
  if (!isRead)
    return Val();
  Val value = engine_.fromIValue(place->object->getSlot(place->slot), spec.target,
                                 /*fromWeight=*/true);
  engine_.readFrom(*place->object, place->slot, value);
  return value;
}

Expected<Val> ExportedFunction::userInput(const exported::Argument &argument) {
  const std::string &name = argument.text;
  if (argument.member != "as_tensor")
    return interface_.number(next_, name, numberType(argument)->kind());
  const TensorMeta &meta = model_.program().graph.tensors.find(name)->second;
  auto type = exportedScalarType(meta.dtype);
  auto value = interface_.input(next_, name, &shapes_[next_]);
  if (!value)
    return value;
  auto tensor = value->tensor();
  if (meta.sizes.empty()) { // a package has no inputs without dimensions
    value = Val(engine_.reshapeTensor(tensor, {}, /*mustAlias=*/true));
    tensor = value->tensor();
  }
  bool isFloat = !type || at::isFloatingType(*type);
  if (isFloat && at::isFloatingType(tensor->dtype()))
    return std::move(*value);
  if (isFloat)
    return engine_.castTensor(tensor, at::kFloat);
  if (*type == at::kBool || !at::isIntegralType(tensor->dtype(), false))
    return engine_.castTensor(tensor, *type);
  // Numbers that the type holds, as whoever calls the model promises.
  return engine_.makeTensor(engine_.read(*tensor), *type);
}

Expected<std::vector<Val>> ExportedFunction::bindInputs() {
  const Program &program = model_.program();
  llvm::StringSet<> read;
  auto addNames = [&](const Argument &argument, auto &&self) -> void {
    if (argument.kind == Argument::Kind::Name)
      read.insert(argument.text);
    for (const Argument &element : argument.elements)
      self(element, self);
  };
  for (const exported::Node &node : program.graph.nodes)
    for (const exported::NamedArgument &input : node.inputs)
      addNames(input.value, addNames);
  for (const Argument &output : program.graph.outputs)
    addNames(output, addNames);

  auto inputs = programInputs(program);
  auto shapes = inputs ? declaredShapes(*inputs, declared_.inputs)
                       : Expected<std::vector<InputShape>>(inputs.takeError());
  if (!shapes)
    return shapes.takeError();
  shapes_ = std::move(*shapes);

  std::vector<Val> values;
  for (auto [spec, input] : llvm::zip(program.inputs, program.graph.inputs)) {
    bool isRead = read.contains(input.text);
    switch (spec.kind) {
    case SpecKind::User:
      if (input.kind == Argument::Kind::Name) {
        auto value = userInput(input);
        if (!value)
          return classify(value.takeError(), FailureKind::Option);
        ++next_;
        values.push_back(std::move(*value));
      } else {
        values.emplace_back();
      }
      break;
    case SpecKind::Parameter:
    case SpecKind::Buffer:
    case SpecKind::Constant: {
      auto value = bindTensor(spec, isRead);
      if (!value)
        return value.takeError();
      values.push_back(std::move(*value));
      break;
    }
    case SpecKind::CustomObject:
      if (isRead)
        return makeError(Code::UnsupportedType,
                         "the program computes with '{0}', an object of the class '{1}', which "
                         "Core ML has nothing like; export the model without it",
                         spec.target, input.text);
      values.emplace_back();
      break;
    case SpecKind::Token:
    case SpecKind::Fixed:
      values.emplace_back();
      break;
    }
  }
  return values;
}

// ---- Outputs -----------------------------------------------------------------------------------

Expected<Val> ExportedFunction::takeOutputs(std::vector<Val> values) {
  const Program &program = model_.program();
  std::vector<std::pair<c10::IValue, Val>> results;
  for (auto [spec, value] : llvm::zip(program.outputs, values)) {
    switch (spec.kind) {
    case OutputKind::User: {
      const std::string &key = program.outputKeys[results.size()];
      results.emplace_back(c10::IValue(mil::legalName(key)), value);
      if (key.empty())
        results.back().first = c10::IValue("");
      break;
    }
    case OutputKind::BufferMutation:
    case OutputKind::ParameterMutation: {
      exported::InputSpec buffer{spec.kind == OutputKind::BufferMutation ? SpecKind::Buffer
                                                                         : SpecKind::Parameter,
                                 spec.target, true};
      const ExportedModel::Place *place = model_.find(buffer);
      if (!place)
        return makeError(Code::WritesLost,
                         "the program writes to '{0}', which the archive does not hold",
                         spec.target);
      Val before = engine_.fromIValue(place->object->getSlot(place->slot), spec.target,
                                      /*fromWeight=*/true);
      engine_.assignAttribute(*place->object, place->slot, spec.target, before, value);
      break;
    }
    case OutputKind::InputMutation: // of the caller's memory, which Core ML does not share
      break;
    case OutputKind::Other:
      if (spec.member == "token")
        break;
      return makeError(Code::OutputMismatch,
                       "the program has an output that is no result ('{0}'); export the model for "
                       "inference",
                       spec.member);
    }
  }
  return engine_.makeDict(c10::StringType::get(), c10::AnyType::get(), std::move(results));
}

Error ExportedFunction::run() {
  if (Error error = interface_.checkNames(engine_.stateNames()))
    return classify(std::move(error), FailureKind::Option);
  interface_.noteConstants({});
  engine_.declareStates();
  auto inputs = bindInputs();
  if (!inputs)
    return joinErrors(engine_.takeError(), inputs.takeError());
  EngineRun walk(engine_, calls_);
  auto result = takeOutputs(walk.run(model_.program().graph, *inputs));
  if (!result)
    return joinErrors(engine_.takeError(), result.takeError());
  auto kept = engine_.finishStates();
  if (Error error = engine_.takeError())
    return error;
  return classify(interface_.setOutputs(*result, {}, std::move(kept)), FailureKind::Option);
}

} // namespace plait::frontend
