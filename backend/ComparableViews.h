// What is known of two constants' contents before either is read: which views of storage decide
// whether they are equal, and what checksums or earlier comparisons say of those.
#pragma once

#include "mil/TensorData.h"

namespace plait {

/// The views that two trees read, where they are equal but for these and work element by element:
/// equal bytes of the views then give equal bytes of the trees. `exact` is set when unequal bytes
/// give unequal ones too.
std::optional<std::pair<mil::TensorData, mil::TensorData>>
comparableLeaves(mil::TensorData a, mil::TensorData b, bool &exact);
/// The bytes that a view spans, from its first element to its last.
llvm::ArrayRef<uint8_t> extent(const mil::TensorData &view);
/// Whether somebody has compared the bytes of two views, `size` from `begin` of each, already.
bool knownEqual(const mil::TensorData &a, const mil::TensorData &b, uint64_t begin, uint64_t size);
/// What the row-major views behind elements [begin, begin + count) of two trees say of these, part
/// by part where both are concatenations of the same sizes.
enum class ViewProof : uint8_t {
  None,  ///< they may be equal all the same: what differs may round to one number
  Equal, ///< both were read
  Known, ///< equal, and nothing was read
};
ViewProof compareViews(const mil::TensorData &a, const mil::TensorData &b, int64_t begin,
                       int64_t count);
/// Known to differ without reading either.
bool differByChecksum(const mil::TensorData &a, const mil::TensorData &b);

} // namespace plait
