// Seeded random inputs for a function: the same numbers on every machine.
#pragma once

#include "runtime/Runner.h"

namespace plait::runtime {

/// Inclusive bounds of an input that holds integers.
struct Range {
  int64_t low = 0;
  int64_t high = 1;
};

/// The bounds that an input's values must keep for every gather, embedding and one_hot that they
/// reach (through casts, reshapes, slices, selects and additions of constants); nullopt when they
/// reach none.
std::optional<Range> indexBounds(const mil::Value &input);

/// Whether an input is bool to the model: Core ML's interface has no bool, so it comes as a number
/// that is cast before all else.
bool standsForBool(const mil::Value &input);

/// What floats are drawn like.
struct Distribution {
  /// Of one set of inputs.
  enum class Shape : uint8_t {
    Normal,
    Spikes,   ///< one element in fifty is thirty times as large: massive activations
    Positive, ///< no negative ones: what a layer with a relu gives
  };
  double scale = 1; ///< the standard deviation
  Shape shape = Shape::Normal;
};

/// Of draw after draw: normal, normal, eight times as large, with spikes, positive; and again.
Distribution distributionOf(unsigned draw, double scale);

/// Floats are drawn from the normal distribution and rounded to their type, bools from both values,
/// integers from `ranges` by input name, else from indexBounds(), else from {0, 1}: what masks and
/// flags hold, pixels of images from 0 to 255. A float input that reaches an index is drawn as an
/// integer. Dynamic dimensions take the default shape, else their lower bound; in draws after the
/// first, other sizes of their range.
Expected<std::vector<NamedTensor>> randomInputs(const mil::Function &function, uint64_t seed,
                                                const llvm::StringMap<Range> &ranges = {},
                                                unsigned draw = 0,
                                                const Distribution &distribution = {});

} // namespace plait::runtime
