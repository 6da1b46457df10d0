// plait inspect: what a package holds, which functions share which weights, and which weights are
// nearly shared.
#include "backend/Inspect.h"
#include "backend/PackageReader.h"
#include "backend/WeightFile.h"
#include "driver/AdapterMap.h"
#include "driver/Commands.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"
#include "driver/cost/OperationCost.h"
#include "mil/Printer.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option milOption{"mil", nullptr, "the program as MIL text"};
constexpr Option costOption{
    "cost", nullptr, "arithmetic, bytes and compute units of each operation; with --json too"};
constexpr const Option *options[] = {&jsonOption, &milOption, &costOption};
constexpr Section sections[] = {{"Options", options}};

/// ", one of [1, 64], [1, 128]"
std::string listed(llvm::ArrayRef<llvm::SmallVector<int64_t, 5>> shapes) {
  constexpr size_t most = 8;
  std::string text;
  for (const auto &shape : shapes.take_front(most))
    text += fmt::format("{0}[{1}]", text.empty() ? ", one of " : ", ", fmt::join(shape, ", "));
  if (shapes.size() > most)
    text += fmt::format(" and {0} more", shapes.size() - most);
  return text;
}

void printFunction(const PackageSummary &summary, const PackageSummary::Function &function,
                   uint64_t own, StringRef path, const AdapterMap &adapters,
                   llvm::raw_ostream &out) {
  out << '\n' << function.name;
  if (function.name == summary.defaultFunction && summary.functions.size() > 1)
    out << " (default)";
  out << '\n';
  auto features = [&](StringRef kind, const std::vector<PackageSummary::Feature> &list) {
    for (const PackageSummary::Feature &feature : list)
      out << fmt::format(
          "  {0:<12}{1}: {2}{3}{4}{5}{6}{7}\n", kind, feature.name,
          feature.image ? mil::name(*feature.image).str() + " image, " : "",
          describe(feature.type, feature.sizes), listed(feature.shapes),
          feature.defaultValue ? fmt::format(", {} by default", *feature.defaultValue) : "",
          feature.description.empty() ? "" : "; ", llvm::json::fixUTF8(feature.description));
  };
  features("input", function.inputs);
  for (const auto &[name, value] : function.constants)
    out << fmt::format("  {0:<12}{1}: {2} in every call\n", "constant", llvm::json::fixUTF8(name),
                       llvm::json::fixUTF8(value));
  for (const auto &[input, output] : function.handedOn)
    out << fmt::format("  {0:<12}{1}: {2} of the call before\n", "handed on",
                       llvm::json::fixUTF8(input), llvm::json::fixUTF8(output));
  if (auto it = adapters.functions.find(function.name); it != adapters.functions.end())
    out << fmt::format("  {0:<12}{1} of the inputs: {2}\n", "adapter", it->second.size(),
                       llvm::sys::path::filename(adapterMapPath(path)));
  features("state", function.states);
  features("output", function.outputs);

  std::vector<std::pair<std::string, unsigned>> operations(function.operations.begin(),
                                                           function.operations.end());
  std::stable_sort(operations.begin(), operations.end(),
                   [](const auto &a, const auto &b) { return a.second > b.second; });
  unsigned total = 0;
  for (const auto &[name, count] : operations)
    total += count;
  std::string line = fmt::format("  {0:<12}{1}:", "operations", total);
  for (size_t i = 0; i < operations.size(); ++i) {
    std::string word = fmt::format(" {0} {1}{2}", operations[i].second, operations[i].first,
                                   i + 1 < operations.size() ? "," : "");
    if (line.size() + word.size() > 100) {
      out << line << '\n';
      line = std::string(14, ' ');
    }
    line += word;
  }
  out << line << '\n';

  llvm::DenseSet<unsigned> blobs;
  for (const PackageSummary::Weight &weight : function.weights)
    blobs.insert(weight.blob);
  out << fmt::format("  {0:<12}{1} bytes in {2} blobs", "weights", grouped(function.weightBytes),
                     blobs.size());
  if (summary.functions.size() > 1)
    out << "; " << grouped(own) << " bytes no other function uses";
  out << '\n';
}

/// The blobs, grouped by the functions that use them.
void printSharing(const PackageSummary &summary, llvm::raw_ostream &out) {
  struct Group {
    unsigned blobs = 0;
    uint64_t bytes = 0;
  };
  std::map<std::vector<unsigned>, Group> groups;
  for (const PackageSummary::Blob &blob : summary.blobs)
    if (blob.functions.size() > 1) {
      Group &group = groups[blob.functions];
      ++group.blobs;
      group.bytes += blob.bytes;
    }
  std::vector<std::pair<std::vector<unsigned>, Group>> sorted(groups.begin(), groups.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto &a, const auto &b) { return a.second.bytes > b.second.bytes; });
  out << "\nshared:\n";
  if (sorted.empty())
    out << "  nothing\n";
  for (const auto &[users, group] : sorted) {
    out << fmt::format("  {0:>15} bytes in {1:>4} blobs by ", grouped(group.bytes), group.blobs);
    if (users.size() == summary.functions.size()) {
      out << (users.size() == 2 ? "both functions" : "all functions");
    } else {
      for (size_t i = 0; i < users.size(); ++i)
        out << (i ? ", " : "") << summary.functions[users[i]].name;
    }
    out << '\n';
  }
}

