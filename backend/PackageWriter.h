// Writes a program as a Core ML package (.mlpackage).
//
//   NAME.mlpackage/Manifest.json
//                  Data/com.apple.CoreML/model.mlmodel         a CoreML.Specification.Model
//                  Data/com.apple.CoreML/weights/weight.bin    WeightFile.h
//                  Data/com.apple.CoreML/plait-debug.json      DebugInfo.h, where asked for
//
// The package is written beside its target and exchanged with it. After a failure the target is as
// it was. Equal programs give equal bytes, for every number of threads. Functions are serialised
// one at a time and appended to the file, so memory grows by the bytes of one function. Weights are
// streamed.
#pragma once

#include "backend/WeightWriter.h"
#include "mil/IR.h"
#include "support/FolderLock.h"

#include "llvm/ADT/DenseMap.h"

namespace plait {

struct WriteReport;

/// A file beside a package that changes together with it.
class Companion {
public:
  virtual ~Companion() = default;
  /// When all else is ready, and other processes are kept from the package. Its error is that of
  /// the whole, and the package is as it was.
  virtual Error prepare() = 0;
  /// The package is in place, and others are still kept from it. There is no way back from here.
  virtual void finish() = 0;
};

struct WriteOptions {
  /// Whether functions share blobs; without it each function has its own.
  bool share = true;
  /// Threads that convert and write weights; 0: one a processor.
  unsigned threads = 0;
  /// For constants that are the result of an operation; may be null when there are none.
  mil::Evaluator *evaluator = nullptr;
  /// See writeWeights(). A package that is stopped leaves nothing behind.
  WriteProgress proceed;
  /// Asked once it is known which weights are shared; its error is the error of the whole, and
  /// nothing is written then.
  std::function<Error(const WriteReport &)> accept;
  /// Whether other items of the replaced package's manifest than model and weights are taken over.
  bool keepOtherItems = false;
  /// Whether the package tells where its operations come from (DebugInfo.h).
  bool debugInfo = false;
  /// The lock of the package that is replaced, where the caller holds it; else it is taken here.
  const FolderLock *lock = nullptr;
  Companion *companion = nullptr; ///< not asked in a dry run
  /// Everything is computed and compared, and the report is the same, but no file is touched.
  bool dryRun = false;
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
/// the plain form, whose single function is `main`. A package that another process is changing is
/// refused.
Error writePackage(const mil::Program &program, llvm::StringRef path,
                   const WriteOptions &options = {}, WriteReport *report = nullptr);

/// How many bytes model and weights would take. Weights are not read: constants that are equal
/// though they come from different places are counted twice.
Expected<uint64_t> packageBytesOf(const mil::Program &program, mil::Evaluator *evaluator);

/// Enters all constants that go to the weight file into `report`, in program order, and returns
/// their requests to the writer.
std::vector<WeightRequest> collectWeights(const mil::Program &program, bool share,
                                          WriteReport &report);

/// For each `const` operation that has a blob, the offset of its metadata record.
using BlobOffsets = llvm::DenseMap<const mil::Op *, uint64_t>;

/// Enters where the layout put the weights of `report`.
BlobOffsets placeWeights(WriteReport &report);

} // namespace plait
