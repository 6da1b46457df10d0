// Looking at a program while passes run over it.
#include "driver/PassHooks.h"

#include "driver/LibTorch.h"
#include "driver/ProgressLine.h"
#include "mil/Printer.h"
#include "mil/StandIn.h"
#include "mil/Verifier.h"
#include "support/DidYouMean.h"

#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

const Option printAfterOption{
    "print-after", "PASS|lowering|all",
    "prints the program after each run of the pass that changed it (lowering: before all passes)"};
const Option verifyEachOption{"verify-each", nullptr,
                              "verifies the program after each pass that changed it"};

Expected<passes::PipelineHooks> passHooks(const Arguments &arguments,
                                          std::function<void(const mil::Program &)> print) {
  passes::PipelineHooks hooks;
  if (arguments.has(verifyEachOption))
    hooks.verify = [](const mil::Program &changed) { return mil::verify(changed); };
  std::string name = arguments.value(printAfterOption).value_or("");
  if (name.empty())
    return hooks;
  bool lowering = name == "lowering", all = name == "all";
  if (!lowering && !all && !passes::findPass(name)) {
    llvm::SmallVector<llvm::StringRef, 64> known = {"lowering", "all"};
    for (const passes::PassInfo &pass : passes::allPasses())
      known.push_back(pass.name);
    return usageError(Code::NothingMatches,
                      "--print-after {0}: no such pass{1}; see: plait opt --list-passes", name,
                      didYouMean(name, known));
  }
  if (lowering)
    hooks.before = [print](const mil::Program &program) {
      ProgressLine::Pause pause; // both may be on one terminal
      llvm::outs() << "// after lowering\n";
      print(program);
    };
  if (!lowering)
    hooks.after = [=](const passes::PassInfo &pass, const mil::Program &program, bool changed) {
      if (!changed || !(all || pass.name == name))
        return;
      ProgressLine::Pause pause;
      llvm::outs() << "// after " << pass.name << '\n';
      print(program);
    };
  return hooks;
}

void printWithStandIns(const mil::Program &program, llvm::raw_ostream &out) {
  LazyEvaluator evaluator;
  mil::PrintOptions options;
  options.evaluator = &evaluator;
  options.symbols = true;
  options.readable = true;
  options.digests = false;
  options.blob = mil::standInPlaces();
  mil::print(program, out, options);
}

} // namespace plait::driver
