// plait patch: a package as what it has more than another.
#include "driver/Commands.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"
#include "driver/patch/Patch.h"

#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

namespace {

constexpr Option outputOption{"o", "PATH",
                              "of make: the patch to write, D.plaitpatch; of apply: the package to "
                              "write, where A is to stay as it is"};
constexpr Option threadsOption{"threads", "N", "for reading files (one a processor)"};
constexpr Option quietOption{"quiet", nullptr, "no report", 'q'};
constexpr const Option *options[] = {&outputOption, &threadsOption, &jsonOption, &quietOption};
const Section sections[] = {{"Options", options}};
constexpr const char *usage[] = {"make A.mlpackage B.mlpackage -o D.plaitpatch",
                                 "apply A.mlpackage D.plaitpatch [-o OUT.mlpackage]"};

Expected<int> make(const Arguments &arguments, const std::string &base, const std::string &result,
                   unsigned threads) {
  auto output = arguments.required(outputOption);
  if (!output)
    return output.takeError();
  auto report = makePatch(base, result, *output, threads);
  if (!report)
    return report.takeError();
  arguments.reply() = llvm::json::Object{{"output", jsonString(*output)},
                                         {"patch_bytes", report->patchBytes},
                                         {"result_bytes", report->resultBytes},
                                         {"copied_bytes", report->copiedBytes}};
  if (!arguments.has(quietOption) && !arguments.has(jsonOption))
    llvm::outs() << *output << ": " << humanBytes(report->patchBytes) << "; "
                 << humanBytes(report->copiedBytes) << " of " << humanBytes(report->resultBytes)
                 << " are in " << base << " already\n";
  return 0;
}

Expected<int> apply(const Arguments &arguments, const std::string &base, const std::string &patch,
                    unsigned threads) {
  std::string output = arguments.value(outputOption).value_or(base);
  if (llvm::StringRef(output).rtrim('/').rsplit('.').second != "mlpackage")
    return usageError(Code::PackageName, "-o {0}: the name of a package ends in .mlpackage",
                      output);
  auto report = applyPatch(base, patch, output, threads);
  if (!report)
    return report.takeError();
  arguments.reply() = llvm::json::Object{{"output", jsonString(output)},
                                         {"patch_bytes", report->patchBytes},
                                         {"result_bytes", report->resultBytes},
                                         {"written", !report->isApplied}};
  if (arguments.has(quietOption) || arguments.has(jsonOption))
    return 0;
  if (report->isApplied)
    llvm::outs() << output << ": it is what the patch makes, already; nothing was changed\n";
  else
    llvm::outs() << output << ": " << humanBytes(report->resultBytes) << " from "
                 << humanBytes(report->patchBytes) << " of patch\n";
  return 0;
}

Expected<int> run(const Arguments &arguments) {
  std::vector<std::string> operands = arguments.operands();
  bool makes = !operands.empty() && operands[0] == "make";
  if (operands.empty() || (!makes && operands[0] != "apply"))
    return usageError(Code::OptionMissing, "make or apply is wanted{0}; see: plait help patch",
                      operands.empty() ? "" : ", not '" + operands[0] + "'");
  if (operands.size() != 3)
    return usageError(Code::OptionValue, "{0}; see: plait help patch",
                      makes ? "two packages are wanted: plait patch make A.mlpackage B.mlpackage"
                            : "a package and a patch are wanted: plait patch apply A.mlpackage "
                              "D.plaitpatch");
  auto threads = arguments.number(threadsOption, 0, 1024);
  if (!threads)
    return threads.takeError();
  return (makes ? make : apply)(arguments, operands[1], operands[2], unsigned(*threads));
}

} // namespace

const Command patchCommand = {
    "patch",
    "what one package has more than another, and how to get there",
    usage,
    sections,
    "B comes out of A and the patch, byte by byte. A is replaced in one "
    "step, and only\nif the patch is for it. Packages of other tools will "
    "do.\n",
    {},
    run};

} // namespace plait::driver
