// Tensors of other devices, readable where the compiler reads weights: in mapped memory of the
// host.
//
// A storage on a GPU is copied once, in pieces of a few MiB, to a temporary file that is unlinked
// as soon as it is mapped. So a model on a device takes no anonymous memory of the host, its pages
// go back to the system like those of a model file, and nothing is left behind whatever happens.
// Tensors of the host are given back as they are.
#pragma once

#include "mil/TensorData.h"
#include "support/MappedFile.h"

#include <ATen/core/Tensor.h>

#include <map>

namespace plait::frontend {

class HostTensors {
public:
  /// `tensor` itself if it is on the host; else a tensor of equal content, sizes and strides over
  /// the mapped copy of its storage. Tensors of one storage stay views of one. The result must not
  /// be written to.
  Expected<at::Tensor> get(const at::Tensor &tensor);

  /// The storage behind a tensor that get() made; null for others.
  std::shared_ptr<const mil::Storage> storageOf(const at::Tensor &tensor) const;

private:
  Expected<at::Tensor> copyStorage(const at::Tensor &tensor);

  struct Copy {
    at::Tensor source; ///< keeps the storage that is the key
    at::Tensor whole;  ///< all of its elements in one dimension
  };
  std::map<std::pair<const void *, at::ScalarType>, Copy> copies_;       ///< by StorageImpl
  std::map<const void *, std::shared_ptr<const mil::Storage>> storages_; ///< by the copy's memory
};

} // namespace plait::frontend
