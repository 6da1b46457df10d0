// Axes of activations, sums of squares and of products.
#include "compress/Activations.h"

#include "support/Parallel.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

namespace plait::compress {

using namespace mil;

std::optional<Activation> activationOf(const Op &user, const Value *weight) {
  auto last = [](const Value *value) { return value->type.rank() - 1; };
  switch (user.kind()) {
  case OpKind::linear:
    if (user[linear::weight] == weight)
      return Activation{user[linear::x], last(user[linear::x])};
    return std::nullopt;
  case OpKind::conv:
    if (user[conv::weight] == weight)
      return Activation{user[conv::x], 1, constInt(user[conv::groups]).value_or(1), false};
    return std::nullopt;
  case OpKind::conv_transpose:
    if (user[conv_transpose::weight] == weight)
      return Activation{user[conv_transpose::x], 1, 1, false};
    return std::nullopt;
  case OpKind::matmul: {
    const Value *x = user[matmul::x], *y = user[matmul::y];
    if (weight->type.rank() != 2 || x->type.rank() < 2 || y->type.rank() < 2)
      return std::nullopt; // each matrix of a batch has its own inputs
    if (y == weight)
      return Activation{x,
                        last(x) - unsigned(constBool(user[matmul::transpose_x]).value_or(false))};
    if (x == weight)
      return Activation{y,
                        last(y) - unsigned(!constBool(user[matmul::transpose_y]).value_or(false))};
    return std::nullopt;
  }
  default:
    return std::nullopt;
  }
}

InputSums::InputSums(int64_t inputs, bool products, bool alsoPlain)
    : inputs_(inputs), alsoPlain_(alsoPlain), squares_(size_t(inputs)),
      products_(products && !alsoPlain ? size_t(inputs * inputs) : 0) {}

Error InputSums::add(const TensorData &tensor, const Activation &activation, unsigned threads) {
  llvm::ArrayRef<int64_t> shape = tensor.shape();
  if (activation.axis >= shape.size() || shape[activation.axis] != inputs_ * activation.groups ||
      !isFloat(tensor.dtype()))
    return makeError(Code::CompressionScheme,
                     "a value of {0} cannot be the input of a weight of {1} inputs",
                     tensor.type().str(), inputs_);
  if (!activation.isMatrix)
    products_.clear();
  auto held = tensor.cast(DType::F32).bytes();
  if (!held)
    return held.takeError();
  auto *values = reinterpret_cast<const float *>(held->data());
  int64_t inner = 1, channels = shape[activation.axis];
  for (int64_t size : shape.drop_front(activation.axis + 1))
    inner *= size;
  int64_t outer = tensor.numElements() / std::max<int64_t>(1, channels * inner);
  // [.., channels], whatever the axis is.
  std::vector<float> rows;
  rows.reserve(size_t(tensor.numElements()));
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i)
      for (int64_t c = 0; c < channels; ++c) {
        float value = values[(o * channels + c) * inner + i];
        rows.push_back(std::isfinite(value) ? value : 0);
      }
  for (size_t at = 0; at < rows.size(); at += size_t(channels))
    for (int64_t c = 0; c < channels; ++c)
      squares_[size_t(c % inputs_)] += double(rows[at + size_t(c)]) * double(rows[at + size_t(c)]);
  seen_ += outer * inner * activation.groups;
  return products_.empty() ? Error::success() : addProducts(rows, threads);
}

/// Each thread has sums of its own, so that their order is that of the rows for any number of them.
Error InputSums::addProducts(llvm::ArrayRef<float> rows, unsigned threads) {
  constexpr size_t block = 32;
  auto n = size_t(inputs_);
  return parallelFor(threads, (n + block - 1) / block, [&](unsigned, size_t item) -> Error {
    size_t begin = item * block, end = std::min(n, begin + block);
    for (size_t at = 0; at < rows.size(); at += n)
      for (size_t a = begin; a < end; ++a) {
        float factor = rows[at + a];
        float *sums = products_.data() + a * n;
        const float *row = rows.data() + at;
        for (size_t b = 0; b < n; ++b)
          sums[b] += factor * row[b];
      }
    return Error::success();
  });
}

std::vector<float> InputSums::importance() const {
  double sum = 0;
  for (double square : squares_)
    sum += square;
  std::vector<float> importance;
  for (double square : squares_) {
    double one = sum > 0 ? square * double(inputs_) / sum : 1;
    importance.push_back(float(alsoPlain_ ? (one + 1) / 2 : one));
  }
  return importance;
}

} // namespace plait::compress
