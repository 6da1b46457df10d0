// Files that torch.save wrote with a dictionary of tensors: adapter_model.bin. A zip file, whose
// records stand behind one prefix:
//
//   PREFIX/data.pkl    the dictionary (TensorPickle.h)
//   PREFIX/data/N      the bytes of one storage
//   PREFIX/byteorder   "little" or "big"; absent in older files
#pragma once

#include "mil/TensorData.h"

#include <string>
#include <utility>
#include <vector>

namespace plait {

/// The tensors by name, in the dictionary's order: views of the mapped file, but of copies where a
/// record is compressed or misaligned. Every record's CRC-32 is checked. Errors begin with the
/// path.
Expected<std::vector<std::pair<std::string, mil::TensorData>>> readTensorFile(llvm::StringRef path);

} // namespace plait
