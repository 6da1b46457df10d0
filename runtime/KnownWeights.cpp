// Finding which tensor of the model a constant is. Sizes and a few elements rule out nearly all
// pairs; what is left is compared a chunk at a time, so that no copy of a weight is made.
#include "runtime/KnownWeights.h"

#include "runtime/WeightPages.h"
#include "support/TorchMessage.h"

#include <ATen/Parallel.h>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

namespace plait::runtime {

using mil::DType;

float halfUnit(float value) {
  float power = std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0x7F800000u);
  return std::max(power, 0x1p-14f) * 0x1p-11f;
}

namespace {

/// Half a unit, and what a merge that adds in another order is off before it is rounded. A norm of
/// variance 1 that was folded multiplies by 0.999995: it takes some elements of a weight further
/// than that.
constexpr float kTightSlack = 1.01f;
/// The same of a weight whose few elements tell no factor.
constexpr float kSlack = 1.2f;
/// Fewer elements may be near those of some weight by chance, and so may a few of a larger one.
constexpr int64_t kFewest = 4, kFewestOfPart = 16;
/// A weight is looked for in tensors of up to so many times its elements, such as the queries, keys
/// and values of one layer. Beyond that, looking at every part would read most of a large model.
constexpr int64_t kMostParts = 16;

/// So many elements are compared at a time: what they are converted to stays in the cache.
constexpr int64_t kTile = 1 << 18;

bool isRounded(float rounded, float known, float slack = kSlack) {
  return std::isfinite(rounded) ? std::abs(rounded - known) <= slack * halfUnit(rounded)
                                : rounded == known;
}

/// The contiguous fp16 tensor holds what LibTorch makes of the other.
bool isConverted(const at::Tensor &half, const at::Tensor &known) {
  if (half.scalar_type() != at::kHalf || !half.is_contiguous())
    return false;
  at::Tensor converted = known.to(at::kHalf).contiguous();
  return std::memcmp(half.const_data_ptr(), converted.const_data_ptr(), half.nbytes()) == 0;
}

at::Tensor flatFloats(const at::Tensor &tensor) {
  return tensor.to(at::kFloat).contiguous().reshape({-1});
}

/// Whether `constant` is `known` rounded; the two have one shape.
bool isRounded(const at::Tensor &constant, const at::Tensor &known, float slack = kSlack) {
  int64_t rows = constant.size(0), step = std::max<int64_t>(1, kTile * rows / known.numel());
  for (int64_t begin = 0; begin < rows; begin += step) {
    int64_t count = std::min(step, rows - begin);
    // As nearly all are, and six times as fast.
    if (isConverted(constant.narrow(0, begin, count), known.narrow(0, begin, count)))
      continue;
    at::Tensor a = flatFloats(constant.narrow(0, begin, count));
    at::Tensor b = flatFloats(known.narrow(0, begin, count));
    const float *x = a.const_data_ptr<float>(), *y = b.const_data_ptr<float>();
    std::atomic<bool> same = true;
    at::parallel_for(0, a.numel(), 1 << 16, [&](int64_t from, int64_t to) {
      bool all = true;
      for (int64_t i = from; i < to; ++i)
        all &= isRounded(x[i], y[i], slack);
      if (!all)
        same = false;
    });
    if (!same)
      return false;
  }
  return true;
}

/// A few elements of the two, the first and the last among them.
bool mayBeRounded(const at::Tensor &constant, const at::Tensor &known) {
  int64_t count = constant.numel(), probes = std::min<int64_t>(count, 8);
  for (int64_t probe = 0; probe < probes; ++probe) {
    int64_t rest = probes == 1 ? 0 : (count - 1) * probe / (probes - 1);
    at::Tensor a = constant, b = known;
    for (int64_t axis = constant.dim() - 1; axis >= 0; --axis) {
      int64_t size = constant.size(axis);
      a = a.select(axis, rest % size);
      b = b.select(axis, rest % size);
      rest /= size;
    }
    if (!isRounded(a.item().toFloat(), b.item().toFloat()))
      return false;
  }
  return true;
}

/// What each row of `known` is multiplied by to give that of `constant`, or an undefined tensor.
at::Tensor factorsOf(const at::Tensor &constant, const at::Tensor &known) {
  // Fewer elements would follow any factor.
  if (constant.dim() < 2 || constant.numel() / constant.size(0) < 8)
    return {};
  // The factor of a row is known from rounded numbers: its deviation is 2 / sqrt(3 n) of the half
  // unit at most, and three of these are allowed for.
  float slack = kSlack + 6 / std::sqrt(3 * float(constant.numel() / constant.size(0)));
  // A factor that fits the first row as a whole is asked for before all rows are read.
  auto fitted = [slack](const at::Tensor &rounded, const at::Tensor &original) -> at::Tensor {
    at::Tensor x = rounded.to(at::kFloat).flatten(1);
    at::Tensor y = original.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).flatten(1);
    at::Tensor factors = (x * y).sum(1, true) / (y * y).sum(1, true).clamp_min(1e-30);
    return isRounded(x, y.mul_(factors), slack) ? factors : at::Tensor();
  };
  if (!fitted(constant.narrow(0, 0, 1), known.narrow(0, 0, 1)).defined())
    return {};
  return fitted(constant, known);
}

