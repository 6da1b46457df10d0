// Summaries of packages.
#include "backend/Inspect.h"

#include "backend/PackageReader.h"
#include "backend/WeightFile.h"
#include "mil/ConstantArguments.h"
#include "mil/DefaultValues.h"
#include "mil/SizeNames.h"

#include "llvm/ADT/DenseMap.h"

namespace json = llvm::json;

namespace plait {

std::vector<std::vector<uint64_t>> PackageSummary::sharingMatrix() const {
  // Blobs of the same users count together: with many functions nearly all are of all or of one.
  std::map<std::vector<unsigned>, uint64_t> bytesOf;
  for (const Blob &blob : blobs)
    bytesOf[blob.functions] += blob.bytes;
  std::vector<std::vector<uint64_t>> matrix(functions.size(),
                                            std::vector<uint64_t>(functions.size()));
  for (const auto &[users, bytes] : bytesOf)
    for (unsigned a : users)
      for (unsigned b : users)
        matrix[a][b] += bytes;
  return matrix;
}

std::vector<uint64_t> PackageSummary::ownBytes() const {
  std::vector<uint64_t> own(functions.size());
  for (const Blob &blob : blobs)
    if (blob.functions.size() == 1)
      own[blob.functions[0]] += blob.bytes;
  return own;
}

Expected<PackageSummary> inspectPackage(llvm::StringRef path, bool nearSharing) {
  Expected<Package> package = openPackage(path);
  if (!package)
    return package.takeError();
  const mil::Program &program = *package->program;
  PackageSummary summary;
  summary.specificationVersion = package->specificationVersion;
  summary.defaultFunction = program.defaultFunction;
  if (summary.defaultFunction.empty() && !program.functions().empty())
    summary.defaultFunction = program.functions()[0]->name;
  summary.metadata = program.metadata;

  // A blob is known by where its data is mapped.
  llvm::DenseMap<const uint8_t *, unsigned> blobAt;
  std::vector<NearSharingCandidate> candidates;
  auto addWeight = [&](PackageSummary::Function &function, unsigned index, const mil::Op &op) {
    const mil::TensorData *tensor = op.val().tensor();
    if (!tensor || tensor->kind() != mil::TensorData::Kind::Strided ||
        !tensor->node().storage->release)
      return;
    llvm::ArrayRef<uint8_t> bytes = tensor->contiguousBytes();
    auto [it, isNew] = blobAt.try_emplace(bytes.data(), unsigned(summary.blobs.size()));
    if (isNew) {
      summary.blobs.push_back({tensor->node().byteOffset, bytes.size(), tensor->dtype(), {}});
      summary.uniqueBytes += bytes.size();
    }
    PackageSummary::Blob &blob = summary.blobs[it->second];
    if (blob.functions.empty() || blob.functions.back() != index) {
      blob.functions.push_back(index);
      function.weightBytes += bytes.size();
      summary.referencedBytes += bytes.size();
    }
    if (nearSharing)
      candidates.push_back(
          {{index, unsigned(function.weights.size())}, op.name, *tensor, it->second, {}});
    function.weights.push_back({op.name.str(), op.result()->type, it->second});
  };

  for (const auto &source : program.functions()) {
    unsigned index = unsigned(summary.functions.size());
    PackageSummary::Function &function = summary.functions.emplace_back();
    function.name = source->name;
    for (auto [i, input] : llvm::enumerate(source->inputs())) {
      const mil::InputInfo &info = source->infoOfInput(i);
      (input->type.isState() ? function.states : function.inputs)
          .push_back({input->name.str(), input->type, info.image, info.description,
                      mil::sizeNames(*source, *input), mil::defaultValueOf(*source, input->name),
                      info.enumeratedShapes, info.defaultShape});
    }
    function.constants = mil::constantArgumentsOf(*source);
    function.handedOn = mil::handedInputsOf(*source);
    for (auto [i, output] : llvm::enumerate(source->outputs())) {
      const mil::OutputInfo &info = source->infoOfOutput(i);
      function.outputs.push_back({output->name.str(), output->type, info.image, info.description});
    }
    mil::walk(source->body(), [&](mil::Op &op) {
      if (op.is(mil::OpKind::const_))
        addWeight(function, index, op);
      else
        ++function.operations[op.info().name];
    });
  }
  for (NearSharingCandidate &candidate : candidates)
    candidate.functions = summary.blobs[candidate.blob].functions;
  summary.nearlyShared = findNearlyShared(candidates);
  for (const auto &file : package->weights) {
    summary.fileBytes += file->fileBytes();
    summary.blobCount += file->count();
  }
  return summary;
}

/// A damaged package may hold text that is none; JSON may not.
static std::string text(llvm::StringRef bytes) { return json::fixUTF8(bytes); }

static std::string rangeOf(const mil::Dim &dim) {
  if (dim.upper() == INT64_MAX)
    return "?";
  int64_t lower = std::max<int64_t>(dim.lower(), 0);
  return lower == dim.upper() ? std::to_string(lower) : fmt::format("{0}..{1}", lower, dim.upper());
}

std::string describe(const mil::Type &type, llvm::ArrayRef<std::string> names) {
  if (type.isState())
    return "state<" + describe(type.element()) + ">";
  if (!type.isTensor() || type.shape().empty())
    return type.str();
  std::string text = "tensor<" + mil::name(type.dtype()).str() + ", [";
  for (auto [i, dim] : llvm::enumerate(type.shape())) {
    std::string name = i < names.size() && !names[i].empty() ? names[i] + ":" : "";
    text += (i ? ", " : "") + (dim.isConst() ? dim.str() : name + rangeOf(dim));
  }
  return text + "]>";
}

/// A dynamic dimension is a string.
static json::Value toJson(const mil::Dim &dim) {
  if (std::optional<int64_t> size = dim.tryValue())
    return *size;
  return rangeOf(dim);
}

static json::Array toJson(llvm::ArrayRef<PackageSummary::Feature> features) {
  json::Array result;
  for (const PackageSummary::Feature &feature : features) {
    json::Object object{{"name", text(feature.name)}};
    if (feature.type.isTensor() || feature.type.isState()) {
      json::Array shape;
      for (const mil::Dim &dim : feature.type.shape())
        shape.push_back(toJson(dim));
      object["dtype"] = mil::name(feature.type.dtype());
      object["shape"] = std::move(shape);
    } else {
      object["type"] = text(feature.type.str());
    }
    if (feature.image)
      object["image"] = mil::name(*feature.image);
    if (!feature.description.empty())
      object["description"] = text(feature.description);
    if (!feature.sizes.empty())
      object["sizes"] = json::Array(feature.sizes);
    if (feature.defaultValue)
      object["default_value"] = *feature.defaultValue;
    if (!feature.defaultShape.empty())
      object["default_shape"] = json::Array(feature.defaultShape);
    if (!feature.shapes.empty()) {
      json::Array shapes;
      for (const auto &shape : feature.shapes)
        shapes.push_back(json::Array(shape));
      object["shapes"] = std::move(shapes);
    }
    result.push_back(std::move(object));
  }
  return result;
}

static json::Value toJson(const PackageSummary &summary, const NearlyShared &near) {
  static constexpr const char *reasons[] = {"values", "type", "transposed", "scaled"};
  auto place = [&](NearlyShared::Place place) {
    const PackageSummary::Function &function = summary.functions[place.function];
    const PackageSummary::Weight &weight = function.weights[place.weight];
    return json::Object{{"function", text(function.name)},
                        {"weight", text(weight.name)},
                        {"type", text(weight.type.str())}};
  };
  return json::Object{{"weights", json::Array{place(near.there), place(near.here)}},
                      {"bytes", near.bytes},
                      {"reason", reasons[unsigned(near.reason)]},
                      {"elements", near.elements},
                      {"different", near.different},
                      {"max_difference", near.maxDifference}};
}

json::Value toJson(const PackageSummary &summary) {
  json::Array functions;
  std::vector<uint64_t> own = summary.ownBytes();
  for (const PackageSummary::Function &function : summary.functions) {
    json::Object operations;
    for (const auto &[name, count] : function.operations)
      operations[text(name)] = count;
    json::Object object{
        {"name", text(function.name)},          {"inputs", toJson(function.inputs)},
        {"outputs", toJson(function.outputs)},  {"operations", std::move(operations)},
        {"weight_bytes", function.weightBytes}, {"own_weight_bytes", own[functions.size()]}};
    if (!function.states.empty())
      object["states"] = toJson(function.states);
    if (!function.constants.empty()) {
      json::Object constants;
      for (const auto &[name, value] : function.constants)
        constants[text(name)] = text(value);
      object["constants"] = std::move(constants);
    }
    if (!function.handedOn.empty()) {
      json::Object handedOn;
      for (const auto &[input, output] : function.handedOn)
        handedOn[text(input)] = text(output);
      object["handed_on"] = std::move(handedOn);
    }
    functions.push_back(std::move(object));
  }
  json::Object metadata;
  auto add = [&](llvm::StringRef key, const std::string &value) {
    if (!value.empty())
      metadata[key] = text(value);
  };
  add("author", summary.metadata.author);
  add("license", summary.metadata.license);
  add("version", summary.metadata.version);
  add("description", summary.metadata.description);
  if (!summary.metadata.userDefined.empty()) {
    json::Object userDefined;
    for (const auto &[key, value] : summary.metadata.userDefined)
      userDefined[text(key)] = text(value);
    metadata["user_defined"] = std::move(userDefined);
  }
  json::Array sharing;
  for (const std::vector<uint64_t> &row : summary.sharingMatrix())
    sharing.push_back(json::Array(row));
  json::Array nearly;
  for (const NearlyShared &near : summary.nearlyShared)
    nearly.push_back(toJson(summary, near));
  json::Object root{{"specification_version", summary.specificationVersion},
                    {"default_function", text(summary.defaultFunction)},
                    {"functions", std::move(functions)},
                    {"weights", json::Object{{"file_bytes", summary.fileBytes},
                                             {"blobs", summary.blobCount},
                                             {"unique_bytes", summary.uniqueBytes},
                                             {"referenced_bytes", summary.referencedBytes},
                                             {"shared_bytes", std::move(sharing)},
                                             {"nearly_shared", std::move(nearly)}}}};
  if (!metadata.empty())
    root["metadata"] = std::move(metadata);
  return root;
}

} // namespace plait
