// What a package is written for: the option --target, and bringing functions there.
#pragma once

#include "driver/CommandLine.h"
#include "mil/IR.h"

namespace plait::driver {

/// `--target ios17`: what a package may be compiled for. Older ones can be read, not written.
extern const Option targetOption;
/// What the option says; `otherwise` where it is not given.
Expected<mil::Opset> readTarget(const Arguments &arguments, mil::Opset otherwise);
/// "ios17"; nullopt where it is none that can be compiled for.
std::optional<mil::Opset> parseTarget(llvm::StringRef text);
/// "ios16, ios17, …"
std::string targetNames();

/// Rewrites functions into the forms of the opset. Fails, naming each operation that has none
/// there.
Error bringTo(mil::Program &program, mil::Opset target);

} // namespace plait::driver
