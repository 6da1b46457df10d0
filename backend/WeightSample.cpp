// Hashing a few runs.
#include "backend/WeightSample.h"

#include "mil/SaturatedRead.h"

#include "llvm/Support/MathExtras.h"
#include "llvm/Support/xxhash.h"

namespace plait {

uint64_t weightSample(const mil::TensorReader &reader) {
  constexpr int64_t runs = 5, length = 64;
  const mil::TensorData &tensor = reader.tensor();
  int64_t elements = tensor.numElements();
  std::vector<uint8_t> bytes;
  auto add = [&](int64_t begin, int64_t count) {
    size_t old = bytes.size();
    bytes.resize(old + mil::byteSize(tensor.dtype(), count));
    mil::Saturation saturation;
    mil::readSaturated(reader, begin, count, bytes.data() + old, saturation);
  };
  if (elements <= runs * length) {
    add(0, elements);
  } else {
    for (int64_t run = 0; run < runs; ++run)
      add(int64_t(llvm::alignDown(uint64_t((elements - length) / (runs - 1) * run), 8)), length);
    reader.release(0, elements);
  }
  return llvm::xxh3_64bits(bytes);
}

} // namespace plait
