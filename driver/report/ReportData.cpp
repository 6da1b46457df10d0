// Walking a program once, with every text kept once.
#include "backend/Inspect.h"
#include "backend/PackageReader.h"
#include "backend/WeightFile.h"
#include "driver/cost/OperationCost.h"
#include "driver/report/Report.h"

#include "mil/DefaultValues.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Path.h"

namespace json = llvm::json;

namespace plait::driver {

using mil::Op;
using mil::Value;

namespace {

/// JSON holds whole numbers to 2^63; costs beyond are no costs any more.
int64_t number(uint64_t value) { return int64_t(std::min<uint64_t>(value, uint64_t(1) << 53)); }

std::string validText(llvm::StringRef bytes) { return json::fixUTF8(bytes); }

class ReportBuilder {
public:
  explicit ReportBuilder(const Package &package) : program_(*package.program) {}

  json::Array functions();
  json::Array weights() const;
  json::Array groups() const;
  json::Array strings() { return std::move(strings_); }

private:
  struct Weight {
    std::string name, type;
    uint64_t bytes = 0;
    std::vector<unsigned> functions; ///< ascending
  };

  int64_t intern(llvm::StringRef text);
  json::Object function(const mil::Function &function, unsigned index);
  json::Array operation(const Op &op, const OperationCost *cost, unsigned function);
  /// Enters the weights that the operand is made of.
  void addWeights(const Value &value, int64_t parameter, unsigned function, json::Array &list);
  void listOperations(const mil::Block &block);

