// The compilation pipeline, top to bottom, with the reason for each place.
#include "passes/Pipeline.h"

#include "passes/Rewrite.h"
#include "support/DidYouMean.h"
#include "support/Failure.h"

namespace plait::passes {

static const PassInfo kPasses[] = {
#define PASS(FUNCTION, NAME, SUMMARY) {NAME, SUMMARY, FUNCTION},
#include "passes/Passes.def"
};

llvm::ArrayRef<PassInfo> allPasses() { return kPasses; }

const PassInfo *findPass(llvm::StringRef name) {
  for (const PassInfo &pass : kPasses)
    if (pass.name == name)
      return &pass;
  return nullptr;
}

namespace {

/// Groups reach their fixed point in a few rounds; this bounds a pair of passes that undo each
/// other.
constexpr int kMaxRounds = 50;

class Runner {
public:
  Runner(mil::Program &program, PassContext &context, const PipelineHooks &hooks)
      : program_(program), context_(context), hooks_(hooks) {
    if (hooks.before)
      hooks.before(program);
  }

  /// Runs one pass; after an error or a cancellation nothing runs any more.
  bool run(const PassInfo &pass) {
    if (hooks_.proceed && !cancelled_ && !hooks_.proceed())
      cancelled_ = true;
    if (failure_ || cancelled_)
      return false;
    if (hooks_.starting)
      hooks_.starting(pass, program_);
    bool changed = false;
    try {
      WalkScope scope(hooks_.proceed);
      changed = pass.run(program_, context_);
    } catch (const WalkEnded &) {
      cancelled_ = true;
      return false;
    }
    if (hooks_.after)
      hooks_.after(pass, program_, changed);
    if (changed && hooks_.verify)
      if (Error error = hooks_.verify(program_))
        failure_ = llvm::toString(std::move(error)), failedPass_ = pass.name;
    return changed;
  }

  bool run(PassFn fn) {
    for (const PassInfo &pass : kPasses)
      if (pass.run == fn)
        return run(pass);
    llvm_unreachable("a pass that Passes.def does not list");
  }

  void toFixedPoint(std::initializer_list<PassFn> group) {
    for (int round = 0; round < kMaxRounds; ++round) {
      bool changed = false;
      for (PassFn pass : group)
        changed |= run(pass);
      if (!changed)
        return;
    }
  }

  bool failed() const { return failure_.has_value(); }
  Error takeError() {
    if (cancelled_)
      return makeFailure(FailureKind::Cancelled, Code::Cancelled,
                         "cancelled while it was optimised");
    if (!failure_)
      return Error::success();
    return makeError(Code::Internal,
                     "pass {0} made the program ill-formed; this is a bug in plait: {1}",
                     failedPass_, *failure_);
  }

private:
  mil::Program &program_;
  PassContext &context_;
  const PipelineHooks &hooks_;
  std::optional<std::string> failure_;
  bool cancelled_ = false;
  llvm::StringRef failedPass_;
};

} // namespace

/// Any pass may leave work for these.
static void cleanUp(Runner &runner) {
  runner.toFixedPoint({
      dce,                // first: the others need not look at what nobody uses
      foldConstants,      // gives removeNoops and the merges their literals
      removeNoops,        //
      mergeCasts,         // before the others: a cast in a chain hides it
      mergeReshapes,      //
      mergeReductions,    // after mergeReshapes, which brings axes that come and go together
      moveReshapes,       //
      mergeTransposes,    //
      mergeSlices,        // after mergeReshapes: an axis that a chain drops is the chain's
      mergeWrites,        // before mergeConcats, which takes what it makes further
      mergeConcats,       //
      simplifyArithmetic, //
      hoistInvariants,    //
      cse,                // last: it needs equal operations in their final spelling
  });
}

void removeRedundancy(mil::Program &program, PassContext &context) {
  dce(program, context);
  cse(program, context);
}

Error runPipeline(mil::Program &program, PassContext &context, const PipelineHooks &hooks) {
  Runner runner(program, context, hooks);

  // Shape arithmetic, masks and transposed weights become constants, so that patterns see literals.
  cleanUp(runner);

  // Patterns of many operations first, before their pieces are taken into neighbours.
  runner.run(fuseActivation);
  runner.run(fuseLayerNorm);
  runner.run(fuseRmsNorm); // what fuse-layer-norm leaves: no mean is taken off
  runner.run(fuseHypot);
  runner.run(fuseReductions); // what neither of them takes

  runner.run(fuseAttention); // before its transposes become flags and its scale an operand's
  runner.run(foldNegations); // before scale-operands, which moves factors

  // A transpose that is a flag is no obstacle to linear.
  runner.run(fuseTransposeMatmul);
  runner.run(fuseLinear);
  runner.run(scaleOperands); // of the products that are left: neither operand is a constant

  // LoRA branches are pairs of linears by now. Before fold-batch-norm, which would take a scale
  // into the factor next to it and not into the one that no other function uses.
  runner.run(foldLora);

  // Each makes work for the others: a bias before a batch norm, a factor before a bias.
  runner.toFixedPoint({fuseConvBias, fuseLinear, foldBatchNorm});
  runner.run(fusePad);
  runner.run(foldInputScale); // all padding is a convolution's own by now
  cleanUp(runner);

  // Still in fp32, so that to-half treats what they insert like everything else; after the merges,
  // which often remove what they would have to rewrite. Ranks first: operations of rank 5 have
  // rules of their own.
  runner.run(limitRank);
  runner.run(legalizeDevice);

  // After every pass that computes with weights: those compute in fp32 and are rounded once.
  if (hooks.beforeHalf && !runner.failed())
    if (Error error = hooks.beforeHalf(program, context))
      return error;
  runner.run(toHalf);
  cleanUp(runner);

  // Nothing changes weights any more, and what is kept in fp32 is told by the model's own modules.
  runner.run(joinLinears);
  cleanUp(runner);
  runner.run(joinBranches); // of the pieces that the one before leaves
  cleanUp(runner);

  // Last: cleanup would remove the identities that the interface needs.
  runner.run(legalizeInterface);
  runner.run(legalizeNames);

  // All passes know the newest forms alone.
  runner.run(toOpset);
  return runner.takeError();
}

Expected<bool> runPasses(mil::Program &program, PassContext &context,
                         llvm::ArrayRef<const PassInfo *> passes, const PipelineHooks &hooks) {
  Runner runner(program, context, hooks);
  bool changed = false;
  for (const PassInfo *pass : passes)
    changed |= runner.run(*pass);
  if (Error error = runner.takeError())
    return error;
  return changed;
}

Expected<std::vector<const PassInfo *>> parsePassList(llvm::StringRef list) {
  std::vector<const PassInfo *> passes;
  llvm::SmallVector<llvm::StringRef, 8> names;
  list.split(names, ',', -1, /*KeepEmpty=*/false);
  for (llvm::StringRef name : names) {
    name = name.trim();
    if (const PassInfo *pass = findPass(name)) {
      passes.push_back(pass);
      continue;
    }
    llvm::SmallVector<llvm::StringRef, 48> known;
    for (const PassInfo &pass : kPasses)
      known.push_back(pass.name);
    return makeError(Code::NothingMatches,
                     "there is no pass '{0}'{1}; `plait opt --list-passes` lists them", name,
                     didYouMean(name, known));
  }
  return passes;
}

} // namespace plait::passes
