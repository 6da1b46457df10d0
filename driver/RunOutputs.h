// What `plait run` writes of a call, and what it says of it.
#pragma once

#include "mil/IR.h"
#include "runtime/Runner.h"

#include "llvm/Support/JSON.h"

namespace plait::driver {

/// A file that was written: as a line, and as an object with "name", "file", "kind" and what the
/// kind has ("type" and "place" of an array, "width" and "height" of an image, "content" of
/// classes).
struct WrittenFile {
  std::string line;
  llvm::json::Object json;
};

/// Writes FOLDER/NAME.npy; `place` is where in the model the value comes from.
Error writeArray(llvm::StringRef folder, llvm::StringRef name, const mil::TensorData &value,
                 std::vector<WrittenFile> &files, const std::string &place = "");

/// Writes every output and every traced value to the folder, which is made where there is none:
/// arrays as NAME.npy, images as NAME.png, the label and the probabilities of a classifier as
/// NAME.json.
Error writeResults(mil::Function &function, llvm::StringRef folder,
                   llvm::ArrayRef<runtime::NamedResult> outputs,
                   llvm::ArrayRef<runtime::NamedTensor> traced, std::vector<WrittenFile> &files);

} // namespace plait::driver
