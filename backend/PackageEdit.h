// Changes a package in place: functions are added and removed, and nothing that stays is moved or
// written again.
//
// Adding, in this order:
//
//   1. where anything lies behind the last blob that the model refers to (an interrupted addition
//      or a removal left it), a copy of the file up to there is made beside it
//   2. the new blobs are written behind the last one, of the file or of its copy        -> disk
//   3. the header's count of blobs; the copy takes the file's place                     -> disk
//   4. the new model, beside the old one                                                -> disk
//   5. the new model is renamed over the old one                                        -> disk
//
// Only step 5 changes what the package means. Until then the old model and all blobs that it refers
// to are as they were, whatever stops the work. After it the new ones are complete. Removing is
// steps 4 and 5 alone: the blobs stay, and a later addition shares them or leaves them out.
//
// No file that was part of a valid package is cut or written to where something lay, but for the
// header's count: whoever has it mapped, on a device or in this process, reads what it did.
//
// A weight file with a second name (a hard link, or a symbolic link to it or from it) may belong to
// another package too. It is copied as well.
#pragma once

#include "backend/PackageWriter.h"
#include "support/FileSystem.h"

namespace plait {

struct EditOptions {
  unsigned threads = 0;                ///< that convert and write weights; 0: one a processor
  mil::Evaluator *evaluator = nullptr; ///< as in WriteOptions
  std::string defaultFunction;         ///< the new default; "" leaves it as it is
  /// Whether the package is to tell where the operations of what is added come from; one that tells
  /// it of others does in any case.
  bool debugInfo = false;
  /// As WriteOptions::accept; the layout's blobs say which were in use before.
  std::function<Error(const WriteReport &)> accept;
  WriteProgress proceed;          ///< as WriteOptions::proceed
  Companion *companion = nullptr; ///< as WriteOptions::companion
  bool dryRun = false;            ///< as WriteOptions::dryRun
  FileSystem *files = &FileSystem::system();
};

/// Adds the functions of `program` to the package at `path`, whose weights they share. A plain
/// package becomes one of named functions, `main` the first and the default. On error the package
/// is what it was.
Error addFunctions(const mil::Program &program, llvm::StringRef path,
                   const EditOptions &options = {}, WriteReport *report = nullptr);

/// Takes functions out of the package at `path`; one must stay, and the default must be one that
/// stays.
Error removeFunctions(llvm::StringRef path, llvm::ArrayRef<std::string> names,
                      const EditOptions &options = {});

} // namespace plait
