// Functions in the forms of another opset: what to-opset is made of, and why it leaves a function
// as it is.
#pragma once

#include "passes/Pass.h"
#include "support/Error.h"

namespace plait::passes {

/// What keeps functions of the program from the opset `target`: a line for each operation, with
/// what to do where there is something. Success where to-opset has brought, or would bring, all
/// functions there.
Error checkOpset(const mil::Program &program, mil::Opset target);

// ---- the two directions, an operation at a time -------------------------------------------------

/// Why the operation, of an older opset, cannot be said in `target`; "" where it can.
std::string whyNotNewer(const mil::Op &op, mil::Opset target);
/// Brings the operation, of a function of opset `before` that is of `target` by now, into its form.
/// It may be replaced. Requires whyNotNewer() to be "".
void makeNewer(mil::Op &op, mil::Opset before);

/// Why the operation, of a newer opset, cannot be said in `target`; "" where it can.
std::string whyNotOlder(const mil::Op &op, mil::Opset target);
/// Rewrites an operation that `target` does not have into others, or makes its operands such as it
/// takes; the function stays of its opset. Returns whether anything changed; the operation may be
/// replaced.
bool prepareOlder(mil::Op &op, mil::Opset target, const PassContext &context);
/// Brings the operation into the form of `target`. Requires whyNotOlder() to be "".
void makeOlder(mil::Op &op, mil::Opset target);

} // namespace plait::passes
