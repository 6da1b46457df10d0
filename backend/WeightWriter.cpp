// The weight writer: sources, groups of candidates, and rounds that write and compare in one pass.
#include "backend/WeightWriter.h"

#include "backend/ComparableViews.h"
#include "backend/RecordRanges.h"
#include "backend/WeightSample.h"
#include "mil/Concatenation.h"
#include "support/Failure.h"
#include "support/Parallel.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>

namespace plait {

using mil::TensorData;
using mil::TensorReader;

namespace {

/// Larger tiles, or a mapped output, are no faster.
constexpr uint64_t tileBytes = 1 << 20;

/// Elements as they are written.
mil::Saturation readElements(const TensorReader &reader, int64_t begin, int64_t count,
                             uint8_t *out) {
  mil::Saturation saturation;
  mil::readSaturated(reader, begin, count, out, saturation);
  return saturation;
}

constexpr uint32_t none = UINT32_MAX;

/// One distinct tree; the requests with that tree share it. Without a reader until a computed
/// constant in it is wanted. Or a blob that is in the file already.
struct Source {
  TensorData tensor;
  unsigned scope;
  std::optional<TensorReader> reader;
  bool isWritten = false;
  uint32_t next = none; ///< of a written one: the next written one that looks the same
};

/// One blob: the source that is written (or was before), and those that hold the same bytes unless
/// the comparison says otherwise.
struct Group {
  uint32_t blob;
  uint32_t primary;
  llvm::SmallVector<uint32_t, 1> candidates;
  llvm::SmallVector<uint32_t, 1> proved; ///< candidates known to be equal
};

/// A piece of the file that is written at once: several small blobs with their metadata, or a tile
/// of a large one.
struct Chunk {
  size_t group, endGroup;
  int64_t begin, count; ///< elements, of a tile; count is 0 for whole blobs
  uint64_t offset, size;
};

int64_t tileElements(mil::DType dtype) {
  return int64_t(llvm::alignDown(tileBytes * 8 / mil::bitWidth(dtype), 64));
}

/// Trees with a computed constant hold its whole result while they have a reader, so they get one
/// late and one at a time. A concatenation holds nothing but what its parts do.
bool hasComputed(const TensorData &tensor) {
  if (auto whole = mil::concatenationOf(tensor.node()))
    return llvm::any_of(whole->parts, [](const TensorData *part) { return hasComputed(*part); });
  return tensor.kind() == TensorData::Kind::Computed ||
         llvm::any_of(tensor.node().inputs, hasComputed);
}

class Writer {
public:
  Writer(const WritableFile &file, llvm::ArrayRef<WeightRequest> requests, unsigned threads,
         mil::Evaluator *evaluator, WriteProgress proceed)
      : file(file), requests(requests), threads(threads ? threads : defaultThreads()),
        evaluator(evaluator), proceed(std::move(proceed)) {}

  /// Blobs that the file holds already; before run().
  Error setExisting(const WeightFile &existing, llvm::ArrayRef<WeightBlob> blobs);
  /// Writes the blobs.
  Expected<WeightLayout> run();

private:
  using Key = std::tuple<unsigned, unsigned, uint64_t, uint64_t>; // scope, dtype, bytes, sample

