// Widths of columns, plurals and units.
#include "driver/PrintReport.h"

#include "driver/Compress.h"
#include "driver/Diagnostics.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>

namespace plait::driver {

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
  out << options.output << ": " << humanBytes(report.packageBytes) << ", "
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
  if (!options.append && report.functions.size() > 1 && report.weightFileBytes)
    out << fmt::format("  weights: {0} bytes; each function alone would make it {1}\n",
                       grouped(report.weightFileBytes), grouped(referenced));
  if (report.compressed)
    printCompression(*report.compressed, out);
}

} // namespace plait::driver
