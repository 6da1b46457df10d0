// Where in the base the model is that was adapted: the module below which the paths of an adapter's
// keys exist.
//
//   adapter: layers.0.q_proj, layers.1.q_proj
//   base:    model.decoder.layers.0.q_proj, model.decoder.layers.1.q_proj, head
//   root:    model.decoder
#pragma once

#include "adapters/AdapterKeys.h"
#include "adapters/AdapterPlan.h"

namespace plait::adapters {

/// One tensor of an adapter, and the place that its key names.
struct AdapterItem {
  const AdapterUse *adapter;
  const TensorData *tensor;
  std::string key;
  AdapterKey parsed;
  /// Of VeRA, which the modules share.
  bool isProjection() const { return parsed.factor == "vera_A" || parsed.factor == "vera_B"; }
};

struct AdapterRoot {
  std::string path;
  /// The modules of the base, by the adapter's path.
  std::map<std::string, unsigned> matches;
  /// Another module of the base that a path without dots fits, by that path.
  std::map<std::string, std::string> ambiguous;
};

/// How many modules of some items the base has, below the root that fits best, and how many not.
std::pair<size_t, size_t> countMatches(const BaseModules &base, llvm::ArrayRef<AdapterItem> items);

/// The root that fits best, or `given`. An error, without the file's name, where several fit or
/// none does.
Expected<AdapterRoot> chooseRoot(const BaseModules &base, llvm::ArrayRef<AdapterItem> items,
                                 const std::optional<std::string> &given);

} // namespace plait::adapters
