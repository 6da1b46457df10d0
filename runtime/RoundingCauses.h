// Which operations rounding to fp16 makes inaccurate.
#pragma once

#include "runtime/Noise.h"
#include "runtime/Verify.h"

namespace plait::runtime {

/// For each output of `reports` that rounding takes far (`isFar`), the operations on its way whose
/// result is further from what it would be without rounding than their operands are, those that add
/// most first. For one of whole numbers that rounding flips, what they are computed from: an output
/// is Rounded where that is beyond `limit`, and beyond what the function's own steps do to it.
Error findRoundingCauses(const mil::Function &function, Noise &noise, const Tolerance &limit,
                         llvm::MutableArrayRef<OutputReport> reports);

/// The numbers that decide about whole numbers and bools: the first floating-point ones on the way
/// back.
std::vector<const mil::Value *> decidingOf(const mil::Value *output);

/// Whether findRoundingCauses() has something to say of it.
bool isFar(const OutputReport &report);

} // namespace plait::runtime
