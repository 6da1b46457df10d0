// Numbers that fp16 would turn into others: positions, counts, phases, places in an image. fp16
// holds whole numbers up to 2048 and no angle beyond a few hundred to a tenth.
#pragma once

#include "mil/IR.h"

#include "llvm/ADT/DenseSet.h"

namespace plait::passes {

/// Operations of the function that to-half leaves in fp32:
///
///   what becomes a whole number (a cast, a floor, a remainder), what is compared as a position,
///   the angle of a sine, a cumulative sum, and the arithmetic that leads there, where all of it
///   starts at inputs, integers and constants; layers and what comes of them are numbers like
///   others
///
///   the arithmetic that leads to the coordinates of a resample and to the chances of a draw,
///   wherever it starts
llvm::DenseSet<const mil::Op *> exactOperations(const mil::Function &function);

} // namespace plait::passes
