// The order of passes for a compilation, and lists of passes chosen by name.
#pragma once

#include "passes/Pass.h"
#include "support/Error.h"

namespace plait::passes {

struct PipelineHooks {
  /// Called after each pass that changed the program; an error ends the run and is reported with
  /// the name of the pass.
  std::function<Error(const mil::Program &)> verify;
  /// Called after each pass that ran; `--print-after` and tests look at the program here.
  std::function<void(const PassInfo &pass, const mil::Program &program, bool changed)> after;
};

/// Removes what a freshly lowered function computes in vain or twice, its literals above all: it
/// waits in this form until the last model is lowered, since the pipeline decides over all
/// functions at once.
void removeRedundancy(mil::Program &program, PassContext &context);

/// Runs everything that turns lowered functions into what Core ML runs.
Error runPipeline(mil::Program &program, PassContext &context, const PipelineHooks &hooks = {});

/// Runs the given passes once each, in order. Returns whether any changed anything.
Expected<bool> runPasses(mil::Program &program, PassContext &context,
                         llvm::ArrayRef<const PassInfo *> passes, const PipelineHooks &hooks = {});

/// "dce,fold-lora": an unknown name is an error that suggests the nearest.
Expected<std::vector<const PassInfo *>> parsePassList(llvm::StringRef list);

} // namespace plait::passes
