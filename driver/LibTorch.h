// What needs LibTorch, behind one table. LibTorch takes longer to start than most commands to run,
// so the `plait` command holds no reference to it: the table is that of a shared object, which is
// loaded, and LibTorch with it, when it is first asked for (LoadLibTorch.cpp). In the library
// plait::plait, which is linked to LibTorch anyway, the table is linked too (libtorch/Linked.cpp).
#pragma once

#include "driver/Compiler.h"
#include "driver/Verify.h"
#include "mil/Evaluator.h"
#include "support/Failure.h"

#include <mutex>

namespace plait::driver {

/// What libtorch/Part.cpp fills in.
struct LibTorchPart {
  /// Of the plait that the shared object was built with.
  const char *version;
  Expected<CompileReport> (*compile)(const CompileOptions &, CompileObserver &, EqualRecords *);
  Expected<runtime::VerifyReport> (*verify)(const mil::Function &, const VerifyModel &,
                                            runtime::VerifyOptions);
  std::vector<std::string> (*describe)(const runtime::BisectReport &);
  Expected<runtime::Runner> (*makeRunner)(const mil::Function &, runtime::RunOptions);
  mil::Evaluator *evaluator;
};

/// The table; the first call may take as long as LibTorch takes to start. An error says where the
/// shared object and LibTorch were looked for. Thread-safe.
Expected<const LibTorchPart *> libTorch();

/// Computes constants with the interpreter, once there is one to compute. Thread-safe.
class LazyEvaluator : public mil::Evaluator {
public:
  ~LazyEvaluator() override { consumeError(takeError()); }
  Expected<std::vector<mil::TensorData>> evaluate(mil::OpKind kind,
                                                  llvm::ArrayRef<std::vector<mil::Attr>> operands,
                                                  llvm::ArrayRef<mil::Type> resultTypes) override;

  /// Why LibTorch could not be loaded, where it was asked for; a pass leaves what cannot be
  /// computed as it is and says nothing.
  Error takeError();

private:
  std::mutex mutex_;
  std::optional<Failure> failure_;
};

} // namespace plait::driver
