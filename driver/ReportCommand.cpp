// plait report: a package as a page for the browser.
#include "driver/Commands.h"
#include "driver/JsonOutput.h"
#include "driver/Unreadable.h"
#include "driver/report/Report.h"

#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

namespace {

constexpr Option outputOption{"o", "REPORT.html", "the page to write"};
constexpr Option verificationOption{"verification", "FILE",
                                    "what plait verify printed of the package, to show with it"};
constexpr Option quietOption{"quiet", nullptr, "no report of the report", 'q'};
constexpr const Option *options[] = {&outputOption, &verificationOption, &jsonOption, &quietOption};
const Section sections[] = {{"Options", options}};

Expected<int> run(const Arguments &arguments) {
  auto package = arguments.operand("PKG.mlpackage");
  if (!package)
    return package.takeError();
  auto output = arguments.required(outputOption);
  if (!output)
    return output.takeError();
  ReportOptions report{*package, *output, {}};
  if (auto file = arguments.value(verificationOption)) {
    auto text = llvm::MemoryBuffer::getFile(*file, /*IsText=*/true);
    if (!text)
      return unreadable(*file, text.getError());
    report.verification = (*text)->getBuffer().str();
  }
  if (Error error = writeReport(report))
    return error;
  arguments.reply()["output"] = jsonString(*output);
  if (!arguments.has(quietOption) && !arguments.has(jsonOption))
    llvm::outs() << *output << ": open it in a browser; it needs no network\n";
  return 0;
}

constexpr const char *usage[] = {"PKG.mlpackage -o REPORT.html [--verification FILE]"};

} // namespace

const Command reportCommand = {"report",
                               "a package as one page of HTML: functions, sharing, weights, graph",
                               usage,
                               sections,
                               "Packages of other tools and compiled models are read too. Modules "
                               "show where the package\nhas debug information (plait compile "
                               "--debug-info on).\n",
                               {},
                               run};

} // namespace plait::driver
