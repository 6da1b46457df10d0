// By where packages are installed.
#include "support/TorchSource.h"

namespace plait {

bool isTorchSource(llvm::StringRef file) {
  return file.contains("/torch/nn/") || file.contains("/torch/jit/") ||
         file.contains("/site-packages/torch/") || file.contains("/dist-packages/torch/") ||
         file.contains("/site-packages/plait/") || file.contains("/dist-packages/plait/") ||
         file.starts_with("torch/");
}

} // namespace plait
