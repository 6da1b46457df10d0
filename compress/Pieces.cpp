// Reading tiles and giving pages of mapped files back.
#include "compress/Pieces.h"

#include "support/Half.h"
#include "support/Parallel.h"

namespace plait::compress {

using mil::DType;

unsigned threadsOf(unsigned asked) { return asked ? asked : defaultThreads(); }

Expected<Pieces> Pieces::create(const mil::TensorData &weight, const Layout &layout,
                                mil::Evaluator *evaluator) {
  auto reader =
      mil::TensorReader::create(layout.inOrder ? weight : weight.permute(layout.perm), evaluator);
  if (!reader)
    return reader.takeError();
  return Pieces(std::move(*reader), weight.dtype() == DType::F16, weight.numElements());
}

void Pieces::read(int64_t begin, int64_t size, Buffer &out) const {
  out.values.resize(size_t(size));
  if (halves_) {
    out.halves.resize(size_t(size));
    reader_.read(begin, size, reinterpret_cast<uint8_t *>(out.halves.data()));
    halfToFloat(out.halves.data(), out.values.data(), size_t(size));
  } else {
    reader_.read(begin, size, reinterpret_cast<uint8_t *>(out.values.data()));
  }
  reader_.release(begin, size);
}

Error Pieces::forEach(
    unsigned threads, int64_t size,
    llvm::function_ref<Error(unsigned worker, size_t piece, const Buffer &)> look) const {
  threads = threadsOf(threads);
  std::vector<Buffer> buffers(threads);
  return parallelFor(threads, size_t((count_ + size - 1) / size),
                     [&](unsigned worker, size_t piece) -> Error {
                       int64_t begin = int64_t(piece) * size;
                       read(begin, std::min(size, count_ - begin), buffers[worker]);
                       return look(worker, piece, buffers[worker]);
                     });
}

} // namespace plait::compress
