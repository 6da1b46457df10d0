// The model that a function was made from, run by LibTorch itself as it was saved.
#pragma once

#include "runtime/Runner.h"

#include <memory>
#include <optional>

namespace torch::jit {
struct Module;
}

namespace plait::runtime {

class WeightPages;

/// A model that a function is held against. Where it writes to its own tensors, the next call sees
/// it.
class Reference {
public:
  /// What does it.
  class Impl {
  public:
    virtual ~Impl() = default;
    virtual Expected<std::vector<mil::TensorData>> call(llvm::ArrayRef<NamedTensor> inputs) = 0;
    virtual void reset() = 0;
    virtual void undo() = 0;
    virtual Expected<std::optional<mil::TensorData>> attribute(llvm::StringRef name) = 0;
    /// A model that keeps nothing has nothing to forget.
    virtual std::vector<std::string> resetBut(llvm::ArrayRef<std::string>) { return {}; }

  private:
    friend class Reference;
    std::optional<mil::DType> narrowest_;
  };
  explicit Reference(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

  /// Outputs in order for inputs in order.
  Expected<std::vector<mil::TensorData>> operator()(llvm::ArrayRef<NamedTensor> inputs) const;
  /// Its tensors hold what the file has.
  void reset() const { impl_->reset(); }
  /// They hold what they held before the last call.
  void undo() const { impl_->undo(); }
  /// All but those of these names, and what shares memory with them, hold what the file has. Gives
  /// the paths of those that held something else.
  std::vector<std::string> resetBut(llvm::ArrayRef<std::string> kept) const {
    return impl_->resetBut(kept);
  }
  /// The tensor of the model that a state or input of this name stands for, as it is now: that of
  /// this path, or the one whose path makes this name; nullopt where there is none.
  Expected<std::optional<mil::TensorData>> attribute(llvm::StringRef name) const {
    return impl_->attribute(name);
  }
  /// F16 or BF16 where calls so far computed in it, whatever they gave: the model rounds by itself.
  std::optional<mil::DType> narrowest() const { return impl_->narrowest_; }

private:
  std::shared_ptr<Impl> impl_;
};

/// A TorchScript module in evaluation mode and fp32; messages call it `name`. Half-precision inputs
/// are computed in fp32. int32 inputs are given as int64, and again as int32 or bool if the model
/// refuses them. Tuples, lists and dictionaries of tensors are flattened in order; numbers count as
/// tensors without dimensions.
Reference referenceOf(std::shared_ptr<torch::jit::Module> module, llvm::StringRef name);
/// The large parameters of a module whose file is mapped (WeightPages.h).
std::shared_ptr<WeightPages> weightPagesOf(const torch::jit::Module &module);
/// The floating-point tensors of a module: parameters, buffers and others. Those that `pages` knows
/// are given back through it.
std::vector<mil::TensorData> tensorsOf(const torch::jit::Module &module,
                                       std::shared_ptr<const WeightPages> pages = nullptr);

} // namespace plait::runtime
