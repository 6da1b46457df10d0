// Hashing weights where they lie, and comparing those that differ.
#include "driver/diff/WeightTable.h"

#include "runtime/arrays/Compare.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/xxhash.h"

#include <cstring>

namespace plait::driver {

using mil::TensorData;

bool isWeightOperand(const mil::Op &op, unsigned param, const mil::Value &value) {
  if (!mil::isCompileTime(&value))
    return false;
  if (!value.def()->is(mil::OpKind::const_))
    return true;
  const TensorData *tensor = mil::constTensor(&value);
  constexpr int64_t longLiteral = 64;
  return tensor && tensor->rank() > 0 &&
         (tensor->numElements() > longLiteral ||
          (mil::isFloat(tensor->dtype()) && !mil::writesInline(op, param)));
}

/// The constant, or what the chain of decompressions computes.
static TensorData tensorOf(const mil::Value &weight) {
  if (const TensorData *tensor = mil::constTensor(&weight))
    return *tensor;
  const mil::Op &op = *weight.def();
  std::vector<std::vector<mil::Attr>> operands(op.numParams());
  for (unsigned param = 0; param < op.numParams(); ++param)
    for (const mil::Operand &operand : op.operands(param)) {
      const mil::Attr *attr = mil::constAttr(operand.get());
      operands[param].push_back(attr ? *attr : mil::Attr(tensorOf(*operand.get())));
    }
  return TensorData::computed(op.kind(), std::move(operands), weight.type, weight.index());
}

Expected<uint64_t> WeightTable::hashOf(const mil::Value &weight) {
  auto known = hashes_.find(&weight);
  if (known != hashes_.end())
    return known->second;
  uint64_t hash;
  if (const TensorData *tensor = mil::constTensor(&weight)) {
    llvm::ArrayRef<uint8_t> bytes = tensor->contiguousBytes();
    if (bytes.empty()) {
      auto read = tensor->bytes(options_.evaluator);
      if (!read)
        return read.takeError();
      hash = llvm::xxh3_64bits(*read);
    } else {
      uint64_t &content = contents_[{bytes.data(), bytes.size()}];
      if (!content) {
        content = llvm::xxh3_64bits(bytes);
        if (const auto &storage = tensor->node().storage; storage->release)
          storage->release(size_t(bytes.data() - storage->bytes.data()), bytes.size());
      }
      hash = content;
    }
  } else {
    std::string text = weight.def()->info().name;
    for (unsigned param = 0; param < weight.def()->numParams(); ++param)
      for (const mil::Operand &operand : weight.def()->operands(param)) {
        if (!mil::constTensor(operand.get()) && mil::constAttr(operand.get())) {
          text += fmt::format("/{0}:{1}", param, mil::constString(operand.get()).value_or(""));
          continue;
        }
        auto inner = hashOf(*operand.get());
        if (!inner)
          return inner.takeError();
        text += fmt::format("/{0}:{1:x}", param, *inner);
      }
    hash = llvm::xxh3_64bits(text);
  }
  std::string text = fmt::format("{0} {1:x}", weight.type.str(), hash);
  return hashes_[&weight] = llvm::xxh3_64bits(text);
}

/// The paths of the parameter that it is, or the name of the operation.
static std::string nameOf(const mil::Value &weight) {
  std::vector<std::string> paths = mil::parametersOf(tensorOf(weight));
  return paths.empty() ? weight.name.str() : llvm::join(paths, ", ");
}

static std::string typeOf(const mil::Value &weight) {
  std::string text = weight.type.str();
  if (!weight.def()->is(mil::OpKind::const_))
    text += fmt::format(" by {0}", weight.def()->info().name);
  return text;
}

/// Of a compressed weight all that it is made of.
static uint64_t bytesOf(const mil::Value &weight) {
  if (const TensorData *tensor = mil::constTensor(&weight))
    return tensor->byteSize();
  uint64_t bytes = 0;
  if (const mil::Op *op = weight.def(); op && mil::isCompileTime(&weight))
    for (const mil::Operand &operand : op->operands())
      bytes += bytesOf(*operand.get());
  return bytes;
}

Error WeightTable::measure(const mil::Value &a, const mil::Value &b, WeightDiff &diff) {
  TensorData left = tensorOf(a), right = tensorOf(b);
  llvm::ArrayRef<uint8_t> x = left.contiguousBytes(), y = right.contiguousBytes();
  if (!x.empty() && x.size() == y.size() && left.type() == right.type() &&
      !mil::isSubByte(left.dtype())) {
    size_t width = mil::bitWidth(left.dtype()) / 8;
    uint64_t different = 0;
    for (size_t i = 0; i < x.size(); i += width)
      different += std::memcmp(x.data() + i, y.data() + i, width) != 0;
    diff.different = different;
  }
  if (!options_.snr || left.shape() != right.shape())
    return Error::success();
  for (TensorData *tensor : {&left, &right})
    if (tensor->contiguousBytes().empty()) {
      auto bytes = tensor->bytes(options_.evaluator);
      if (!bytes)
        return bytes.takeError();
      *tensor = TensorData::fromBytes(tensor->dtype(), tensor->shape(), std::move(*bytes));
    }
  auto comparison = runtime::compare(right, left);
  if (!comparison)
    return comparison.takeError();
  diff.snr = comparison->snr;
  diff.maxAbsolute = comparison->maxAbsolute;
  return Error::success();
}

Expected<bool> WeightTable::enter(const mil::Value &a, const mil::Value &b,
                                  llvm::StringRef function) {
  auto left = hashOf(a);
  if (!left)
    return left.takeError();
  auto right = hashOf(b);
  if (!right)
    return right.takeError();
  if (*left == *right) {
    same_[*left] = bytesOf(a);
    return true;
  }
  auto [it, isNew] = differing_.try_emplace({*left, *right});
  WeightDiff &diff = it->second;
  if (isNew) {
    diff = {nameOf(a), nameOf(b), typeOf(a), typeOf(b), bytesOf(b)};
    diff.elements = 1;
    for (const mil::Dim &dim : a.type.shape())
      diff.elements *= uint64_t(dim.tryValue().value_or(1));
    if (Error error = measure(a, b, diff))
      return addContext(std::move(error), "the weight " + diff.a);
  }
  if (diff.functions.empty() || diff.functions.back() != function)
    diff.functions.push_back(function.str());
  return false;
}

void WeightTable::finish(PackageDiff &diff) {
  for (auto &[key, weight] : differing_)
    diff.weights.push_back(std::move(weight));
  llvm::stable_sort(diff.weights, [](const auto &x, const auto &y) { return x.bytesB > y.bytesB; });
  diff.sameWeights = same_.size();
  for (const auto &[hash, bytes] : same_)
    diff.sameWeightBytes += bytes;
}

} // namespace plait::driver