/// Function by function, the bytes that both use.
void printMatrix(const PackageSummary &summary, llvm::raw_ostream &out) {
  constexpr size_t mostColumns = 6;
  size_t count = summary.functions.size();
  std::vector<std::vector<uint64_t>> matrix = summary.sharingMatrix();
  std::vector<uint64_t> own = summary.ownBytes();
  size_t width = 8;
  for (const PackageSummary::Function &function : summary.functions)
    width = std::max(width, function.name.size());
  auto pad = [&](StringRef text) {
    out << text;
    out.indent(unsigned(width - text.size()));
  };
  out << "\nbytes of weights that functions have in common:\n  ";
  pad("");
  out << fmt::format("  {0:>15}", "its own");
  if (count > mostColumns) {
    out << fmt::format("  {0:>15}\n", "in common");
    for (size_t a = 0; a < count; ++a) {
      out << "  ";
      pad(summary.functions[a].name);
      out << fmt::format("  {0:>15}  {1:>15}\n", grouped(own[a]), grouped(matrix[a][a] - own[a]));
    }
    out << "  (function by function: --json)\n";
    return;
  }
  for (size_t b = 0; b < count; ++b)
    out << fmt::format("  {0:>15}", summary.functions[b].name);
  out << '\n';
  for (size_t a = 0; a < count; ++a) {
    out << "  ";
    pad(summary.functions[a].name);
    out << fmt::format("  {0:>15}", grouped(own[a]));
    for (size_t b = 0; b < count; ++b)
      out << fmt::format("  {0:>15}", a == b ? "-" : grouped(matrix[a][b]));
    out << '\n';
  }
}

/// Which functions can share an MLState, since their states are alike, and what is not alike.
void printStates(const PackageSummary &summary, llvm::raw_ostream &out) {
  using Function = PackageSummary::Function;
  llvm::MapVector<StringRef, std::vector<std::string>, std::map<StringRef, unsigned>> typesOf;
  std::vector<std::pair<std::string, std::vector<std::string>>> groups;
  for (const Function &function : summary.functions) {
    std::map<std::string, std::string> states; // by name: their order is no matter
    for (const PackageSummary::Feature &state : function.states) {
      states[state.name] = mil::str(state.type.shape());
      typesOf[state.name].push_back(state.type.element().str() + " in " + function.name);
    }
    if (states.empty())
      continue;
    std::string text;
    for (const auto &[name, shape] : states)
      text += (text.empty() ? "" : ", ") + name + " " + shape;
    auto group = llvm::find_if(groups, [&](const auto &g) { return g.first == text; });
    if (group == groups.end())
      group = groups.insert(group, {text, {}});
    group->second.push_back(function.name);
  }
  if (groups.empty())
    return;
  out << "\nstates:\n";
  for (const auto &[text, functions] : groups)
    out << "  " << text << ": " << llvm::join(functions, ", ")
        << (functions.size() > 1 ? "; one MLState serves all of them\n" : "\n");
  for (const auto &[name, types] : typesOf)
    for (const std::string &other : types)
      if (StringRef(other).split(" in ").first != StringRef(types[0]).split(" in ").first) {
        out << "  not alike: " << name << " is " << types[0] << ", " << other << '\n';
        break;
      }
}

std::string whyNotShared(const NearlyShared &near, const PackageSummary::Weight &here,
                         const PackageSummary::Weight &there) {
  using Reason = NearlyShared::Reason;
  std::string count = near.different == near.elements
                          ? fmt::format("all {0} elements differ", grouped(near.elements))
                          : fmt::format("{0} of {1} elements differ", grouped(near.different),
                                        grouped(near.elements));
  if (near.different && near.maxDifference == 0)
    count += ", in signs of zeros, infinities or NaNs alone";
  else
    llvm::raw_string_ostream(count)
        << ", by " << llvm::format("%.3g", near.maxDifference) << " at most";
  switch (near.reason) {
  case Reason::Values:
    return count;
  case Reason::Type:
    return fmt::format("{0} here, {1} there; {2}", mil::name(here.type.dtype()),
                       mil::name(there.type.dtype()),
                       near.different ? "rounded alike, " + count : "equal when rounded alike");
  case Reason::Transposed:
    return near.different ? "transposed; then " + count : "the same, transposed";
  case Reason::Scaled:
    return "a frozen copy: each row is scaled, as when a batch norm is folded into it";
  }
  llvm_unreachable("all reasons are handled");
}

