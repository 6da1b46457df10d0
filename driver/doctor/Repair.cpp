// The passes that make programs fit devices, on a package that was read, at its own opset.
#include "driver/doctor/Repair.h"

#include "backend/DebugInfo.h"
#include "backend/PackageReader.h"
#include "backend/PackageWriter.h"
#include "driver/Compiler.h"
#include "driver/HeldOutput.h"
#include "driver/LibTorch.h"
#include "driver/SideFile.h"
#include "driver/Target.h"
#include "mil/Verifier.h"
#include "passes/Pipeline.h"

#include "llvm/Support/FileSystem.h"

namespace plait::driver {

using llvm::StringRef;

namespace {

/// One function without a default is `main`; several have a default function.
void nameDefault(mil::Program &program) {
  if (!program.defaultFunction.empty())
    return;
  auto functions = program.functions();
  if (functions.size() == 1 && !mil::info(functions[0]->opset).functions)
    functions[0]->name = "main"; // older packages have no other name
  else if (functions.size() > 1 || functions[0]->name != "main")
    program.defaultFunction = program.function("main") ? "main" : functions[0]->name;
}

Error rewrite(mil::Program &program, mil::Evaluator &evaluator) {
  // All passes know the newest forms alone.
  mil::Opset own = program.functions()[0]->opset;
  if (own < mil::kDefaultOpset)
    if (Error error = bringTo(program, mil::kDefaultOpset))
      return error;
  passes::PassContext context;
  context.evaluator = &evaluator;
  context.options.target = own;
  std::vector<const passes::PassInfo *> list;
  for (StringRef name :
       {"legalize-device", "limit-rank", "legalize-device", "legalize-interface", "legalize-names"})
    list.push_back(passes::findPass(name));
  if (auto changed = passes::runPasses(program, context, list); !changed)
    return changed.takeError();
  return own < mil::kDefaultOpset ? bringTo(program, own) : Error::success();
}

} // namespace

Expected<Diagnosis> repair(const RepairOptions &options) {
  auto lock = holdOutput(options.output);
  if (!lock)
    return lock.takeError();
  auto package = readPackage(options.package);
  if (!package)
    return package.takeError();
  mil::Program &program = **package;
  auto adapters = adapterMapOf(options.package);
  if (!adapters)
    return adapters.takeError();
  if (program.functions().empty())
    return makeError(Code::NoProgram, "{0}: it has no functions, so that nothing can be rewritten",
                     options.package);
  if (Error error = mil::verify(program))
    return addContext(std::move(error), options.package +
                                            ": it is not well-formed MIL, so that nothing can be "
                                            "rewritten; make it again with the tool that made it");
  nameDefault(program);
  LazyEvaluator evaluator;
  if (Error error = rewrite(program, evaluator))
    return addContext(std::move(error), options.package);
  if (Error error = mil::verify(program))
    return addContext(std::move(error), "what was rewritten is ill-formed; this is a bug in plait");
  SideFile sideFile(options.output, std::move(*adapters), SideFile::Former::Dropped, {},
                    options.warn);
  WriteOptions write;
  write.threads = options.threads;
  write.evaluator = &evaluator;
  write.debugInfo = hasDebugInfo(program);
  write.lock = *lock ? &**lock : nullptr;
  write.companion = &sideFile;
  if (Error error = writePackage(program, options.output, write))
    return error;
  return diagnose(options.output);
}

} // namespace plait::driver
