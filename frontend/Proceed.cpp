// One stack of scopes a thread.
#include "frontend/Proceed.h"

#include <utility>

namespace plait::frontend {

static thread_local ProceedScope *innermost = nullptr;

ProceedScope::ProceedScope(std::function<bool()> proceed)
    : proceed_(std::move(proceed)), outer_(std::exchange(innermost, this)) {}

ProceedScope::~ProceedScope() { innermost = outer_; }

bool ProceedScope::mayProceed() { return !innermost || innermost->proceed_(); }

} // namespace plait::frontend
