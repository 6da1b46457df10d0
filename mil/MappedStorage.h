// Storage of bytes that something else keeps: a mapped file, or memory.
#pragma once

#include "mil/TensorData.h"
#include "support/MappedFile.h"

namespace plait::mil {

class Program;

/// Bytes of a mapped file, whose pages are given back once they were read.
std::shared_ptr<Storage> mappedStorage(std::shared_ptr<const MappedFile> file,
                                       llvm::ArrayRef<uint8_t> bytes);
/// Bytes that `owner` keeps alive.
std::shared_ptr<Storage> keptStorage(llvm::ArrayRef<uint8_t> bytes,
                                     std::shared_ptr<const void> owner);

/// Fails where a file that the program's constants are views of was written to since it was mapped.
Error checkUnchanged(const Program &program);

} // namespace plait::mil
