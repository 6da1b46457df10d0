// An observer of LibTorch's dispatcher that takes its kernels away.
#include "frontend/live/OperationStop.h"

#include <ATen/record_function.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <utility>

namespace plait::frontend {

namespace {

/// LibTorch's tests register kernels for it; nothing else has one.
constexpr c10::DispatchKey kWithoutKernels = c10::DispatchKey::TESTING_ONLY_GenericMode;

} // namespace

struct OperationStop::State {
  explicit State(std::function<bool()> proceed) : proceed(std::move(proceed)) {}

  static void ask();
  static std::unique_ptr<at::ObserverContext> atBegin(const at::RecordFunction &) {
    ask();
    return nullptr;
  }
  static void atEnd(const at::RecordFunction &, at::ObserverContext *) { ask(); }

  static thread_local State *innermost;

  std::function<bool()> proceed;
  bool stopped = false;
  State *outer = std::exchange(innermost, this);
  at::RecordFunctionGuard enabled{true};
  at::CallbackHandle handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(atBegin, atEnd).scopes({at::RecordScope::FUNCTION}));
};

thread_local OperationStop::State *OperationStop::State::innermost = nullptr;

void OperationStop::State::ask() {
  State *state = innermost;
  if (!state || (!state->stopped && state->proceed()))
    return;
  state->stopped = true;
  c10::impl::tls_set_dispatch_key_included(kWithoutKernels, true);
}

OperationStop::OperationStop(std::function<bool()> proceed)
    : state_(std::make_unique<State>(std::move(proceed))) {}

OperationStop::~OperationStop() {
  at::removeCallback(state_->handle);
  State::innermost = state_->outer;
  c10::impl::tls_set_dispatch_key_included(kWithoutKernels, false);
}

bool OperationStop::guard(llvm::function_ref<void()> work) {
  try {
    work();
  } catch (const c10::Error &) {
    if (!stopped())
      throw;
  }
  return !stopped();
}

bool OperationStop::stopped() const { return state_->stopped; }

} // namespace plait::frontend
