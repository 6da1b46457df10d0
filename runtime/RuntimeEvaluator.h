// Computes operations on constants with the interpreter's own evaluators: what folds constants in
// passes and computes lazy constants when weights are written.
#pragma once

#include "mil/Evaluator.h"

namespace plait::runtime {

/// fp16 values are computed in fp32 and rounded. Stateless: one may serve any number of threads.
class RuntimeEvaluator : public mil::Evaluator {
public:
  Expected<std::vector<mil::TensorData>> evaluate(mil::OpKind kind,
                                                  llvm::ArrayRef<std::vector<mil::Attr>> operands,
                                                  llvm::ArrayRef<mil::Type> resultTypes) override;
};

} // namespace plait::runtime
