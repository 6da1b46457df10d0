// The subcommands of `plait`, one file each.
#pragma once

#include "driver/CommandLine.h"

namespace plait::driver {

extern const Command compileCommand;
extern const Command inspectCommand;
extern const Command runCommand;
extern const Command verifyCommand;
extern const Command mergeCommand;
extern const Command addCommand;
extern const Command removeCommand;
extern const Command adapterCommand;
extern const Command compressCommand;
extern const Command reportCommand;
extern const Command doctorCommand;
extern const Command explainCommand;
extern const Command diffCommand;
extern const Command patchCommand;
extern const Command optCommand;
extern const Command helpCommand;
extern const Command versionCommand;

/// All of them, in the order in which help lists them.
llvm::ArrayRef<const Command *> commands();
/// Null when there is none of that name.
const Command *findCommand(llvm::StringRef name);
/// "unknown command 'x'", with what exists.
Error unknownCommand(llvm::StringRef name);
/// The text of a bare `plait help`.
void printOverview(llvm::raw_ostream &out);

/// The whole command: `arguments` without the program's name. Prints everything, errors included;
/// returns the exit status.
int runCommandLine(llvm::ArrayRef<const char *> arguments);

} // namespace plait::driver
