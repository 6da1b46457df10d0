// Puts constexpr_* operations in the place of a const.
//
//   palette          constexpr_lut_to_dense(indices, lut, vector_axis)
//   table of int8    lut = constexpr_blockwise_shift_scale(data = table, scale), then as above
//   integers         constexpr_blockwise_shift_scale(data, scale, offset)
//   pruned           constexpr_sparse_to_dense(nonzero_data, mask)
//   pruned, palette  (mask, data) = constexpr_lut_to_sparse(…), then constexpr_sparse_to_dense
//   pruned, integers (mask, data) = constexpr_sparse_blockwise_shift_scale(…), then likewise
//
// A correction stands beside each layer of the weight, as a LoRA branch does:
//
//   %y = linear(x = %x, weight = const W, bias = const b)           before
//
//   %p = linear(x = %x, weight = %W_dense, bias = const b)          after
//   %d = linear(x = %x, weight = const down)
//   %u = linear(x = %d, weight = const up)
//   %y = add(x = %p, y = %u)
#pragma once

#include "compress/Compressor.h"

namespace plait::compress {

/// Uses of the const become uses of the decompressed weight; the const goes. An error says what of
/// MIL's rules does not hold, and leaves the const.
Error replaceWeight(mil::Op &constant, const Compressed &parts);

} // namespace plait::compress
