// What `plait run` writes of a call, and the lines that it says of it.
#pragma once

#include "mil/IR.h"
#include "runtime/Runner.h"

namespace plait::driver {

/// Writes FOLDER/NAME.npy and says so; `place` is where in the model the value comes from.
Error writeArray(llvm::StringRef folder, llvm::StringRef name, const mil::TensorData &value,
                 const std::string &place = "");

/// Writes every output and every traced value to the folder, which is made where there is none:
/// arrays as NAME.npy, images as NAME.png, the label and the probabilities of a classifier as
/// NAME.json.
Error writeResults(mil::Function &function, llvm::StringRef folder,
                   llvm::ArrayRef<runtime::NamedResult> outputs,
                   llvm::ArrayRef<runtime::NamedTensor> traced);

} // namespace plait::driver
