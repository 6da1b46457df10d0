// The passes over one weight: what is pruned, what a table for the whole needs, then cell by cell.
#include "compress/CodeSink.h"
#include "compress/Gptq.h"
#include "compress/Guided.h"
#include "compress/LowRank.h"
#include "compress/Parts.h"
#include "compress/Pruning.h"
#include "compress/Units.h"
#include "compress/Vectors.h"
#include "compress/Wide.h"
#include "support/Parallel.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/bit.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace plait::compress {

using mil::DType;
using mil::TensorData;

uint64_t Compressed::bytes() const {
  uint64_t sum = 0;
  for (const TensorData *part : {&data, &mask, &table, &scale, &offset, &down, &up})
    if (*part)
      sum += part->byteSize();
  return sum;
}

double Compressed::snr() const {
  return error > 0 ? 10 * std::log10(power / error) : std::numeric_limits<double>::infinity();
}

namespace {

/// Numbers of a piece: enough to be worth a thread, few enough to stay in its cache.
constexpr int64_t kPiece = 1 << 16;
/// Pieces between two writes.
constexpr size_t kPiecesOfARound = 32;

/// The largest magnitude as bits; kInfinity or more where a number is not finite.
uint32_t largestOf(llvm::ArrayRef<float> values) {
  return wide([&]() PLAIT_WIDE {
    uint32_t found = 0;
    for (float value : values)
      found = std::max(found, llvm::bit_cast<uint32_t>(value) & 0x7FFFFFFF);
    return found;
  });
}
constexpr uint32_t kInfinity = 0x7F800000;

/// The bytes of those numbers that stay.
template <typename Number>
void gather(llvm::ArrayRef<Number> numbers, llvm::ArrayRef<uint8_t> kept,
            std::vector<uint8_t> &bytes) {
  bytes.resize(numbers.size() * sizeof(Number));
  uint8_t *end = bytes.data();
  for (size_t i = 0; i < numbers.size(); ++i) {
    std::memcpy(end, &numbers[i], sizeof(Number));
    end += kept[i] * sizeof(Number); // no branch: which ones stay is unforeseeable
  }
  bytes.resize(size_t(end - bytes.data()));
}

class WeightCompressor {
public:
  WeightCompressor(const TensorData &weight, const Layout &layout, const Scheme &scheme,
                   const CompressorOptions &options, const Guidance &guidance, Pieces pieces)
      : weight_(weight), layout_(layout), options_(options), guidance_(guidance),
        pieces_(std::move(pieces)), cells_(cellsOf(layout, grainOf(scheme))) {
    result_.scheme = scheme;
    if (result_.scheme.palette)
      result_.scheme.palette->grain = cells_.grain;
    else if (result_.scheme.linear)
      result_.scheme.linear->grain = cells_.grain;
    result_.note = cells_.note;
    result_.count = weight.numElements();
    if (guidance.inputs && guidance.inputs->seen() && layout.axes.in)
      for (float one : guidance.inputs->importance())
        importance_.insert(importance_.end(), size_t(layout.inner), one);
  }

  Expected<Outcome> run();
  /// Of run(): power and error by importance.
  double heavyPower() const { return heavyPower_; }
  double heavyError() const { return heavyError_; }

private:
  static Grain grainOf(const Scheme &scheme) {
    return scheme.palette ? scheme.palette->grain : scheme.linear ? scheme.linear->grain : Grain{};
  }
  const Scheme &scheme() const { return result_.scheme; }
  bool isWhole() const { return cells_.grain.kind == Grain::Kind::Tensor; }
  DType dtype() const { return weight_.dtype(); }

  Error survey();
  Error pruneShare(double percent);
  Error pruneRuns(const Scheme::Prune &prune);
  Error chooseForAll();
  Error cells();
  Error pruneOnly();
  Expected<CodeSink> sink(DType dtype) {
    return CodeSink::create(dtype, layout_.count(), options_.target);
  }
  Error put(llvm::ArrayRef<uint8_t> codes, int64_t begin);
  Error correct();
  Error finishData();
  Error finish();
  llvm::ArrayRef<uint8_t> keep(int64_t begin, size_t size) const {
    return keep_.empty() ? llvm::ArrayRef<uint8_t>() : llvm::ArrayRef(keep_).slice(begin, size);
  }