  void collectSources();
  void collectExisting();
  Error collectGroups(std::vector<Group> &groups);
  Error matchExisting(std::vector<Group> &groups);
  Error proveGathered(llvm::MutableArrayRef<Group> groups);
  uint32_t appendBlob(const TensorData &tensor);
  void assign(uint32_t source, uint32_t blob) { blobOfSource[source] = blob; }
  std::optional<Group> settle(const Group &group);
  /// Writes the groups' blobs and settles their candidates; returns the groups of refuted ones.
  Expected<std::vector<Group>> writeRound(llvm::ArrayRef<Group> groups);
  std::vector<Chunk> cut(llvm::ArrayRef<Group> groups) const;
  /// Holds the candidates against elements of the primary, which are `data`; `crc` is that of the
  /// bytes of its record behind them.
  void compare(const Group &group, int64_t begin, int64_t count, const uint8_t *data,
               std::optional<uint32_t> crc, std::vector<uint8_t> &scratch);
  /// So many bytes more are written; an error where that is to end. Thread-safe.
  Error mayProceed(uint64_t bytes = 0) {
    uint64_t done = written += bytes;
    if (!proceed || proceed(std::min(done, end), end))
      return Error::success();
    return makeFailure(FailureKind::Cancelled, Code::Cancelled,
                       "cancelled while weights were written");
  }
  /// Adds to what is known of a blob. Thread-safe.
  void note(uint32_t blob, const mil::Saturation &saturation);
  Error writeRounds(std::vector<Group> groups);
  Error writeDeferred(uint32_t source);
  Expected<bool> equalsBlob(const TensorReader &reader, uint32_t blob);
  Expected<bool> equalsSource(const TensorReader &reader, const Source &source);

  const WritableFile &file;
  llvm::ArrayRef<WeightRequest> requests;
  unsigned threads;
  mil::Evaluator *evaluator;
  WriteProgress proceed;
  std::atomic<uint64_t> written = 0;
  const WeightFile *existing = nullptr;

