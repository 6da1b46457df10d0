// glibc's malloc takes the heap from the end of the program's data, 132 KB at a time; its tunable
// for huge pages can be set from outside of the process only.
#include "driver/ResidentHeap.h"

#include "llvm/Support/MathExtras.h"

#include <memory>
#include <vector>

#if defined(__linux__) && defined(__GLIBC__)
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace plait::driver {

#if defined(__linux__) && defined(__GLIBC__)

void reserveResidentHeap() {
  // LibTorch takes about 45 MB when it starts, and compiling a model a few more.
  constexpr size_t step = size_t(64) << 20, huge = size_t(2) << 20;
  ::mallopt(M_TOP_PAD, step);
  // Setting one of these fixes the others, which malloc would raise so by itself once a large block
  // is freed.
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 64 << 20);
  auto end = [] { return reinterpret_cast<uintptr_t>(::sbrk(0)); };
  uintptr_t before = end();
  std::vector<std::unique_ptr<char[]>> blocks;
  while (end() == before && blocks.size() < 64)
    blocks.emplace_back(new char[16 << 10]);
  uintptr_t first = llvm::alignTo(before, huge), last = llvm::alignDown(end(), huge);
  if (first < last)
    ::madvise(reinterpret_cast<void *>(first), last - first, MADV_HUGEPAGE);
}

#else

void reserveResidentHeap() {}

#endif

} // namespace plait::driver
