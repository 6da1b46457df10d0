// Whether a model computes in half precision while it runs, whatever it returns (private: includes
// torch).
#pragma once

#include <ATen/record_function.h>

#include <memory>
#include <optional>

namespace plait::runtime {

/// Watches the operators that this thread runs while it lives. Arithmetic counts; what only moves,
/// copies or converts tensors does not, since a package does that as exactly.
class NarrowArithmetic {
public:
  NarrowArithmetic();
  ~NarrowArithmetic();
  NarrowArithmetic(const NarrowArithmetic &) = delete;

  /// The type with the fewest bits behind the point in which something was computed: bfloat16 or
  /// half.
  std::optional<at::ScalarType> narrowest() const { return narrowest_; }

private:
  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction &function);
  static void end(const at::RecordFunction &function, at::ObserverContext *operands);

  std::optional<at::ScalarType> narrowest_;
  NarrowArithmetic *outer_;
  at::CallbackHandle handle_;
};

} // namespace plait::runtime
