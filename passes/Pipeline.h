// The order of passes for a compilation, and lists of passes chosen by name.
#pragma once

#include "passes/Pass.h"
#include "support/Error.h"

namespace plait::passes {

struct PipelineHooks {
  /// Called once, before the first pass.
  std::function<void(const mil::Program &)> before;
  /// Called after each pass that changed the program; an error ends the run and is reported with
  /// the name of the pass.
  std::function<Error(const mil::Program &)> verify;
  /// Called before to-half, while everything is in fp32; it may set the options of that pass. An
  /// error ends the run.
  std::function<Error(const mil::Program &, PassContext &)> beforeHalf;
  /// Called right before each pass.
  std::function<void(const PassInfo &pass, const mil::Program &program)> starting;
  /// Called after each pass that ran; `--print-after` and tests look at the program here.
  std::function<void(const PassInfo &pass, const mil::Program &program, bool changed)> after;
  /// Asked before each pass and within, where it is one; false ends the run with an error.
  std::function<bool()> proceed;
};

/// Removes operations of a freshly lowered function that are unused or there twice, most of them
/// literals. The pipeline decides over all functions at once, so each waits in this smaller form
/// until the last model is lowered.
void removeRedundancy(mil::Program &program, PassContext &context);

/// Runs everything that turns lowered functions into what Core ML runs.
Error runPipeline(mil::Program &program, PassContext &context, const PipelineHooks &hooks = {});

/// Runs the given passes once each, in order. Returns whether any changed anything.
Expected<bool> runPasses(mil::Program &program, PassContext &context,
                         llvm::ArrayRef<const PassInfo *> passes, const PipelineHooks &hooks = {});

/// "dce,fold-lora": an unknown name is an error that suggests the nearest.
Expected<std::vector<const PassInfo *>> parsePassList(llvm::StringRef list);

} // namespace plait::passes
