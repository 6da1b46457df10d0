// Stand-ins for large constants: contents that are made from a path and a number, so that a text
// needs no weight file beside it.
//
//   tensor<fp16, [64, 64]>(BLOBFILE(path = string("@stand_in"), offset = uint64(1)))
//
// Golden files take the contents of every BLOBFILE from here; `plait opt` writes the path above for
// the constants of an extracted operation, and reads it back.
#pragma once

#include "mil/Printer.h"

namespace plait::mil {

inline constexpr llvm::StringLiteral standInPath = "@stand_in";

/// The same contents for the same path, offset and type, on every machine. Floats lie around 0 as
/// the weights of a trained layer do. Integers of at most 8 bits take all their values; wider ones
/// are 0, which is an index of every table. An error for more than 2^28 elements.
Expected<TensorData> standIn(llvm::StringRef path, uint64_t offset, const Type &type);

/// For PrintOptions::blob: a place in "@stand_in" for each constant, the same for the same one.
std::function<BlobLocation(const TensorData &)> standInPlaces();

} // namespace plait::mil
