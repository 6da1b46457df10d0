// The families of lowerings: each registers its operators; Table.cpp calls every one of this list.
// The first ones take values, the others tensors.
#pragma once

#include "frontend/engine/Table.h"

#define PLAIT_LOWERING_FAMILIES(F)                                                                 \
  F(Statements)                                                                                    \
  F(Optionals)                                                                                     \
  F(Lists)                                                                                         \
  F(Dicts)                                                                                         \
  F(Properties)                                                                                    \
  F(Sizes)                                                                                         \
  F(Numbers)                                                                                       \
  F(Views)                                                                                         \
  F(Splits)                                                                                        \
  F(Copies)                                                                                        \
  F(Assignments)                                                                                   \
  F(Direct)                                                                                        \
  F(Activation)                                                                                    \
  F(Arithmetic)                                                                                    \
  F(Attention)                                                                                     \
  F(Comparison)                                                                                    \
  F(Complex)                                                                                       \
  F(Convolution)                                                                                   \
  F(Creation)                                                                                      \
  F(Detection)                                                                                     \
  F(Distance)                                                                                      \
  F(Einsum)                                                                                        \
  F(Exponential)                                                                                   \
  F(Indexing)                                                                                      \
  F(Joining)                                                                                       \
  F(Linear)                                                                                        \
  F(Normalization)                                                                                 \
  F(Ordering)                                                                                      \
  F(Padding)                                                                                       \
  F(Patches)                                                                                       \
  F(Pooling)                                                                                       \
  F(Quantized)                                                                                     \
  F(Recurrent)                                                                                     \
  F(Reduction)                                                                                     \
  F(Resizing)                                                                                      \
  F(Scattering)                                                                                    \
  F(StoredIntegers)

namespace plait::frontend {
#define F(NAME) void register##NAME(Table &table);
PLAIT_LOWERING_FAMILIES(F)
#undef F
/// Those that are said by others, after all of these (Decompositions.h).
void registerDecompositions(Table &table);
} // namespace plait::frontend
