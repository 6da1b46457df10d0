// Inputs by declaration, outputs by name.
#include "frontend/engine/Interface.h"

#include "mil/ConstantArguments.h"
#include "mil/DefaultValues.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

namespace plait::frontend {

using mil::Builder;
using mil::DType;
using mil::OpKind;

Error Interface::checkNames(llvm::ArrayRef<std::string> taken) {
  llvm::StringSet<> seen;
  for (const std::string &name : taken) {
    seen.insert(name);
    function_.reserveName(name);
  }
  for (const InputSpec &input : declared_.inputs)
    if (!input.name.empty() && !seen.insert(input.name).second)
      return makeError(Code::NameTaken,
                       "two inputs, outputs or states are called '{0}'; names must differ",
                       input.name);
  auto addOutput = [&](const std::string &output) -> Error {
    if (!seen.insert(output).second)
      return makeError(Code::NameTaken,
                       "two inputs, outputs or states are called '{0}'; names must differ", output);
    function_.reserveName(output);
    return Error::success();
  };
  for (const OutputSpec &output : declared_.outputs)
    if (Error error = addOutput(output.name))
      return error;
  if (declared_.classes)
    for (const std::string &name : {declared_.classes->label, declared_.classes->label + "_probs"})
      if (Error error = addOutput(name))
        return error;
  for (const auto &name : seen.keys())
    if (!mil::isLegalName(name))
      return makeError(Code::IllegalName,
                       "'{0}' cannot be the name of an input or output; use letters, digits and "
                       "_, not beginning "
                       "with a digit, and no word of MIL's grammar",
                       name);
  return Error::success();
}

Expected<Val> Interface::input(size_t index, llvm::StringRef argument, const InputShape *given,
                               std::optional<DType> undeclared) {
  const InputSpec &spec = declared_.inputs[index];
  std::string name = spec.name.empty() ? function_.uniqueName(argument).str() : spec.name;
  DType dtype = spec.image ? mil::pixelType(*spec.image)
                           : spec.dtype.value_or(undeclared.value_or(floatType_));
  auto isNamed = [&](llvm::StringRef symbol) {
    return llvm::any_of(declared_.inputs, [&](const InputSpec &input) {
      return llvm::any_of(input.shape, [&](const auto &range) { return range.name == symbol; });
    });
  };
  auto symbolAt = [&](size_t axis) {
    if (axis < spec.shape.size() && !spec.shape[axis].name.empty())
      return spec.shape[axis].name;
    std::string own = name + "_" + std::to_string(axis);
    while (isNamed(own)) // a name of the user's is no other size
      own += "_";
    return own;
  };
  mil::Shape shape;
  mil::InputInfo info;
  if (!spec.enumerated.empty()) {
    size_t rank = spec.enumerated[0].size();
    for (size_t axis = 0; axis < rank; ++axis) {
      int64_t low = INT64_MAX, high = 0;
      for (const auto &sizes : spec.enumerated) {
        if (sizes.size() != rank)
          return makeError(Code::InputShape,
                           "input '{0}': the enumerated shapes have different ranks", name);
        low = std::min(low, sizes[axis]);
        high = std::max(high, sizes[axis]);
      }
      shape.push_back(low == high ? Dim(low) : Dim::symbol(symbolAt(axis), low, high));
    }
    info.enumeratedShapes = spec.enumerated;
    info.defaultShape = spec.enumerated[0];
  } else {
    bool flexible = false;
    for (auto [axis, range] : llvm::enumerate(spec.shape)) {
      if (range.lower < 1 || range.upper < range.lower)
        return makeError(Code::InputShape,
                         "input '{0}': dimension {1} must be a positive size or a range low..high",
                         name, axis);
      flexible |= range.lower != range.upper;
      shape.push_back(given ? given->dims[axis]
                      : range.lower == range.upper
                          ? Dim(range.lower)
                          : Dim::symbol(symbolAt(axis), range.lower, range.upper));
      info.defaultShape.push_back(given ? given->defaults[axis] : range.lower);
    }
    if (!flexible)
      info.defaultShape.clear();
  }
  mil::Value *value = function_.addInput(mil::Type::tensor(dtype, shape), name);
  info.image = spec.image;
  if (spec.image && !mil::isImageType(value->type, *spec.image))
    return makeError(Code::ImageMismatch,
                     "input '{0}': a {1} image has the shape [1, {2}, height, width]", name,
                     mil::name(*spec.image), mil::channelsOf(*spec.image));
  function_.inputInfo.resize(function_.inputs().size());
  function_.inputInfo.back() = std::move(info);
  if (spec.defaultValue)
    mil::setDefaultValue(function_, name, *spec.defaultValue);
  at::ScalarType torchType = mil::isInteger(dtype)  ? at::kLong
                             : dtype == DType::Bool ? at::kBool
                                                    : at::kFloat;
  // Sizes are taken from the input itself, before any conversion of it.
  engine_.makeTensor(value, torchType);
  value = engine_.castTo(value, milTypeOf(torchType));
  if (spec.image)
    value = fromPixels(value, spec.pixels, name);
  if (Error error = engine_.builder().takeError())
    return error;
  return engine_.makeTensor(value, torchType);
}

Expected<Val> Interface::number(size_t index, llvm::StringRef argument, c10::TypeKind kind) {
  auto tensor = input(index, argument);
  if (!tensor)
    return tensor.takeError();
  at::ScalarType type = tensor->tensor()->dtype();
  if (kind == c10::TypeKind::NumberType)
    kind = type == at::kBool          ? c10::TypeKind::BoolType
           : at::isFloatingType(type) ? c10::TypeKind::FloatType
                                      : c10::TypeKind::IntType;
  DType dtype = kind == c10::TypeKind::IntType     ? DType::I32
                : kind == c10::TypeKind::FloatType ? DType::F32
                                                   : DType::Bool;
  return Val(Val::Number{engine_.scalar(*tensor, dtype), kind});
}

void Interface::noteConstants(std::map<std::string, std::string> constants) {
  for (const auto &[name, constant] : declared_.constants)
    constants[name] = constant.str();
  mil::setConstantArguments(function_, constants);
}

/// One number for all channels as a scalar, else one a channel.
static mil::Attr channelConstant(llvm::ArrayRef<double> values) {
  llvm::SmallVector<int64_t, 4> shape;
  if (values.size() > 1)
    shape = {1, int64_t(values.size()), 1, 1};
  return mil::TensorData::from<double>(DType::F64, shape, values).cast(DType::F32);
}

mil::Value *Interface::fromPixels(mil::Value *value, const mil::PixelArithmetic &pixels,
                                  llvm::StringRef name) {
  Builder &builder = engine_.builder();
  if (!pixels.scale.empty())
    value = builder.emit(OpKind::mul,
                         {{mil::mul::x, value}, {mil::mul::y, channelConstant(pixels.scale)}},
                         (name + "_scaled").str());
  if (!pixels.bias.empty())
    value = builder.emit(OpKind::add,
                         {{mil::add::x, value}, {mil::add::y, channelConstant(pixels.bias)}},
                         (name + "_biased").str());
  return value;
}

/// Tensors and numbers in a result, in order, called by the keys of dictionaries around them:
/// {"boxes": (a, b)} gives "boxes_0" and "boxes_1". A complex tensor is its real and its
/// imaginary part.
static void collect(Engine &engine, const Val &val, llvm::StringRef name,
                    std::vector<std::pair<std::string, Val>> &outputs) {
  auto collectAll = [&](llvm::ArrayRef<Val> values) {
    for (auto [i, element] : llvm::enumerate(values))
      collect(engine, element, name.empty() ? "" : (name + "_" + llvm::Twine(i)).str(), outputs);
  };
  if (auto tuple = val.tuple()) {
    collectAll(tuple->values);
  } else if (auto list = val.list()) {
    collectAll(list->values);
  } else if (auto dict = val.dict()) {
    for (const auto &[key, element] : dict->entries) {
      const std::string text = key.isString() ? key.toStringRef() : "";
      llvm::StringRef between = name.empty() || text.empty() ? "" : "_";
      collect(engine, element, (name + between + text).str(), outputs);
    }
  } else if (auto tensor = val.tensor(); tensor && tensor->isComplex()) {
    std::string base = name.empty() ? "output" : name.str();
    outputs.emplace_back(base + "_real", engine.part(tensor, 0));
    outputs.emplace_back(base + "_imag", engine.part(tensor, 1));
  } else if (auto tensor = val.tensor(); tensor && tensor->isQuantized()) {
    engine.fail(makeError(Code::UnsupportedType,
                          "output '{0}' is a quantised tensor, which Core ML does not have; call "
                          "dequantize() at the end of the model",
                          name.empty() ? "output" : name));
  } else if (!val.isNone()) { // a model may return None among tensors
    outputs.emplace_back(name.str(), val);
  }
}

static Error checkOutput(const OutputSpec &spec, const mil::Value &value) {
  if (spec.dtype && value.type.dtype() != *spec.dtype)
    return makeError(Code::OutputMismatch,
                     "output '{0}' is declared {1}, but is {2} in the model; leave the type out",
                     spec.name, mil::name(*spec.dtype), mil::name(value.type.dtype()));
  if (!spec.image)
    return Error::success();
  if (!mil::isImageType(value.type, *spec.image))
    return makeError(Code::ImageMismatch,
                     "output '{0}' is {1}; a {2} image is floating-point of the shape [1, {3}, "
                     "height, width], 0 to 255",
                     spec.name, value.type.str(), mil::name(*spec.image),
                     mil::channelsOf(*spec.image));
  for (auto [dim, wanted] : llvm::zip(value.type.shape(), spec.shape))
    if (dim.isConst() ? dim.value() != wanted.lower || dim.value() != wanted.upper
                      : wanted.lower == wanted.upper)
      return makeError(Code::OutputMismatch,
                       "output '{0}' is {1}, and another shape is declared; leave the sizes out",
                       spec.name, value.type.str());
  return Error::success();
}

Error Interface::setOutputs(const Val &result, llvm::ArrayRef<std::string> names,
                            std::vector<std::pair<std::string, Val>> further) {
  std::vector<std::pair<std::string, Val>> outputs;
  collect(engine_, result, "", outputs);
  size_t own = outputs.size();
  for (auto [output, known] : llvm::zip(outputs, names))
    if (!known.empty())
      output.first = known;
  if (outputs.empty())
    return makeError(Code::OutputMismatch,
                     "{0} returns no tensor; a Core ML function needs an output", declared_.method);
  if (declared_.outputs.size() > outputs.size())
    return makeError(Code::OutputMismatch, "{0} outputs are named, but {1} returns {2}",
                     declared_.outputs.size(), declared_.method, outputs.size());
  llvm::append_range(outputs, further);
  Builder &builder = engine_.builder();
  llvm::SmallVector<mil::Value *, 4> values;
  for (auto [i, output] : llvm::enumerate(outputs)) {
    auto &[key, val] = output;
    mil::Value *value;
    if (auto tensor = val.tensor())
      value = engine_.read(*tensor);
    else if (val.number())
      value = val.number()->value;
    else if (val.asDim() || (val.known() && val.known()->isScalar()))
      value = engine_.scalar(val, val.asDim()             ? DType::I32
                                  : val.known()->isBool() ? DType::Bool
                                                          : DType::F32);
    else
      return makeError(Code::OutputMismatch,
                       "{0} returns a value that is neither a tensor nor a number",
                       declared_.method);
    static const OutputSpec undeclared;
    const OutputSpec &spec = i < declared_.outputs.size() ? declared_.outputs[i] : undeclared;
    if (Builder::isPoison(value))
      return builder.takeError();
    // Operations that bring a result into the interface's form have the location of the result.
    if (value->def())
      builder.setLocation(value->def()->location);
    if (mil::isFloat(value->type.dtype()))
      value = engine_.castTo(value, spec.image ? mil::pixelType(*spec.image)
                                               : spec.dtype.value_or(floatType_));
    if (Error error = builder.takeError())
      return error;
    if (Error error = checkOutput(spec, *value))
      return error;
    // Each output is a result of its own: it gets the interface's name.
    bool taken =
        !value->def() || value->def()->is(OpKind::const_) || llvm::is_contained(values, value);
    if (taken)
      value = builder.emit(OpKind::identity, {{mil::identity::x, value}});
    std::string name = i < declared_.outputs.size() ? spec.name
                       : i >= own                   ? key
                       : !key.empty()               ? function_.uniqueName(key).str()
                       : own == 1                   ? function_.uniqueName("output").str()
                                  : function_.uniqueName("output_" + std::to_string(i)).str();
    value->name = std::move(name);
    values.push_back(value);
  }
  function_.outputInfo.resize(values.size());
  for (auto [info, spec] : llvm::zip(function_.outputInfo, declared_.outputs))
    info.image = spec.image;
  if (declared_.classes)
    if (Error error = classify(*declared_.classes, values))
      return error;
  function_.body().setOutputs(values);
  if (Error error = builder.takeError())
    return error;
  return describe();
}

Error Interface::classify(const ClassLabels &classes, llvm::SmallVectorImpl<mil::Value *> &values) {
  auto fits = [&](const mil::Value *value) {
    auto shape = mil::constShape(value->type.shape());
    return shape && mil::isFloat(value->type.dtype()) &&
           mil::numElements(*shape) == int64_t(classes.count());
  };
  std::string known;
  std::vector<llvm::StringRef> names;
  llvm::SmallVector<size_t, 2> candidates;
  for (auto [i, value] : llvm::enumerate(values)) {
    names.push_back(value->name);
    known += (i ? ", " : "") + value->name + " " + mil::str(value->type.shape());
    if (classes.scores.empty() ? fits(value) : value->name == classes.scores)
      candidates.push_back(i);
  }
  if (candidates.empty() && !classes.scores.empty())
    return makeError(Code::ClassMismatch,
                     "there is no output '{0}'{1} that the classes could be of; there are {2}",
                     classes.scores, didYouMean(classes.scores, names), known);
  if (candidates.empty())
    return makeError(Code::ClassMismatch,
                     "there are {0} classes, and no floating-point output of that many elements: "
                     "{1}",
                     classes.count(), known);
  if (candidates.size() > 1)
    return makeError(Code::ClassMismatch,
                     "several outputs have an element for each of the {0} classes: {1}; say which "
                     "holds the probabilities: --class-output NAME",
                     classes.count(), known);
  size_t at = candidates.front();
  if (!fits(values[at]))
    return makeError(Code::ClassMismatch, "there are {0} classes, but output '{1}' is {2}",
                     classes.count(), values[at]->name, values[at]->type.str());
  if (function_.outputInfo[at].image)
    return makeError(Code::ImageMismatch,
                     "output '{0}' is an image and cannot hold the probabilities of classes",
                     values[at]->name);
  Builder &builder = engine_.builder();
  std::vector<mil::Attr> numbers;
  for (int64_t number : classes.numbers)
    numbers.push_back(mil::TensorData::from<int64_t>(DType::I64, {}, number));
  std::vector<mil::Attr> texts;
  for (const std::string &text : classes.texts)
    texts.push_back(mil::Attr::string(text));
  mil::Type element = mil::Type::tensor(texts.empty() ? DType::I64 : DType::String);
  mil::Attr labels =
      mil::Attr::list(element, texts.empty() ? std::move(numbers) : std::move(texts));
  mil::Op *op =
      builder.create(OpKind::classify,
                     {{mil::classify::probabilities, engine_.castTo(values[at], DType::F32)},
                      {mil::classify::classes, std::move(labels)}},
                     "classify");
  if (!op)
    return builder.takeError();
  op->result(0)->name = classes.label;
  op->result(1)->name = classes.label + "_probs";
  values[at] = op->result(0);
  values.insert(values.begin() + at + 1, op->result(1));
  function_.outputInfo.insert(function_.outputInfo.begin() + at + 1, mil::OutputInfo());
  return Error::success();
}

Error Interface::describe() {
  llvm::SmallVector<llvm::StringRef, 8> known;
  llvm::StringMap<std::string *> texts;
  function_.inputInfo.resize(function_.inputs().size());
  function_.outputInfo.resize(function_.outputs().size());
  for (auto [input, info] : llvm::zip(function_.inputs(), function_.inputInfo))
    texts[input->name] = &info.description, known.push_back(input->name);
  for (auto [output, info] : llvm::zip(function_.outputs(), function_.outputInfo))
    texts[output->name] = &info.description, known.push_back(output->name);
  for (const auto &[name, text] : declared_.descriptions) {
    auto it = texts.find(name);
    if (it == texts.end())
      return makeError(Code::OutputMismatch,
                       "there is no input, output or state '{0}' to be described{1}; there are {2}",
                       name, didYouMean(name, known), llvm::join(known, ", "));
    *it->second = text;
  }
  return Error::success();
}

} // namespace plait::frontend
