// A list of what is held, and an observer of the operations that each holder runs.
#include "frontend/live/ModuleUse.h"

#include "frontend/Proceed.h"
#include "support/Failure.h"

#include "llvm/ADT/STLExtras.h"

#include <ATen/record_function.h>
#include <torch/nn/module.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>

namespace plait::frontend {

namespace {

using Clock = std::chrono::steady_clock;

/// A forward() that runs no operation for so long is taken for one that waits.
constexpr std::chrono::seconds kPatience{3};
/// How often those who wait look.
constexpr std::chrono::milliseconds kLook{20};

struct Holder {
  std::shared_ptr<TraceActivity> activity;
  std::set<const void *> parts; ///< modules, and tensors of buffers
};

struct Holders {
  std::mutex mutex;
  std::condition_variable fewer;
  std::vector<Holder> list;

  std::shared_ptr<TraceActivity> of(const std::set<const void *> &parts) const {
    for (const Holder &holder : list)
      if (llvm::any_of(parts, [&](const void *part) { return holder.parts.count(part); }))
        return holder.activity;
    return nullptr;
  }
};

Holders &holders() {
  static Holders instance;
  return instance;
}

std::set<const void *> partsOf(const torch::nn::Module *module) {
  std::set<const void *> parts;
  if (!module)
    return parts;
  parts.insert(module);
  for (const auto &part : module->modules(/*include_self=*/false))
    parts.insert(part.get());
  for (const at::Tensor &buffer : module->buffers())
    if (buffer.defined())
      parts.insert(buffer.unsafeGetTensorImpl());
  return parts;
}

thread_local TraceActivity *here = nullptr;

std::unique_ptr<at::ObserverContext> beginOperation(const at::RecordFunction &) {
  if (here)
    ++here->operationsBegun;
  return nullptr;
}

void endOperation(const at::RecordFunction &, at::ObserverContext *) {
  if (here)
    ++here->operationsEnded;
}

/// How long a thread that traces has been in its forward() without an operation.
class Idleness {
public:
  Clock::duration of(const std::shared_ptr<TraceActivity> &activity) {
    uint64_t ended = activity->operationsEnded, begun = activity->operationsBegun;
    Clock::time_point now = Clock::now();
    if (activity != activity_ || begun != begun_ || begun != ended || !activity->inForward) {
      activity_ = activity;
      begun_ = begun;
      since_ = now;
    }
    return now - since_;
  }

private:
  std::shared_ptr<TraceActivity> activity_;
  uint64_t begun_ = 0;
  Clock::time_point since_;
};

} // namespace

ModuleUse::ModuleUse() : activity_(std::make_shared<TraceActivity>()) {
  here = activity_.get();
  callback_ = at::addThreadLocalCallback(
      at::RecordFunctionCallback(beginOperation, endOperation).scopes({at::RecordScope::FUNCTION}));
}

ModuleUse::ModuleUse(ModuleUse &&) noexcept = default;

ModuleUse::~ModuleUse() {
  if (!activity_) // moved from
    return;
  at::removeCallback(callback_);
  here = nullptr;
  Holders &all = holders();
  std::scoped_lock lock(all.mutex);
  llvm::erase_if(all.list, [&](const Holder &holder) { return holder.activity == activity_; });
  all.fewer.notify_all();
}

Expected<ModuleUse> ModuleUse::take(torch::nn::Module *module) {
  std::set<const void *> parts = partsOf(module);
  Holders &all = holders();
  std::unique_lock lock(all.mutex);
  Idleness idleness;
  while (auto activity = all.of(parts)) {
    if (!ProceedScope::mayProceed())
      return makeFailure(FailureKind::Cancelled, Code::Cancelled,
                         "cancelled while another thread traces it");
    if (idleness.of(activity) >= kPatience)
      return makeFailure(
          FailureKind::Input, Code::LibraryMisuse,
          fmt::format("another thread is adding it or a model that shares modules or buffers with "
                      "it, and that one's forward() has run no operation for {0} seconds: if it "
                      "waits for this thread, neither would ever end. Add models outside of "
                      "forward()",
                      kPatience.count()));
    all.fewer.wait_for(lock, kLook);
  }
  ModuleUse use;
  all.list.push_back({use.activity_, std::move(parts)});
  return use;
}

} // namespace plait::frontend
