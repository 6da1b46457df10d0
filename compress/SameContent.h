// Weights of several model files that are equal: functions that were saved one by one share nothing
// but their bytes.
#pragma once

#include "mil/Evaluator.h"

#include "llvm/ADT/DenseMap.h"

namespace plait::compress {

/// Finds among the tensors that were asked for before one of the same content. Only those are read
/// whose archives state the same CRC-32 for them; they are compared byte by byte.
class SameContent {
public:
  explicit SameContent(mil::Evaluator *evaluator) : evaluator_(evaluator) {}

  /// The number of an equal tensor; else the tensor gets `number`, and that is returned.
  Expected<size_t> find(const mil::TensorData &tensor, size_t number);

private:
  Expected<bool> equal(const mil::TensorData &a, const mil::TensorData &b) const;

  struct Known {
    mil::TensorData tensor;
    size_t number;
  };
  mil::Evaluator *evaluator_;
  llvm::DenseMap<uint64_t, llvm::SmallVector<Known, 1>> byChecksum_;
};

} // namespace plait::compress
