// The golden files of passes, run by name: tests/golden/passes/fold-lora.mil is what fold-lora
// does, pipeline.mil what the whole pipeline does.
//
// Settings of a case, beside the golden runner's: `lora: fold`, `lora of FUNCTION: fold`,
// `precision: fp32`, `keep: PATTERN, PATTERN`, `share: off`, `target: ios16`, `warns: TEXT` (a part
// of the warning that the pass must give; none must come without it).
#pragma once

#include "mil/OperationPattern.h"
#include "passes/Pipeline.h"
#include "tests/GoldenRunner.h"
#include "tests/SourceDir.h"

#include "llvm/Support/Path.h"

namespace plait::golden {

inline Expected<bool> runPass(const std::string &name, mil::Program &program, const Case &c) {
  passes::PassContext context;
  auto mode = [](llvm::StringRef text) {
    return text == "fold" ? mil::LoraMode::Fold : mil::LoraMode::Keep;
  };
  for (const auto &[key, value] : c.settings)
    if (llvm::StringRef function = key; function.consume_front("lora of "))
      context.options.loraOf[function] = mode(value);
  context.options.lora = mode(c.setting("lora"));
  std::vector<mil::OperationPattern> kept;
  std::string keep = c.setting("keep");
  for (llvm::StringRef text : llvm::split(llvm::StringRef(keep), ", "))
    if (!text.empty())
      kept.push_back(llvm::cantFail(mil::OperationPattern::parse(text)));
  if (!kept.empty())
    context.options.keepFloat32 = [kept](const mil::Op &op) {
      return llvm::any_of(kept, [&](const auto &pattern) { return pattern.matches(op); });
    };
  context.options.share = c.setting("share") != "off";
  if (c.setting("precision") == "fp32")
    context.options.precision = passes::Precision::F32;
  if (std::string target = c.setting("target"); !target.empty())
    context.options.target = *mil::parseOpset(target);
  std::string warnings;
  context.warn = [&](const Warning &warning) { warnings += warning.text + "\n"; };

  Expected<bool> changed = false;
  if (name == "pipeline") {
    passes::PipelineHooks hooks;
    hooks.verify = [](const mil::Program &program) { return mil::verify(program); };
    hooks.after = [&](const passes::PassInfo &, const mil::Program &, bool one) {
      *changed |= one;
    };
    if (Error error = passes::runPipeline(program, context, hooks))
      return error;
  } else {
    auto list = passes::parsePassList(name);
    if (!list)
      return list.takeError();
    changed = passes::runPasses(program, context, *list);
  }
  if (!changed || !*changed)
    return changed; // warnings belong to changes: a second run has none
  if (std::string expected = c.setting("warns"); expected.empty())
    EXPECT_EQ(warnings, "");
  else
    EXPECT_NE(warnings.find(expected), std::string::npos) << warnings;
  return changed;
}

/// Checks one golden file of a pass. Passes themselves get no evaluator, so that the texts are the
/// same with and without LibTorch.
inline void runPassFile(const std::string &path, mil::Evaluator *evaluator = nullptr,
                        mil::ProgramRunner *runner = nullptr) {
  std::string name = llvm::sys::path::stem(path).str();
  runFile(path, [&](mil::Program &program, const Case &c) { return runPass(name, program, c); },
          {evaluator, runner, /*readable=*/true});
}

inline std::vector<std::string> passFiles() { return filesIn(sourcePath("tests/golden/passes")); }

/// "fold-lora.mil" as the name of a test.
inline std::string testName(const std::string &path) {
  std::string name = llvm::sys::path::stem(path).str();
  for (char &c : name)
    c = llvm::isAlnum(c) ? c : '_';
  return name;
}

} // namespace plait::golden
