// Writes the weights of all functions into one weight file, each distinct content once.
//
// Sharing is decided by content, exactly. Requests whose trees are equal, or that view the same
// bytes, are one source and are read once. Sources of equal element type and size whose samples
// agree are candidates: they are given one blob at first, and while it is written tile by tile each
// candidate is read, converted and compared with it. A candidate that differs gets a blob of its
// own at the end of the file. So no byte is read twice in vain and no hash is trusted.
//
// The file depends on the requests alone, never on the number of threads. Tiles are about 1 MiB and
// the pages of mapped sources are handed back after each, so memory stays at a few MiB a thread
// whatever the size of the weights.
//
// Finite numbers beyond fp16 become the largest that fp16 has; how many is said of each blob.
#pragma once

#include "backend/WeightFile.h"
#include "mil/Evaluator.h"
#include "mil/SaturatedRead.h"
#include "support/FileSystem.h"

namespace plait {

/// One constant that wants a blob. Its element type must have a blobCode().
struct WeightRequest {
  mil::TensorData tensor;
  /// Only requests of one scope share; the same number for all, or one a function.
  unsigned scope = 0;
};

struct WeightLayout {
  struct Blob : WeightBlob {
    unsigned users = 0; ///< requests that refer to it
    /// Of fp16: what its source holds beyond the range of fp16, written as 65504.
    mil::Saturation saturation;
    /// A function that was in the package before, and is not among the requests, uses it.
    bool usedBefore = false;
  };
  std::vector<Blob> blobs;      ///< in file order
  std::vector<uint32_t> blobOf; ///< for each request, an index into `blobs`
  uint64_t fileBytes = 0;

  /// What a MIL value says to refer to the blob of `request`.
  uint64_t offset(size_t request) const { return blobs[blobOf[request]].metadataOffset; }
};

/// Told after every tile how many bytes of the weight file are written, of how many (more, if
/// candidates turn out to differ); false stops with an error. Called by several threads at once;
/// may be empty.
using WriteProgress = std::function<bool(uint64_t done, uint64_t total)>;

/// Writes `requests` to the new file `path` with `threads` threads (0: one a processor).
/// `evaluator` computes lazy constants; it may be null when there are none.
Expected<WeightLayout> writeWeights(const llvm::Twine &path, llvm::ArrayRef<WeightRequest> requests,
                                    unsigned threads, mil::Evaluator *evaluator,
                                    WriteProgress proceed = {});

/// Writes what `requests` need beyond `blobs`, the leading blobs of the weight file `existing`,
/// behind the last of these; every request that one of them holds is given that one. `file` is the
/// same file, open for writing; its header and the blobs there are stay untouched, and it is
/// neither cut nor flushed. The layout begins with `blobs`. `existing` may be null when there are
/// none: the first blob then follows the place of the header.
Expected<WeightLayout> appendWeights(const WritableFile &file, const WeightFile *existing,
                                     llvm::ArrayRef<WeightBlob> blobs,
                                     llvm::ArrayRef<WeightRequest> requests, unsigned threads,
                                     mil::Evaluator *evaluator, WriteProgress proceed = {});

} // namespace plait