class Finder {
public:
  Error add(const mil::TensorData &data) {
    if (!mil::isFloat(data.dtype()) || data.numElements() == 0)
      return Error::success();
    auto tensor = toTensor(data, Compute::Float32, nullptr);
    if (!tensor)
      return tensor.takeError();
    bySize_[tensor->numel()].push_back({tensor->squeeze(), data});
    return Error::success();
  }

  std::optional<UnroundedParts> find(const at::Tensor &constant) const {
    if (auto whole = findWhole(constant))
      return UnroundedParts{std::move(*whole)};
    if (constant.dim() == 0 || constant.size(0) < 2 || constant.numel() < kFewestOfPart)
      return std::nullopt;
    UnroundedParts parts;
    for (int64_t begin = 0, rows = constant.size(0); begin < rows;) {
      auto part = firstPart(constant.narrow(0, begin, rows - begin));
      if (!part)
        return std::nullopt;
      begin += part->known.size(0);
      parts.push_back(std::move(*part));
    }
    return parts;
  }

private:
  enum class Way { Tight, Factors, Loose };
  static constexpr Way kWays[] = {Way::Tight, Way::Factors, Way::Loose};

  /// `known`, of the shape of `wanted`, if that is it in the given way.
  static std::optional<UnroundedWeight> attempt(const at::Tensor &wanted, const at::Tensor &known,
                                                const mil::TensorData &source, Way way) {
    std::optional<UnroundedWeight> found;
    if (way != Way::Factors) {
      if (!mayBeRounded(wanted, known))
        return std::nullopt;
      if (isRounded(wanted, known, way == Way::Tight ? kTightSlack : kSlack))
        found = {known, {}, 0, source};
    } else if (at::Tensor factors = factorsOf(wanted, known); factors.defined()) {
      found = {known, std::move(factors),
               0x1p-11 / std::sqrt(double(wanted.numel()) / double(wanted.size(0))), source};
    }
    releasePages(source); // the first row of a transposed one lies in all of them
    return found;
  }

  /// The tensor that the first rows are, or those of them that are zeros.
  std::optional<UnroundedWeight> firstPart(const at::Tensor &rows) const {
    for (Way way : kWays)
      for (auto same = bySize_.begin(), end = bySize_.upper_bound(rows.numel()); same != end;
           ++same)
        for (const auto &[tensor, source] : same->second)
          for (const at::Tensor &known : {tensor, tensor.dim() == 2 ? tensor.t() : at::Tensor()})
            if (known.defined() && known.dim() == rows.dim() && known.numel() >= kFewest &&
                known.sizes().slice(1) == rows.sizes().slice(1))
              if (auto found = attempt(rows.narrow(0, 0, known.size(0)), known, source, way))
                return found;
    at::Tensor used = rows.reshape({rows.size(0), -1}).ne(0).any(1);
    int64_t zeros =
        used.any().item<bool>() ? used.to(at::kInt).argmax().item<int64_t>() : rows.size(0);
    if (zeros == 0)
      return std::nullopt;
    return UnroundedWeight{rows.narrow(0, 0, zeros), {}, 0, {}};
  }

