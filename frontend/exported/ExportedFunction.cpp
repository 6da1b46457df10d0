// From the signature to the interface and back.
#include "frontend/exported/ExportedFunction.h"

#include "frontend/archive/SizeExpression.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

namespace plait::frontend {

using exported::Argument;
using OutputKind = exported::OutputSpec::Kind;
using exported::Program;
using exported::TensorMeta;
using SpecKind = exported::InputSpec::Kind;

namespace {

/// A user input that is a tensor.
struct UserInput {
  std::string name;
  const TensorMeta *meta;
};

/// What a size may be, by the program's ranges.
struct SizeRange {
  int64_t lower;
  std::optional<int64_t> upper;
};

} // namespace

static Expected<std::vector<UserInput>> userInputs(const Program &program) {
  std::vector<UserInput> inputs;
  for (auto [spec, input] : llvm::zip(program.inputs, program.graph.inputs)) {
    if (spec.kind != SpecKind::User)
      continue;
    if (input.kind == Argument::Kind::CustomObject)
      return makeError("the model takes an object of the class '{0}', which cannot be an input of "
                       "a Core ML function; export it without",
                       input.text);
    if (input.kind != Argument::Kind::Name)
      continue; // a number, text or None that the program was made for
    if (input.member != "as_tensor")
      return makeError("the model takes a number '{0}' that varies, which cannot be an input of a "
                       "Core ML function; make it a tensor, or export the model for one number, "
                       "without a Dim for it",
                       input.text);
    auto meta = program.graph.tensors.find(input.text);
    if (meta == program.graph.tensors.end())
      return makeError("the archive does not describe its input '{0}'; save it again", input.text);
    inputs.push_back({input.text, &meta->second});
  }
  return inputs;
}

static Expected<SizeRange> sizeRangeOf(const Program &program, const exported::Size &size) {
  if (size.number)
    return SizeRange{*size.number, *size.number};
  auto dim = exported::parseSize(size.expression, [&](llvm::StringRef name) -> std::optional<Dim> {
    auto range = program.ranges.find(name.str());
    if (range == program.ranges.end())
      return Dim::symbol(name, 1);
    return Dim::symbol(name, std::max<int64_t>(range->second.lower.value_or(1), 1),
                       range->second.upper.value_or(INT64_MAX));
  });
  if (!dim)
    return dim.takeError();
  std::optional<int64_t> upper;
  if (dim->upper() != INT64_MAX)
    upper = dim->upper();
  return SizeRange{std::max<int64_t>(dim->lower(), 1), upper};
}

static Expected<std::vector<SizeRange>> sizeRangesOf(const Program &program,
                                                     const UserInput &input) {
  std::vector<SizeRange> ranges;
  for (const exported::Size &size : input.meta->sizes) {
    auto range = sizeRangeOf(program, size);
    if (!range)
      return addContext(range.takeError(), "input '" + input.name + "'");
    ranges.push_back(*range);
  }
  return ranges;
}

/// "[1, 2..10, 4]"; "2.." where there is no bound.
static std::string rangesText(llvm::ArrayRef<SizeRange> ranges, llvm::StringRef unbounded) {
  std::string text;
  for (const SizeRange &range : ranges) {
    text += (text.empty() ? "" : ", ") + std::to_string(range.lower);
    if (range.upper != range.lower)
      text += ".." + (range.upper ? std::to_string(*range.upper) : unbounded.str());
  }
  return "[" + text + "]";
}

static Expected<InputSpec> describeInput(const Program &program, const UserInput &input) {
  InputSpec spec;
  spec.name = mil::legalName(input.name);
  auto type = exportedScalarType(input.meta->dtype);
  if (!type || at::isComplexType(*type))
    return makeError("input '{0}' is {1}, which Core ML has no tensors of; convert it in the "
                     "model",
                     input.name, type ? at::toString(*type) : "of an unknown type");
  if (*type == at::kBool)
    spec.dtype = mil::DType::Bool;
  else if (!at::isFloatingType(*type))
    spec.dtype = mil::DType::I32;
  auto ranges = sizeRangesOf(program, input);
  if (!ranges)
    return ranges.takeError();
  for (const SizeRange &range : *ranges) {
    if (!range.upper)
      return makeError("the model was exported with no bound on a size of input '{0}', {1}; say "
                       "how large it may be: --input '{0}={2}'",
                       spec.name, rangesText(*ranges, ""), rangesText(*ranges, "512"));
    spec.shape.push_back({range.lower, *range.upper});
  }
  return spec;
}

/// An error where what is declared is not among what the program was exported for.
static Error checkDeclared(const Program &program, const UserInput &input, const InputSpec &spec) {
  auto ranges = sizeRangesOf(program, input);
  if (!ranges)
    return ranges.takeError();
  auto contradicts = [&](llvm::ArrayRef<InputSpec::Range> shape) -> Error {
    bool fits = shape.size() == ranges->size();
    for (size_t i = 0; fits && i < shape.size(); ++i)
      fits = shape[i].lower >= (*ranges)[i].lower &&
             (!(*ranges)[i].upper || shape[i].upper <= *(*ranges)[i].upper);
    if (fits)
      return Error::success();
    std::vector<SizeRange> declared;
    for (const InputSpec::Range &range : shape)
      declared.push_back({range.lower, range.upper});
    return makeError("input '{0}' is declared {1}, and the model was exported for {2}; export it "
                     "with other sizes, or with dynamic_shapes",
                     input.name, rangesText(declared, ""), rangesText(*ranges, ""));
  };
  if (spec.enumerated.empty())
    return contradicts(spec.shape);
  for (const auto &sizes : spec.enumerated) {
    llvm::SmallVector<InputSpec::Range, 5> shape;
    for (int64_t size : sizes)
      shape.push_back({size, size});
    if (Error error = contradicts(shape))
      return error;
  }
  return Error::success();
}

Expected<ModelFunction> completedInterface(const ExportedModel &model,
                                           const ModelFunction &declared) {
  const Program &program = model.program();
  if (declared.method != "forward")
    return makeError("the archive holds one program and no method '{0}'; export a module whose "
                     "forward is what is to be compiled",
                     declared.method);
  auto inputs = userInputs(program);
  if (!inputs)
    return inputs.takeError();
  ModelFunction completed = declared;
  if (completed.inputs.empty()) {
    for (const UserInput &input : *inputs) {
      auto spec = describeInput(program, input);
      if (!spec)
        return spec.takeError();
      completed.inputs.push_back(std::move(*spec));
    }
    return completed;
  }
  if (completed.inputs.size() != inputs->size()) {
    std::vector<std::string> names;
    for (const UserInput &input : *inputs)
      names.push_back(input.name);
    return makeError("{0} inputs are declared, but the model takes {1}: {2}",
                     completed.inputs.size(), inputs->size(), llvm::join(names, ", "));
  }
  for (auto [input, spec] : llvm::zip(*inputs, completed.inputs)) {
    if (Error error = checkDeclared(program, input, spec))
      return error;
    if (spec.name.empty())
      spec.name = mil::legalName(input.name);
  }
  return completed;
}

// ---- Inputs ------------------------------------------------------------------------------------

Expected<Val> ExportedFunction::bindTensor(const exported::InputSpec &spec, bool isRead) {
  const ExportedModel::Place *place = model_.find(spec);
  if (!place) {
    if (!isRead)
      return Val();
    return makeError("the program computes with '{0}', and it cannot be read: {1}", spec.target,
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

Expected<Val> ExportedFunction::userInput(const std::string &name, const TensorMeta &meta) {
  // Sizes that are one symbol are one size: the inputs have it in common.
  std::vector<std::string> symbols;
  const InputSpec &declared = interface_.next();
  bool isRanged = declared.enumerated.empty();
  for (auto [axis, size] : llvm::enumerate(meta.sizes)) {
    std::string symbol = size.number ? "" : exported::symbolName(size.expression);
    std::string own = declared.name + "_" + std::to_string(axis);
    if (symbol.empty() || !isRanged || axis >= declared.shape.size()) {
      symbols.push_back(own);
      continue;
    }
    auto [known, isNew] =
        symbols_.try_emplace(symbol, Symbol{own, declared.name, declared.shape[axis]});
    if (!isNew && known->second.range != declared.shape[axis])
      return makeError("inputs '{0}' and '{1}' have one size in common (dimension {2} of the "
                       "second); declare the same range for both",
                       known->second.input, declared.name, axis);
    symbols.push_back(known->second.name);
  }
  auto value = interface_.nextInput(name, symbols);
  if (!value)
    return value;
  auto tensor = value->tensor();
  auto type = exportedScalarType(meta.dtype);
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

  std::vector<Val> values;
  for (auto [spec, input] : llvm::zip(program.inputs, program.graph.inputs)) {
    bool isRead = read.contains(input.text);
    switch (spec.kind) {
    case SpecKind::User:
      if (input.kind == Argument::Kind::Name) {
        auto value = userInput(input.text, program.graph.tensors.find(input.text)->second);
        if (!value)
          return value.takeError();
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
        return makeError("the program computes with '{0}', an object of the class '{1}', which "
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
        return makeError("the program writes to '{0}', which the archive does not hold",
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
      return makeError("the program has an output that is no result ('{0}'); export the model for "
                       "inference",
                       spec.member);
    }
  }
  return engine_.makeDict(c10::StringType::get(), c10::AnyType::get(), std::move(results));
}

Error ExportedFunction::run() {
  if (Error error = interface_.checkNames(engine_.stateNames()))
    return error;
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
  return interface_.setOutputs(*result, {}, std::move(kept));
}

} // namespace plait::frontend
