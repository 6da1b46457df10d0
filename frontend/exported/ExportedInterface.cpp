// From the signature of an exported program to the interface.
#include "frontend/exported/ExportedInterface.h"

#include "frontend/exported/InputSizes.h"
#include "frontend/exported/SchemaTypes.h"
#include "mil/SizeExpression.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::frontend {

using exported::Argument;
using exported::Program;
using exported::TensorMeta;
using SpecKind = exported::InputSpec::Kind;

namespace {

/// What a size may be, by the program's ranges.
struct SizeRange {
  int64_t lower;
  std::optional<int64_t> upper;
};

} // namespace

static Expected<std::vector<SizeRange>> sizeRangesOf(const SymbolRanges &symbols,
                                                     const ProgramInput &input) {
  std::vector<SizeRange> ranges;
  for (const exported::Size &size : input.meta->sizes) {
    auto dim = sizeOf(size, symbols);
    if (!dim)
      return addContext(dim.takeError(), "input '" + input.name + "'");
    int64_t upper = dim->upper();
    ranges.push_back({dim->isConst() ? dim->value() : std::max<int64_t>(dim->lower(), 1),
                      upper == INT64_MAX ? std::nullopt : std::optional(upper)});
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

/// nullopt: floating-point.
static std::optional<mil::DType> typeOf(at::ScalarType type) {
  if (type == at::kBool)
    return mil::DType::Bool;
  return at::isFloatingType(type) ? std::nullopt : std::optional(mil::DType::I32);
}

c10::TypePtr numberType(const Argument &argument) {
  if (argument.member == "as_sym_float")
    return c10::FloatType::get();
  if (argument.member == "as_sym_bool")
    return c10::BoolType::get();
  return c10::IntType::get();
}

static std::optional<mil::DType> typeOf(const c10::TypePtr &number) {
  if (number->kind() == c10::TypeKind::BoolType)
    return mil::DType::Bool;
  return number->kind() == c10::TypeKind::FloatType ? std::nullopt : std::optional(mil::DType::I32);
}

static Expected<InputSpec> describeInput(const SymbolRanges &symbols, const ProgramInput &input) {
  InputSpec spec;
  spec.name = mil::legalName(input.name);
  if (!input.meta) {
    spec.dtype = typeOf(numberType(*input.argument));
    spec.shape.push_back({1, 1});
    return spec;
  }
  auto type = exportedScalarType(input.meta->dtype);
  if (!type || at::isComplexType(*type))
    return makeError(Code::InputType,
                     "input '{0}' is {1}, which Core ML has no tensors of; convert it in the "
                     "model",
                     input.name, type ? at::toString(*type) : "of an unknown type");
  spec.dtype = typeOf(*type);
  if (input.meta->sizes.empty()) // Core ML has no inputs without dimensions
    spec.shape.push_back({1, 1});
  auto ranges = sizeRangesOf(symbols, input);
  if (!ranges)
    return ranges.takeError();
  for (const SizeRange &range : *ranges) {
    if (!range.upper)
      return makeError(Code::InputShape,
                       "the model was exported with no bound on a size of input '{0}', {1}; say "
                       "how large it may be: --input '{0}={2}'",
                       spec.name, rangesText(*ranges, ""), rangesText(*ranges, "512"));
    spec.shape.push_back({range.lower, *range.upper});
  }
  return spec;
}

/// The declared type is that of the program's tensor, or can become it.
static Error checkType(const ProgramInput &input, InputSpec &spec) {
  auto type = input.meta ? exportedScalarType(input.meta->dtype) : std::nullopt;
  auto wanted =
      input.meta ? (type ? typeOf(*type) : std::nullopt) : typeOf(numberType(*input.argument));
  if (!wanted)
    return Error::success();
  if (!spec.dtype && !spec.image)
    spec.dtype = wanted;
  bool isInteger = spec.dtype && !mil::isFloat(*spec.dtype);
  if (isInteger && (*wanted != mil::DType::Bool) == (*spec.dtype != mil::DType::Bool))
    return Error::success();
  return makeError(Code::InputType,
                   "input '{0}' is declared {1}, and the model was exported for {2}; say --input "
                   "'{0}={3}[…]', or leave it out",
                   spec.name.empty() ? input.name : spec.name,
                   spec.dtype ? mil::name(*spec.dtype) : "an image",
                   type ? at::toString(*type) : "a number", mil::name(*wanted));
}

/// An error where what is declared is not among what the program was exported for.
static Error checkDeclared(const Program &program, const ProgramInput &input, InputSpec &spec) {
  if (Error error = checkType(input, spec))
    return error;
  auto isOne = [](const InputSpec::Range &range) { return range.lower == 1 && range.upper == 1; };
  bool isOneNumber = spec.enumerated.empty() && spec.shape.size() == 1 && isOne(spec.shape[0]);
  if (!input.meta && !isOneNumber)
    return makeError(Code::InputType,
                     "input '{0}' is a number of the model; declare it '{0}={1}[1]'", input.name,
                     spec.dtype ? mil::name(*spec.dtype) : "fp32");
  if (!input.meta || (input.meta->sizes.empty() && isOneNumber))
    return Error::success();
  auto ranges = sizeRangesOf(program.ranges, input);
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
    return makeError(Code::InputShape,
                     "input '{0}' is declared {1}, and the model was exported for {2}; export it "
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

/// The value that the program was made for, as the user would say it; "" of what cannot be said.
static std::string fixedValue(const Argument &argument) {
  Constant constant{{Constant::Scalar()}};
  Constant::Scalar &value = constant.values.front();
  switch (argument.kind) {
  case Argument::Kind::None:
    break;
  case Argument::Kind::Int:
    value = argument.integer;
    break;
  case Argument::Kind::Float:
    value = argument.number;
    break;
  case Argument::Kind::Bool:
    value = argument.integer != 0;
    break;
  case Argument::Kind::String:
    value = argument.text;
    break;
  default:
    return "";
  }
  return constant.str();
}

/// The archive holds a program for the arguments that it was exported with: constants may say these
/// again, and nothing else.
static Error checkConstants(const Program &program,
                            const std::map<std::string, Constant> &constants) {
  for (const auto &[name, constant] : constants) {
    const Argument *fixed = nullptr;
    bool isInput = false;
    for (auto [spec, input] : llvm::zip(program.inputs, program.graph.inputs)) {
      isInput |= spec.kind == SpecKind::User && input.kind == Argument::Kind::Name &&
                 mil::legalName(input.text) == name;
      if (spec.kind == SpecKind::Fixed && mil::legalName(spec.target) == name)
        fixed = &input;
    }
    if (fixed && fixedValue(*fixed) == constant.str())
      continue;
    if (fixed)
      return makeError(Code::InputType,
                       "'{0}' is declared {1}, and the model was exported with {2}; export it with "
                       "{0}={1}",
                       name, constant.str(), fixedValue(*fixed));
    return makeError(Code::InputType,
                     "'{0}' is declared {1}, and {2}; export the model with {0}={1}", name,
                     constant.str(),
                     isInput ? "it is an input of the program that the archive holds"
                             : "the program that the archive holds has no such argument");
  }
  return Error::success();
}

/// Sizes that are one symbol of the program are called by the name that the user gave to one of
/// them.
static void spreadNames(llvm::ArrayRef<ProgramInput> inputs, std::vector<InputSpec> &specs) {
  std::map<std::string, std::string> names;
  auto each = [&](auto &&visit) {
    for (auto [input, spec] : llvm::zip(inputs, specs))
      for (size_t i = 0; input.meta && i < input.meta->sizes.size() && i < spec.shape.size(); ++i) {
        const exported::Size &size = input.meta->sizes[i];
        std::string symbol = size.number ? "" : mil::symbolName(size.expression);
        if (!symbol.empty())
          visit(symbol, spec.shape[i]);
      }
  };
  each([&](const std::string &symbol, InputSpec::Range &range) {
    if (!range.name.empty())
      names.try_emplace(symbol, range.name);
  });
  each([&](const std::string &symbol, InputSpec::Range &range) {
    if (auto it = names.find(symbol); it != names.end())
      range.name = it->second;
  });
}

Expected<ModelFunction> completedInterface(const ExportedModel &model,
                                           const ModelFunction &declared) {
  const Program &program = model.program();
  if (declared.method != "forward")
    return makeError(Code::NoSuchModel,
                     "the archive holds one program and no method '{0}'; export a module whose "
                     "forward is what is to be compiled",
                     declared.method);
  auto inputs = programInputs(program);
  if (!inputs)
    return inputs.takeError();
  if (Error error = checkConstants(program, declared.constants))
    return error;
  std::vector<std::string> names;
  for (const ProgramInput &input : *inputs)
    names.push_back(input.name);
  // What is called as an input is that one, the others come in order.
  std::vector<const InputSpec *> given(inputs->size());
  std::vector<const InputSpec *> inOrder;
  for (const InputSpec &spec : declared.inputs) {
    auto named = llvm::find_if(*inputs, [&](const ProgramInput &input) {
      return !spec.name.empty() && mil::legalName(input.name) == spec.name;
    });
    if (named != inputs->end()) {
      given[size_t(named - inputs->begin())] = &spec;
      continue;
    }
    inOrder.push_back(&spec);
  }
  auto next = inOrder.begin();
  for (const InputSpec *&spec : given)
    if (!spec && next != inOrder.end())
      spec = *next++;
  if (next != inOrder.end())
    return makeError(Code::InputCount, "{0} inputs are declared, but the model takes {1}: {2}",
                     declared.inputs.size(), inputs->size(), llvm::join(names, ", "));
  auto ranges = narrowedRanges(program, *inputs, given);
  if (!ranges)
    return ranges.takeError();
  ModelFunction completed = declared;
  completed.inputs.clear();
  for (auto [input, spec] : llvm::zip(*inputs, given)) {
    if (!spec) {
      auto described = describeInput(*ranges, input);
      if (!described)
        return described.takeError();
      completed.inputs.push_back(std::move(*described));
      continue;
    }
    InputSpec &own = completed.inputs.emplace_back(*spec);
    if (own.name.empty())
      own.name = mil::legalName(input.name);
    if (Error error = checkDeclared(program, input, own))
      return error;
  }
  spreadNames(*inputs, completed.inputs);
  return completed;
}

} // namespace plait::frontend
