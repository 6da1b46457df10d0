// An observer of LibTorch's dispatcher that exchanges generators' states around operations.
#include "frontend/live/OwnRandom.h"

#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/enum_tag.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

namespace plait::frontend {

/// What operations of a thread draw from.
struct RandomSource {
  std::vector<at::Device> devices{at::Device(at::kCPU)};
  std::optional<uint64_t> seed; ///< of the last operation; nothing: one for the process
};

namespace {

/// The default generators while operations of plait's draw from them.
class Lent {
public:
  /// Of operations that overlap, the first takes a generator and the last gives all back.
  void take(const std::vector<at::Device> &devices, std::optional<uint64_t> &seed) {
    std::scoped_lock lock(mutex_);
    ++users_;
    for (at::Device device : devices) {
      at::Generator generator = at::globalContext().defaultGenerator(device);
      if (std::any_of(taken_.begin(), taken_.end(),
                      [&](const auto &taken) { return taken.first == generator; }))
        continue;
      std::scoped_lock drawing(generator.mutex());
      taken_.emplace_back(generator, generator.get_state());
      // Another stream for each operation.
      generator.set_current_seed((seed ? *seed : seed_) += 0x9E3779B97F4A7C15);
    }
  }
  void giveBack() {
    std::scoped_lock lock(mutex_);
    if (--users_)
      return;
    for (auto &[generator, state] : taken_) {
      std::scoped_lock drawing(generator.mutex());
      generator.set_state(state);
    }
    taken_.clear();
  }

private:
  std::mutex mutex_;
  unsigned users_ = 0;
  uint64_t seed_ = 0;
  std::vector<std::pair<at::Generator, at::Tensor>> taken_;
};

Lent &lent() {
  static Lent instance;
  return instance;
}

/// Of operations that draw, on this thread: one is often made of others.
thread_local unsigned depth = 0;
thread_local RandomSource *sourceHere = nullptr;

struct Drawing final : at::ObserverContext {};

/// A dropout in evaluation mode, or of nothing, is of the operators that draw, and draws nothing.
bool isIdle(const c10::FunctionSchema &schema, c10::ArrayRef<const c10::IValue> inputs) {
  for (size_t i = 0; i < inputs.size() && i < schema.arguments().size(); ++i) {
    const std::string &name = schema.arguments()[i].name();
    if ((name == "train" || name == "training") && inputs[i].isBool() && !inputs[i].toBool())
      return true;
    if (name == "dropout_p" && inputs[i].isDouble() && inputs[i].toDouble() == 0)
      return true;
  }
  return false;
}

bool draws(const at::RecordFunction &call) {
  auto name = call.operator_name();
  if (!name)
    return false;
  auto op = c10::Dispatcher::singleton().findSchema(*name);
  return op && op->hasTag(at::Tag::nondeterministic_seeded) &&
         !(op->hasSchema() && isIdle(op->schema(), call.inputs()));
}

std::unique_ptr<at::ObserverContext> beginDrawing(const at::RecordFunction &call) {
  if (!draws(call))
    return nullptr;
  if (depth++ == 0)
    lent().take(sourceHere->devices, sourceHere->seed);
  return std::make_unique<Drawing>();
}

void endDrawing(const at::RecordFunction &, at::ObserverContext *context) {
  if (context && --depth == 0)
    lent().giveBack();
}

} // namespace

struct OwnRandom::State {
  RandomSource source;
  RandomSource *outer = std::exchange(sourceHere, &source);
  at::RecordFunctionGuard enabled{true};
  at::CallbackHandle handle =
      at::addThreadLocalCallback(at::RecordFunctionCallback(beginDrawing, endDrawing)
                                     .needsInputs(true)
                                     .scopes({at::RecordScope::FUNCTION}));
};

OwnRandom::OwnRandom() : state_(std::make_unique<State>()) {}

OwnRandom::OwnRandom(const std::vector<c10::Device> &devices) : OwnRandom() {
  for (at::Device device : devices)
    if ((device.is_cuda() || device.is_mps()) && // of the others not every one has a generator
        std::find(state_->source.devices.begin(), state_->source.devices.end(), device) ==
            state_->source.devices.end())
      state_->source.devices.push_back(device);
}

OwnRandom::OwnRandom(uint64_t seed) : OwnRandom() { state_->source.seed = seed; }

OwnRandom::~OwnRandom() {
  at::removeCallback(state_->handle);
  sourceHere = state_->outer;
}

} // namespace plait::frontend
