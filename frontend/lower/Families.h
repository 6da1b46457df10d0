// The families of lowerings: each registers its operations; Table.cpp calls every one of this list.
#pragma once

#include "frontend/Call.h"

#define PLAIT_LOWERING_FAMILIES(F)                                                                 \
  F(Direct)                                                                                        \
  F(Arithmetic)                                                                                    \
  F(Activation)                                                                                    \
  F(Attention)                                                                                     \
  F(Comparison)                                                                                    \
  F(Convolution)                                                                                   \
  F(Creation)                                                                                      \
  F(Embedding)                                                                                     \
  F(Linear)                                                                                        \
  F(Normalization)                                                                                 \
  F(Pooling)                                                                                       \
  F(Reduction)                                                                                     \
  F(Shaping)

namespace plait::frontend {
#define F(NAME) void register##NAME(Table &table);
PLAIT_LOWERING_FAMILIES(F)
#undef F
} // namespace plait::frontend
