// Indices of 16 bits where all that they can be fits.
//
//   %y = gather(x = %x, indices = int32 [0, 3, 5], axis = 1)       before, x in fp16
//
//   %y = gather(x = %x, indices = uint16 [0, 3, 5], axis = 1)      after
//
// The Neural Engine gathers by indices of 16 bits alone (coremltools' pass add_int16_cast;
// hollance/neural-engine, unsupported layers).
#pragma once

#include "mil/IR.h"

namespace plait::passes {

/// Narrows the indices by which the function gathers from tensors in fp16: constants, and what
/// topk, reduce_argmax and reduce_argmin say of an axis that is short enough where nothing but
/// gathers takes it. Others stay as they are: they would need a cast more. The forms are those of
/// ios17. Returns whether anything changed.
bool narrowIndices(mil::Function &function);

} // namespace plait::passes