  std::vector<Source> sources;
  std::vector<uint32_t> sourceOf; // of each request
  std::vector<uint32_t> deferred; // sources with computed constants, in order
  std::vector<std::pair<uint32_t, uint32_t>> writtenBlobs; // of written sources: source, blob
  std::vector<uint32_t> blobOfSource;
  llvm::DenseMap<uint32_t, uint32_t> sourceOfBlob; // whose content it is
  std::vector<std::atomic<bool>> refuted; // of each source, in the round that it is a candidate of
  std::map<Key, llvm::SmallVector<uint32_t, 1>> blobsOf;
  WeightLayout layout;
  std::mutex saturating; // guards the saturation of layout.blobs while chunks are written
  uint64_t end = weightAlignment;
};

void Writer::collectSources() {
  std::map<std::pair<unsigned, uint64_t>, llvm::SmallVector<uint32_t, 1>> byTree;
  std::map<std::tuple<unsigned, unsigned, const uint8_t *, size_t>, uint32_t> byPlace;
  sourceOf.reserve(requests.size());
  for (const WeightRequest &request : requests) {
    const TensorData &tensor = request.tensor;
    uint32_t next = uint32_t(sources.size()), found = next;
    llvm::SmallVector<uint32_t, 1> &alike = byTree[{request.scope, tensor.treeHash()}];
    for (uint32_t source : alike)
      if (sources[source].tensor.sameTree(tensor)) {
        found = source;
        break;
      }
    // The same bytes under another shape.
    if (llvm::ArrayRef<uint8_t> bytes = tensor.contiguousBytes(); found == next && !bytes.empty())
      found = byPlace
                  .try_emplace(
                      {request.scope, unsigned(tensor.dtype()), bytes.data(), bytes.size()}, next)
                  .first->second;
    if (found == next) {
      sources.push_back({tensor, request.scope, std::nullopt});
      alike.push_back(next);
    }
    sourceOf.push_back(found);
  }
  collectExisting();
  blobOfSource.resize(sources.size());
  refuted = std::vector<std::atomic<bool>>(sources.size());
}

Error Writer::setExisting(const WeightFile &existing, llvm::ArrayRef<WeightBlob> blobs) {
  this->existing = &existing;
  for (const WeightBlob &blob : blobs) {
    if (llvm::alignTo(end, weightAlignment) != blob.metadataOffset)
      return makeError(Code::PackageDamaged,
                       "'{0}': the blob at offset {1} does not follow the one before it",
                       existing.path(), blob.metadataOffset);
    WeightLayout::Blob entry;
    static_cast<WeightBlob &>(entry) = blob;
    layout.blobs.push_back(entry);
    end = blob.dataOffset + blob.byteSize;
  }
  return Error::success();
}

/// The blobs that a request could be, as sources.
void Writer::collectExisting() {
  if (layout.blobs.empty())
    return;
  llvm::DenseSet<std::pair<unsigned, uint64_t>> wanted; // type and size
  for (const Source &source : sources)
    wanted.insert({unsigned(source.tensor.dtype()), source.tensor.byteSize()});
  for (auto [index, blob] : llvm::enumerate(layout.blobs)) {
    if (!wanted.contains({unsigned(blob.dtype), blob.byteSize}))
      continue;
    Source source{
        TensorData::view(existing->storage(), blob.dataOffset, blob.dtype, {blob.numElements()}), 0,
        std::nullopt, /*isWritten=*/true, none};
    writtenBlobs.push_back({uint32_t(sources.size()), uint32_t(index)});
    sources.push_back(std::move(source));
  }
}

uint32_t Writer::appendBlob(const TensorData &tensor) {
  end = llvm::alignTo(end, weightAlignment);
  WeightLayout::Blob blob;
  blob.dtype = tensor.dtype();
  blob.metadataOffset = end;
  blob.dataOffset = end + weightAlignment;
  blob.byteSize = tensor.byteSize();
  blob.paddingBits =
      unsigned(blob.byteSize * 8 - uint64_t(tensor.numElements()) * mil::bitWidth(blob.dtype));
  end = blob.dataOffset + blob.byteSize;
  layout.blobs.push_back(blob);
  return uint32_t(layout.blobs.size() - 1);
}

Error Writer::collectGroups(std::vector<Group> &groups) {
  std::map<Key, llvm::SmallVector<uint32_t, 1>> groupsOf;
  auto keyOf = [&](const Source &source) {
    return Key{source.scope, unsigned(source.tensor.dtype()), source.tensor.byteSize(),
               weightSample(*source.reader)};
  };
  std::map<Key, uint32_t> lastWritten;
  for (auto [index, blob] : writtenBlobs) {
    assign(index, blob);
    sourceOfBlob[blob] = index;
    Source &source = sources[index];
    Expected<TensorReader> reader = TensorReader::create(source.tensor, nullptr);
    if (!reader)
      return reader.takeError();
    source.reader = std::move(*reader);
    // One group for all that look the same. A source that differs from the first of them is
    // compared with the next.
    auto [last, isFirst] = lastWritten.try_emplace(keyOf(source), index);
    if (!isFirst) {
      sources[std::exchange(last->second, index)].next = index;
      continue;
    }
    groupsOf[last->first].push_back(uint32_t(groups.size()));
    groups.push_back({blob, index, {}, {}});
  }
  for (uint32_t index = 0; index < sources.size(); ++index) {
    Source &source = sources[index];
    if (source.isWritten)
      continue;
    if (hasComputed(source.tensor)) {
      deferred.push_back(index);
      continue;
    }
    Expected<TensorReader> reader = TensorReader::create(source.tensor, evaluator);
    if (!reader)
      return reader.takeError();
    source.reader = std::move(*reader);
    if (Error error = mayProceed())
      return error;
    llvm::SmallVector<uint32_t, 1> &alike = groupsOf[keyOf(source)];
    auto group = llvm::find_if(alike, [&](uint32_t candidate) {
      return !differByChecksum(sources[groups[candidate].primary].tensor, source.tensor);
    });
    if (group != alike.end()) {
      groups[*group].candidates.push_back(index);
      continue;
    }
    alike.push_back(uint32_t(groups.size()));
    groups.push_back({0, index, {}, {}});
  }
  if (Error error = matchExisting(groups))
    return error;
  return proveGathered(groups);
}

/// Compares what looks like a blob that is in the file with it; leaves the groups to write.
Error Writer::matchExisting(std::vector<Group> &groups) {
  auto isWritten = [&](const Group &group) { return sources[group.primary].isWritten; };
  std::vector<Group> written;
  for (Group &group : groups)
    if (isWritten(group) && !group.candidates.empty())
      written.push_back(group);
  llvm::erase_if(groups, isWritten);
  struct Piece {
    size_t group;
    int64_t begin, count;
  };
  while (!written.empty()) {
    std::vector<Piece> pieces;
    for (auto [index, group] : llvm::enumerate(written)) {
      const TensorData &tensor = sources[group.primary].tensor;
      int64_t elements = tensor.numElements(), step = tileElements(tensor.dtype());
      for (int64_t begin = 0; begin < elements; begin += step)
        pieces.push_back({index, begin, std::min(step, elements - begin)});
    }
    std::vector<std::vector<uint8_t>> scratch(threads);
    Error error = parallelFor(threads, pieces.size(), [&](unsigned worker, size_t item) -> Error {
      auto [index, begin, count] = pieces[item];
      const Source &blob = sources[written[index].primary];
      compare(written[index], begin, count,
              blob.tensor.contiguousBytes().data() + mil::byteSize(blob.tensor.dtype(), begin),
              std::nullopt, scratch[worker]);
      blob.reader->release(begin, count);
      return mayProceed();
    });
    if (error)
      return error;
    std::vector<Group> next;
    for (const Group &group : written)
      if (std::optional<Group> rest = settle(group)) {
        uint32_t other = sources[group.primary].next;
        if (other == none) {
          groups.push_back(std::move(*rest));
          continue;
        }
        rest->candidates.insert(rest->candidates.begin(), rest->primary);
        rest->primary = other;
        rest->blob = blobOfSource[other];
        next.push_back(std::move(*rest));
      }
    written = std::move(next);
  }
  // The file follows the order of the requests.
  llvm::sort(groups, [](const Group &a, const Group &b) { return a.primary < b.primary; });
  return Error::success();
}

/// Assigns the candidates that were not refuted; the others become a group, for they may still
/// agree among themselves.
std::optional<Group> Writer::settle(const Group &group) {
  std::optional<Group> rest;
  for (uint32_t candidate : group.candidates) {
    if (!refuted[candidate]) {
      assign(candidate, group.blob);
      continue;
    }
    refuted[candidate] = false;
    if (rest)
      rest->candidates.push_back(candidate);
    else
      rest = Group{0, candidate, {}, {}};
  }
  return rest;
}

/// Reading a transposed view costs far more than comparing what it spans, which proves as much when
/// that is equal.
Error Writer::proveGathered(llvm::MutableArrayRef<Group> groups) {
  auto gatheredLeaves = [&](const Group &group, uint32_t candidate) {
    bool exact;
    auto leaves = comparableLeaves(sources[group.primary].tensor, sources[candidate].tensor, exact);
    if (leaves && !leaves->first.contiguousBytes().empty())
      leaves.reset();
    return leaves;
  };
  struct Piece {
    size_t group, begin;
  };
  constexpr size_t pieceBytes = 4 * tileBytes;
  std::vector<Piece> pieces;
  for (auto [index, group] : llvm::enumerate(groups))
    for (uint32_t candidate : group.candidates)
      if (auto leaves = gatheredLeaves(group, candidate)) {
        size_t size = extent(leaves->first).size();
        for (size_t begin = 0; begin < size; begin += pieceBytes)
          pieces.push_back({index, begin});
        break;
      }
  auto release = [](const TensorData &leaf, size_t begin, size_t size) {
    if (const mil::Storage &storage = *leaf.node().storage; storage.release)
      storage.release(leaf.node().byteOffset + begin, size);
  };
  Error error = parallelFor(threads, pieces.size(), [&](unsigned, size_t item) -> Error {
    auto [index, begin] = pieces[item];
    const Group &group = groups[index];
    std::optional<uint32_t> crc;
    for (uint32_t candidate : group.candidates) {
      if (refuted[candidate])
        continue;
      auto leaves = gatheredLeaves(group, candidate);
      if (!leaves)
        continue;
      llvm::ArrayRef<uint8_t> a = extent(leaves->first), b = extent(leaves->second);
      size_t size = std::min(pieceBytes, a.size() - begin);
      bool known = knownEqual(leaves->first, leaves->second, begin, size);
      bool equal = known || std::memcmp(a.data() + begin, b.data() + begin, size) == 0;
      // The first candidate has the bytes of the primary read; all equal ones have their checksum.
      if (const auto &checksum = leaves->first.node().storage->checksum; checksum && !crc)
        crc = checksum->see(leaves->first.node().byteOffset + begin, size);
      if (const auto &checksum = leaves->second.node().storage->checksum; checksum && equal && crc)
        checksum->seeEqual(leaves->second.node().byteOffset + begin, size, *crc);
      if (known)
        continue;
      if (!equal)
        refuted[candidate] = true;
      release(leaves->first, begin, size);
      release(leaves->second, begin, size);
    }
    return mayProceed();
  });
  for (const Piece &piece : pieces) {
    if (piece.begin != 0)
      continue;
    Group &group = groups[piece.group];
    llvm::erase_if(group.candidates, [&](uint32_t candidate) {
      bool equal = gatheredLeaves(group, candidate) && !refuted[candidate];
      // What differs may still round to the same; the writing of the blob decides.
      refuted[candidate] = false;
      if (equal)
        group.proved.push_back(candidate);
      return equal;
    });
  }
  return error;
}

std::vector<Chunk> Writer::cut(llvm::ArrayRef<Group> groups) const {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < groups.size(); ++i) {
    const WeightBlob &blob = layout.blobs[groups[i].blob];
    uint64_t whole = llvm::alignTo(weightAlignment + blob.byteSize, weightAlignment);
    if (whole <= tileBytes) {
      // The blobs of a round follow one another.
      if (!chunks.empty() && chunks.back().count == 0 &&
          blob.metadataOffset + whole - chunks.back().offset <= tileBytes) {
        chunks.back().endGroup = i + 1;
        chunks.back().size = blob.metadataOffset + whole - chunks.back().offset;
      } else {
        chunks.push_back({i, i + 1, 0, 0, blob.metadataOffset, whole});
      }
      continue;
    }
    int64_t elements = blob.numElements(), step = tileElements(blob.dtype);
    for (int64_t begin = 0; begin < elements; begin += step) {
      int64_t count = std::min(step, elements - begin);
      uint64_t size = mil::byteSize(blob.dtype, count);
      if (begin == 0)
        chunks.push_back({i, i + 1, begin, count, blob.metadataOffset, weightAlignment + size});
      else
        chunks.push_back(
            {i, i + 1, begin, count, blob.dataOffset + mil::byteSize(blob.dtype, begin), size});
    }
  }
  return chunks;
}

void Writer::compare(const Group &group, int64_t begin, int64_t count, const uint8_t *data,
                     std::optional<uint32_t> crc, std::vector<uint8_t> &scratch) {
  const Source &primary = sources[group.primary];
  for (uint32_t candidate : group.candidates) {
    if (refuted[candidate])
      continue;
    const Source &other = sources[candidate];
    RecordRanges ranges(other.tensor, begin, count);
    ViewProof proof = compareViews(primary.tensor, other.tensor, begin, count);
    if (proof == ViewProof::Known) {
      ranges.seeEqual(crc);
      continue;
    }
    bool equal = proof == ViewProof::Equal;
    if (equal) {
      ranges.seeEqual(crc);
    } else {
      uint64_t size = mil::byteSize(other.tensor.dtype(), count);
      scratch.resize(std::max<size_t>(scratch.size(), size));
      readElements(*other.reader, begin, count, scratch.data());
      ranges.see();
      equal = std::memcmp(data, scratch.data(), size) == 0;
    }
    other.reader->release(begin, count);
    if (!equal)
      refuted[candidate] = true;
  }
}

void Writer::note(uint32_t blob, const mil::Saturation &saturation) {
  std::lock_guard<std::mutex> lock(saturating);
  layout.blobs[blob].saturation += saturation;
}

Expected<std::vector<Group>> Writer::writeRound(llvm::ArrayRef<Group> groups) {
  struct Worker {
    std::vector<uint8_t> output, scratch;
  };
  std::vector<Worker> workers(threads);
  std::vector<Chunk> chunks = cut(groups);

  Error error = parallelFor(threads, chunks.size(), [&](unsigned index, size_t item) -> Error {
    Worker &worker = workers[index];
    const Chunk &chunk = chunks[item];
    worker.output.resize(std::max<size_t>(worker.output.size(), chunk.size));
    uint8_t *out = worker.output.data();
    for (size_t i = chunk.group; i < chunk.endGroup; ++i) {
      const Group &group = groups[i];
      const WeightBlob &blob = layout.blobs[group.blob];
      const TensorReader &reader = *sources[group.primary].reader;
      int64_t count = chunk.count ? chunk.count : blob.numElements();
      if (chunk.begin == 0) {
        WeightRecord record = encodeWeightMetadata(blob);
        out = llvm::copy(record, out);
      }
      if (mil::Saturation saturation = readElements(reader, chunk.begin, count, out))
        note(group.blob, saturation);
      auto crc = RecordRanges(reader.tensor(), chunk.begin, count).see();
      compare(group, chunk.begin, count, out, crc, worker.scratch);
      reader.release(chunk.begin, count);
      out += mil::byteSize(blob.dtype, count);
      if (chunk.count == 0) {
        uint8_t *aligned = worker.output.data() +
                           llvm::alignTo(uint64_t(out - worker.output.data()), weightAlignment);
        std::fill(out, aligned, 0);
        out = aligned;
      }
    }
    if (Error error =
            file.writeAt(chunk.offset, llvm::ArrayRef(worker.output).take_front(chunk.size)))
      return error;
    return mayProceed(chunk.size);
  });
  if (error)
    return error;

  std::vector<Group> next;
  for (const Group &group : groups) {
    assign(group.primary, group.blob);
    sourceOfBlob[group.blob] = group.primary;
    for (uint32_t candidate : group.proved)
      assign(candidate, group.blob);
    if (std::optional<Group> rest = settle(group))
      next.push_back(std::move(*rest));
  }
  return next;
}

Error Writer::writeRounds(std::vector<Group> groups) {
  while (!groups.empty()) {
    for (Group &group : groups)
      group.blob = appendBlob(sources[group.primary].tensor);
    Expected<std::vector<Group>> next = writeRound(groups);
    if (!next)
      return next.takeError();
    groups = std::move(*next);
  }
  return Error::success();
}

/// Of a file that keeps nothing; what was computed for the blob is computed again.
Expected<bool> Writer::equalsSource(const TensorReader &reader, const Source &source) {
  Expected<TensorReader> other = TensorReader::create(source.tensor, evaluator);
  if (!other)
    return other.takeError();
  std::vector<uint8_t> here(tileBytes), there(tileBytes);
  int64_t elements = source.tensor.numElements(), step = tileElements(source.tensor.dtype());
  for (int64_t begin = 0; begin < elements; begin += step) {
    int64_t count = std::min(step, elements - begin);
    readElements(reader, begin, count, here.data());
    readElements(*other, begin, count, there.data());
    if (std::memcmp(here.data(), there.data(), mil::byteSize(source.tensor.dtype(), count)) != 0)
      return false;
    other->release(begin, count);
  }
  return true;
}

Expected<bool> Writer::equalsBlob(const TensorReader &reader, uint32_t index) {
  if (file.path().empty())
    return equalsSource(reader, sources[sourceOfBlob.lookup(index)]);
  const WeightBlob &blob = layout.blobs[index];
  auto written = MappedFile::open(file.path());
  if (!written)
    return written.takeError();
  llvm::ArrayRef<uint8_t> bytes = (*written)->bytes().slice(blob.dataOffset, blob.byteSize);
  std::vector<uint8_t> scratch(tileBytes);
  int64_t elements = blob.numElements(), step = tileElements(blob.dtype);
  for (int64_t begin = 0; begin < elements; begin += step) {
    int64_t count = std::min(step, elements - begin);
    uint64_t first = mil::byteSize(blob.dtype, begin), size = mil::byteSize(blob.dtype, count);
    readElements(reader, begin, count, scratch.data());
    if (std::memcmp(scratch.data(), bytes.data() + first, size) != 0)
      return false;
    (*written)->release(bytes.slice(first, size));
  }
  return true;
}

Error Writer::writeDeferred(uint32_t index) {
  Source &source = sources[index];
  Expected<TensorReader> reader = TensorReader::create(source.tensor, evaluator);
  if (!reader)
    return reader.takeError();
  source.reader = std::move(*reader);
  // The result exists now, so it is compared with the file and not with other sources.
  Key key{source.scope, unsigned(source.tensor.dtype()), source.tensor.byteSize(),
          weightSample(*source.reader)};
  llvm::SmallVector<uint32_t, 1> &alike = blobsOf[key];
  for (uint32_t blob : alike) {
    Expected<bool> equal = equalsBlob(*source.reader, blob);
    if (!equal)
      return equal.takeError();
    if (*equal) {
      assign(index, blob);
      source.reader.reset();
      return Error::success();
    }
  }
  Error error = writeRounds({{0, index, {}, {}}});
  alike.push_back(blobOfSource[index]);
  source.reader.reset();
  return error;
}

Expected<WeightLayout> Writer::run() {
  collectSources();
  std::vector<Group> groups;
  if (Error error = collectGroups(groups))
    return error;
  if (Error error = writeRounds(std::move(groups)))
    return error;
  if (!deferred.empty()) {
    llvm::DenseSet<uint32_t> seen;
    for (const auto &[index, source] : llvm::enumerate(sources))
      if (source.reader && seen.insert(blobOfSource[index]).second)
        blobsOf[{source.scope, unsigned(source.tensor.dtype()), source.tensor.byteSize(),
                 weightSample(*source.reader)}]
            .push_back(blobOfSource[index]);
    for (uint32_t index : deferred)
      if (Error error = writeDeferred(index))
        return error;
  }

  layout.fileBytes = end;
  layout.blobOf.reserve(requests.size());
  for (uint32_t source : sourceOf) {
    layout.blobOf.push_back(blobOfSource[source]);
    ++layout.blobs[blobOfSource[source]].users;
  }
  return std::move(layout);
}

} // namespace

Expected<WeightLayout> writeWeights(const WritableFile &file,
                                    llvm::ArrayRef<WeightRequest> requests, unsigned threads,
                                    mil::Evaluator *evaluator, WriteProgress proceed) {
  Expected<WeightLayout> layout =
      Writer(file, requests, threads, evaluator, std::move(proceed)).run();
  if (!layout)
    return layout;
  if (Error error = file.writeAt(0, encodeWeightHeader(uint32_t(layout->blobs.size()))))
    return error;
  if (Error error = file.resize(layout->fileBytes))
    return error;
  return layout;
}

Expected<WeightLayout> appendWeights(const WritableFile &file, const WeightFile *existing,
                                     llvm::ArrayRef<WeightBlob> blobs,
                                     llvm::ArrayRef<WeightRequest> requests, unsigned threads,
                                     mil::Evaluator *evaluator, WriteProgress proceed) {
  Writer writer(file, requests, threads, evaluator, std::move(proceed));
  if (existing)
    if (Error error = writer.setExisting(*existing, blobs))
      return error;
  return writer.run();
}

} // namespace plait
