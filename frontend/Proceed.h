// Ending a lowering from outside, between two operations.
#pragma once

#include <functional>

namespace plait::frontend {

/// While it lives, `proceed` is asked before every operation that this thread lowers or traces;
/// false ends that with an error of FailureKind::Cancelled.
class ProceedScope {
public:
  explicit ProceedScope(std::function<bool()> proceed);
  ~ProceedScope();
  ProceedScope(const ProceedScope &) = delete;

  /// What the innermost scope of this thread says; true without one.
  static bool mayProceed();

private:
  std::function<bool()> proceed_;
  ProceedScope *outer_;
};

} // namespace plait::frontend