  /// Of numbers from `begin` on, in `memory`; empty where all count alike.
  llvm::ArrayRef<float> importance(int64_t begin, size_t size, std::vector<float> &memory) const;
  /// Integers of whole rows, one input after the other; `parameters` are those of the rows' cells.
  void roundRows(UnitWorker &worker, const UnitWorker::Numbers &numbers,
                 llvm::ArrayRef<CellParameters> parameters, std::vector<float> &scratch,
                 uint8_t *codes) const;
  void note(const Loss &loss) {
    result_.power = loss.power;
    result_.error = loss.error;
    heavyPower_ = loss.heavyPower;
    heavyError_ = loss.heavyError;
    result_.largestError = loss.largest;
  }

  const TensorData &weight_;
  const Layout &layout_;
  const CompressorOptions &options_;
  const Guidance &guidance_;
  Pieces pieces_;
  Cells cells_;
  Compressed result_;
  bool finite_ = true;
  double heavyPower_ = 0, heavyError_ = 0;
  double largest_ = 0, scale_ = 1;
  double price_ = 1; ///< where the search for tables begins
  std::vector<uint8_t> keep_;
  std::vector<float> importance_; ///< of the numbers of a row; empty: all count alike
  std::optional<Gptq> gptq_;
  std::optional<Residual> residual_; ///< of a weight that is corrected
  CellParameters whole_;
  AllParameters parameters_;   ///< of each cell, in order
  std::vector<uint8_t> codes_; ///< of a weight that does not lie in order, all
  std::optional<CodeSink> data_, mask_;
};

/// Numbers that are not finite, and the largest magnitude.
Error WeightCompressor::survey() {
  unsigned threads = threadsOf(options_.threads);
  std::vector<uint32_t> largest(threads); ///< magnitudes, as bits
  Error error = pieces_.forEach(
      threads, kPiece, [&](unsigned worker, size_t, const Pieces::Buffer &piece) -> Error {
        largest[worker] = std::max(largest[worker], largestOf(piece.values));
        return Error::success();
      });
  uint32_t most = *llvm::max_element(largest);
  finite_ = most < kInfinity;
  largest_ = double(llvm::bit_cast<float>(most));
  if (finite_ && !pieces_.halves())
    scale_ = Histogram::scaleFor(largest_);
  return error;
}

Error WeightCompressor::pruneShare(double percent) {
  bool halves = pieces_.halves();
  int64_t number = int64_t(percent / 100 * double(pieces_.count()));
  if (number == 0)
    return Error::success();
  auto fill = [&](const Pieces::Buffer &piece, std::vector<uint32_t> &magnitudes) {
    magnitudes.resize(piece.values.size());
    if (halves)
      llvm::transform(piece.halves, magnitudes.begin(), magnitudeOfHalf);
    else
      llvm::transform(piece.values, magnitudes.begin(), magnitudeOf);
  };
  unsigned threads = threadsOf(options_.threads);
  PruneLimit limit;
  std::optional<uint32_t> upper;
  for (int look = 0; look < (halves ? 1 : 2); ++look) {
    std::vector<PruneCounter> counters(threads);
    std::vector<std::vector<uint32_t>> magnitudes(threads);
    auto count = [&](unsigned worker, size_t, const Pieces::Buffer &piece) -> Error {
      fill(piece, magnitudes[worker]);
      counters[worker].add(magnitudes[worker], upper);
      return Error::success();
    };
    if (Error error = pieces_.forEach(threads, kPiece, count))
      return error;
    for (unsigned worker = 1; worker < threads; ++worker)
      counters[0].add(counters[worker]);
    uint32_t digit = counters[0].digitOf(number);
    limit.magnitude = look == 0 ? digit << 16 : limit.magnitude | digit;
    upper = digit;
  }
  limit.equal = number;
  keep_.resize(size_t(pieces_.count()));
  std::vector<uint32_t> magnitudes;
  // One after the other, for the first of those that equal the limit.
  auto mark = [&](unsigned, size_t piece, const Pieces::Buffer &buffer) -> Error {
    fill(buffer, magnitudes);
    limit.mark(magnitudes, keep_.data() + piece * kPiece);
    return Error::success();
  };
  return pieces_.forEach(1, kPiece, mark);
}

Error WeightCompressor::pruneRuns(const Scheme::Prune &prune) {
  keep_.resize(size_t(pieces_.count()));
  int64_t length = layout_.rowLength(), rows = std::max<int64_t>(1, kPiece / length);
  auto look = [&](unsigned, size_t piece, const Pieces::Buffer &buffer) -> Error {
    uint8_t *keep = keep_.data() + int64_t(piece) * rows * length;
    for (size_t row = 0; row < buffer.values.size(); row += size_t(length))
      for (int64_t i = 0; i < layout_.inner; ++i)
        pruneRun(buffer.values.data() + row + i, layout_.inputs, layout_.inner, prune.zeros,
                 prune.of, keep + row + i);
    return Error::success();
  };
  return pieces_.forEach(options_.threads, rows * length, look);
}

/// A table or scale for the whole weight.
Error WeightCompressor::chooseForAll() {
  unsigned threads = threadsOf(options_.threads);
  std::vector<Histogram> counted(threads);
  std::vector<UnitWorker> workers(threads, {scheme(), pieces_.halves(), scale_});
  std::vector<std::vector<float>> memory(threads);
  auto count = [&](unsigned worker, size_t piece, const Pieces::Buffer &buffer) -> Error {
    int64_t begin = int64_t(piece) * kPiece;
    size_t size = buffer.values.size();
    workers[worker].count({buffer.values, buffer.halves, keep(begin, size),
                           importance(begin, size, memory[worker]), nullptr},
                          counted[worker]);
    return Error::success();
  };
  if (Error error = pieces_.forEach(threads, kPiece, count))
    return error;
  for (unsigned worker = 1; worker < threads; ++worker)
    counted[0].add(counted[worker]);
  whole_ = workers[0].choose(counted[0], price_);
  return Error::success();
}

/// Integers of a piece: at once to where they go, where they lie in order.
Error WeightCompressor::put(llvm::ArrayRef<uint8_t> codes, int64_t begin) {
  if (!layout_.inOrder) {
    llvm::copy(codes, codes_.begin() + begin);
    return Error::success();
  }
  llvm::ArrayRef<uint8_t> kept = keep(begin, codes.size());
  if (kept.empty())
    return data_->append(codes);
  if (Error error = mask_->append(kept))
    return error;
  std::vector<uint8_t> ones(codes.size());
  size_t end = 0;
  for (size_t i = 0; i < codes.size(); ++i) {
    ones[end] = codes[i];
    end += kept[i];
  }
  return data_->append(llvm::ArrayRef(ones).take_front(end));
}

llvm::ArrayRef<float> WeightCompressor::importance(int64_t begin, size_t size,
                                                   std::vector<float> &memory) const {
  if (importance_.empty())
    return {};
  memory.resize(size);
  size_t at = size_t(begin) % importance_.size();
  for (float &one : memory) {
    one = importance_[at];
    at = at + 1 == importance_.size() ? 0 : at + 1;
  }
  return memory;
}

void WeightCompressor::roundRows(UnitWorker &worker, const UnitWorker::Numbers &numbers,
                                 llvm::ArrayRef<CellParameters> parameters,
                                 std::vector<float> &scratch, uint8_t *codes) const {
  auto length = size_t(layout_.rowLength());
  for (size_t row = 0; row * length < numbers.values.size(); ++row) {
    size_t begin = row * length;
    size_t first = row / size_t(cells_.rows) * size_t(layout_.inputs / cells_.inputs);
    gptq_->round(
        numbers.values.slice(begin, length),
        [&](size_t input, float wanted) {
          const CellParameters &cell =
              isWhole() ? whole_ : parameters[first + input / size_t(cells_.inputs)];
          float &stored = numbers.stored[begin + input];
          std::tie(codes[begin + input], stored) = worker.nearest(wanted, cell);
          return stored;
        },
        scratch);
  }
}

Error WeightCompressor::cells() {
  unsigned threads = threadsOf(options_.threads);
  int64_t cell = cells_.rows * cells_.inputs * layout_.inner;
  // Cells of several rows hold whole rows; of cells within a row, a piece has all of its rows'.
  int64_t unit = !isWhole() ? cells_.rows * layout_.rowLength()
                 : gptq_    ? layout_.rowLength()
                            : std::min(kPiece, layout_.count());
  int64_t size = unit * std::max<int64_t>(1, kPiece / unit);
  size_t pieces = size_t((layout_.count() + size - 1) / size);
  struct Worker {
    UnitWorker units;
    Pieces::Buffer buffer{};
    std::vector<float> importance{}, scratch{}, stored{};
    std::vector<CellParameters> parameters{};
  };
  std::vector<Worker> workers(threads, Worker{{scheme(), pieces_.halves(), scale_}});
  struct Piece {
    std::vector<uint8_t> codes;
    AllParameters parameters;
    Loss loss;
    std::vector<float> errors; ///< of a weight that is corrected
  };
  std::vector<Piece> round(std::min(pieces, kPiecesOfARound));
  Loss loss;
  auto work = [&](Worker &worker, size_t number, Piece &piece) {
    int64_t begin = int64_t(number) * size, count = std::min(size, layout_.count() - begin);
    pieces_.read(begin, count, worker.buffer);
    piece.codes.resize(size_t(count));
    piece.parameters.clear();
    piece.loss = Loss();
    worker.parameters.clear();
    UnitWorker::Numbers all{
        worker.buffer.values,
        pieces_.halves() ? llvm::ArrayRef(worker.buffer.halves) : llvm::ArrayRef<uint16_t>(),
        keep(begin, size_t(count)), importance(begin, size_t(count), worker.importance), nullptr};
    // What a correction needs stays until the others of the round are done, too.
    std::vector<float> &stored = residual_ ? piece.errors : worker.stored;
    stored.resize(size_t(count));
    all.stored = stored.data();
    piece.loss.finite = largestOf(all.values) < kInfinity;
    if (!piece.loss.finite)
      return;
    int64_t step = isWhole() ? count : cell;
    for (int64_t at = 0; at < count && !(isWhole() && gptq_); at += step) {
      UnitWorker::Numbers numbers = all.slice(size_t(at), size_t(step));
      uint8_t *codes = piece.codes.data() + at;
      double price = price_;
      if (isWhole()) {
        worker.units.apply(numbers, whole_, codes);
        continue;
      }
      CellParameters chosen = worker.units.choose(numbers, price, codes);
      piece.parameters.add(chosen);
      if (gptq_)
        worker.parameters.push_back(std::move(chosen));
      if (number == 0 && at == 0)
        price_ = price; // the first cell is alone: nobody else reads it
    }
    if (gptq_)
      roundRows(worker.units, all, worker.parameters, worker.scratch, piece.codes.data());
    piece.loss.add(all.values, stored, all.importance);
    for (size_t i = 0; i < piece.errors.size(); ++i)
      piece.errors[i] = all.values[i] - piece.errors[i];
  };
  for (size_t first = 0; first < pieces;) {
    // The first piece goes before the others, which begin their searches where its first one ended.
    size_t count = first == 0 ? 1 : std::min(round.size(), pieces - first);
    if (Error error = parallelFor(threads, count, [&](unsigned worker, size_t i) -> Error {
          work(workers[worker], first + i, round[i]);
          return Error::success();
        }))
      return error;
    for (size_t i = 0; i < count; ++i) {
      loss.add(round[i].loss);
      if (!loss.finite)
        break;
      parameters_.add(round[i].parameters);
      if (residual_)
        residual_->put(size_t(int64_t(first + i) * size), round[i].errors);
      if (Error error = put(round[i].codes, int64_t(first + i) * size))
        return error;
    }
    if (!loss.finite)
      break;
    first += count;
  }
  finite_ &= loss.finite;
  note(loss);
  if (isWhole())
    parameters_.add(whole_);
  return Error::success();
}

/// Two thin matrices for what is wrong, and what is wrong still.
Error WeightCompressor::correct() {
  auto found =
      lowRankOf(*residual_, scheme().lowRank, importance_, pieces_.halves(), options_.threads);
  if (!found)
    return found.takeError();
  auto rank = int64_t(found->rank);
  result_.scheme.lowRank = found->rank;
  result_.down = numbers(dtype(), {rank, layout_.inputs}, found->down);
  result_.up = numbers(dtype(), {layout_.rows, rank}, found->up);
  result_.error = found->error;
  heavyError_ = found->heavyError;
  result_.largestError = found->largest;
  residual_.reset();
  return Error::success();
}

/// The numbers that stay, as they are.
Error WeightCompressor::pruneOnly() {
  if (!layout_.inOrder)
    keep_ = asItLies(layout_, keep_);
  auto natural = Pieces::create(weight_, Layout(layout_.shape, Axes{}), options_.evaluator);
  if (!natural)
    return natural.takeError();
  Loss loss;
  std::vector<float> stored;
  std::vector<uint8_t> bytes;
  Error error = natural->forEach(
      1, kPiece, [&](unsigned, size_t piece, const Pieces::Buffer &buffer) -> Error {
        llvm::ArrayRef<uint8_t> kept = keep(int64_t(piece) * kPiece, buffer.values.size());
        if (natural->halves())
          gather(llvm::ArrayRef(buffer.halves), kept, bytes);
        else
          gather(llvm::ArrayRef(buffer.values), kept, bytes);
        stored.resize(kept.size());
        wide([&]() PLAIT_WIDE { // all are finite
          for (size_t i = 0; i < kept.size(); ++i)
            stored[i] = buffer.values[i] * float(kept[i]);
        });
        loss.add(buffer.values, stored, {});
        if (Error error = mask_->append(kept))
          return error;
        return data_->append(bytes);
      });
  if (error)
    return error;
  note(loss);
  return finishData();
}

/// What is packed, as tensors.
Error WeightCompressor::finishData() {
  auto data = data_->finish(mask_ ? llvm::SmallVector<int64_t, 5>{data_->count()} : layout_.shape);
  if (!data)
    return data.takeError();
  result_.data = *data;
  if (!mask_)
    return Error::success();
  auto mask = mask_->finish(layout_.shape);
  if (!mask)
    return mask.takeError();
  result_.mask = *mask;
  return Error::success();
}

/// The parts as tensors.
Error WeightCompressor::finish() {
  if (!layout_.inOrder) {
    std::vector<uint8_t> codes = asItLies(layout_, codes_), kept = asItLies(layout_, keep_);
    if (kept.empty()) {
      if (Error error = data_->append(codes))
        return error;
    } else {
      size_t ones = 0;
      for (size_t i = 0; i < codes.size(); ++i)
        if (kept[i])
          codes[ones++] = codes[i];
      codes.resize(ones);
      if (Error error = mask_->append(kept))
        return error;
      if (Error error = data_->append(codes))
        return error;
    }
  }
  if (Error error = finishData())
    return error;
  llvm::SmallVector<int64_t, 7> shape(cells_.shape.begin(), cells_.shape.end());
  // Cells follow one another by output, then by input; the axes may lie the other way round.
  size_t across = size_t(layout_.inputs / cells_.inputs), cells = parameters_.scales.size();
  if (layout_.axes.in && *layout_.axes.in < layout_.axes.out && across > 1) {
    std::vector<size_t> order(cells);
    for (size_t place = 0; place < cells; ++place)
      order[place] = place % (cells / across) * across + place / (cells / across);
    parameters_.reorder(order);
  }
  if (scheme().linear) {
    result_.scale = numbers(dtype(), shape, parameters_.scales);
    if (scheme().linear->hasZeroPoint) {
      auto packed =
          CodeSink::create(integerType(*scheme().linear), int64_t(cells), options_.target);
      if (!packed)
        return packed.takeError();
      if (Error error = packed->append(parameters_.zeroPoints))
        return error;
      auto offset = packed->finish(shape);
      if (!offset)
        return offset.takeError();
      result_.offset = *offset;
    }
    return Error::success();
  }
  shape.push_back(int64_t(1) << scheme().palette->bits);
  shape.push_back(1);
  if (scheme().palette->tableInt8) {
    result_.table = TensorData::from<int8_t>(DType::I8, shape, parameters_.tableIntegers);
    shape[shape.size() - 2] = 1;
    result_.scale = numbers(dtype(), shape, parameters_.scales);
    return Error::success();
  }
  result_.table = numbers(dtype(), shape, parameters_.tables);
  return Error::success();
}

Expected<Outcome> WeightCompressor::run() {
  auto skip = [](std::string why) { return Outcome{std::nullopt, std::move(why)}; };
  const char *notFinite = "it holds numbers that are not finite";
  bool palette = scheme().palette.has_value();
  if (scheme().prune || isWhole() || (palette && !pieces_.halves()))
    if (Error error = survey())
      return error;
  if (!finite_)
    return skip(notFinite);
  if (scheme().prune)
    if (Error error =
            scheme().prune->of ? pruneRuns(*scheme().prune) : pruneShare(scheme().prune->percent))
      return error;
  if (scheme().prune && keep_.empty())
    return skip("pruning would make nothing zero");
  auto data = sink(palette           ? indexType(scheme().palette->bits)
                   : scheme().linear ? integerType(*scheme().linear)
                                     : dtype());
  if (!data)
    return data.takeError();
  data_.emplace(std::move(*data));
  if (scheme().prune) {
    auto mask = sink(DType::U1);
    if (!mask)
      return mask.takeError();
    mask_.emplace(std::move(*mask));
  }
  if (!palette && !scheme().linear) {
    if (Error error = pruneOnly())
      return error;
    return Outcome{std::move(result_), ""};
  }
  if (!layout_.inOrder)
    codes_.resize(size_t(layout_.count()));
  if (isWhole())
    if (Error error = chooseForAll())
      return error;
  if (guidance_.gptq && guidance_.inputs && !guidance_.inputs->products().empty() &&
      layout_.inner == 1 && layout_.axes.in && !scheme().prune) {
    auto gptq = Gptq::create(guidance_.inputs->products(), options_.threads);
    if (!gptq)
      return gptq.takeError();
    gptq_.emplace(std::move(*gptq));
    result_.note += result_.note.empty() ? "GPTQ" : "; GPTQ";
  }
  if (scheme().lowRank && layout_.inner > 1)
    return skip("a correction is of a matrix");
  if (scheme().lowRank)
    residual_.emplace(size_t(layout_.rows), size_t(layout_.rowLength()));
  if (Error error = cells())
    return error;
  if (!finite_)
    return skip(notFinite);
  if (residual_)
    if (Error error = correct())
      return error;
  if (Error error = finish())
    return error;
  return Outcome{std::move(result_), ""};
}

} // namespace

