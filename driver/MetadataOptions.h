// The options that say what a package states of itself, shared by the commands that write packages.
#pragma once

#include "driver/CommandLine.h"
#include "mil/IR.h"

namespace plait::driver {

llvm::ArrayRef<const Option *> metadataOptions();

/// Overwrites `metadata` with the options that were given.
Error readMetadata(const Arguments &arguments, mil::Metadata &metadata);

} // namespace plait::driver
