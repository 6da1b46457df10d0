// What a package holds by itself or joined with others, asked while functions are compiled that are
// added to it: one that has a weight apart is to share it.
#pragma once

#include "mil/Evaluator.h"
#include "mil/IR.h"

#include <map>
#include <set>

namespace plait::driver {

class StoredWeights {
public:
  /// Of the package at `path`, which is read when somebody asks. One that cannot be read holds
  /// nothing: who writes to it says why.
  explicit StoredWeights(std::string path) : path_(std::move(path)) {}

  /// Whether a linear layer has a weight that looks the same, or one of the same shape that is
  /// compressed: its numbers are others.
  bool holds(const mil::TensorData &weight, mil::Evaluator *evaluator);

private:
  using Shape = llvm::SmallVector<int64_t, 2>;

  void read();

  std::string path_;
  bool isRead_ = false;
  std::unique_ptr<mil::Program> program_;
  /// Those of one shape, and, once one of it was asked for, what they look like.
  std::map<std::pair<mil::DType, Shape>, std::vector<mil::TensorData>> plain_;
  std::map<std::pair<mil::DType, Shape>, std::set<uint64_t>> samples_;
  std::set<Shape> compressed_;
};

} // namespace plait::driver
