// Locations of TorchScript nodes: the texts they lie in are kept, so that a line is looked for only
// when somebody asks.
#pragma once

#include "mil/Location.h"

#include "llvm/ADT/DenseMap.h"

namespace torch::jit {
struct Node;
}

namespace plait::libtorch {

/// The texts of the models that are being lowered. Equal places of one text are one location,
/// however many functions are made from it.
class ScriptSources {
public:
  mil::Location locate(const torch::jit::Node &node, const mil::Name &modulePath);
  /// Forgets the texts; locations keep theirs.
  void clear() { texts_.clear(); }

private:
  llvm::DenseMap<const void *, std::shared_ptr<const mil::SourceTable>> texts_; ///< by Source
};

} // namespace plait::libtorch
