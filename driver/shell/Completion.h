// What the word at the cursor can become, from the tables of the commands. The scripts of the
// shells ask for it (driver/shell/Shells.cpp), so that a command has completion by its table.
//
// What an option takes is read off its argument in help (Option::argument):
//
//   fp16|fp32|auto          one of these words
//   MODEL.pt, FILE          a file, first those that end so
//   FOLDER, DIR             a folder, a folder or file
//   PKG.mlpackage           a package
//   PASS, RULE, COMMAND     the names of passes, rules, commands
//   CODE                    the codes of messages
//   VALUE                   a value of the package that is named before
//   NAME                    of --function and --default: a function of that package
//   NAME=…                  of --input, --range and --image of a package: its inputs, then what is
//                           behind the '='
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <string>
#include <vector>

namespace plait::driver {

struct Candidate {
  /// The whole word. One that ends in '/', '=' or ',' goes on; behind others a space belongs.
  std::string text;
  std::string description = {};
};

/// The last of `words` is the one at the cursor, which may be empty; the first follows `plait`.
/// What cannot be read (a damaged package) gives no candidates and no error.
std::vector<Candidate> complete(llvm::ArrayRef<std::string> words);

} // namespace plait::driver
