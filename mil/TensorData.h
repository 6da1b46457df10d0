// Constant tensors that never move: a slice of immutable storage plus a tree of lazy transforms.
//
// Nothing is copied or computed until a TensorReader reads elements, tile by tile, in row-major
// order of the final tensor, in its final dtype. Trees are kept canonical, so equal trees prove
// equal contents without reading. Leaves know which parameter of the model they are (Origin.h);
// that is no part of a tree's identity.
#pragma once

#include "mil/Origin.h"
#include "mil/Type.h"
#include "support/Error.h"

#include <atomic>
#include <functional>

namespace plait::mil {

class Attr;
class Evaluator;
class RecordChecksum;
enum class OpKind : uint16_t;

/// What a comparison of storages has found out so far: those of one group begin with the same
/// `equal` bytes, the fewer of two. Another thread may still be at it.
struct Likeness {
  explicit Likeness(uint64_t group) : group(group) {}

  const uint64_t group; ///< no other comparison of this process has the number
  std::atomic<uint64_t> equal = 0;
};

/// Immutable bytes: a record of a mapped file, memory of somebody else that `owner` keeps alive, or
/// memory of its own.
struct Storage {
  llvm::ArrayRef<uint8_t> bytes;
  std::shared_ptr<const void> owner; ///< null where the storage itself owns the bytes
  /// CRC-32 of `bytes` where the file states one.
  std::optional<uint32_t> crc;
  /// Gives the pages of [offset, offset + size) back to the system; empty for owned memory.
  std::function<void(size_t offset, size_t size)> release;
  /// Fails where the bytes may have changed since they were mapped; empty for owned memory.
  std::function<Error()> check;
  /// Null where nothing compares the storage with others.
  std::shared_ptr<const Likeness> likeness;
  /// What is to see bytes that are read; null where no file states a CRC-32 of them.
  std::shared_ptr<RecordChecksum> checksum;

  /// Whether the bytes [offset, offset + size) of both are known to be the same, without a look.
  bool knownEqual(const Storage &other, uint64_t offset, uint64_t size) const {
    return likeness && other.likeness && likeness->group == other.likeness->group &&
           std::min<uint64_t>(likeness->equal, other.likeness->equal) >= offset + size;
  }

  static std::shared_ptr<const Storage> owned(std::vector<uint8_t> bytes);
};

/// A handle on an immutable tensor; copies share. Thread-safe.
class TensorData {
public:
  enum class Kind : uint8_t {
    Strided, ///< a view of storage: byte offset and strides (0 where broadcast)
    Cast, ///< elementwise conversion, as `cast` does it (fp32 to fp16 rounds to nearest even, may
          ///< give inf)
    Reshape,   ///< the same elements in row-major order under another shape
    Permute,   ///< axes permuted; only over what permutation cannot be pushed through
    Scale,     ///< times a scalar, computed in fp32 (fp64 for fp64), rounded to the dtype
    LoraMerge, ///< W + s * B A: fp32, each sum over the rank in ascending order
    Computed,  ///< the result of a MIL operation on constants, computed by an Evaluator when read
  };
  struct Node;

  TensorData() = default;
  /// Row-major bytes owned by the tensor; `bytes` has byteSize(dtype, elements) bytes.
  static TensorData fromBytes(DType dtype, llvm::ArrayRef<int64_t> shape,
                              std::vector<uint8_t> bytes);
  /// A view: strides in elements, row-major when empty; sub-byte types must be row-major.
  static TensorData view(std::shared_ptr<const Storage> storage, uint64_t byteOffset, DType dtype,
                         llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<int64_t> strides = {},
                         Origin origin = {});
  /// Every element the same.
  static TensorData splat(DType dtype, llvm::ArrayRef<int64_t> shape, double value);
  template <typename T>
  static TensorData from(DType dtype, llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<T> values) {
    auto *begin = reinterpret_cast<const uint8_t *>(values.data());
    return fromBytes(dtype, shape, {begin, begin + values.size() * sizeof(T)});
  }
  static TensorData scalar(int32_t value) { return from<int32_t>(DType::I32, {}, value); }
  static TensorData scalar(bool value) { return from<uint8_t>(DType::Bool, {}, uint8_t(value)); }
  static TensorData ints(llvm::ArrayRef<int64_t> values);
  static TensorData bools(llvm::ArrayRef<bool> values);

