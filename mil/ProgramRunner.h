// Running a function without the layer that knows how: runtime implements it, tests and the driver
// inject it.
#pragma once

#include "mil/IR.h"

namespace plait::mil {

class ProgramRunner {
public:
  virtual ~ProgramRunner() = default;
  /// `inputs` has one tensor an input of the function, in order, of static shapes that its types
  /// allow; for a state what it holds at the beginning. Returns the outputs in order.
  virtual Expected<std::vector<TensorData>> run(const Function &function,
                                                llvm::ArrayRef<TensorData> inputs) = 0;
};

} // namespace plait::mil
