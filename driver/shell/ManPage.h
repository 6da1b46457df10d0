// The man page of the command, from the same tables as its help.
#pragma once

namespace llvm {
class raw_ostream;
}

namespace plait::driver {

/// plait(1), in the macros of man(7).
void printManPage(llvm::raw_ostream &out);

} // namespace plait::driver
