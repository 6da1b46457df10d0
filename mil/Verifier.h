// Whether a program is well-formed MIL, and whether devices take it.
//
// These are two levels. A well-formed program has a meaning and can be transformed, run and
// written. The device profile holds what Core ML is known to refuse or get wrong although it
// type-checks.
#pragma once

#include "mil/IR.h"
#include "mil/Rule.h"

namespace plait::mil {

/// What the table and the shape functions state: every operand is defined before its use and
/// visible there, required parameters are bound and constant ones constant, stored types agree with
/// the inferred ones, names are legal and unique, blocks have the arguments and outputs that their
/// operation asks for, states are only read and written, the interface is complete. The error holds
/// up to ten messages, a line each, that name function and operation. Linear in the operations.
Error verify(const Program &program);
Error verify(const Function &function);

/// The places in a program that break a rule, function by function. Of a program that verify()
/// accepts.
std::vector<Violation> checkDeviceProfile(const Program &program,
                                          Rule::Level level = Rule::Profile);

} // namespace plait::mil
