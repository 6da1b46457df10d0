// Widths of columns, plurals and units; members of JSON.
#include "driver/PrintReport.h"

#include "driver/Compress.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>

namespace plait::driver {

const Option dryRunOption{"dry-run", nullptr,
                          "does everything but writing, and says what would be written: functions, "
                          "sizes, what is shared"};

namespace json = llvm::json;

namespace {

std::string decibels(double snr) {
  return snr == -INFINITY ? "an overflow" : fmt::format("{0:.1f} dB", snr);
}

/// What --precision auto found, the last line as options that say the same.
void printPrecision(const PrecisionReport &report, llvm::ArrayRef<std::string> alsoKept,
                    llvm::raw_ostream &out) {
  if (report.kept.empty()) {
    out << fmt::format("  precision: {0} with everything in fp16\n", decibels(report.before));
    return;
  }
  out << fmt::format(
      "  precision: {0} at least with {1} of {2} operations in fp32 ({3:.2g} %); {4} "
      "with all of them in fp16; found in {5} trials\n",
      decibels(report.after), report.wide, report.operations,
      100.0 * double(report.wide) / double(report.operations), decibels(report.before),
      report.trials);
  size_t width = 0;
  for (const PrecisionReport::Kept &kept : report.kept)
    width = std::max(width, kept.pattern.size());
  std::string patterns = llvm::join(alsoKept, ", ");
  for (const PrecisionReport::Kept &kept : report.kept) {
    out << "    " << kept.pattern;
    out.indent(unsigned(width - kept.pattern.size()))
        << fmt::format("  {0:>4} {1}, {2} without\n", kept.operations,
                       kept.operations == 1 ? "operation " : "operations", decibels(kept.without));
    patterns += (patterns.empty() ? "" : ", ") + kept.pattern;
  }
  out << "    the same again: --precision fp16 --keep-fp32 '" << patterns << "'\n";
}

} // namespace

void printReport(const CompileOptions &options, const CompileReport &report, double seconds,
                 llvm::raw_ostream &out) {
  printPackageSize(options.output, report.packageBytes, options.dryRun, out);
  out << ", "
      << (options.precision == passes::Precision::F32 ? "fp32"
          : options.keepFloat32.empty() && !(report.precision && report.precision->wide)
              ? "fp16"
              : "fp16 and fp32")
      << ", " << report.functions.size()
      << (report.functions.size() == 1 ? " function" : " functions")
      << (options.append ? " added, " : ", ") << fmt::format("{0:.2f} s\n", seconds);
  size_t width = 0;
  uint64_t referenced = 0;
  for (const auto &function : report.functions) {
    width = std::max(width, function.name.size());
    referenced += function.ownBytes + function.sharedBytes;
  }
  for (const auto &function : report.functions) {
    out << "  " << function.name;
    out.indent(width - function.name.size()) << fmt::format(
        "  {0:>5} operations  {1:>10} own", function.operations, humanBytes(function.ownBytes));
    if (options.append || report.functions.size() > 1)
      out << fmt::format("  {0:>10} shared", humanBytes(function.sharedBytes));
    out << '\n';
  }
  if (report.precision)
    printPrecision(*report.precision, options.keepFloat32, out);
  for (const auto &function : report.functions)
    if (!function.states.empty())
      out << "  states of " << function.name << ": " << llvm::join(function.states, ", ") << '\n';
  for (const auto &function : report.functions)
    for (const auto &[input, output] : function.handedOn)
      out << "  the app hands on to " << function.name << ": " << output << " as the next " << input
          << '\n';
  if (!options.append && report.functions.size() > 1 && report.weightFileBytes)
    out << fmt::format("  weights: {0} bytes; each function alone would make it {1}\n",
                       grouped(report.weightFileBytes), grouped(referenced));
  if (report.compressed)
    printCompression(*report.compressed, report.outputs, out);
}

void printPackageSize(llvm::StringRef output, uint64_t bytes, bool dryRun, llvm::raw_ostream &out) {
  out << output << ": " << (dryRun ? "nothing is written (--dry-run); it would be " : "")
      << humanBytes(bytes);
}

static json::Object toJson(const PrecisionReport &precision) {
  json::Array kept;
  for (const PrecisionReport::Kept &one : precision.kept)
    kept.push_back(json::Object{{"pattern", jsonString(one.pattern)},
                                {"operations", int64_t(one.operations)},
                                {"snr_without", finite(one.without)}});
  return json::Object{{"snr", finite(precision.after)},
                      {"snr_fp16", finite(precision.before)},
                      {"kept", std::move(kept)},
                      {"operations", int64_t(precision.operations)},
                      {"operations_fp32", int64_t(precision.wide)},
                      {"trials", precision.trials}};
}

static json::Object toJson(const compress::ProgramResult &result) {
  json::Array weights;
  for (const compress::WeightResult &weight : result.weights) {
    json::Object object{{"name", jsonString(weight.name)},
                        {"shape", json::Array(llvm::ArrayRef<int64_t>(weight.shape))},
                        {"dtype", mil::name(weight.dtype)},
                        {"functions", weight.functions},
                        {"compressed", weight.skipped.empty()}};
    if (!weight.skipped.empty()) {
      object["reason"] = jsonString(weight.skipped);
    } else {
      object["scheme"] = weight.scheme;
      object["bytes"] = weight.bytes;
      object["bits_per_weight"] = finite(weight.bitsPerWeight);
      object["snr"] = finite(weight.snr);
      object["largest_error"] = finite(weight.largestError);
    }
    weights.push_back(std::move(object));
  }
  return json::Object{
      {"coverage", result.coverage()}, {"small", result.small}, {"weights", std::move(weights)}};
}

void addTo(json::Object &reply, llvm::StringRef output, bool dryRun, double seconds,
           const CompileReport &report) {
  json::Array functions;
  for (const CompileReport::Function &function : report.functions) {
    json::Object object{{"name", jsonString(function.name)},
                        {"operations", int64_t(function.operations)},
                        {"own_weight_bytes", function.ownBytes},
                        {"shared_weight_bytes", function.sharedBytes}};
    if (!function.states.empty())
      object["states"] = jsonStrings(function.states);
    if (!function.handedOn.empty()) {
      json::Object handed;
      for (const auto &[input, output] : function.handedOn)
        handed[json::fixUTF8(input)] = jsonString(output);
      object["handed_on"] = std::move(handed);
    }
    functions.push_back(std::move(object));
  }
  reply["output"] = jsonString(output);
  reply["written"] = !dryRun;
  reply["seconds"] = seconds;
  reply["package_bytes"] = report.packageBytes;
  reply["weight_file_bytes"] = report.weightFileBytes;
  reply["functions"] = std::move(functions);
  if (report.precision)
    reply["precision"] = toJson(*report.precision);
  if (!report.compressed)
    return;
  reply["compression"] = toJson(*report.compressed);
  json::Array outputs;
  for (const FunctionSnr &output : report.outputs)
    outputs.push_back(
        json::Object{{"function", jsonString(output.function)}, {"snr", finite(output.snr)}});
  reply["outputs"] = std::move(outputs);
}

} // namespace plait::driver
