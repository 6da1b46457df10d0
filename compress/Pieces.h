// A weight as pieces: fp32 numbers in the order of a layout, read by several threads.
#pragma once

#include "compress/Compressor.h"
#include "mil/TensorData.h"

namespace plait::compress {

class Pieces {
public:
  /// `weight` is fp16 or fp32.
  static Expected<Pieces> create(const mil::TensorData &weight, const Layout &layout,
                                 mil::Evaluator *evaluator);

  bool halves() const { return halves_; }
  int64_t count() const { return count_; }
  /// The numbers [begin, begin + size), widened, and as halves where they are ones.
  struct Buffer {
    std::vector<float> values;
    std::vector<uint16_t> halves;
  };
  void read(int64_t begin, int64_t size, Buffer &out) const;

  /// Calls `look` with each piece of at most `size` numbers, on all threads; `worker` numbers them.
  Error
  forEach(unsigned threads, int64_t size,
          llvm::function_ref<Error(unsigned worker, size_t piece, const Buffer &)> look) const;

private:
  Pieces(mil::TensorReader reader, bool halves, int64_t count)
      : reader_(std::move(reader)), halves_(halves), count_(count) {}

  mil::TensorReader reader_;
  bool halves_;
  int64_t count_;
};

/// The number of threads that an option of 0 stands for.
unsigned threadsOf(unsigned asked);

} // namespace plait::compress
