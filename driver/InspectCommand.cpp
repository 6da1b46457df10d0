// plait inspect: what a package holds, who shares what, and what is nearly shared.
#include "backend/Inspect.h"
#include "backend/PackageReader.h"
#include "backend/WeightFile.h"
#include "driver/Commands.h"
#include "driver/Diagnostics.h"
#include "mil/Printer.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option jsonOption{"json", nullptr, "as JSON, for other programs"};
constexpr Option milOption{"mil", nullptr, "the program as MIL text"};
constexpr const Option *options[] = {&jsonOption, &milOption};
constexpr Section sections[] = {{"Options", options}};

void printFunction(const PackageSummary &summary, const PackageSummary::Function &function,
                   llvm::raw_ostream &out) {
  out << '\n' << function.name;
  if (function.name == summary.defaultFunction && summary.functions.size() > 1)
    out << " (default)";
  out << '\n';
  auto features = [&](StringRef kind, const std::vector<PackageSummary::Feature> &list) {
    for (const PackageSummary::Feature &feature : list)
      out << llvm::formatv("  {0,-12}{1}: {2}\n", kind, feature.name, feature.type.str());
  };
  features("input", function.inputs);
  features("state", function.states);
  features("output", function.outputs);

  std::vector<std::pair<std::string, unsigned>> operations(function.operations.begin(),
                                                           function.operations.end());
  std::stable_sort(operations.begin(), operations.end(),
                   [](const auto &a, const auto &b) { return a.second > b.second; });
  unsigned total = 0;
  for (const auto &[name, count] : operations)
    total += count;
  std::string line = llvm::formatv("  {0,-12}{1}:", "operations", total).str();
  for (size_t i = 0; i < operations.size(); ++i) {
    std::string word = llvm::formatv(" {0} {1}{2}", operations[i].second, operations[i].first,
                                     i + 1 < operations.size() ? "," : "")
                           .str();
    if (line.size() + word.size() > 100) {
      out << line << '\n';
      line = std::string(14, ' ');
    }
    line += word;
  }
  out << line << '\n';

  llvm::SmallSetVector<unsigned, 32> blobs;
  for (const PackageSummary::Weight &weight : function.weights)
    blobs.insert(weight.blob);
  uint64_t own = 0;
  for (unsigned blob : blobs)
    if (summary.blobs[blob].functions.size() == 1)
      own += summary.blobs[blob].bytes;
  out << llvm::formatv("  {0,-12}{1} bytes in {2} blobs", "weights", grouped(function.weightBytes),
                       blobs.size());
  if (summary.functions.size() > 1)
    out << "; " << grouped(own) << " bytes no other function uses";
  out << '\n';
}

/// The blobs by who uses them.
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
    out << llvm::formatv("  {0,15} bytes in {1,4} blobs by ", grouped(group.bytes), group.blobs);
    if (users.size() == summary.functions.size()) {
      out << (users.size() == 2 ? "both functions" : "all functions");
    } else {
      for (size_t i = 0; i < users.size(); ++i)
        out << (i ? ", " : "") << summary.functions[users[i]].name;
    }
    out << '\n';
  }
}

/// Weights of one name and type whose contents differ from function to function, largest first:
/// what a user who expected more sharing looks for.
void printNearlyShared(const PackageSummary &summary, llvm::raw_ostream &out) {
  struct Candidate {
    llvm::SmallSetVector<unsigned, 4> blobs, functions;
    uint64_t bytes = 0;
  };
  llvm::MapVector<std::pair<std::string, std::string>, Candidate,
                  std::map<std::pair<std::string, std::string>, unsigned>>
      candidates;
  for (unsigned i = 0; i < summary.functions.size(); ++i)
    for (const PackageSummary::Weight &weight : summary.functions[i].weights) {
      Candidate &candidate = candidates[{weight.name, weight.type.str()}];
      candidate.blobs.insert(weight.blob);
      candidate.functions.insert(i);
      candidate.bytes = summary.blobs[weight.blob].bytes;
    }
  using Entry = std::pair<std::pair<std::string, std::string>, Candidate>;
  std::vector<const Entry *> differing;
  for (const Entry &entry : candidates)
    if (entry.second.functions.size() > 1 && entry.second.blobs.size() > 1)
      differing.push_back(&entry);
  std::stable_sort(differing.begin(), differing.end(), [](const Entry *a, const Entry *b) {
    return a->second.bytes > b->second.bytes;
  });
  if (differing.empty())
    return;
  constexpr size_t most = 8;
  out << "\nnot shared, because contents differ under one name and type:\n";
  for (size_t i = 0; i < std::min(most, differing.size()); ++i) {
    const auto &[key, candidate] = *differing[i];
    out << llvm::formatv("  {0,15} bytes {1} {2}: {3} contents in {4} functions\n",
                         grouped(candidate.bytes), key.second, key.first, candidate.blobs.size(),
                         candidate.functions.size());
  }
  if (differing.size() > most)
    out << "  and " << differing.size() - most << " more\n";
}

void printSummary(StringRef path, const PackageSummary &summary, llvm::raw_ostream &out) {
  out << path << ": specification version " << summary.specificationVersion << ", "
      << summary.functions.size()
      << (summary.functions.size() == 1 ? " function\n" : " functions\n");
  auto field = [&](StringRef name, StringRef value) {
    if (!value.empty())
      out << llvm::formatv("  {0,-12}{1}\n", name, value);
  };
  field("author", summary.metadata.author);
  field("license", summary.metadata.license);
  field("version", summary.metadata.version);
  field("description", summary.metadata.description);
  for (const auto &[key, value] : summary.metadata.userDefined)
    field(key, value);
  for (const PackageSummary::Function &function : summary.functions)
    printFunction(summary, function, out);
  out << llvm::formatv("\nweight file: {0} bytes, {1} blobs of {2} bytes",
                       grouped(summary.fileBytes), summary.blobCount, grouped(summary.uniqueBytes));
  if (summary.functions.size() > 1)
    out << "; without sharing " << grouped(summary.referencedBytes);
  out << '\n';
  if (summary.functions.size() > 1) {
    printSharing(summary, out);
    printNearlyShared(summary, out);
  }
}

Error printMil(StringRef path, llvm::raw_ostream &out) {
  auto package = openPackage(path);
  if (!package)
    return package.takeError();
  mil::PrintOptions print;
  print.digests = false;
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
    return usageError("--json and --mil exclude each other");
  if (arguments.has(milOption)) {
    if (Error error = printMil(*path, llvm::outs()))
      return error;
    return 0;
  }
  auto summary = inspectPackage(*path);
  if (!summary)
    return summary.takeError();
  if (arguments.has(jsonOption))
    llvm::outs() << llvm::formatv("{0:2}\n", toJson(*summary));
  else
    printSummary(*path, *summary, llvm::outs());
  return 0;
}

constexpr const char *usage[] = {"PKG.mlpackage [--json | --mil]"};

} // namespace

const Command inspectCommand = {"inspect",
                                "functions of a package, their weights, and what is shared",
                                usage,
                                sections,
                                "Packages of other tools are read too.\n",
                                {},
                                run};

} // namespace plait::driver
