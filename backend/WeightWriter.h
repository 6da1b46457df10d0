// Writes the weights of all functions into one weight file, each distinct content once.
//
// Sharing is decided by content, exactly. Requests whose trees are equal, or that view the same
// bytes, are one source and are read once. Sources of equal element type and size whose samples
// agree are candidates. They get one blob at first. While it is written tile by tile, each
// candidate is read, converted and compared with it. A candidate that differs gets a blob of its
// own at the end of the file. So no byte is read twice in vain and no hash is trusted.
//
// The file depends on the requests alone, never on the number of threads. Tiles are about 1 MiB,
// and the pages of mapped sources are handed back after each. So memory stays at a few MiB a
// thread, whatever the size of the weights.
//
// A finite number beyond fp16 becomes the largest one of fp16. The result says of each blob how
// many there were.
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
    /// The elements of its source beyond the range of fp16, written as 65504 in an fp16 blob, and
    /// those that are no finite numbers or become zero.
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

/// Writes `requests` to the new, empty `file` (a DiscardedFile where only the layout is wanted)
/// with `threads` threads (0: one a processor). `evaluator` computes lazy constants; it may be null
/// when there are none.
Expected<WeightLayout> writeWeights(const WritableFile &file,
                                    llvm::ArrayRef<WeightRequest> requests, unsigned threads,
                                    mil::Evaluator *evaluator, WriteProgress proceed = {});

/// Adds the weights of `requests` to a weight file. `existing` is that file, `blobs` its leading
/// blobs, and `file` the same file, or a copy of these blobs, open for writing. A request whose
/// content is among `blobs` is given that blob; the others are written behind the last one. The
/// header and the existing blobs stay untouched, and the file is neither cut nor flushed. The
/// layout begins with `blobs`. `existing` may be null if there are none: the first blob then
/// follows the place of the header.
Expected<WeightLayout> appendWeights(const WritableFile &file, const WeightFile *existing,
                                     llvm::ArrayRef<WeightBlob> blobs,
                                     llvm::ArrayRef<WeightRequest> requests, unsigned threads,
                                     mil::Evaluator *evaluator, WriteProgress proceed = {});

} // namespace plait