Expected<GuidedOutcome> compressGuided(const TensorData &weight, Axes axes, const Scheme &scheme,
                                       const CompressorOptions &options, const Guidance &guidance) {
  // A table or scale for the whole needs no axes: the numbers are taken as they lie.
  bool needsAxes = (scheme.prune && scheme.prune->of) ||
                   (scheme.palette && (scheme.palette->grain.kind != Grain::Kind::Tensor ||
                                       scheme.palette->vector > 1)) ||
                   (scheme.linear && scheme.linear->grain.kind != Grain::Kind::Tensor) ||
                   scheme.lowRank || (guidance.inputs && weight.rank() > 1);
  if (!needsAxes)
    axes = weight.rank() > 1 ? Axes{0, 1} : Axes{0, std::nullopt};
  Layout layout(weight.shape(), axes);
  GuidedOutcome result;
  if (scheme.palette && scheme.palette->vector > 1) {
    auto outcome = compressVectors(weight, layout, scheme, options);
    if (!outcome)
      return outcome.takeError();
    static_cast<Outcome &>(result) = std::move(*outcome);
    if (result.compressed) {
      result.power = result.compressed->power;
      result.error = result.compressed->error;
    }
    return result;
  }
  auto pieces = Pieces::create(weight, layout, options.evaluator);
  if (!pieces)
    return pieces.takeError();
  WeightCompressor compressor(weight, layout, scheme, options, guidance, std::move(*pieces));
  auto outcome = compressor.run();
  if (!outcome)
    return outcome.takeError();
  static_cast<Outcome &>(result) = std::move(*outcome);
  result.power = compressor.heavyPower();
  result.error = compressor.heavyError();
  return result;
}

Expected<Outcome> compressWeight(const TensorData &weight, Axes axes, const Scheme &scheme,
                                 const CompressorOptions &options) {
  auto outcome = compressGuided(weight, axes, scheme, options, {});
  if (!outcome)
    return outcome.takeError();
  return std::move(static_cast<Outcome &>(*outcome));
}

} // namespace plait::compress
