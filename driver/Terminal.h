// What the command shows on a terminal alone: colours, and a line that is written over.
#pragma once

#include "llvm/ADT/StringRef.h"

namespace llvm {
class raw_ostream;
}

namespace plait::driver {

/// What a coloured word says.
enum class Tone { Bad, Good, Doubtful, Mild };

/// Whether colours are wanted there: a terminal that has them (TERM), and neither NO_COLOR
/// (no-color.org) nor CLICOLOR=0 in the environment.
bool showsColours(const llvm::raw_ostream &out);

/// Prints the text, coloured where colours are shown.
void printToned(llvm::raw_ostream &out, Tone tone, llvm::StringRef text);

/// Whether the standard error is a terminal on which a line can be written over.
bool errorsCanBeOverwritten();
/// Its width in columns.
unsigned errorColumns();

} // namespace plait::driver
