// Which channels of a layer a value holds, behind what only moves the layer's results.
#pragma once

#include "passes/Rewrite.h"

namespace plait::passes {

/// Element i of `value` is of channel first + strides[0] i[0] + strides[1] i[1] + … of the layer's
/// result. A stride of 0: the axis is none of channels.
struct Channels {
  mil::Op *layer; ///< linear or conv
  int64_t first = 0;
  llvm::SmallVector<int64_t, 6> strides;
};

/// The layer that computes `value`, behind reshapes, transposes, slices and splits, where no other
/// value holds the same channels: they may be multiplied in the layer. Nullopt where it is not
/// known.
std::optional<Channels> ownChannels(mil::Value *value);

/// For each channel of the layer the element of `constant`, which broadcasts with `value`, that
/// meets it, and `other` for channels that `value` does not hold. Nullopt where an element does not
/// depend on the channel alone, or is not read.
std::optional<std::vector<double>> byChannel(const Channels &channels, const mil::Value *value,
                                             const mil::Value *constant, double other,
                                             const PassContext &context);

} // namespace plait::passes
