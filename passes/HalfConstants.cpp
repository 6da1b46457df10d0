// Constants in fp16. A value beyond 65504 is
//
//   part of a mask                -3e4: -65504 plus a score is -inf, and a row of these is NaN
//                                 after softmax. -inf too, unless a maximum raises it first: then
//                                 it is -65504, which a comparison tells from -3e4
//   a bound that fp16 never meets 65504: minimum(x, 1e9), clip(x, -1e9, 0), x > 1e9, x < FLT_MAX
//   1e38 or more where it is not  65504: it stands for infinity
//   computed with
//   anything else                 reported: the operation stays in fp32
#include "passes/HalfConstants.h"

#include "mil/Computation.h"
#include "passes/Match.h"
#include "support/Half.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"

#include <cmath>

namespace plait::passes {

using namespace mil;

namespace {

/// Whole numbers up to this one are numbers of fp16.
constexpr double kLargestWhole = 2048;
constexpr double kLargest = 65504, kSmallest = 0x1p-24, kMasked = -3e4;
/// As coremltools reads it: what is larger stands for infinity.
constexpr double kLikeInfinity = 1e38;
/// Constants that no model holds but the compiler made, and masks anywhere, of up to this many
/// elements are looked through. Larger weights are the weight writer's: it saturates what fp16 does
/// not hold while it reads them anyway.
constexpr int64_t kCheckedElements = 4 << 20;
/// As in coremltools: larger ones may well hold values that vanish.
constexpr int64_t kVanishingElements = 400;
/// So many operations are looked at on the way from a mask to its softmax.
constexpr size_t kMaskPath = 64;

/// Reading the tensor costs little: it is small, or the compiler made it in memory.
bool isCheap(const TensorData &tensor) {
  const TensorData::Node &node = tensor.node();
  if (node.kind == TensorData::Kind::Computed)
    return false;
  if (node.kind == TensorData::Kind::Strided && node.storage->bytes.size() <= kSmallBytes)
    return true;
  if (tensor.byteSize() <= kSmallBytes)
    return llvm::all_of(node.inputs, isCheap);
  if (tensor.numElements() > kCheckedElements || (node.storage && node.storage->release) ||
      !parametersOf(tensor).empty())
    return false;
  return llvm::all_of(node.inputs, isCheap);
}

/// Reading the tensor takes milliseconds.
bool isMaskSized(const TensorData &tensor) {
  return tensor.kind() != TensorData::Kind::Computed && tensor.numElements() <= kCheckedElements &&
         llvm::all_of(tensor.node().inputs, isMaskSized);
}

/// How the result reaches a softmax, through sums, choices, casts, maxima and views.
ConstantRole reachesSoftmax(const Value *result) {
  llvm::SmallVector<std::pair<const Value *, bool>, 16> next = {{result, false}};
  llvm::SmallPtrSet<const Value *, 16> seen = {result};
  for (size_t i = 0; i < next.size() && i < kMaskPath; ++i) {
    auto [value, guarded] = next[i];
    for (Operand &use : value->uses()) {
      const Op *user = use.owner();
      if (user->is(OpKind::softmax) || user->is(OpKind::scaled_dot_product_attention))
        return guarded ? ConstantRole::Guarded : ConstantRole::Mask;
      if (user->is(OpKind::add) || user->is(OpKind::maximum) || computes(*user, Moves))
        for (const auto &out : user->results())
          if (seen.insert(out.get()).second)
            next.push_back({out.get(), guarded || user->is(OpKind::maximum)});
    }
  }
  return ConstantRole::Other;
}

/// The result is added to something, if need be after a cast.
bool isAdded(const Value *result) {
  for (Operand &use : result->uses()) {
    const Op *user = use.owner();
    if (user->is(OpKind::cast) && user->result()->hasOneUse())
      user = (*user->result()->uses().begin()).owner();
    if (user->is(OpKind::add))
      return true;
  }
  return false;
}

/// Compared with the largest number, infinity is found as well as with infinity.
bool isOrder(OpKind kind) {
  switch (kind) {
  case OpKind::less:
  case OpKind::less_equal:
  case OpKind::greater:
  case OpKind::greater_equal:
    return true;
  default:
    return false;
  }
}

/// Only an infinity lies beyond the bound, and the largest number is not beyond itself: x > 1e9 is
/// x > 65504. But x < 1e9 is true of 65504.
bool findsInfinity(const Op &op, unsigned param, double bound) {
  static_assert(unsigned(greater::y) == 1 && unsigned(less::y) == 1);
  bool isSecond = param == 1;
  if (op.is(OpKind::greater) || op.is(OpKind::less_equal))
    return isSecond == (bound > 0);
  return isSecond == (bound < 0);
}

/// Nothing in fp16 lies beyond the bound, so that it bounds nothing there.
bool isIdleBound(const Op &op, unsigned param, double bound) {
  switch (op.kind()) {
  case OpKind::clip:
    return param == unsigned(clip::alpha) ? bound < 0 : param == unsigned(clip::beta) && bound > 0;
  case OpKind::maximum:
  case OpKind::threshold:
    return bound < 0;
  case OpKind::minimum:
    return bound > 0;
  default:
    return isOrder(op.kind()) &&
           (std::abs(bound) >= kLikeInfinity || findsInfinity(op, param, bound));
  }
}

/// Keeps something from being 0, which the smallest number does as well.
bool isGuard(const Op &op, unsigned param) {
  return op.is(OpKind::maximum) || op.is(OpKind::minimum) || op.is(OpKind::clip) ||
         isOrder(op.kind()) || computes(op, Moves) ||
         llvm::StringRef(op.info().params[param].name) == "epsilon";
}

} // namespace

ConstantRole roleOf(const Op &op, unsigned param) {
  switch (op.kind()) {
  case OpKind::scaled_dot_product_attention:
    return param == scaled_dot_product_attention::attn_mask ? ConstantRole::Mask
                                                            : ConstantRole::Other;
  case OpKind::add: {
    ConstantRole role = reachesSoftmax(op.result());
    return role == ConstantRole::Other ? ConstantRole::Added : role;
  }
  case OpKind::mul: // (1 - attended) * -1e9
    return reachesSoftmax(op.result());
  case OpKind::select: {
    ConstantRole role = reachesSoftmax(op.result());
    return role == ConstantRole::Other && isAdded(op.result()) ? ConstantRole::Added : role;
  }
  default:
    return ConstantRole::Other;
  }
}

HalfConstant halfConstant(const Op &op, unsigned param, const TensorData &tensor,
                          ConstantRole role) {
  HalfConstant result{tensor.cast(DType::F16)};
  bool reachesMask = role == ConstantRole::Mask || role == ConstantRole::Guarded;
  if (!isCheap(tensor) && !(reachesMask && isMaskSized(tensor)))
    return result;
  std::vector<double> values;
  std::optional<double> same = splatValue(tensor);
  if (same) {
    values = {*same};
  } else {
    auto read = tensor.floatValues();
    if (!read) {
      llvm::consumeError(read.takeError());
      return result;
    }
    values = std::move(*read);
  }
  result.wasRead = true;
  bool mayNotVanish = int64_t(values.size()) < kVanishingElements;
  double largest = 0;
  for (double v : values)
    largest = std::max(largest, std::abs(v));
  if (largest > kLargestWhole && largest <= kLargest &&
      llvm::all_of(values, [](double v) { return v == std::nearbyint(v); }))
    for (double v : values)
      if (!result.inexact && halfToFloat(floatToHalf(float(v))) != float(v))
        result.inexact = v;
  if (largest < kLargest && !mayNotVanish) // as nearly all weights
    return result;
  // An amount that every element gets is no mask, unless it stands for infinity.
  bool isShift = role == ConstantRole::Added && op.is(OpKind::add) && same;
  bool masks = role != ConstantRole::Other && llvm::any_of(values, [&](double v) {
                 return v <= (isShift ? -kLikeInfinity : -kLargest);
               });
  result.dependsOnUse = largest > kLargest;
  bool differs = false;
  for (double &v : values) {
    double was = v;
    if (masks && v < kMasked) {
      v = role == ConstantRole::Guarded && std::isinf(v) ? -kLargest : kMasked;
    } else if (std::isinf(v) && isOrder(op.kind())) {
      v = std::copysign(kLargest, v);
    } else if (std::abs(v) > kLargest && std::isfinite(v)) {
      v = std::copysign(kLargest, v);
      if (!isIdleBound(op, param, was)) {
        bool standsForInfinity = computes(op, Moves) && std::abs(was) >= kLikeInfinity;
        (standsForInfinity ? result.saturated : result.beyond) = was;
      }
    } else if (v != 0 && std::abs(v) <= kSmallest / 2 && mayNotVanish) {
      v = std::copysign(kSmallest, v);
      if (same && (!isGuard(op, param) || feedsLog(op)))
        result.vanished = was;
    }
    differs |= v != was && !std::isnan(was);
  }
  if (differs)
    result.tensor = same ? TensorData::splat(DType::F16, tensor.shape(), values.front())
                               .withOrigin(originOf(tensor))
                         : floats(DType::F16, tensor.shape(), values, originOf(tensor));
  return result;
}

bool feedsLog(const Op &op) {
  return op.results().size() == 1 &&
         llvm::any_of(op.result()->users(), [](Op *user) { return user->is(OpKind::log); });
}

bool mayBeLargeAfter(const Op &op) {
  switch (op.kind()) {
  case OpKind::abs:
  case OpKind::add:
  case OpKind::ceil:
  case OpKind::clip:
  case OpKind::cumsum:
  case OpKind::floor:
  case OpKind::floor_div:
  case OpKind::leaky_relu:
  case OpKind::maximum:
  case OpKind::minimum:
  case OpKind::mod:
  case OpKind::mul:
  case OpKind::real_div:
  case OpKind::reduce_max:
  case OpKind::reduce_mean:
  case OpKind::reduce_min:
  case OpKind::reduce_sum:
  case OpKind::relu:
  case OpKind::round:
  case OpKind::square:
  case OpKind::sub:
    return true;
  default:
    return computes(op, Moves);
  }
}

} // namespace plait::passes
