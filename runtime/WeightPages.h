// Large weights that lie in mapped files, and their pages (private: includes torch). A model and a
// package may be larger than memory, and a run reads each weight once: what one operation read is
// given back to the system when the next one begins, so that about a layer is resident. A later
// read finds the pages in the system's cache of files.
#pragma once

#include "mil/IR.h"

#include <ATen/record_function.h>
#include <memory>
#include <vector>

namespace torch::jit {
struct Module;
}

namespace plait::runtime {

/// The large parameters of a model whose file is mapped copy-on-write. A page that was written to
/// is a copy that nothing else has: a parameter that an operator writes to is left alone.
class WeightPages {
public:
  static std::shared_ptr<WeightPages> of(const torch::jit::Module &module);

  /// Gives back what lies in [data, data + size), where that is in a parameter of the list.
  void release(const void *data, size_t size) const;

  /// While it lives, operators that this thread runs give back the parameters of those before.
  class Use {
  public:
    explicit Use(WeightPages &pages);
    ~Use();
    Use(const Use &) = delete;

  private:
    at::CallbackHandle handle_;
  };

private:
  struct Range {
    uintptr_t begin, end;
    bool written = false;
  };
  Range *find(const void *data);
  void begin(const at::RecordFunction &call);
  static void release(const Range &range);

  std::vector<Range> ranges_;      ///< ascending
  const Range *current_ = nullptr; ///< what the last operator with such a parameter read
};

/// The same tensor, a view of memory; who releases its storage gives back what `pages` knows of it.
mil::TensorData releasable(const mil::TensorData &tensor, std::shared_ptr<const WeightPages> pages);

/// Gives back the pages of a large tensor that nothing is computed for.
void releasePages(const mil::TensorData &tensor);
/// Of the constants that the operation reads, in its blocks too.
void releasePages(const mil::Op &op);

} // namespace plait::runtime
