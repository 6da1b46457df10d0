// Which function stands beside which, and what the packages say of themselves.
#include "driver/diff/Diff.h"

#include "backend/PackageReader.h"
#include "driver/diff/DiffFunction.h"

#include "llvm/ADT/StringExtras.h"

#include <cmath>

namespace json = llvm::json;

namespace plait::driver {

bool PackageDiff::isSame() const {
  return package.empty() && onlyA.empty() && onlyB.empty() && weights.empty() &&
         llvm::all_of(functions, [](const FunctionDiff &function) {
           return function.isSame() && function.a == function.b;
         });
}

static void comparePackages(const Package &a, const Package &b, PackageDiff &diff) {
  auto field = [&](const char *what, const std::string &x, const std::string &y) {
    if (x != y)
      diff.package.push_back({what, x, y});
  };
  field("specification version", std::to_string(a.specificationVersion),
        std::to_string(b.specificationVersion));
  field("default function", a.program->defaultFunction, b.program->defaultFunction);
  const mil::Metadata &x = a.program->metadata, &y = b.program->metadata;
  field("author", x.author, y.author);
  field("license", x.license, y.license);
  field("version", x.version, y.version);
  field("description", x.description, y.description);
  auto get = [](const std::map<std::string, std::string> &in, const std::string &key) {
    auto found = in.find(key);
    return found == in.end() ? std::string() : found->second;
  };
  for (const auto &[key, value] : x.userDefined)
    field(key.c_str(), value, get(y.userDefined, key));
  for (const auto &[key, value] : y.userDefined)
    if (!x.userDefined.count(key))
      field(key.c_str(), "", value);
}

Expected<PackageDiff> diffPackages(llvm::StringRef pathA, llvm::StringRef pathB,
                                   const DiffOptions &options) {
  auto a = openPackage(pathA);
  if (!a)
    return a.takeError();
  auto b = openPackage(pathB);
  if (!b)
    return b.takeError();
  PackageDiff diff;
  comparePackages(*a, *b, diff);
  WeightTable weights(options);

  using Pair = std::pair<const mil::Function *, const mil::Function *>;
  std::vector<Pair> pairs;
  std::vector<const mil::Function *> left, right;
  for (const auto &function : a->program->functions()) {
    if (const mil::Function *other = b->program->function(function->name))
      pairs.emplace_back(function.get(), other);
    else
      left.push_back(function.get());
  }
  for (const auto &function : b->program->functions())
    if (!a->program->function(function->name))
      right.push_back(function.get());
  // A function that is the same under another name was renamed.
  std::vector<uint64_t> prints;
  for (const mil::Function *function :
       left.empty() ? std::vector<const mil::Function *>() : right) {
    auto print = fingerprintOf(*function, weights);
    if (!print)
      return print.takeError();
    prints.push_back(*print);
  }
  for (const mil::Function *function : left) {
    size_t found = prints.size();
    if (!prints.empty()) {
      auto print = fingerprintOf(*function, weights);
      if (!print)
        return print.takeError();
      found = size_t(llvm::find(prints, *print) - prints.begin());
    }
    if (found == prints.size()) {
      diff.onlyA.push_back(function->name);
      continue;
    }
    pairs.emplace_back(function, right[found]);
    right.erase(right.begin() + ptrdiff_t(found));
    prints.erase(prints.begin() + ptrdiff_t(found));
  }
  for (const mil::Function *function : right)
    diff.onlyB.push_back(function->name);
  for (auto [x, y] : pairs) {
    auto function = diffFunctions(*x, *y, weights);
    if (!function)
      return function.takeError();
    diff.functions.push_back(std::move(*function));
  }
  weights.finish(diff);
  return diff;
}

// ---- JSON
// -----------------------------------------------------------------------------------------

static std::string text(llvm::StringRef bytes) { return json::fixUTF8(bytes); }

static json::Array toJson(llvm::ArrayRef<Difference> differences) {
  json::Array result;
  for (const Difference &difference : differences)
    result.push_back(json::Object{
        {"what", text(difference.what)}, {"a", text(difference.a)}, {"b", text(difference.b)}});
  return result;
}

static json::Object toJson(const DiffOperation &operation) {
  json::Object object{{"kind", operation.kind}, {"name", text(operation.name)}};
  if (!operation.place.empty())
    object["place"] = text(operation.place);
  return object;
}

static json::Array toJson(llvm::ArrayRef<DiffOperation> operations) {
  json::Array result;
  for (const DiffOperation &operation : operations)
    result.push_back(toJson(operation));
  return result;
}

static json::Array names(llvm::ArrayRef<std::string> names) {
  json::Array result;
  for (const std::string &name : names)
    result.push_back(text(name));
  return result;
}

json::Object toJson(const PackageDiff &diff) {
  json::Array functions;
  for (const FunctionDiff &function : diff.functions) {
    json::Array changed;
    for (const ChangedOperation &operation : function.changed)
      changed.push_back(json::Object{{"a", toJson(operation.a)},
                                     {"b", toJson(operation.b)},
                                     {"differences", toJson(operation.differences)}});
    functions.push_back(json::Object{{"a", text(function.a)},
                                     {"b", text(function.b)},
                                     {"same", function.isSame()},
                                     {"interface", toJson(function.interface)},
                                     {"operations", json::Object{{"same", function.same},
                                                                 {"changed", std::move(changed)},
                                                                 {"only_a", toJson(function.onlyA)},
                                                                 {"only_b", toJson(function.onlyB)},
                                                                 {"unlike", function.isUnlike}}}});
  }
  json::Array weights;
  for (const WeightDiff &weight : diff.weights) {
    json::Object object{{"a", text(weight.a)},
                        {"b", text(weight.b)},
                        {"type_a", weight.typeA},
                        {"type_b", weight.typeB},
                        {"bytes_b", weight.bytesB},
                        {"elements", weight.elements},
                        {"functions", names(weight.functions)}};
    if (weight.different)
      object["different"] = *weight.different;
    // JSON has no infinity: nothing differs there, or there is nothing to measure by.
    if (weight.snr)
      object["snr"] = std::isfinite(*weight.snr) ? json::Value(*weight.snr) : json::Value(nullptr);
    if (weight.maxAbsolute)
      object["max_difference"] = *weight.maxAbsolute;
    weights.push_back(std::move(object));
  }
  return json::Object{{"same", diff.isSame()},
                      {"package", toJson(diff.package)},
                      {"functions", json::Object{{"only_a", names(diff.onlyA)},
                                                 {"only_b", names(diff.onlyB)},
                                                 {"both", std::move(functions)}}},
                      {"weights", json::Object{{"same", diff.sameWeights},
                                               {"same_bytes", diff.sameWeightBytes},
                                               {"differ", std::move(weights)}}}};
}

} // namespace plait::driver
