// Lines for people, members for programs.
#include "driver/VerifyReport.h"

#include "driver/JsonOutput.h"
#include "driver/Terminal.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>

namespace plait::driver {

using llvm::StringRef;
namespace json = llvm::json;

namespace {

StringRef nameOf(runtime::Verdict verdict) {
  static constexpr const char *names[] = {"ok", "rounded", "wrong"};
  return names[unsigned(verdict)];
}

/// "3.1 %"
std::string percent(double part) { return fmt::format("{0:.2g} %", part * 100); }

/// Where rounding takes an output far: how far, and which operations do it.
void printRounding(const runtime::OutputReport &output, llvm::raw_ostream &out) {
  const std::optional<runtime::Comparison> &rounding = output.rounding;
  double far = output.jumps ? output.deciding
               : rounding   ? rounding->maxAbsolute / std::max(rounding->peak, 1e-300)
                            : 0;
  bool overflows = rounding && rounding->nonFinite > 0;
  if (!overflows && far <= runtime::kFarByRounding)
    return;
  out << "        rounding to fp16 ";
  if (overflows)
    out << "makes " << rounding->nonFinite << " elements of it NaN or infinite";
  else
    out << "takes " << (output.jumps ? "what decides about it " : "it ") << percent(far)
        << " of the largest value away";
  for (auto [index, cause] : llvm::enumerate(output.causes)) {
    out << (index ? "; " : overflows ? ", at " : ", most at ") << cause.operation;
    if (std::isfinite(cause.after))
      out << fmt::format(" (from {0} to {1})", percent(cause.before), percent(cause.after));
    else
      out << " (it overflows)";
  }
  if (output.passed() && output.steps) // another precision would round elsewhere, and as far
    out << "\n        its own steps (quantize, round) take it "
        << percent(output.steps->maxAbsolute / std::max(output.steps->peak, 1e-300))
        << " away: rounding moves numbers to the next one\n";
  else
    out << "\n        --precision auto keeps in fp32 what must be, --precision fp32 everything\n";
}

void printDistribution(const runtime::DistributionReport &report, llvm::raw_ostream &out) {
  out << fmt::format("{0} draws {1} distributed as the model's; most apart is {2}, {3:.4g} and "
                     "{4:.4g} on average: {5:.2f} of the draws, {6:.2f} allowed\n",
                     runtime::kRandomDraws, report.passed() ? "are" : "are not", report.statistic,
                     report.ours, report.theirs, report.distance, report.allowed);
}

void printOutput(const runtime::OutputReport &output, const runtime::VerifyReport &report,
                 unsigned steps, llvm::raw_ostream &out) {
  const runtime::Comparison &c = output.comparison;
  static constexpr Tone tones[] = {Tone::Good, Tone::Doubtful, Tone::Bad};
  StringRef verdict = nameOf(output.verdict);
  out << "  ";
  printToned(out, tones[unsigned(output.verdict)], verdict);
  out.indent(verdict == "ok" ? 4 : 1) << (output.isState ? "state " : "") << output.name << ": ";
  if (output.distribution) {
    printDistribution(*output.distribution, out);
    printRounding(output, out);
    return;
  }
  if (output.roundedType)
    out << output.roundedType->str() << ", a size that rounding decides about; without rounding ";
  out << describe(c);
  if (!report.calibrated)
    out << fmt::format("; {0:.1e} allowed", output.explained);
  else if (output.jumps)
    out << fmt::format("; {0} of {1} elements flipped by rounding", output.flipped, c.elements)
        << (output.unexplained
                ? fmt::format(", {0} not the model's for another reason", output.unexplained)
                : "");
  else if (c.nonFinite < c.elements) {
    out << fmt::format("; off by {0:.1e}, rounding explains {1:.1e}", output.distance,
                       output.explained);
    if (output.verdict == runtime::Verdict::Rounded)
      out << fmt::format("; {0:.1e} allowed",
                         report.tolerance.absolute + report.tolerance.relative * c.peak);
  }
  if (!output.passed())
    out << "; worst at element " << c.worst
        << (report.draws > 1 ? " of draw " + std::to_string(output.draw) : "")
        << (steps > 1 ? " after step " + std::to_string(output.step + 1) : "");
  out << '\n';
  printRounding(output, out);
}

json::Object toJson(const runtime::OutputReport &output, const runtime::VerifyReport &report) {
  const runtime::Comparison &c = output.comparison;
  json::Object object{{"name", jsonString(output.name)},
                      {"state", output.isState},
                      {"verdict", nameOf(output.verdict)},
                      {"elements", c.elements},
                      {"max_absolute", finite(c.maxAbsolute)},
                      {"max_relative", finite(c.maxRelative)},
                      {"snr", finite(c.snr)},
                      {"cosine", finite(c.cosine)},
                      {"peak", finite(c.peak)},
                      {"non_finite", c.nonFinite},
                      {"worst_element", c.worst},
                      {"draw", output.draw},
                      {"step", output.step}};
  if (output.roundedType)
    object["rounded_type"] = jsonString(output.roundedType->str());
  if (!report.calibrated) {
    object["allowed"] = finite(output.explained);
  } else if (output.jumps) {
    object["flipped"] = output.flipped;
    object["unexplained"] = output.unexplained;
  } else {
    object["distance"] = finite(output.distance);
    object["explained"] = finite(output.explained);
    if (output.steps)
      object["steps"] = finite(output.steps->maxAbsolute);
  }
  if (output.distribution)
    object["distribution"] = json::Object{{"statistic", jsonString(output.distribution->statistic)},
                                          {"draws", runtime::kRandomDraws},
                                          {"distance", finite(output.distribution->distance)},
                                          {"allowed", finite(output.distribution->allowed)},
                                          {"ours", finite(output.distribution->ours)},
                                          {"model", finite(output.distribution->theirs)}};
  json::Array causes;
  for (const runtime::RoundingCause &cause : output.causes)
    causes.push_back(json::Object{{"operation", jsonString(cause.operation)},
                                  {"before", finite(cause.before)},
                                  {"after", finite(cause.after)}});
  if (!causes.empty())
    object["causes"] = std::move(causes);
  return object;
}

} // namespace

void printVerified(const Verified &verified, unsigned steps, llvm::raw_ostream &out) {
  const runtime::VerifyReport &report = verified.report;
  printToned(out, report.passed ? Tone::Good : Tone::Bad, report.passed ? "PASS" : "FAIL");
  out << "  " << verified.function << " against " << verified.against;
  if (!verified.adapter.empty())
    out << " with " << verified.adapter;
  out << '\n';
  for (const runtime::OutputReport &output : report.outputs)
    printOutput(output, report, steps, out);
  for (const std::string &state : report.uncompared)
    out << "  state " << state << ": the model has no tensor of that name; not compared\n";
  if (!report.forgotten.empty())
    out << "  each call began with what the model's file holds of "
        << llvm::join(report.forgotten, ", ") << ": no state of the function (--states)\n";
  if (!report.random.empty())
    out << "  it draws random numbers: " << llvm::join(report.random, ", ") << '\n';
  for (const std::string &line : verified.bisection)
    out << "  " << line << '\n';
}

json::Object toJson(const Verified &verified) {
  const runtime::VerifyReport &report = verified.report;
  json::Array outputs;
  for (const runtime::OutputReport &output : report.outputs)
    outputs.push_back(toJson(output, report));
  json::Object object{{"function", jsonString(verified.function)},
                      {"against", jsonString(verified.against)},
                      {"passed", report.passed},
                      {"draws", report.draws},
                      {"calibrated", report.calibrated},
                      {"tolerance", json::Object{{"absolute", report.tolerance.absolute},
                                                 {"relative", report.tolerance.relative}}},
                      {"outputs", std::move(outputs)},
                      {"uncompared", jsonStrings(report.uncompared)},
                      {"forgotten", jsonStrings(report.forgotten)},
                      {"random", jsonStrings(report.random)}};
  if (!verified.adapter.empty())
    object["adapter"] = jsonString(verified.adapter);
  if (report.bisect)
    object["bisect"] = jsonStrings(verified.bisection);
  return object;
}

} // namespace plait::driver
