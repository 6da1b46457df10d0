// Saving and restoring what tracing may change.
#include "frontend/live/ProcessGuards.h"

#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>

namespace plait::frontend {

static void collectModes(torch::nn::Module &module,
                         std::vector<std::pair<torch::nn::Module *, bool>> &modes) {
  modes.emplace_back(&module, module.is_training());
  for (const auto &child : module.children())
    collectModes(*child, modes);
}

EvaluationGuard::EvaluationGuard(torch::nn::Module *module) {
  if (!module)
    return;
  collectModes(*module, modes_);
  module->eval();
}

EvaluationGuard::~EvaluationGuard() {
  // train() goes down the tree, so that a child's own mode has to come after its parents'.
  for (auto [module, training] : modes_)
    module->train(training);
}

BufferGuard::BufferGuard(const std::vector<at::Tensor> &buffers) {
  // Larger ones are tables, or caches, which begin with zeros; copies of them would cost what an
  // export may not.
  constexpr size_t largest = 1 << 20;
  for (const at::Tensor &buffer : buffers) {
    if (!buffer.defined() || buffer.is_inference())
      continue;
    bool isSmall = buffer.nbytes() <= largest;
    if (isSmall || buffer.count_nonzero().item<int64_t>() == 0)
      saved_.push_back(
          {buffer, isSmall ? buffer.detach().clone() : at::Tensor(), uint32_t(buffer._version())});
  }
}

BufferGuard::~BufferGuard() {
  at::NoGradGuard noGrad;
  for (Saved &saved : saved_)
    if (uint32_t(saved.buffer._version()) != saved.version) {
      if (saved.content.defined())
        saved.buffer.copy_(saved.content);
      else
        saved.buffer.zero_();
    }
}

} // namespace plait::frontend
