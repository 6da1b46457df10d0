// Model descriptions: features with fixed and flexible shapes, states, metadata.
#include "backend/Description.h"

#include "Model.pb.h"
#include "backend/ProtoFunction.h"
#include "mil/DefaultValues.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/JSON.h"

namespace plait {

using mil::Dim;
using mil::DType;
using mil::Type;
using mil::Value;

bool isPlain(const mil::Program &program) {
  return program.defaultFunction.empty() && program.functions().size() == 1 &&
         program.functions()[0]->name == "main";
}

// ---- Features -----------------------------------------------------------------------------------

namespace {

Expected<spec::ArrayFeatureType::ArrayDataType> arrayDataType(const Value &value) {
  switch (value.type.dtype()) {
  case DType::F32:
    return spec::ArrayFeatureType::FLOAT32;
  case DType::F16:
    return spec::ArrayFeatureType::FLOAT16;
  case DType::I32:
    return spec::ArrayFeatureType::INT32;
  case DType::I8:
    if (contains(mil::info(value.block()->function()->opset).interface, DType::I8))
      return spec::ArrayFeatureType::INT8;
    [[fallthrough]];
  default:
    return makeError(
        Code::InterfaceKind,
        "'{0}' is {1}, but inputs and outputs are fp16, fp32 or int32; cast it inside the function",
        value.name, mil::name(value.type.dtype()));
  }
}

/// The default size of a dynamic dimension that names none.
int64_t defaultSize(const Dim &dim) {
  return dim.tryValue().value_or(std::max<int64_t>(dim.lower(), 1));
}

Error encodeArray(const Value &value, spec::ArrayFeatureType &out) {
  auto dataType = arrayDataType(value);
  if (!dataType)
    return dataType.takeError();
  out.set_datatype(*dataType);
  return Error::success();
}

/// The description that a package had, under the value's name.
Error encodeKept(const char *what, const Value &value, llvm::StringRef feature,
                 spec::FeatureDescription &out) {
  if (!parseMessage(out, feature))
    return makeError(Code::PackageDamaged,
                     "{0} '{1}': what it keeps of its package's description is damaged", what,
                     value.name);
  out.set_name(value.name.str());
  return Error::success();
}

void setRange(spec::SizeRange &out, const Dim &dim) {
  out.set_lowerbound(uint64_t(dim.isConst() ? dim.value() : std::max<int64_t>(dim.lower(), 1)));
  out.set_upperbound(dim.isConst() ? dim.value() : dim.upper() == INT64_MAX ? -1 : dim.upper());
}

constexpr std::pair<mil::PixelFormat, spec::ImageFeatureType::ColorSpace> kColorSpaces[] = {
    {mil::PixelFormat::Gray, spec::ImageFeatureType::GRAYSCALE},
    {mil::PixelFormat::RGB, spec::ImageFeatureType::RGB},
    {mil::PixelFormat::BGR, spec::ImageFeatureType::BGR},
    {mil::PixelFormat::Gray16, spec::ImageFeatureType::GRAYSCALE_FLOAT16}};

/// The format, once the value can be such an image.
Error encodeColors(const Value &value, mil::PixelFormat format, spec::ImageFeatureType &out) {
  if (!mil::isImageType(value.type, format))
    return makeError(Code::ImageMismatch, "'{0}' is {1} and cannot be a {2} image", value.name,
                     value.type.str(), mil::name(format));
  for (auto [known, space] : kColorSpaces)
    if (known == format)
      out.set_colorspace(space);
  return Error::success();
}

Error encodeImage(const Value &value, const mil::InputInfo &info, spec::ImageFeatureType &out) {
  if (Error error = encodeColors(value, *info.image, out))
    return error;
  llvm::ArrayRef<Dim> dims = value.type.shape();
  llvm::ArrayRef<int64_t> given = info.defaultShape;
  if (given.empty() && !info.enumeratedShapes.empty())
    given = info.enumeratedShapes[0];
  out.set_height(given.size() == 4 ? given[kHeight] : defaultSize(dims[kHeight]));
  out.set_width(given.size() == 4 ? given[kWidth] : defaultSize(dims[kWidth]));
  if (value.type.hasStaticShape())
    return Error::success();
  for (const auto &shape : info.enumeratedShapes) {
    spec::ImageFeatureType::ImageSize &size = *out.mutable_enumeratedsizes()->add_sizes();
    size.set_height(uint64_t(shape[kHeight]));
    size.set_width(uint64_t(shape[kWidth]));
  }
  if (info.enumeratedShapes.empty()) {
    setRange(*out.mutable_imagesizerange()->mutable_heightrange(), dims[kHeight]);
    setRange(*out.mutable_imagesizerange()->mutable_widthrange(), dims[kWidth]);
  }
  return Error::success();
}

/// Core ML's form of a default value, that of the array's type.
void encodeDefault(DType dtype, double value, spec::FeatureType &out) {
  out.set_isoptional(true);
  spec::ArrayFeatureType &array = *out.mutable_multiarraytype();
  if (mil::isFloat(dtype))
    array.set_floatdefaultvalue(float(value));
  else
    array.set_intdefaultvalue(int32_t(value));
}

/// coremltools states a float whatever the array is of.
std::optional<double> decodeDefault(const spec::FeatureType &type) {
  const spec::ArrayFeatureType &array = type.multiarraytype();
  switch (type.isoptional() ? array.defaultOptionalValue_case()
                            : spec::ArrayFeatureType::DEFAULTOPTIONALVALUE_NOT_SET) {
  case spec::ArrayFeatureType::kIntDefaultValue:
    return array.intdefaultvalue();
  case spec::ArrayFeatureType::kFloatDefaultValue:
    return array.floatdefaultvalue();
  case spec::ArrayFeatureType::kDoubleDefaultValue:
    return array.doubledefaultvalue();
  default:
    return std::nullopt;
  }
}

Error encodeInput(const Value &value, const mil::InputInfo &info,
                  std::optional<double> defaultValue, spec::FeatureDescription &out) {
  if (!info.feature.empty())
    return encodeKept("input", value, info.feature, out);
  out.set_name(value.name.str());
  out.set_shortdescription(info.description);
  if (info.image)
    return encodeImage(value, info, *out.mutable_type()->mutable_imagetype());
  if (!value.type.isTensor())
    return makeError(Code::InterfaceKind,
                     "input '{0}' has the type {1}; only tensors and states can be inputs",
                     value.name, value.type.str());
  if (value.type.rank() == 0)
    return makeError(
        Code::InterfaceKind,
        "input '{0}' is a scalar, which Core ML has no input for; give it the shape [1]",
        value.name);
  spec::ArrayFeatureType &array = *out.mutable_type()->mutable_multiarraytype();
  if (Error error = encodeArray(value, array))
    return error;
  if (defaultValue)
    encodeDefault(value.type.dtype(), *defaultValue, *out.mutable_type());

  llvm::ArrayRef<Dim> dims = value.type.shape();
  bool isStatic = value.type.hasStaticShape();
  llvm::ArrayRef<int64_t> given = info.defaultShape;
  if (given.empty() && !info.enumeratedShapes.empty())
    given = info.enumeratedShapes[0];
  if (!isStatic && !given.empty() && given.size() != dims.size())
    return makeError(Code::InterfaceKind,
                     "input '{0}' of type {1} has a default shape of another rank", value.name,
                     value.type.str());
  for (auto [index, dim] : llvm::enumerate(dims))
    array.add_shape(isStatic || given.empty() ? defaultSize(dim) : given[index]);
  if (isStatic)
    return Error::success();

  if (!info.enumeratedShapes.empty()) {
    for (const auto &shape : info.enumeratedShapes) {
      spec::ArrayFeatureType::Shape &entry = *array.mutable_enumeratedshapes()->add_shapes();
      for (int64_t size : shape)
        entry.add_shape(size);
    }
    return Error::success();
  }
  for (const Dim &dim : dims)
    setRange(*array.mutable_shaperange()->add_sizeranges(), dim);
  return Error::success();
}

Error encodeState(const Value &value, const mil::InputInfo &info, spec::FeatureDescription &out) {
  out.set_name(value.name.str());
  out.set_shortdescription(info.description);
  if (!value.type.element().hasStaticShape() || value.type.rank() == 0)
    return makeError(Code::InterfaceKind,
                     "state '{0}' has the type {1}; a state has a fixed shape of rank 1 or more",
                     value.name, value.type.element().str());
  spec::ArrayFeatureType &array = *out.mutable_type()->mutable_statetype()->mutable_arraytype();
  if (Error error = encodeArray(value, array))
    return error;
  for (const Dim &dim : value.type.shape())
    array.add_shape(dim.value());
  return Error::success();
}

/// Whether the value is the label or the probabilities of a classifier.
bool isClassifierOutput(const Value &value, unsigned index) {
  return value.def() && value.def()->is(mil::OpKind::classify) && value.index() == index;
}

/// An image whose size is not known is 1 x 1 of any size: Core ML gives back nothing else for it.
Error encodeImage(const Value &value, mil::PixelFormat format, spec::ImageFeatureType &out) {
  if (Error error = encodeColors(value, format, out))
    return error;
  bool isStatic = value.type.hasStaticShape();
  out.set_height(isStatic ? value.type.shape()[kHeight].value() : 1);
  out.set_width(isStatic ? value.type.shape()[kWidth].value() : 1);
  if (isStatic)
    return Error::success();
  spec::ImageFeatureType::ImageSizeRange &range = *out.mutable_imagesizerange();
  for (spec::SizeRange *side : {range.mutable_heightrange(), range.mutable_widthrange()}) {
    side->set_lowerbound(1);
    side->set_upperbound(-1);
  }
  return Error::success();
}

Error encodeOutput(const Value &value, const mil::OutputInfo &info, spec::FeatureDescription &out) {
  if (!info.feature.empty())
    return encodeKept("output", value, info.feature, out);
  out.set_name(value.name.str());
  out.set_shortdescription(info.description);
  if (info.image)
    return encodeImage(value, *info.image, *out.mutable_type()->mutable_imagetype());
  spec::FeatureType &type = *out.mutable_type();
  if (value.type.kind() == Type::Kind::Dict) {
    if (value.type.elements()[0].dtype() == DType::String)
      type.mutable_dictionarytype()->mutable_stringkeytype();
    else
      type.mutable_dictionarytype()->mutable_int64keytype();
    return Error::success();
  }
  if (!value.type.isTensor())
    return makeError(Code::InterfaceKind,
                     "output '{0}' has the type {1}; only tensors can be outputs", value.name,
                     value.type.str());
  if (isClassifierOutput(value, 0)) {
    if (value.type.dtype() == DType::String)
      type.mutable_stringtype();
    else
      type.mutable_int64type();
    return Error::success();
  }
  spec::ArrayFeatureType &array = *type.mutable_multiarraytype();
  if (Error error = encodeArray(value, array))
    return error;
  // A dynamic output declares no shape: Core ML pads the result where one differs from it.
  if (value.type.hasStaticShape())
    for (const Dim &dim : value.type.shape())
      array.add_shape(dim.value());
  return Error::success();
}

/// `Out` is a FunctionDescription, or the ModelDescription of a plain package: their fields have
/// equal names.
template <typename Out> Error encodeInterface(const mil::Function &function, Out &out) {
  for (auto [index, input] : llvm::enumerate(function.inputs())) {
    const mil::InputInfo &info = function.infoOfInput(index);
    Error error = input->type.isState()
                      ? encodeState(*input, info, *out.add_state())
                      : encodeInput(*input, info, mil::defaultValueOf(function, input->name),
                                    *out.add_input());
    if (error)
      return addContext(std::move(error), "function '" + function.name + "'");
  }
  for (auto [index, output] : llvm::enumerate(function.outputs())) {
    if (Error error = encodeOutput(*output.get(), function.infoOfOutput(index), *out.add_output()))
      return addContext(std::move(error), "function '" + function.name + "'");
    if (isClassifierOutput(*output.get(), 0))
      out.set_predictedfeaturename(output->name.str());
    if (isClassifierOutput(*output.get(), 1))
      out.set_predictedprobabilitiesname(output->name.str());
  }
  if (function.outputs().empty())
    return makeError(Code::InterfaceKind, "function '{0}' has no output; Core ML needs one",
                     function.name);
  return Error::success();
}

} // namespace

// ---- Writing ------------------------------------------------------------------------------------

static Error checkMetadata(const mil::Metadata &metadata) {
  auto check = [](llvm::StringRef key, llvm::StringRef text) -> Error {
    if (llvm::json::isUTF8(text) && llvm::json::isUTF8(key))
      return Error::success();
    return makeError(Code::OptionValue, "the metadata '{0}' is not text in UTF-8",
                     llvm::json::fixUTF8(key));
  };
  for (auto [key, text] :
       {std::pair("author", &metadata.author), std::pair("license", &metadata.license),
        std::pair("version", &metadata.version), std::pair("description", &metadata.description)})
    if (Error error = check(key, *text))
      return error;
  for (const auto &[key, text] : metadata.userDefined)
    if (Error error = check(key, text))
      return error;
  return Error::success();
}

Error encodeDescription(const mil::Program &program, spec::ModelDescription &out) {
  const mil::Metadata &metadata = program.metadata;
  if (Error error = checkMetadata(metadata))
    return error;
  // Kept from a package that was read. The fields below override it.
  if (!metadata.otherDescription.empty() && !parseMessage(out, metadata.otherDescription))
    return makeError(Code::PackageDamaged,
                     "what the program keeps of its package's description is damaged");
  spec::Metadata target = out.metadata();
  target.set_author(metadata.author);
  target.set_license(metadata.license);
  target.set_versionstring(metadata.version);
  target.set_shortdescription(metadata.description);
  for (const auto &[key, value] : metadata.userDefined)
    (*target.mutable_userdefined())[key] = value;
  for (const auto &function : program.functions())
    encodeNotes(*function, target);
  if (out.has_metadata() || target.ByteSizeLong() != 0)
    *out.mutable_metadata() = std::move(target);

  if (isPlain(program))
    return encodeInterface(*program.functions()[0], out);
  if (program.functions().empty())
    return makeError(Code::InterfaceKind, "the program has no function");
  if (program.defaultFunction.empty())
    return makeError(
        Code::DefaultFunction,
        "no default function is named; a package without one has a single function, `main`");
  if (!program.function(program.defaultFunction))
    return makeError(Code::DefaultFunction,
                     "the default function '{0}' is not a function of the program",
                     program.defaultFunction);
  out.set_defaultfunctionname(program.defaultFunction);
  for (const auto &function : program.functions())
    if (Error error = encodeFunctionDescription(*function, *out.add_functions()))
      return error;
  return Error::success();
}

Error encodeFunctionDescription(const mil::Function &function, spec::FunctionDescription &out) {
  if (!parseMessage(out, function.otherDescription))
    return makeError(Code::PackageDamaged,
                     "function '{0}': what it keeps of its package's description is damaged",
                     function.name);
  out.set_name(function.name);
  return encodeInterface(function, out);
}

// ---- Reading ------------------------------------------------------------------------------------

void decodeDescription(const spec::ModelDescription &in, mil::Program &out) {
  out.metadata.author = in.metadata().author();
  out.metadata.license = in.metadata().license();
  out.metadata.version = in.metadata().versionstring();
  out.metadata.description = in.metadata().shortdescription();
  for (const auto &[key, value] : in.metadata().userdefined())
    if (!isNotesKey(key)) // what these say is the functions'
      out.metadata.userDefined[key] = value;
  out.defaultFunction = in.defaultfunctionname();

  spec::ModelDescription other = in;
  other.clear_functions();
  other.clear_defaultfunctionname();
  other.clear_input();
  other.clear_output();
  other.clear_state();
  if (other.has_metadata()) {
    spec::Metadata &metadata = *other.mutable_metadata();
    metadata.clear_author();
    metadata.clear_license();
    metadata.clear_versionstring();
    metadata.clear_shortdescription();
    metadata.clear_userdefined();
  }
  appendDeterministic(out.metadata.otherDescription, other);
}

std::vector<spec::FunctionDescription> describedFunctions(const spec::ModelDescription &in) {
  if (in.functions_size() != 0)
    return {in.functions().begin(), in.functions().end()};
  spec::FunctionDescription main;
  main.set_name("main");
  *main.mutable_input() = in.input();
  *main.mutable_output() = in.output();
  *main.mutable_state() = in.state();
  main.set_predictedfeaturename(in.predictedfeaturename());
  main.set_predictedprobabilitiesname(in.predictedprobabilitiesname());
  return {main};
}

template <typename Features>
static const spec::FeatureDescription *findFeature(const Features &features, llvm::StringRef name) {
  auto it = llvm::find_if(features, [&](const auto &feature) { return feature.name() == name; });
  return it == features.end() ? nullptr : &*it;
}

namespace {

/// One input, output or state against what the description says of it.
Error checkFeature(const char *what, const Value &value, const spec::FeatureDescription *feature) {
  if (!feature)
    return makeError(Code::PackageDamaged, "the description has no {0} '{1}'", what, value.name);
  const spec::FeatureType &type = feature->type();
  bool isArray = type.has_multiarraytype() || type.statetype().has_arraytype();
  if (!isArray || (!value.type.isTensor() && !value.type.isState()))
    return Error::success(); // images, labels and dictionaries have types of their own
  const spec::ArrayFeatureType &array =
      value.type.isState() ? type.statetype().arraytype() : type.multiarraytype();
  auto dataType = arrayDataType(value);
  if (!dataType)
    return dataType.takeError();
  if (array.datatype() != *dataType)
    return makeError(Code::PackageDamaged,
                     "the description gives {0} '{1}' another element type than {2}", what,
                     value.name, mil::name(value.type.dtype()));
  llvm::ArrayRef<int64_t> stated(array.shape().data(), size_t(array.shape_size()));
  auto shape = mil::constShape(value.type.shape());
  if (shape && stated.size() == shape->size() && stated != llvm::ArrayRef<int64_t>(*shape))
    return makeError(Code::PackageDamaged,
                     "the description gives {0} '{1}' the shape [{2}]; in the program it is {3}",
                     what, value.name, fmt::join(stated, ", "), value.type.str());
  return Error::success();
}

template <typename Features, typename Values>
Error checkFeatures(const char *what, const Features &features, const Values &values) {
  llvm::StringSet<> names;
  for (const Value *value : values) {
    names.insert(value->name);
    if (Error error = checkFeature(what, *value, findFeature(features, value->name)))
      return error;
  }
  for (const spec::FeatureDescription &feature : features)
    if (!names.contains(feature.name()))
      return makeError(Code::PackageDamaged,
                       "the description has the {0} '{1}', which the function has not", what,
                       feature.name());
  return Error::success();
}

} // namespace

Error checkInterface(const spec::FunctionDescription &in, const mil::Function &function) {
  if (in.input_size() + in.output_size() + in.state_size() == 0)
    return Error::success();
  llvm::SmallVector<const Value *> inputs, states, outputs;
  for (const auto &input : function.inputs())
    (input->type.isState() ? states : inputs).push_back(input.get());
  for (const mil::Operand &output : function.outputs())
    outputs.push_back(output.get());
  if (Error error = checkFeatures("input", in.input(), inputs))
    return error;
  if (Error error = checkFeatures("state", in.state(), states))
    return error;
  return checkFeatures("output", in.output(), outputs);
}

/// An image of a type that the program's value can be; nullopt otherwise.
static std::optional<mil::PixelFormat> imageFormat(const spec::FeatureType &type,
                                                   const Value &value) {
  if (type.has_imagetype())
    for (auto [format, space] : kColorSpaces)
      if (type.imagetype().colorspace() == space && mil::isImageType(value.type, format))
        return format;
  return std::nullopt;
}

/// The sizes of a flexible image as shapes; false where one is none.
static bool decodeSizes(const spec::ImageFeatureType &image, int64_t channels,
                        mil::InputInfo &out) {
  auto isSize = [](auto size) { return size >= 1 && size <= INT32_MAX; };
  if (!isSize(image.height()) || !isSize(image.width()))
    return false;
  out.defaultShape = {1, channels, image.height(), image.width()};
  for (const auto &size : image.enumeratedsizes().sizes()) {
    if (!isSize(size.height()) || !isSize(size.width()))
      return false;
    out.enumeratedShapes.push_back({1, channels, int64_t(size.height()), int64_t(size.width())});
  }
  return true;
}

static void decodeInput(const spec::FeatureDescription *feature, const Value &input,
                        mil::InputInfo &info, mil::Function &function) {
  if (!feature) {
    // Without a description the default is what writing will state.
    if (input.type.isTensor() && !input.type.hasStaticShape())
      for (const Dim &dim : input.type.shape())
        info.defaultShape.push_back(defaultSize(dim));
    return;
  }
  info.description = feature->shortdescription();
  info.image = imageFormat(feature->type(), input);
  const spec::ArrayFeatureType &array = feature->type().multiarraytype();
  if (info.image && !input.type.hasStaticShape()) {
    mil::InputInfo sizes = info;
    if (decodeSizes(feature->type().imagetype(), mil::channelsOf(*info.image), sizes))
      info = std::move(sizes);
    else
      info.image.reset();
  } else if (!input.type.hasStaticShape() && array.shape_size() == int(input.type.rank())) {
    info.defaultShape.assign(array.shape().begin(), array.shape().end());
    for (const auto &shape : array.enumeratedshapes().shapes())
      info.enumeratedShapes.emplace_back(shape.shape().begin(), shape.shape().end());
  }
  auto defaultValue = decodeDefault(feature->type());
  if (defaultValue && input.type.isTensor())
    mil::setDefaultValue(function, input.name, *defaultValue);
  // Kept as it is where writing what was understood would lose something.
  spec::FeatureDescription again;
  std::string original, written;
  appendDeterministic(original, *feature);
  bool isWritable = !errorToBool(encodeInput(input, info, defaultValue, again));
  appendDeterministic(written, again);
  if (!isWritable || written != original)
    info.feature = original;
}

static void decodeOutput(const spec::FeatureDescription &feature, const Value &output,
                         mil::OutputInfo &info) {
  info.description = feature.shortdescription();
  info.image = imageFormat(feature.type(), output);
  spec::FeatureDescription again;
  std::string original, written;
  appendDeterministic(original, feature);
  bool isWritable = !errorToBool(encodeOutput(output, info, again));
  appendDeterministic(written, again);
  if (!isWritable || written != original)
    info.feature = original;
}

void decodeFeatures(const spec::FunctionDescription &in, mil::Function &out) {
  spec::FunctionDescription other = in;
  other.clear_name();
  other.clear_input();
  other.clear_output();
  other.clear_state();
  appendDeterministic(out.otherDescription, other);
  out.inputInfo.resize(out.inputs().size());
  for (auto [input, info] : llvm::zip(out.inputs(), out.inputInfo)) {
    if (!input->type.isState())
      decodeInput(findFeature(in.input(), input->name), *input, info, out);
    else if (const spec::FeatureDescription *state = findFeature(in.state(), input->name))
      info.description = state->shortdescription();
  }
  out.outputInfo.resize(out.outputs().size());
  for (auto [output, info] : llvm::zip(out.outputs(), out.outputInfo))
    if (const spec::FeatureDescription *feature = findFeature(in.output(), output->name))
      decodeOutput(*feature, *output.get(), info);
}

} // namespace plait