  /// Lazy transforms. Each returns a canonical tree: casts of casts, reshapes of reshapes and
  /// permutations of leaves collapse where that is exact.
  TensorData cast(DType dtype) const;
  TensorData reshape(llvm::ArrayRef<int64_t> shape) const;
  TensorData permute(llvm::ArrayRef<int64_t> perm) const;
  TensorData scale(double factor) const;
  /// this + factor * b a, for this [out, in], b [out, rank] and a [rank, in], result in this
  /// tensor's dtype.
  TensorData loraMerge(const TensorData &b, const TensorData &a, double factor) const;
  /// Result `index` of `kind` on constant operands, one list of attributes a parameter.
  static TensorData computed(OpKind kind, std::vector<std::vector<Attr>> operands, const Type &type,
                             unsigned index = 0);

  explicit operator bool() const { return node_ != nullptr; }
  Kind kind() const;
  const Node &node() const { return *node_; }
  DType dtype() const;
  llvm::ArrayRef<int64_t> shape() const;
  unsigned rank() const { return shape().size(); }
  int64_t numElements() const;
  uint64_t byteSize() const { return mil::byteSize(dtype(), numElements()); }
  Type type() const { return Type::tensor(dtype(), shape()); }

  /// The bytes where the tensor is a row-major view of storage; empty when it is lazy (and when it
  /// has no elements).
  llvm::ArrayRef<uint8_t> contiguousBytes() const;

  /// True when the trees prove equal contents; false proves nothing.
  bool sameTree(const TensorData &other) const;
  /// Equal for equal trees; includes dtype and shape.
  uint64_t treeHash() const;
  /// The same tensor; its leaves are also what the leaves of `other` are, whose tree is the same.
  TensorData withOriginsOf(const TensorData &other) const;
  /// A view of the same storage that is this origin's.
  TensorData withOrigin(Origin origin) const;

  /// A view whose storage records a CRC over exactly these bytes.
  std::optional<uint32_t> crc() const;

  /// All elements in row-major order. For small tensors: the whole is materialised.
  Expected<std::vector<uint8_t>> bytes(Evaluator *evaluator = nullptr) const;
  /// Elements of an integer or bool tensor, or of a float one (as double).
  Expected<llvm::SmallVector<int64_t, 8>> intValues(Evaluator *evaluator = nullptr) const;
  Expected<std::vector<double>> floatValues(Evaluator *evaluator = nullptr) const;

private:
  explicit TensorData(std::shared_ptr<const Node> node) : node_(std::move(node)) {}
  static TensorData make(Node node);
  std::shared_ptr<const Node> node_;
};

struct TensorData::Node {
  // Not inline: Attr is incomplete here.
  Node(Kind kind, DType dtype);
  Node(Node &&other) noexcept;
  ~Node();

  Kind kind;
  DType dtype;
  OpKind op{};        // of Computed
  unsigned index = 0; // of Computed
  uint64_t hash = 0;
  llvm::SmallVector<int64_t, 2> shape; // most weights are matrices
  // Strided:
  std::shared_ptr<const Storage> storage;
  uint64_t byteOffset = 0;
  llvm::SmallVector<int64_t, 2> strides;
  Origin origin; // not hashed, not compared
  // The others: W, B, A of LoraMerge, else one input.
  llvm::SmallVector<TensorData, 0> inputs;
  llvm::SmallVector<int64_t, 0> perm;
  double factor = 1;
  // Computed:
  std::vector<std::vector<Attr>> operands;
};

/// Calls `callback` for each view of storage that the tensor is computed from.
void forEachLeaf(const TensorData &tensor,
                 llvm::function_ref<void(const TensorData::Node &)> callback);
/// The paths of all parameters among the leaves, each once, in the order of the leaves.
std::vector<std::string> parametersOf(const TensorData &tensor);
/// Of a view what it says, in whatever type and order the elements are; of what is computed, the
/// origins of all that it is computed from.
Origin originOf(const TensorData &tensor);
/// Some leaf is a parameter's, or was computed from one.
bool isWeight(const TensorData &tensor);

/// Reads a tensor tile by tile. Computed constants inside are evaluated once, when the reader is
/// made; everything else is computed for the requested elements alone. Reading is thread-safe.
class TensorReader {
public:
  static Expected<TensorReader> create(const TensorData &tensor, Evaluator *evaluator);

  /// Elements [begin, begin + count) of the row-major tensor into out, which has byteSize(dtype,
  /// count) bytes. For sub-byte types begin must be a multiple of 8.
  void read(int64_t begin, int64_t count, uint8_t *out) const;
  /// Gives mapped pages behind elements [begin, begin + count) back to the system, where the tree
  /// is elementwise over a row-major view.
  void release(int64_t begin, int64_t count) const;
  const TensorData &tensor() const { return tensor_; }

private:
  explicit TensorReader(TensorData tensor) : tensor_(std::move(tensor)) {}
  TensorData tensor_;
};

} // namespace plait::mil