/// Weights that are nearly shared, for a user who expected more sharing; largest first.
void printNearlyShared(const PackageSummary &summary, llvm::raw_ostream &out) {
  if (summary.nearlyShared.empty())
    return;
  constexpr size_t most = 8;
  out << "\nnearly shared, and why not:\n";
  for (const NearlyShared &near : llvm::ArrayRef(summary.nearlyShared).take_front(most)) {
    const PackageSummary::Function &function = summary.functions[near.here.function],
                                   &other = summary.functions[near.there.function];
    const PackageSummary::Weight &here = function.weights[near.here.weight],
                                 &there = other.weights[near.there.weight];
    out << fmt::format("  {0:>15} bytes  {1} {2} of {3}, {4}{5}:\n", grouped(near.bytes),
                       here.type.str(), here.name, function.name,
                       here.name == there.name ? "" : there.name + " of ", other.name);
    out.indent(25) << whyNotShared(near, here, there) << '\n';
  }
  if (summary.nearlyShared.size() > most)
    out << "  and " << summary.nearlyShared.size() - most << " more (--json)\n";
}

void printSummary(StringRef path, const PackageSummary &summary, const AdapterMap &adapters,
                  llvm::raw_ostream &out) {
  out << path << ": specification version " << summary.specificationVersion << ", "
      << summary.functions.size()
      << (summary.functions.size() == 1 ? " function\n" : " functions\n");
  auto field = [&](StringRef name, StringRef value) {
    if (!value.empty())
      out << fmt::format("  {0:<11} {1}\n", name, value);
  };
  field("author", summary.metadata.author);
  field("license", summary.metadata.license);
  field("version", summary.metadata.version);
  field("description", summary.metadata.description);
  for (const auto &[key, value] : summary.metadata.userDefined)
    field(key, value);
  std::vector<uint64_t> own = summary.ownBytes();
  for (size_t i = 0; i < summary.functions.size(); ++i)
    printFunction(summary, summary.functions[i], own[i], path, adapters, out);
  out << fmt::format("\nweight file: {0} bytes, {1} blobs of {2} bytes", grouped(summary.fileBytes),
                     summary.blobCount, grouped(summary.uniqueBytes));
  if (summary.functions.size() > 1)
    out << "; without sharing " << grouped(summary.referencedBytes);
  out << '\n';
  if (summary.functions.size() > 1) {
    printMatrix(summary, out);
    printSharing(summary, out);
    printStates(summary, out);
    printNearlyShared(summary, out);
  }
}

/// Names the inputs that stand for an adapter's matrices.
llvm::json::Value withAdapters(llvm::json::Value summary, const AdapterMap &adapters) {
  for (llvm::json::Value &value : *summary.getAsObject()->getArray("functions")) {
    llvm::json::Object &function = *value.getAsObject();
    auto it = adapters.functions.find(function.getString("name")->str());
    if (it == adapters.functions.end())
      continue;
    llvm::json::Array names;
    for (const adapters::AdapterInput &input : it->second)
      names.push_back(input.name);
    function["adapter_inputs"] = std::move(names);
  }
  return summary;
}

Error printMil(StringRef path, llvm::raw_ostream &out) {
  auto package = openPackage(path);
  if (!package)
    return package.takeError();
  mil::PrintOptions print;
  print.digests = false;
  print.symbols = true;
  print.locations = true;
  print.blob = [&](const mil::TensorData &tensor) {
    mil::BlobLocation location;
    // Constants of a package view the file's bytes; the record is what lies right before them.
    if (tensor.kind() == mil::TensorData::Kind::Strided)
      location.offset = tensor.node().byteOffset - weightAlignment;
    return location;
  };
  mil::print(*package->program, out, print);
  return Error::success();
}

Expected<int> run(const Arguments &arguments) {
  auto path = arguments.operand("PKG.mlpackage");
  if (!path)
    return path.takeError();
  if (arguments.has(jsonOption) && arguments.has(milOption))
    return usageError(Code::OptionConflict, "--json and --mil exclude each other");
  if (arguments.has(costOption) && arguments.has(milOption))
    return usageError(Code::OptionConflict, "--cost and --mil exclude each other");
  if (arguments.has(costOption)) {
    auto package = openPackage(*path);
    if (!package)
      return package.takeError();
    if (arguments.has(jsonOption))
      arguments.reply() = costsToJson(*package->program);
    else
      printCosts(*package->program, llvm::outs());
    return 0;
  }
  if (arguments.has(milOption)) {
    if (Error error = printMil(*path, llvm::outs()))
      return error;
    return 0;
  }
  auto summary = inspectPackage(*path, /*nearSharing=*/true);
  if (!summary)
    return summary.takeError();
  auto adapters = adapterMapOf(*path);
  if (!adapters) {
    printWarning({Code::SideFile, llvm::toString(adapters.takeError())});
    adapters = AdapterMap();
  }
  if (arguments.has(jsonOption))
    arguments.reply() = std::move(*withAdapters(toJson(*summary), *adapters).getAsObject());
  else
    printSummary(*path, *summary, *adapters, llvm::outs());
  return 0;
}

constexpr const char *usage[] = {"PKG.mlpackage [--json | --mil] [--cost]"};

} // namespace

const Command inspectCommand = {"inspect",
                                "functions of a package, their weights, and what is shared",
                                usage,
                                sections,
                                "Packages of other tools are read too.\n",
                                {},
                                run};

} // namespace plait::driver
