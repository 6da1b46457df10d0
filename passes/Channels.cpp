// Following the channels of a layer through what moves them.
#include "passes/Channels.h"

#include "passes/Match.h"
#include "passes/SliceBounds.h"

#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

using Strides = llvm::SmallVector<int64_t, 6>;

bool isReshaping(const Op &op) {
  return op.is(OpKind::reshape) || op.is(OpKind::squeeze) || op.is(OpKind::expand_dims);
}

/// The strides after a reshape: axes are split as they are, and joined where one stride serves
/// both.
std::optional<Strides> reshapedStrides(llvm::ArrayRef<int64_t> from, llvm::ArrayRef<int64_t> to,
                                       llvm::ArrayRef<int64_t> strides) {
  Strides result(to.size(), 0);
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    size_t i0 = i, j0 = j;
    int64_t a = i < from.size() ? from[i++] : 1, b = j < to.size() ? to[j++] : 1;
    while (a != b) {
      if (a < b && i < from.size())
        a *= from[i++];
      else if (b < a && j < to.size())
        b *= to[j++];
      else
        return std::nullopt;
    }
    // from[i0, i) and to[j0, j) hold the same elements in one order.
    int64_t stride = 0, size = 1;
    for (size_t k = i; k-- > i0;) {
      if (from[k] == 1)
        continue;
      if (size == 1)
        stride = strides[k];
      else if (strides[k] != stride * size)
        return std::nullopt;
      size *= from[k];
    }
    for (size_t k = j, step = 1; k-- > j0; step *= size_t(to[k]))
      result[k] = to[k] == 1 ? 0 : stride * int64_t(step);
  }
  return result;
}

/// What result `index` of a move holds of an operand that holds `channels`; false where it is not
/// known.
bool moveOn(Channels &channels, const Op &op, unsigned index) {
  auto from = staticShape(op[0]), to = staticShape(op.result(index));
  if (!from || !to)
    return false;
  if (isReshaping(op)) {
    auto strides = reshapedStrides(*from, *to, channels.strides);
    if (strides)
      channels.strides = *strides;
    return strides.has_value();
  }
  Strides strides;
  if (op.is(OpKind::transpose)) {
    auto perm = constInts(op[transpose::perm]);
    if (!perm)
      return false;
    for (int64_t axis : *perm)
      strides.push_back(channels.strides[normalAxis(axis, from->size())]);
  } else if (auto bounds = sliceBounds(op)) {
    for (auto [axis, stride] : llvm::zip(*bounds, channels.strides)) {
      channels.first += axis.begin * stride;
      if (!axis.squeezed)
        strides.push_back(stride * axis.step);
    }
  } else if (op.is(OpKind::split)) {
    int64_t axis = normalAxis(constInt(op[split::axis]).value_or(0), from->size());
    for (unsigned i = 0; i < index; ++i)
      channels.first += op.result(i)->type.shape()[axis].value() * channels.strides[axis];
    strides = channels.strides;
  } else {
    return false;
  }
  channels.strides = strides;
  return true;
}

bool isCut(const Op &op) { return op.is(OpKind::slice_by_index) || op.is(OpKind::split); }

/// The axis of a layer's result that its channels lie along.
size_t channelAxis(const Op &layer) {
  return layer.is(OpKind::linear) ? layer.result()->type.rank() - 1 : 1;
}

/// The channels that `value` holds, whoever else holds them.
std::optional<Channels> channelsOf(Value *value) {
  Op *op = value->def();
  auto shape = staticShape(value);
  if (!op || !shape)
    return std::nullopt;
  if (op->is(OpKind::linear) || op->is(OpKind::conv)) {
    Channels channels{op, 0, Strides(shape->size(), 0)};
    channels.strides[channelAxis(*op)] = 1;
    return channels;
  }
  if (!isReshaping(*op) && !op->is(OpKind::transpose) && !isCut(*op))
    return std::nullopt;
  auto channels = channelsOf((*op)[0]);
  return channels && moveOn(*channels, *op, value->index()) ? channels : std::nullopt;
}

/// The channel of each element along the axes of channels, in order; `shape` is that of the value.
llvm::SmallVector<int64_t, 0> listChannels(const Channels &channels,
                                           llvm::ArrayRef<int64_t> shape) {
  llvm::SmallVector<int64_t, 0> list{channels.first};
  for (auto [size, stride] : llvm::zip(shape, channels.strides)) {
    if (stride == 0)
      continue;
    llvm::SmallVector<int64_t, 0> longer;
    for (int64_t channel : list)
      for (int64_t i = 0; i < size; ++i)
        longer.push_back(channel + i * stride);
    list = std::move(longer);
  }
  return list;
}

/// Whether all that is made of `source`, but for `own`, holds other channels than `mine`.
bool othersDiffer(Value *source, const Value *own, const llvm::BitVector &mine) {
  for (Op *user : source->users()) {
    if (user->numResults() == 0)
      return false;
    for (const auto &result : user->results()) {
      if (result.get() == own || !result->hasUses())
        continue;
      auto channels = isCut(*user) ? channelsOf(result.get()) : std::nullopt;
      if (!channels || llvm::any_of(listChannels(*channels, *staticShape(result.get())),
                                    [&](int64_t channel) { return mine[unsigned(channel)]; }))
        return false;
    }
  }
  return true;
}

} // namespace

std::optional<Channels> ownChannels(Value *value) {
  auto channels = channelsOf(value);
  auto shape = channels ? staticShape(value) : std::nullopt;
  auto total = shape ? staticShape(channels->layer->result()) : std::nullopt;
  if (!total || !value->hasOneUse())
    return std::nullopt;
  llvm::BitVector mine(static_cast<unsigned>((*total)[channelAxis(*channels->layer)]));
  for (int64_t channel : listChannels(*channels, *shape))
    mine.set(unsigned(channel));
  for (Value *own = value; own->def() != channels->layer; own = (*own->def())[0])
    if (!othersDiffer((*own->def())[0], own, mine))
      return std::nullopt;
  return channels;
}

std::optional<std::vector<double>> byChannel(const Channels &channels, const Value *value,
                                             const Value *constant, double other,
                                             const PassContext &context) {
  auto shape = *staticShape(value);
  const TensorData *tensor = constTensor(constant);
  size_t rank = shape.size();
  if (!tensor || tensor->rank() > rank)
    return std::nullopt;
  llvm::SmallVector<int64_t, 6> own(rank - tensor->rank(), 1);
  own.append(tensor->shape().begin(), tensor->shape().end());
  for (auto [size, stride] : llvm::zip(own, channels.strides))
    if (size != 1 && stride == 0)
      return std::nullopt;
  auto values = smallFloats(constant, context);
  if (!values)
    return std::nullopt;
  // The place in the constant of each element along the axes of channels, as listChannels() has
  // them.
  std::vector<size_t> places{0};
  for (size_t axis = 0; axis < rank; ++axis) {
    if (channels.strides[axis] == 0)
      continue;
    std::vector<size_t> longer;
    for (size_t place : places)
      for (int64_t i = 0; i < shape[axis]; ++i)
        longer.push_back(own[axis] == 1 ? place : place * size_t(own[axis]) + size_t(i));
    places = std::move(longer);
  }
  const Op &layer = *channels.layer;
  std::vector<double> result(size_t(layer.result()->type.shape()[channelAxis(layer)].value()),
                             other);
  for (auto [channel, place] : llvm::zip(listChannels(channels, shape), places))
    result[size_t(channel)] = (*values)[place];
  return result;
}

} // namespace plait::passes
