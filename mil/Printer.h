// Programs as text, in the syntax of the model.mil of compiled Core ML models (program version
// 1.3). The grammar opens Parser.h.
//
// The text is deterministic. Names are kept, operands stand in the order of the table. Constants of
// up to 64 elements, all strings and all bools are written with their elements, and floats in
// hexadecimal so that they read back exactly. A larger constant names a place in a weight file,
// with a digest of its contents in a comment. Lazy constants are computed for it.
#pragma once

#include "mil/IR.h"

namespace plait::mil {

/// A place in a weight file, as BLOBFILE states it.
struct BlobLocation {
  std::string path = "@model_path/weights/weight.bin";
  uint64_t offset = 0; ///< of the metadata record
};

struct PrintOptions {
  /// For lazy constants that are the result of an operation. Without one they are printed as blobs
  /// that a comment calls not computed.
  Evaluator *evaluator = nullptr;
  int64_t maxInlineElements = 64;
  /// For people: floats are the shortest decimals that read back as the same numbers, a constant
  /// that is used once stands where it is used, and an operation that has its result's name states
  /// none.
  bool readable = false;
  /// Whether blobs carry a digest (reads them whole) and how named dynamic dimensions are written:
  /// by name, which only plait reads, or "?".
  bool digests = true, symbols = false;
  /// Where a constant lies in a weight file; by default offsets are assigned in order, as if the
  /// constants were written one after the other.
  std::function<BlobLocation(const TensorData &)> blob;
  /// Whether statements end in a comment that says where in the model they come from.
  bool locations = false;
  /// Printed in place of the program's own attributes, where given.
  std::optional<std::vector<std::pair<std::string, Attr>>> programAttributes;
};

void print(const Program &program, llvm::raw_ostream &os, const PrintOptions &options = {});
void print(const Function &function, llvm::raw_ostream &os, const PrintOptions &options = {});
/// One statement, for messages and debugging.
void print(const Op &op, llvm::raw_ostream &os, const PrintOptions &options = {});
std::string toString(const Program &program, const PrintOptions &options = {});
std::string toString(const Op &op);

} // namespace plait::mil