  const mil::Program &program_;
  json::Array strings_;
  llvm::StringMap<int64_t> stringAt_;
  llvm::MapVector<const uint8_t *, Weight> weights_; ///< by where its bytes are mapped
  // Of the function at hand:
  std::vector<const Op *> operations_;
  llvm::DenseMap<const Value *, int64_t> references_;
};

int64_t ReportBuilder::intern(llvm::StringRef text) {
  auto [it, isNew] = stringAt_.try_emplace(text, int64_t(strings_.size()));
  if (isNew)
    strings_.push_back(validText(text));
  return it->second;
}

void ReportBuilder::listOperations(const mil::Block &block) {
  for (const Op &op : block) {
    if (op.is(mil::OpKind::const_) || (op.numResults() == 1 && mil::isCompileTime(op.result())))
      continue;
    int64_t index = int64_t(operations_.size());
    for (const auto &result : op.results())
      references_[result.get()] = index;
    operations_.push_back(&op);
    for (const auto &nested : op.blocks()) {
      // What a block is given comes from its operation.
      for (const auto &argument : nested->args())
        references_[argument.get()] = index;
      listOperations(*nested);
    }
  }
}

void ReportBuilder::addWeights(const Value &value, int64_t parameter, unsigned function,
                               json::Array &list) {
  const mil::TensorData *tensor = mil::constTensor(&value);
  if (!tensor) {
    for (const mil::Operand &operand : value.def()->operands())
      if (mil::isCompileTime(operand.get()))
        addWeights(*operand.get(), parameter, function, list);
    return;
  }
  if (tensor->kind() != mil::TensorData::Kind::Strided || !tensor->node().storage->release)
    return; // a literal of the model file
  llvm::ArrayRef<uint8_t> bytes = tensor->contiguousBytes();
  Weight &weight = weights_[bytes.data()];
  if (weight.functions.empty()) {
    std::vector<std::string> paths = mil::parametersOf(*tensor);
    weight.name = validText(paths.empty() ? value.name.str() : llvm::join(paths, ", "));
    weight.type = value.type.str();
    weight.bytes = bytes.size();
  }
  if (weight.functions.empty() || weight.functions.back() != function)
    weight.functions.push_back(function);
  list.push_back(parameter);
  list.push_back(int64_t(weights_.find(bytes.data()) - weights_.begin()));
}

/// What a literal holds, where it is short.
std::string shortText(const mil::Attr &attr) {
  if (const std::string *text = attr.string())
    return *text;
  const mil::TensorData *tensor = attr.tensor();
  if (!tensor || tensor->numElements() > 16)
    return attr.type().str();
  std::vector<std::string> elements;
  auto values = tensor->floatValues();
  if (!values)
    return llvm::consumeError(values.takeError()), attr.type().str();
  for (double value : *values)
    elements.push_back(fmt::format("{0:.6g}", value));
  return llvm::join(elements, ", ");
}

json::Array ReportBuilder::operation(const Op &op, const OperationCost *cost, unsigned function) {
  json::Array operands, weights;
  std::string literals;
  for (unsigned param = 0; param < op.numParams(); ++param) {
    llvm::StringRef name = op.info().params[param].name;
    for (const mil::Operand &operand : op.operands(param)) {
      const Value &value = *operand.get();
      if (auto it = references_.find(&value); it != references_.end()) {
        operands.push_back(intern(name));
        operands.push_back(it->second);
        continue;
      }
      size_t before = weights.size();
      addWeights(value, intern(name), function, weights);
      if (const mil::Attr *attr = mil::constAttr(&value); attr && weights.size() == before)
        literals += (name + "=" + shortText(*attr) + "\n").str();
    }
  }
  auto known = [](std::optional<uint64_t> count) -> json::Value {
    return count ? json::Value(number(*count)) : json::Value(nullptr);
  };
  auto rule = [&](const UnitRule *rule) {
    return intern(rule ? fmt::format("{0} ({1})", rule->text, rule->source) : "");
  };
  const Value *result = op.numResults() ? op.result() : nullptr;
  return json::Array{intern(op.info().name),
                     intern(result ? llvm::StringRef(result->name) : llvm::StringRef(op.name)),
                     intern(result ? describe(result->type) : ""),
                     intern(op.location ? llvm::StringRef(op.location.module()) : ""),
                     intern(op.location ? op.location.source() : ""),
                     std::move(operands),
                     std::move(weights),
                     intern(literals),
                     known(cost ? cost->arithmetic : std::nullopt),
                     known(cost ? cost->bytes : std::nullopt),
                     rule(cost ? cost->offEngine : nullptr),
                     rule(cost ? cost->offGpu : nullptr)};
}

json::Object ReportBuilder::function(const mil::Function &function, unsigned index) {
  operations_.clear();
  references_.clear();
  json::Array inputs, states, outputs, operations;
  auto feature = [](const Value &value, std::optional<mil::PixelFormat> image,
                    llvm::StringRef description) {
    std::string note = image ? mil::name(*image).str() + " image" : "";
    if (!description.empty())
      note += (note.empty() ? "" : "; ") + description.str();
    return json::Array{validText(value.name.str()), validText(describe(value.type)),
                       validText(note)};
  };
  std::vector<const Value *> takes, keeps;
  for (auto [i, input] : llvm::enumerate(function.inputs())) {
    const mil::InputInfo &info = function.infoOfInput(i);
    bool isState = input->type.isState();
    std::string note = info.description;
    if (auto byDefault = mil::defaultValueOf(function, input->name))
      note = fmt::format("{} by default{}{}", *byDefault, note.empty() ? "" : "; ", note);
    (isState ? states : inputs).push_back(feature(*input, info.image, note));
    (isState ? keeps : takes).push_back(input.get());
  }
  takes.insert(takes.end(), keeps.begin(), keeps.end());
  for (auto [i, value] : llvm::enumerate(takes))
    references_[value] = -1 - int64_t(i);
  listOperations(function.body());
  std::vector<OperationCost> costs = operationCosts(function);
  llvm::DenseMap<const Op *, const OperationCost *> costOf;
  for (const OperationCost &cost : costs)
    costOf[cost.op] = &cost;
  for (const Op *op : operations_)
    operations.push_back(operation(*op, costOf.lookup(op), index));
  for (auto [i, output] : llvm::enumerate(function.outputs())) {
    const mil::OutputInfo &info = function.infoOfOutput(i);
    json::Array entry = feature(*output.get(), info.image, info.description);
    if (auto it = references_.find(output.get()); it != references_.end())
      entry.push_back(it->second);
    outputs.push_back(std::move(entry));
  }
  return json::Object{{"name", validText(function.name)},
                      {"inputs", std::move(inputs)},
                      {"states", std::move(states)},
                      {"outputs", std::move(outputs)},
                      {"operations", std::move(operations)}};
}

json::Array ReportBuilder::functions() {
  json::Array result;
  for (auto [i, function] : llvm::enumerate(program_.functions()))
    result.push_back(this->function(*function, unsigned(i)));
  std::vector<uint64_t> bytes(result.size()), own(result.size());
  for (const auto &[place, weight] : weights_)
    for (unsigned user : weight.functions) {
      bytes[user] += weight.bytes;
      if (weight.functions.size() == 1)
        own[user] += weight.bytes;
    }
  for (auto [i, function] : llvm::enumerate(result)) {
    (*function.getAsObject())["bytes"] = bytes[i];
    (*function.getAsObject())["own"] = own[i];
  }
  return result;
}

json::Array ReportBuilder::weights() const {
  json::Array result;
  for (const auto &[place, weight] : weights_)
    result.push_back(
        json::Array{weight.name, weight.type, weight.bytes, json::Array(weight.functions)});
  return result;
}

json::Array ReportBuilder::groups() const {
  std::map<std::vector<unsigned>, std::pair<uint64_t, unsigned>> groups;
  for (const auto &[place, weight] : weights_) {
    auto &[bytes, blobs] = groups[weight.functions];
    bytes += weight.bytes;
    ++blobs;
  }
  json::Array result;
  for (const auto &[users, group] : groups)
    result.push_back(json::Array{group.first, group.second, json::Array(users)});
  return result;
}

} // namespace

Expected<json::Value> reportData(const ReportOptions &options) {
  auto package = openPackage(options.package);
  if (!package)
    return package.takeError();
  const mil::Program &program = *package->program;
  ReportBuilder builder(*package);
  json::Array functions = builder.functions();
  json::Array weights = builder.weights(), groups = builder.groups();
  uint64_t fileBytes = 0, unique = 0, referenced = 0;
  for (const auto &file : package->weights)
    fileBytes += file->fileBytes();
  for (const json::Value &weight : weights) {
    const json::Array &entry = *weight.getAsArray();
    unique += uint64_t(*entry[2].getAsInteger());
    referenced += uint64_t(*entry[2].getAsInteger()) * entry[3].getAsArray()->size();
  }
  json::Object metadata;
  auto add = [&](llvm::StringRef key, const std::string &value) {
    if (!value.empty())
      metadata[validText(key)] = validText(value);
  };
  add("author", program.metadata.author);
  add("license", program.metadata.license);
  add("version", program.metadata.version);
  add("description", program.metadata.description);
  for (const auto &[key, value] : program.metadata.userDefined)
    add(key, value);
  llvm::StringRef path = llvm::StringRef(options.package).rtrim('/');
  json::Object data{{"title", validText(llvm::sys::path::filename(path))},
                    {"plait", PLAIT_VERSION},
                    {"specification", package->specificationVersion},
                    {"default", validText(program.defaultFunction)},
                    {"metadata", std::move(metadata)},
                    {"fileBytes", fileBytes},
                    {"uniqueBytes", unique},
                    {"referencedBytes", referenced},
                    {"functions", std::move(functions)},
                    {"weights", std::move(weights)},
                    {"groups", std::move(groups)},
                    {"strings", builder.strings()}};
  if (!options.verification.empty())
    data["verification"] = validText(options.verification);
  return data;
}

} // namespace plait::driver
