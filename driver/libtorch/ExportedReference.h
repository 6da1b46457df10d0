// Exported programs as what `verify` holds functions against.
#pragma once

#include "frontend/exported/Evaluation.h"
#include "runtime/Verify.h"

namespace plait::driver {

runtime::Reference exportedReference(std::shared_ptr<frontend::ExportedEvaluation> evaluation);
/// What the program computes on its way; its tensors are put back first.
runtime::ReferenceTracer exportedTracer(std::shared_ptr<frontend::ExportedEvaluation> evaluation);

} // namespace plait::driver
