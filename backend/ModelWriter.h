// Writing a model file around its functions. Private to the backend.
#pragma once

#include "support/FileSystem.h"

#include "llvm/ADT/STLFunctionalExtras.h"

#include <string>

namespace plait {

/// Protobuf's limit on a message, and so on the model file.
constexpr uint64_t maxModelBytes = INT32_MAX;

/// Bytes behind one another in a file, which is empty at first.
class Appender {
public:
  explicit Appender(const WritableFile &file) : file(file) {}
  Error append(llvm::StringRef bytes) {
    Error error = file.writeAt(size, bytes);
    size += bytes.size();
    return error;
  }

  uint64_t size = 0;

private:
  const WritableFile &file;
};

/// A model file without its functions.
struct ModelFrame {
  std::string head; ///< the fields of Model but its program
  int64_t programVersion = 1;
  std::string otherProgram; ///< the fields of Program but its version and functions
};

/// Writes a model file and returns its size. `functions` appends fields of Program that hold
/// functions, `functionBytes` bytes of them.
Expected<uint64_t> writeModelFile(const WritableFile &file, const ModelFrame &frame,
                                  uint64_t functionBytes,
                                  llvm::function_ref<Error(Appender &)> functions);

} // namespace plait
