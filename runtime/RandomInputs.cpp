// Drawing inputs, and following integers to the indices they become.
#include "runtime/RandomInputs.h"

#include "mil/InputSizes.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/DenseSet.h"
#include <cmath>

namespace plait::runtime {

using mil::DType;
using mil::Op;
using mil::OpKind;
using mil::TensorData;
using mil::Value;

namespace {

/// SplitMix64 (Steele, Lea and Flood, 2014), and normal numbers by Box and Muller: the standard
/// library's distributions differ between implementations.
class Generator {
public:
  explicit Generator(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  /// In (0, 1].
  double unit() { return double((next() >> 11) + 1) * 0x1p-53; }
  double normal() {
    double radius = std::sqrt(-2 * std::log(unit()));
    return radius * std::cos(6.283185307179586 * unit());
  }
  int64_t integer(Range range) {
    uint64_t width = uint64_t(range.high) - uint64_t(range.low) + 1;
    return int64_t(uint64_t(range.low) + (width == 0 ? next() : next() % width));
  }

private:
  uint64_t state_;
};

/// What the uses of one value ask of it, narrowed as the walk goes on.
struct Bounds {
  std::optional<Range> range;

  /// A bound that leaves nothing contradicts another path (one branch of a select, say) and is
  /// dropped; negative indices are never drawn.
  void narrow(int64_t low, int64_t high) {
    low = std::max<int64_t>(low, range ? range->low : 0);
    high = std::min<int64_t>(high, range ? range->high : INT64_MAX);
    if (low <= high)
      range = Range{low, high};
  }
  void narrow(mil::Dim size, int64_t shift) {
    // A dynamic size is at least its lower bound.
    int64_t limit = size.isConst() ? size.value() : size.lower();
    if (limit > 0)
      narrow(-shift, limit - 1 - shift);
  }
};

/// Follows `value + shift` to the indices it becomes.
void follow(const Value &value, int64_t shift, Bounds &bounds,
            llvm::DenseSet<const Value *> &seen) {
  if (!seen.insert(&value).second)
    return;
  for (mil::Operand &use : value.uses()) {
    const Op &op = *use.owner();
    auto is = [&](unsigned param) { return op[param] == &value; };
    auto indexed = [&](unsigned x, unsigned axis) {
      auto shape = op[x]->type.shape();
      int64_t number = mil::constInt(op[axis]).value_or(0);
      number = number < 0 ? number + int64_t(shape.size()) : number;
      if (number >= 0 && number < int64_t(shape.size()))
        bounds.narrow(shape[number], shift);
    };
    switch (op.kind()) {
    case OpKind::gather:
      if (is(mil::gather::indices))
        indexed(mil::gather::x, mil::gather::axis);
      break;
    case OpKind::gather_along_axis:
      if (is(mil::gather_along_axis::indices))
        indexed(mil::gather_along_axis::x, mil::gather_along_axis::axis);
      break;
    case OpKind::scatter:
      if (is(mil::scatter::indices))
        indexed(mil::scatter::data, mil::scatter::axis);
      break;
    case OpKind::scatter_along_axis:
      if (is(mil::scatter_along_axis::indices))
        indexed(mil::scatter_along_axis::data, mil::scatter_along_axis::axis);
      break;
    case OpKind::gather_nd:
    case OpKind::scatter_nd: {
      bool gathers = op.is(OpKind::gather_nd);
      if (!is(gathers ? unsigned(mil::gather_nd::indices) : unsigned(mil::scatter_nd::indices)))
        break;
      // Every coordinate must fit, so the smallest indexed axis decides.
      auto shape = op[0]->type.shape();
      mil::Dim depth = value.type.shape().empty() ? mil::Dim(1) : value.type.shape().back();
      int64_t batch = gathers ? mil::constInt(op[mil::gather_nd::batch_dims]).value_or(0) : 0;
      for (int64_t i = batch; depth.isConst() && i < batch + depth.value(); ++i)
        if (i < int64_t(shape.size()))
          bounds.narrow(shape[i], shift);
      break;
    }
    case OpKind::one_hot:
      if (is(mil::one_hot::indices))
        if (auto size = mil::constInt(op[mil::one_hot::one_hot_vector_size]))
          bounds.narrow(mil::Dim(*size), shift);
      break;
    case OpKind::add:
    case OpKind::sub: {
      // Only the addition of a known constant moves the bounds by a known amount.
      const Value *other = op[0] == &value ? op[1] : op[0];
      auto constant = mil::constInt(other);
      if (constant && (op.is(OpKind::add) || op[0] == &value))
        follow(*op.result(), shift + (op.is(OpKind::add) ? *constant : -*constant), bounds, seen);
      break;
    }
    case OpKind::cast:
    case OpKind::identity:
    case OpKind::reshape:
    case OpKind::transpose:
    case OpKind::expand_dims:
    case OpKind::squeeze:
    case OpKind::flatten2d:
    case OpKind::slice_by_index:
    case OpKind::slice_by_size:
    case OpKind::tile:
    case OpKind::reverse:
    case OpKind::concat:
    case OpKind::stack:
    case OpKind::select:
    case OpKind::split:
      if (use.owner() == &op && !(op.is(OpKind::select) && is(mil::select::cond)))
        for (const auto &result : op.results())
          follow(*result, shift, bounds, seen);
      break;
    default:
      break;
    }
  }
}

} // namespace

std::optional<Range> indexBounds(const Value &input) {
  Bounds bounds;
  llvm::DenseSet<const Value *> seen;
  follow(input, 0, bounds, seen);
  return bounds.range;
}

bool standsForBool(const Value &input) {
  for (mil::Operand &use : input.uses()) {
    const Op &op = *use.owner();
    if (!op.is(OpKind::cast) || mil::constString(op[mil::cast::dtype]) != llvm::StringRef("bool"))
      return false;
  }
  return input.hasUses();
}

/// Default shapes, or the smallest ones that the types allow; draws after the first take others:
/// the next enumerated one, or sizes a little above the lower bounds, equal where the ranges are,
/// and as they follow from others.
static std::vector<llvm::SmallVector<int64_t, 5>> shapesOf(const mil::Function &function,
                                                           unsigned draw) {
  auto shapes = mil::inputShapes(function, [&](int64_t lower, int64_t upper) {
    return std::min<int64_t>(upper, lower + draw * 5 % 17);
  });
  for (auto [shape, info] : llvm::zip(shapes, function.inputInfo)) {
    if (!info.defaultShape.empty() && draw == 0)
      shape = info.defaultShape;
    else if (!info.enumeratedShapes.empty())
      shape = info.enumeratedShapes[draw % info.enumeratedShapes.size()];
  }
  return shapes;
}

Distribution distributionOf(unsigned draw, double scale) {
  switch (draw % 5) {
  case 2:
    return {8 * scale};
  case 3:
    return {scale, Distribution::Shape::Spikes};
  case 4:
    return {scale, Distribution::Shape::Positive};
  default:
    return {scale};
  }
}

static double drawn(Generator &generator, const Distribution &distribution) {
  double number = distribution.scale * generator.normal();
  switch (distribution.shape) {
  case Distribution::Shape::Normal:
    return number;
  case Distribution::Shape::Spikes:
    return generator.integer({0, 49}) == 0 ? 30 * number : number;
  case Distribution::Shape::Positive:
    return std::max(number, 0.0);
  }
  return number;
}

Expected<std::vector<NamedTensor>> randomInputs(const mil::Function &function, uint64_t seed,
                                                const llvm::StringMap<Range> &ranges, unsigned draw,
                                                const Distribution &distribution) {
  for (const auto &entry : ranges) {
    auto input =
        llvm::find_if(function.inputs(), [&](const auto &i) { return i->name == entry.first(); });
    if (input == function.inputs().end()) {
      llvm::SmallVector<llvm::StringRef, 8> known;
      for (const auto &one : function.inputs())
        known.push_back(one->name);
      return makeError(Code::OptionValue,
                       "a range is given for '{0}', which is no input of function '{1}'{2}",
                       entry.first(), function.name, didYouMean(entry.first(), known));
    }
    if (entry.second.low > entry.second.high)
      return makeError(Code::OptionValue, "the range of input '{0}' is empty", entry.first());
  }
  Generator generator(seed);
  auto shapes = shapesOf(function, draw);
  std::vector<NamedTensor> inputs;
  for (auto [index, input] : llvm::enumerate(function.inputs())) {
    if (input->type.isState())
      continue;
    DType dtype = input->type.dtype();
    const llvm::SmallVector<int64_t, 5> &shape = shapes[index];
    std::optional<Range> range = indexBounds(*input);
    if (auto image = function.infoOfInput(index).image; image && *image != mil::PixelFormat::Gray16)
      range = Range{0, 255};
    if (auto it = ranges.find(input->name); it != ranges.end())
      range = it->second;
    if (!range && (!mil::isFloat(dtype) || standsForBool(*input)))
      range = Range{};
    std::vector<double> values(mil::numElements(shape));
    for (double &value : values)
      value = range ? double(generator.integer(*range)) : drawn(generator, distribution);
    // Rounded once, so that the tensor's bytes are at hand.
    auto bytes = TensorData::from<double>(DType::F64, shape, values).cast(dtype).bytes();
    if (!bytes)
      return bytes.takeError();
    inputs.push_back({input->name.str(), TensorData::fromBytes(dtype, shape, std::move(*bytes))});
  }
  return inputs;
}

} // namespace plait::runtime
