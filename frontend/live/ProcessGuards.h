// Tracing runs a model that lives in somebody's training process. These guards give the process
// back what running it changes, on every way out. Random numbers are OwnRandom.h's.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

namespace torch::nn {
class Module;
}

namespace plait::frontend {

/// Puts a module and everything below it into evaluation mode; then each back into its own mode.
class EvaluationGuard {
public:
  explicit EvaluationGuard(torch::nn::Module *module);
  ~EvaluationGuard();
  EvaluationGuard(const EvaluationGuard &) = delete;

private:
  std::vector<std::pair<torch::nn::Module *, bool>> modes_; ///< parents before children
};

/// Buffers that a forward method writes to get their old contents back.
class BufferGuard {
public:
  explicit BufferGuard(const std::vector<at::Tensor> &buffers);
  ~BufferGuard();
  BufferGuard(const BufferGuard &) = delete;

private:
  struct Saved {
    at::Tensor buffer, content; ///< no content: zeros
    uint32_t version;
  };
  std::vector<Saved> saved_;
};

} // namespace plait::frontend
