// Clocks between the hooks that phases and passes call.
#include "driver/Timing.h"

#include "driver/ProgressLine.h"

#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

const Option verboseOption{"verbose", nullptr,
                           "says on the standard error how long each phase took, and each pass "
                           "that changed something",
                           'v'};

static double secondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

static void say(const std::string &line) {
  ProgressLine::Pause pause;
  llvm::errs() << "plait: " << line << '\n';
}

static size_t operationsOf(const mil::Program &program) {
  size_t count = 0;
  for (const auto &function : program.functions())
    mil::walk(function->body(), [&](mil::Op &op) { count += !op.is(mil::OpKind::const_); });
  return count;
}

void Timing::finish() {
  if (!inPhase_)
    return;
  inPhase_ = false;
  Phase &phase = phases_.back();
  phase.seconds = secondsSince(phaseStart_);
  size_t idle = 0;
  double idleSeconds = 0;
  for (const PassRun &run : llvm::ArrayRef(passes_).drop_front(summedUp_))
    if (!run.changed)
      ++idle, idleSeconds += run.seconds;
  summedUp_ = passes_.size();
  if (idle)
    say(fmt::format("  {0} runs of passes that changed nothing  {1:.3f} s", idle, idleSeconds));
  say(fmt::format("{0:<10} {1:>7.2f} s{2}{3}", phase.name, phase.seconds,
                  phase.of.empty() ? "" : "  ", phase.of));
}

void Timing::enter(llvm::StringRef phase, llvm::StringRef of) {
  if (!shown_)
    return;
  std::lock_guard lock(mutex_);
  finish();
  if (phase.empty())
    return;
  phases_.push_back({phase.str(), of.str()});
  inPhase_ = true;
  phaseStart_ = Clock::now();
}

void Timing::passEnds(const passes::PassInfo &pass, const mil::Program &program, bool changed) {
  double seconds = secondsSince(passStart_);
  std::lock_guard lock(mutex_);
  passes_.push_back(
      {pass.name.str(), seconds, before_, changed ? operationsOf(program) : before_, changed});
  const PassRun &run = passes_.back();
  if (changed)
    say(fmt::format("  {0:<22} {1:>7.3f} s  {2} -> {3} operations", run.name, run.seconds,
                    run.before, run.after));
}

void Timing::watch(passes::PipelineHooks &hooks) {
  if (!shown_)
    return;
  hooks.starting = [this](const passes::PassInfo &, const mil::Program &program) {
    // Only passes change a program, but for what lies between two pipelines.
    before_ = operationsOf(program);
    passStart_ = Clock::now();
  };
  hooks.after = [this, inner = std::move(hooks.after)](const passes::PassInfo &pass,
                                                       const mil::Program &program, bool changed) {
    passEnds(pass, program, changed);
    if (inner)
      inner(pass, program, changed);
  };
}

void Timing::addTo(llvm::json::Object &reply) {
  if (!shown_)
    return;
  enter("");
  llvm::json::Array phases, passes;
  for (const Phase &phase : phases_) {
    llvm::json::Object object{{"name", phase.name}, {"seconds", phase.seconds}};
    if (!phase.of.empty())
      object["of"] = llvm::json::fixUTF8(phase.of);
    phases.push_back(std::move(object));
  }
  for (const PassRun &run : passes_)
    passes.push_back(llvm::json::Object{{"name", run.name},
                                        {"seconds", run.seconds},
                                        {"changed", run.changed},
                                        {"operations_before", int64_t(run.before)},
                                        {"operations_after", int64_t(run.after)}});
  reply["phases"] = std::move(phases);
  reply["passes"] = std::move(passes);
}

} // namespace plait::driver
