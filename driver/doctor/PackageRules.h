// Rules about the files of a package: its manifest, its weight files, and how they fit its model.
#pragma once

#include "backend/PackageReader.h"
#include "driver/doctor/Doctor.h"

namespace plait::driver {

/// The manifest of the package at `folder`. Returns whether it leads to a model that can be read.
bool checkManifest(llvm::StringRef folder, AddFinding add);

/// Versions, weight files, and what of them is used by whom.
void checkWeights(const Package &package, AddFinding add);

} // namespace plait::driver
