// Canonical trees of lazy transforms: how they are built, compared and hashed. Reading is in
// TensorReader.cpp.
#include "mil/TensorData.h"

#include "mil/Attr.h"
#include "mil/OpInfo.h"

#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/xxhash.h"
#include <array>
#include <cassert>
#include <cstring>

namespace plait::mil {

/// Tensors of up to this many stored elements are transformed at once: trees over scalars would
/// only cost.
static constexpr int64_t kEagerElements = 64;
/// Owned storage of up to this many bytes is compared and hashed by content.
static constexpr size_t kContentBytes = 4096;
/// Equal tensors of up to this many bytes share their storage where a thread makes them soon after
/// one another: axes, shapes and flags, which most operations of a program repeat.
static constexpr size_t kRecentBytes = 256;

std::shared_ptr<const Storage> Storage::owned(std::vector<uint8_t> bytes) {
  struct Owned : Storage {
    std::vector<uint8_t> data;
  };
  auto storage = std::make_shared<Owned>();
  storage->data = std::move(bytes);
  storage->bytes = storage->data;
  return storage;
}

static llvm::SmallVector<int64_t, 4> rowMajor(llvm::ArrayRef<int64_t> shape) {
  llvm::SmallVector<int64_t, 4> strides(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

static bool isRowMajor(const TensorData::Node &node) {
  int64_t step = 1;
  for (size_t i = node.shape.size(); i-- > 0;) {
    if (node.shape[i] != 1 && node.strides[i] != step)
      return false;
    step *= node.shape[i];
  }
  return true;
}

static bool isSplat(const TensorData::Node &node) {
  return node.kind == TensorData::Kind::Strided &&
         llvm::all_of(llvm::zip(node.shape, node.strides),
                      [](auto pair) { return std::get<0>(pair) == 1 || std::get<1>(pair) == 0; });
}

static uint64_t hashAttr(const Attr &attr) {
  if (const TensorData *tensor = attr.tensor())
    return tensor->treeHash();
  uint64_t hash = 0;
  if (const auto *strings = attr.strings())
    for (const std::string &s : *strings)
      hash = llvm::hash_combine(hash, llvm::xxh3_64bits(s));
  if (const auto *elements = attr.elements())
    for (const Attr &element : *elements)
      hash = llvm::hash_combine(hash, hashAttr(element));
  return hash;
}

/// The bytes that decide a small owned view: equal ones are equal trees wherever they live.
static llvm::ArrayRef<uint8_t> contentOf(const TensorData::Node &node) {
  if (node.kind != TensorData::Kind::Strided || node.storage->release ||
      node.storage->bytes.size() > kContentBytes)
    return {};
  return node.storage->bytes.drop_front(node.byteOffset);
}

TensorData::Node::Node(Kind kind, DType dtype) : kind(kind), dtype(dtype) {}
TensorData::Node::Node(Node &&other) noexcept = default;
TensorData::Node::~Node() = default;

TensorData TensorData::make(Node node) {
  uint64_t hash =
      llvm::hash_combine(unsigned(node.kind), unsigned(node.dtype),
                         llvm::hash_combine_range(node.shape.begin(), node.shape.end()),
                         llvm::bit_cast<uint64_t>(node.factor), unsigned(node.op), node.index,
                         llvm::hash_combine_range(node.strides.begin(), node.strides.end()),
                         llvm::hash_combine_range(node.perm.begin(), node.perm.end()));
  if (node.storage) {
    if (llvm::ArrayRef<uint8_t> content = contentOf(node); !content.empty())
      hash = llvm::hash_combine(hash, llvm::xxh3_64bits(content));
    else
      hash = llvm::hash_combine(hash, node.storage->bytes.data(), node.byteOffset);
  }
  for (const TensorData &input : node.inputs)
    hash = llvm::hash_combine(hash, input.treeHash());
  for (const auto &operand : node.operands) {
    hash = llvm::hash_combine(hash, operand.size());
    for (const Attr &attr : operand)
      hash = llvm::hash_combine(hash, hashAttr(attr));
  }
  node.hash = hash;
  if (!node.storage || contentOf(node).empty() || node.storage->bytes.size() > kRecentBytes)
    return TensorData(std::make_shared<const Node>(std::move(node)));
  thread_local std::array<TensorData, 512> recentTensors;
  TensorData &recent = recentTensors[hash % recentTensors.size()];
  TensorData made(std::make_shared<const Node>(std::move(node)));
  if (!recent || !recent.sameTree(made) || !(recent.node_->origin == made.node_->origin))
    recent = std::move(made);
  return recent;
}

TensorData TensorData::view(std::shared_ptr<const Storage> storage, uint64_t byteOffset,
                            DType dtype, llvm::ArrayRef<int64_t> shape,
                            llvm::ArrayRef<int64_t> strides, Origin origin) {
  Node node(Kind::Strided, dtype);
  node.shape.assign(shape.begin(), shape.end());
  node.strides.assign(strides.begin(), strides.end());
  if (strides.empty())
    node.strides = rowMajor(shape);
  assert(node.strides.size() == shape.size());
  // One spelling for one view: row-major where it is, no stride where there is nothing to step
  // over.
  if (isRowMajor(node))
    node.strides = rowMajor(shape);
  else
    for (size_t i = 0; i < shape.size(); ++i)
      if (shape[i] == 1)
        node.strides[i] = 0;
  assert((!isSubByte(dtype) || isRowMajor(node) || isSplat(node)) &&
         "sub-byte views are row-major");
  node.storage = std::move(storage);
  node.byteOffset = byteOffset;
  node.origin = std::move(origin);
  return make(std::move(node));
}

TensorData TensorData::fromBytes(DType dtype, llvm::ArrayRef<int64_t> shape,
                                 std::vector<uint8_t> bytes) {
  assert(bytes.size() == mil::byteSize(dtype, mil::numElements(shape)));
  return view(Storage::owned(std::move(bytes)), 0, dtype, shape);
}

TensorData TensorData::splat(DType dtype, llvm::ArrayRef<int64_t> shape, double value) {
  // One stored element, seen with strides of zero.
  TensorData one = from<double>(DType::F64, {}, value).cast(dtype);
  llvm::SmallVector<int64_t, 4> strides(shape.size(), 0);
  return view(one.node_->storage, one.node_->byteOffset, dtype, shape, strides);
}

TensorData TensorData::ints(llvm::ArrayRef<int64_t> values) {
  std::vector<int32_t> narrow;
  for (int64_t v : values) // bounds such as "to the end" saturate: no MIL dimension is larger
    narrow.push_back(int32_t(std::clamp<int64_t>(v, INT32_MIN, INT32_MAX)));
  return from<int32_t>(DType::I32, {int64_t(values.size())}, narrow);
}

TensorData TensorData::bools(llvm::ArrayRef<bool> values) {
  return from<uint8_t>(DType::Bool, {int64_t(values.size())}, llvm::to_vector_of<uint8_t>(values));
}

/// Every value of `from` has an equal one in `to`.
static bool widens(DType from, DType to) {
  if (from == to)
    return true;
  if (isFloat(from))
    return isFloat(to) && bitWidth(to) > bitWidth(from);
  if (from == DType::Bool)
    return to != DType::String;
  if (isFloat(to))
    return bitWidth(from) <= (to == DType::F64   ? 32
                              : to == DType::F32 ? 16
                                                 : 8) &&
           to != DType::BF16;
  return isInteger(from) && isInteger(to) && bitWidth(to) > bitWidth(from) &&
         (isUnsigned(from) || !isUnsigned(to));
}

TensorData TensorData::cast(DType dtype) const {
  if (dtype == this->dtype())
    return *this;
  const Node &n = *node_;
  if (n.kind == Kind::Cast && widens(n.inputs[0].dtype(), n.dtype))
    return n.inputs[0].cast(dtype);
  Node node(Kind::Cast, dtype);
  node.shape = n.shape;
  node.inputs.push_back(*this);
  if (n.kind == Kind::Strided && (isSplat(n) || numElements() <= kEagerElements)) {
    bool splat = isSplat(n) && numElements() > 0;
    TensorData source = splat ? view(n.storage, n.byteOffset, n.dtype, {}) : *this;
    Node eager(Kind::Cast, dtype);
    eager.shape = source.node_->shape;
    eager.inputs.push_back(source);
    auto bytes = make(std::move(eager)).bytes();
    assert(bytes && "a cast of a view needs no evaluator");
    llvm::SmallVector<int64_t, 4> strides(n.shape.size(), 0);
    auto storage = Storage::owned(std::move(*bytes));
    return splat ? view(storage, 0, dtype, n.shape, strides, n.origin)
                 : view(storage, 0, dtype, n.shape, {}, n.origin);
  }
  return make(std::move(node));
}

TensorData TensorData::reshape(llvm::ArrayRef<int64_t> shape) const {
  const Node &n = *node_;
  assert(mil::numElements(shape) == numElements());
  if (llvm::ArrayRef<int64_t>(n.shape) == shape)
    return *this;
  switch (n.kind) {
  case Kind::Strided: {
    if (isRowMajor(n))
      return view(n.storage, n.byteOffset, n.dtype, shape, {}, n.origin);
    if (isSplat(n))
      return view(n.storage, n.byteOffset, n.dtype, shape,
                  llvm::SmallVector<int64_t, 4>(shape.size(), 0), n.origin);
    break;
  }
  case Kind::Cast:
    return n.inputs[0].reshape(shape).cast(n.dtype);
  case Kind::Scale:
    return n.inputs[0].reshape(shape).scale(n.factor);
  case Kind::Reshape:
    return n.inputs[0].reshape(shape);
  default:
    break;
  }
  Node node(Kind::Reshape, n.dtype);
  node.shape.assign(shape.begin(), shape.end());
  node.inputs.push_back(*this);
  return make(std::move(node));
}

TensorData TensorData::permute(llvm::ArrayRef<int64_t> perm) const {
  const Node &n = *node_;
  assert(perm.size() == n.shape.size());
  if (llvm::all_of(llvm::enumerate(perm),
                   [](auto it) { return int64_t(it.index()) == it.value(); }))
    return *this;
  llvm::SmallVector<int64_t, 4> shape;
  for (int64_t axis : perm)
    shape.push_back(n.shape[axis]);
  switch (n.kind) {
  case Kind::Strided: {
    if (isSubByte(n.dtype) && !isSplat(n))
      break;
    llvm::SmallVector<int64_t, 4> strides;
    for (int64_t axis : perm)
      strides.push_back(n.strides[axis]);
    return view(n.storage, n.byteOffset, n.dtype, shape, strides, n.origin);
  }
  case Kind::Cast:
    return n.inputs[0].permute(perm).cast(n.dtype);
  case Kind::Scale:
    return n.inputs[0].permute(perm).scale(n.factor);
  case Kind::LoraMerge: // (W + s B A)' = W' + s A' B'
    return n.inputs[0].permute(perm).loraMerge(n.inputs[2].permute({1, 0}),
                                               n.inputs[1].permute({1, 0}), n.factor);
  case Kind::Permute: {
    llvm::SmallVector<int64_t, 4> combined;
    for (int64_t axis : perm)
      combined.push_back(n.perm[axis]);
    return n.inputs[0].permute(combined);
  }
  case Kind::Computed: // (X Y)' = Y' X'
    if (n.op == OpKind::matmul && perm.size() == 2) {
      auto flipped = [&](unsigned flag) {
        const auto &operand = n.operands[flag];
        bool isSet = !operand.empty() && operand[0].tensor()->contiguousBytes()[0] != 0;
        return std::vector<Attr>{Attr(TensorData::scalar(!isSet))};
      };
      return computed(OpKind::matmul,
                      {n.operands[matmul::y], n.operands[matmul::x], flipped(matmul::transpose_y),
                       flipped(matmul::transpose_x)},
                      Type::tensor(n.dtype, llvm::ArrayRef<int64_t>(shape)));
    }
    break;
  default:
    break;
  }
  Node node(Kind::Permute, n.dtype);
  node.shape = std::move(shape);
  node.perm.assign(perm.begin(), perm.end());
  node.inputs.push_back(*this);
  return make(std::move(node));
}

TensorData TensorData::scale(double factor) const {
  if (factor == 1)
    return *this;
  Node node(Kind::Scale, dtype());
  node.shape = node_->shape;
  node.factor = factor;
  node.inputs.push_back(*this);
  return make(std::move(node));
}

TensorData TensorData::loraMerge(const TensorData &b, const TensorData &a, double factor) const {
  assert(rank() == 2 && b.rank() == 2 && a.rank() == 2 && b.shape()[0] == shape()[0] &&
         a.shape()[1] == shape()[1] && b.shape()[1] == a.shape()[0]);
  Node node(Kind::LoraMerge, dtype());
  node.shape = node_->shape;
  node.factor = factor;
  node.inputs = {*this, b, a};
  return make(std::move(node));
}

TensorData TensorData::computed(OpKind kind, std::vector<std::vector<Attr>> operands,
                                const Type &type, unsigned index) {
  Node node(Kind::Computed, type.dtype());
  for (const Dim &d : type.shape())
    node.shape.push_back(d.value());
  node.op = kind;
  node.operands = std::move(operands);
  node.index = index;
  return make(std::move(node));
}

TensorData::Kind TensorData::kind() const { return node_->kind; }
DType TensorData::dtype() const { return node_->dtype; }
llvm::ArrayRef<int64_t> TensorData::shape() const { return node_->shape; }
int64_t TensorData::numElements() const { return mil::numElements(shape()); }
uint64_t TensorData::treeHash() const { return node_->hash; }

llvm::ArrayRef<uint8_t> TensorData::contiguousBytes() const {
  const Node &n = *node_;
  if (n.kind != Kind::Strided || !isRowMajor(n))
    return {};
  return n.storage->bytes.slice(n.byteOffset, byteSize());
}

std::optional<uint32_t> TensorData::crc() const {
  llvm::ArrayRef<uint8_t> bytes = contiguousBytes();
  if (bytes.empty() || bytes.size() != node_->storage->bytes.size())
    return std::nullopt;
  return node_->storage->crc;
}

bool TensorData::sameTree(const TensorData &other) const {
  if (node_ == other.node_)
    return true;
  const Node &a = *node_, &b = *other.node_;
  if (a.hash != b.hash || a.kind != b.kind || a.dtype != b.dtype || a.shape != b.shape ||
      a.strides != b.strides || a.perm != b.perm ||
      std::memcmp(&a.factor, &b.factor, sizeof a.factor) || a.op != b.op || a.index != b.index ||
      a.inputs.size() != b.inputs.size() || a.operands != b.operands)
    return false;
  if (a.storage) {
    llvm::ArrayRef<uint8_t> p = contentOf(a), q = contentOf(b);
    bool sameContent = !p.empty() && p == q;
    bool samePlace =
        a.storage->bytes.data() == b.storage->bytes.data() && a.byteOffset == b.byteOffset;
    if (!sameContent && !samePlace)
      return false;
  }
  return llvm::all_of(llvm::zip(a.inputs, b.inputs),
                      [](auto pair) { return std::get<0>(pair).sameTree(std::get<1>(pair)); });
}

// ---- Origins -----------------------------------------------------------------------------------

TensorData TensorData::withOrigin(Origin origin) const {
  const Node &n = *node_;
  assert(n.kind == Kind::Strided);
  if (n.origin == origin)
    return *this;
  return view(n.storage, n.byteOffset, n.dtype, n.shape, n.strides, std::move(origin));
}

/// `attr` with the origins of an equal one added; nullopt where that adds nothing.
static std::optional<Attr> merged(const Attr &attr, const Attr &other) {
  const TensorData *tensor = attr.tensor(), *same = other.tensor();
  if (!tensor || !same)
    return std::nullopt;
  TensorData result = tensor->withOriginsOf(*same);
  return &result.node() == &tensor->node() ? std::nullopt : std::optional(Attr(std::move(result)));
}

TensorData TensorData::withOriginsOf(const TensorData &other) const {
  const Node &n = *node_, &o = *other.node_;
  if (&n == &o || n.kind != o.kind)
    return *this;
  if (n.kind == Kind::Strided)
    return withOrigin(n.origin.with(o.origin));
  // The tree is rebuilt as it is, node by node: it is canonical already.
  std::optional<Node> changed;
  auto change = [&]() -> Node & {
    if (!changed) {
      changed.emplace(n.kind, n.dtype);
      changed->op = n.op;
      changed->index = n.index;
      changed->shape = n.shape;
      changed->inputs = n.inputs;
      changed->perm = n.perm;
      changed->factor = n.factor;
      changed->operands = n.operands;
    }
    return *changed;
  };
  for (auto [i, pair] : llvm::enumerate(llvm::zip(n.inputs, o.inputs))) {
    auto &[input, same] = pair;
    TensorData result = input.withOriginsOf(same);
    if (result.node_ != input.node_)
      change().inputs[i] = std::move(result);
  }
  for (auto [i, pair] : llvm::enumerate(llvm::zip(n.operands, o.operands)))
    for (auto [k, attrs] : llvm::enumerate(llvm::zip(std::get<0>(pair), std::get<1>(pair))))
      if (auto result = merged(std::get<0>(attrs), std::get<1>(attrs)))
        change().operands[i][k] = std::move(*result);
  return changed ? make(std::move(*changed)) : *this;
}

void forEachLeaf(const TensorData &tensor,
                 llvm::function_ref<void(const TensorData::Node &)> callback) {
  const TensorData::Node &node = tensor.node();
  if (node.kind == TensorData::Kind::Strided)
    return callback(node);
  for (const TensorData &input : node.inputs)
    forEachLeaf(input, callback);
  for (const auto &operand : node.operands)
    for (const Attr &attr : operand)
      if (const TensorData *inner = attr.tensor())
        forEachLeaf(*inner, callback);
}

std::vector<std::string> parametersOf(const TensorData &tensor) {
  std::vector<std::string> paths;
  forEachLeaf(tensor, [&](const TensorData::Node &leaf) {
    for (llvm::StringRef path : leaf.origin.paths())
      if (!llvm::is_contained(paths, path))
        paths.push_back(path.str());
  });
  return paths;
}

Origin originOf(const TensorData &tensor) {
  switch (tensor.kind()) {
  case TensorData::Kind::Strided:
    return tensor.node().origin;
  case TensorData::Kind::Cast:
  case TensorData::Kind::Reshape:
  case TensorData::Kind::Permute:
    return originOf(tensor.node().inputs[0]);
  default:
    break;
  }
  Origin origin;
  forEachLeaf(tensor, [&](const TensorData::Node &leaf) { origin = origin.with(leaf.origin); });
  return origin.asComputed();
}

bool isWeight(const TensorData &tensor) {
  bool found = false;
  forEachLeaf(tensor, [&](const TensorData::Node &leaf) { found |= bool(leaf.origin); });
  return found;
}

} // namespace plait::mil
