// What `plait verify` does: a function of a package runs in the reference interpreter and its model
// in LibTorch, on the same inputs.
#pragma once

#include "adapters/Adapter.h"
#include "runtime/Verify.h"
#include <functional>

namespace plait::driver {

/// What a function is held against.
struct VerifyModel {
  std::string against; ///< a model file: TorchScript or an archive of torch.export
  /// Merged into it by LibTorch first.
  adapters::AdapterOptions adapters{};
  /// The function's package. Its side file says which inputs stand for an adapter's matrices: they
  /// are given to the function alone, those of the adapter that is merged into the model.
  std::string package{};
  std::function<void(const Warning &)> warn = [](const Warning &) {};
  /// Asked between operations; false ends it with FailureKind::Cancelled.
  std::function<bool()> proceed = [] { return true; };
};

/// `options.tracer` is this function's own affair.
Expected<runtime::VerifyReport> verify(const mil::Function &function, const VerifyModel &model,
                                       runtime::VerifyOptions options);

} // namespace plait::driver
