// --json: what a command says as one JSON object on the standard output, and nothing else there.
// Every object begins alike; docs/schema/ has a schema for each command.
//
//   {"version": 1, "plait": "0.4.0", "command": "compile", "status": 0,
//    "problems": [{"severity": "error" | "warning", "message": …, "kind": …, "function": …,
//                  "operation": …, "module": …, "file": …, "line": …}],
//    … what the command adds}
//
// `version` rises when a member changes its meaning or goes. `status` is the exit status. Where it
// is not 0 what the command adds may be missing. Errors and warnings are on the standard error too.
#pragma once

#include "driver/CommandLine.h"

namespace plait::driver {

constexpr int kJsonVersion = 1;

extern const Option jsonOption;

/// Whether JSON is wanted, by the words behind the command's name, of which some may be wrong.
bool asksForJson(const Command &command, llvm::ArrayRef<const char *> arguments);

/// Prints the object: the common head, the messages that were printed (Diagnostics.h), and
/// `reply`.
void printJson(const Command &command, int status, llvm::json::Object reply,
               llvm::raw_ostream &out);

/// A number as JSON has it: null where it is infinite or none.
llvm::json::Value finite(double number);
/// Text of a file that nobody vouches for, as JSON may hold it.
llvm::json::Value jsonString(llvm::StringRef text);
llvm::json::Array jsonStrings(llvm::ArrayRef<std::string> texts);

} // namespace plait::driver
