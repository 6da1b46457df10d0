// What will become of a layer's weight, for passes that could join it with others before.
#pragma once

#include "compress/Program.h"
#include "compress/Stored.h"

namespace plait::compress {

/// A number for each linear layer: weights of one number, joined along their outputs, become the
/// same numbers as by themselves. Layers that share a table, a threshold or a correction among all
/// outputs, or whose weight is too small to be compressed, have a number of their own.
uint64_t treatmentOf(const mil::Op &layer, llvm::ArrayRef<Rule> rules,
                     llvm::ArrayRef<StoredForm> stored);

} // namespace plait::compress
