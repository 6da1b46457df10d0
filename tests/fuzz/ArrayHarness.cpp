// The reader of .npy files, and the writer behind it.
#include "tests/fuzz/TempFolder.h"

#include "runtime/arrays/Npy.h"

namespace plait::fuzz {

void npy(llvm::ArrayRef<uint8_t> input) {
  static const TempFolder folder;
  folder.write("in.npy", input);
  auto tensor = runtime::readNpy(folder.at("in.npy"));
  if (!tensor)
    return llvm::consumeError(tensor.takeError());
  auto bytes = tensor->bytes();
  require(bool(bytes), "the elements of an array cannot be read");
  require(bytes->size() == mil::byteSize(tensor->dtype(), tensor->numElements()),
          "an array has another size than its shape");
  if (Error error = runtime::writeNpy(folder.at("out.npy"), *tensor)) {
    llvm::consumeError(std::move(error));
    require(false, "an array that was read is not written");
  }
  auto again = runtime::readNpy(folder.at("out.npy"));
  require(bool(again), "what was written does not read");
  require(again->type() == tensor->type(), "an array is of another type once written");
  auto written = again->bytes();
  require(written && llvm::ArrayRef<uint8_t>(*written) == llvm::ArrayRef<uint8_t>(*bytes),
          "an array has other elements once written");
}

} // namespace plait::fuzz
