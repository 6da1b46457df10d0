// The dictionary of tensors that torch.save pickled, built by plait itself: adapter_model.bin and
// the like. A pickle says which functions to call; nothing is called here. What makes tensors and
// dictionaries is known by name, and any other name is a text until something calls it, which is
// refused.
//
//   tensor   := torch._utils._rebuild_tensor_v2 (storage, offset, sizes, strides, requires_grad,
//               hooks [, {"neg": true}])
//             | torch._utils._rebuild_parameter (tensor, requires_grad, hooks)
//             | torch._tensor._rebuild_from_type_v2 (one of these, torch.Tensor, arguments, state)
//   storage  := persistent id ("storage", torch.FloatStorage, key, device, elements); its bytes are
//               the record data/KEY
//   the rest := str, int, float, bool, None, tuple, list, dict, collections.OrderedDict, torch.Size
//
// Tensors lie within their storages; sizes and strides fit 64 bits, whatever is multiplied.
#pragma once

#include "mil/DType.h"
#include "support/Error.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

#include <optional>
#include <vector>

namespace plait {

struct PickledTensor {
  std::string name;
  mil::DType dtype = {};
  std::string record;        ///< "data/3"
  uint64_t storageBytes = 0; ///< that the storage claims
  int64_t offset = 0;        ///< of the first element, in elements
  llvm::SmallVector<int64_t, 4> shape, strides;
  bool isNegated = false; ///< the numbers are those of the storage with the other sign
  bool isComplex = false; ///< an element is two numbers of `dtype`: real and imaginary part
  /// Why it cannot be read; "" where it can. The rest is empty then.
  std::string problem = {};
};

/// What becomes of entries of the dictionary that are no plain tensors of real numbers.
enum class OtherTensors : uint8_t {
  Refuse, ///< the first one is an error
  Name    ///< complex tensors are read, of the others `problem` says what they are
};

/// In the order of the dictionary. Names are text of the pickle. Messages do not name the file.
Expected<std::vector<PickledTensor>> readTensorPickle(llvm::StringRef pickle,
                                                      OtherTensors others = OtherTensors::Refuse);

} // namespace plait
