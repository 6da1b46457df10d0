// What looks at pickles before LibTorch reads them, and what reads the tensors of torch.save.
#include "tests/fuzz/Harness.h"

#include "frontend/archive/PickleCheck.h"
#include "frontend/archive/TensorPickle.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

namespace plait::fuzz {

/// In numbers so wide that nothing overflows.
static void checkTensor(const PickledTensor &tensor) {
  require(tensor.shape.size() == tensor.strides.size(), "more sizes than strides, or fewer");
  require(tensor.offset >= 0, "a tensor begins before its storage");
  unsigned __int128 last = uint64_t(tensor.offset), width = mil::bitWidth(tensor.dtype) / 8;
  unsigned __int128 bytes = width;
  bool isEmpty = false;
  for (auto [size, stride] : llvm::zip_equal(tensor.shape, tensor.strides)) {
    require(size >= 0 && stride >= 0, "a size or a stride is negative");
    isEmpty |= size == 0;
    bytes *= uint64_t(std::max<int64_t>(size, 1));
    require(bytes <= INT64_MAX, "sizes overflow");
    last += (unsigned __int128)(uint64_t(std::max<int64_t>(size, 1)) - 1) * uint64_t(stride);
    require(last <= INT64_MAX, "strides overflow");
  }
  require(isEmpty || (last + 1) * width <= tensor.storageBytes,
          "a tensor reaches out of its storage");
  require(!tensor.isNegated || mil::isFloat(tensor.dtype), "integers are negated");
  require(llvm::StringRef(tensor.record).starts_with("data/"), "a storage is no record of data/");
}

void pickle(llvm::ArrayRef<uint8_t> input) {
  llvm::StringRef bytes = llvm::toStringRef(input);
  llvm::consumeError(checkPickle(bytes));
  auto tensors = readTensorPickle(bytes);
  if (!tensors) {
    require(!llvm::toString(tensors.takeError()).empty(), "a refusal says nothing");
    return;
  }
  llvm::StringSet<> names;
  for (const PickledTensor &tensor : *tensors) {
    require(names.insert(tensor.name).second, "two tensors have one name");
    checkTensor(tensor);
  }
}

} // namespace plait::fuzz
