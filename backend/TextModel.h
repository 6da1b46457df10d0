// Programs in Core ML's text form, with their weights in files beside the text.
//
//   NAME.mlmodelc/model.mil              what Core ML's compiler makes of a package
//                 weights/weight.bin     (or what the text names instead)
//                 metadata.json          author, license, … and the names of functions
//                 coremldata.bin …       not read: the text says the same
//
//   FILE.mil, FILE.weights.bin           written by plait
//
// The text form has no place for the default function and the metadata. They stand in attributes of
// the program, which reading takes out again: `defaultFunction = string("a")` and `metadata =
// dict<string, string>({{"author", "…"}, …})`. Keys of user-defined entries have the prefix
// "user:". Descriptions of single inputs and outputs (images, default values, texts) are not in a
// text.
//
// A BLOBFILE of "@stand_in" needs no file: its contents are made (mil/StandIn.h).
#pragma once

#include "backend/PackageReader.h"
#include "mil/Evaluator.h"

namespace plait {

/// Whether `path` is a folder with a model.mil.
bool isCompiledModel(llvm::StringRef path);

/// A .mlmodelc folder.
Expected<Package> openCompiledModel(llvm::StringRef folder);

/// A text file; places in weight files are relative to its folder.
Expected<Package> openText(llvm::StringRef path);
/// The same of a text that came from elsewhere, as if it stood in the file `path`.
Expected<Package> parseText(llvm::StringRef text, llvm::StringRef path);

/// Writes `program` to the text file `path` and its large constants, each distinct content once, to
/// a weight file beside it. Files of that name are replaced once the new ones are complete.
/// `evaluator` computes lazy constants; it may be null when there are none.
Error writeTextModel(const mil::Program &program, llvm::StringRef path, mil::Evaluator *evaluator,
                     unsigned threads = 0);

} // namespace plait
