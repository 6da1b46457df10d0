// Writes a program as a Core ML package (.mlpackage).
//
//   NAME.mlpackage/Manifest.json
//                  Data/com.apple.CoreML/model.mlmodel         a CoreML.Specification.Model
//                  Data/com.apple.CoreML/weights/weight.bin    WeightFile.h
//
// The package is written beside its target and exchanged with it; after a failure the target is
// what it was. Equal programs give equal bytes, whatever the number of threads. Functions are
// serialised one at a time and appended to the file, so that memory grows by one function's bytes;
// weights are streamed.
#pragma once

#include "backend/WeightWriter.h"
#include "mil/IR.h"

namespace plait {

struct WriteOptions {
  /// Whether functions share blobs; without it each function has its own.
  bool share = true;
  /// Threads that convert and write weights; 0: one a processor.
  unsigned threads = 0;
  /// Computes constants that are recipes; may be null when there are none.
  mil::Evaluator *evaluator = nullptr;
  /// See writeWeights(). A package that is stopped leaves nothing behind.
  WriteProgress proceed;
};

/// What was written where, one entry a `const` operation that has a blob, in program order.
struct WriteReport {
  struct Weight {
    const mil::Function *function;
    const mil::Op *op;
    uint32_t blob; ///< index into layout.blobs
  };
  std::vector<Weight> weights;
  WeightLayout layout;
  uint64_t modelBytes = 0;
};

/// Writes `program` to `path`, which may exist if it is a package (or an empty directory). All
/// functions have one opset. With a default function the multifunction form is written; without one
/// the plain form, whose single function is `main`.
Error writePackage(const mil::Program &program, llvm::StringRef path,
                   const WriteOptions &options = {}, WriteReport *report = nullptr);

} // namespace plait
