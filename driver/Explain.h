// What the codes of messages mean: the pages of docs/codes as text in the program.
#pragma once

#include "support/Code.h"

#include "llvm/ADT/StringRef.h"

namespace plait::driver {

/// The files of docs/codes, which CMake puts into the program. The last has no name.
struct CodePage {
  const char *code; ///< "P0101"
  const char *text; ///< Markdown; its first line is "# P0101: the title"
};
extern const CodePage codePages[];

/// The page of a code, with or without the P and zeros before it ("P0101", "p101", "101"); null
/// where there is none.
const CodePage *findCodePage(llvm::StringRef code);
/// "the title"
llvm::StringRef titleOf(const CodePage &page);

} // namespace plait::driver