  std::optional<UnroundedWeight> findWhole(const at::Tensor &constant) const {
    at::Tensor wanted = constant.squeeze();
    if (wanted.dim() == 0)
      wanted = wanted.reshape({1});
    std::optional<UnroundedWeight> found;
    for (Way way : kWays)
      forEachView(wanted, [&](const at::Tensor &known, const mil::TensorData &source) {
        if (!found && known.sizes() == wanted.sizes())
          found = attempt(wanted, known, source, way);
      });
    if (found)
      found->known = found->known.reshape(constant.sizes());
    return found;
  }

  /// Every known tensor of as many elements, in each order of its axes, and the parts of larger
  /// ones.
  template <typename Fn> void forEachView(const at::Tensor &wanted, Fn fn) const {
    if (auto same = bySize_.find(wanted.numel()); same != bySize_.end())
      for (const auto &[tensor, source] : same->second) {
        at::Tensor known = tensor.dim() ? tensor : tensor.reshape({1});
        std::vector<int64_t> axes(known.dim());
        for (size_t i = 0; i < axes.size(); ++i)
          axes[i] = int64_t(i);
        if (known.dim() > 4) {
          fn(known, source);
          continue;
        }
        do
          fn(known.permute(axes), source);
        while (std::next_permutation(axes.begin(), axes.end()));
      }
    if (wanted.numel() < kFewestOfPart)
      return;
    for (auto larger = bySize_.upper_bound(wanted.numel());
         larger != bySize_.end() && larger->first <= kMostParts * wanted.numel(); ++larger) {
      for (const auto &[known, source] : larger->second)
        for (const at::Tensor &whole : {known, known.dim() == 2 ? known.t() : at::Tensor()})
          if (whole.defined() && whole.dim() == wanted.dim() &&
              whole.sizes().slice(1) == wanted.sizes().slice(1)) {
            // Parts of one size, or of several: two thirds of queries, keys and values.
            int64_t step = std::gcd(whole.size(0), wanted.size(0)),
                    last = whole.size(0) - wanted.size(0);
            if (whole.size(0) > kMostParts * step)
              continue;
            for (int64_t begin = 0; begin <= last; begin += step)
              fn(whole.narrow(0, begin, wanted.size(0)), source);
          }
    }
  }

  std::map<int64_t, std::vector<std::pair<at::Tensor, mil::TensorData>>> bySize_;
};

} // namespace

at::Tensor UnroundedWeight::tensor(const at::Tensor &moved) const {
  if (!factors.defined())
    return known.to(at::kFloat);
  at::Tensor rows = known.to(at::kFloat).flatten(1);
  return (rows * (moved.defined() ? factors * moved : factors)).reshape(known.sizes());
}

Expected<UnroundedWeights> unroundedWeights(const mil::Function &function,
                                            llvm::ArrayRef<mil::TensorData> known) {
  UnroundedWeights weights;
  if (known.empty())
    return weights;
  Finder finder;
  for (const mil::TensorData &data : known)
    if (Error error = finder.add(data))
      return error;
  std::string failure;
  mil::walk(const_cast<mil::Block &>(function.body()), [&](mil::Op &op) {
    if (!op.is(mil::OpKind::const_) || !op.val().tensor() || !failure.empty())
      return;
    const mil::TensorData &data = *op.val().tensor();
    if (data.dtype() != DType::F16 || data.numElements() < kFewest)
      return;
    auto tensor = toTensor(data, Compute::Float32, nullptr);
    if (!tensor) {
      failure = llvm::toString(tensor.takeError());
      return;
    }
    try {
      if (auto found = finder.find(*tensor))
        weights[op.result()] = std::move(*found);
      releasePages(data);
    } catch (const c10::Error &error) {
      failure = torchMessage(error.what_without_backtrace());
    }
  });
  if (!failure.empty())
    return makeError(Code::NotComputed, "function '{0}': {1}", function.name, failure);
  return weights;
}

} // namespace plait::runtime
