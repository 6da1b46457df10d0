// An interface that runs a function. runtime/ implements it with LibTorch; tests and the driver
// pass it in.
#pragma once

#include "mil/IR.h"

namespace plait::mil {

class ProgramRunner {
public:
  virtual ~ProgramRunner() = default;
  /// `inputs` has a tensor for each input of the function, in order, of a static shape that the
  /// input's type allows; for a state, its content at the beginning. Returns the outputs in order.
  virtual Expected<std::vector<TensorData>> run(const Function &function,
                                                llvm::ArrayRef<TensorData> inputs) = 0;
};

} // namespace plait::mil
