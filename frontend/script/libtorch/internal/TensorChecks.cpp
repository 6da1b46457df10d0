// Bounds of unpickled tensors, and the search for writes in __setstate__.
#include "frontend/script/libtorch/internal/TensorChecks.h"
#include "ATen/ATen.h"
#include "support/Format.h"
#include "torch/csrc/jit/api/function_impl.h"
#include "torch/csrc/jit/ir/ir.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/MathExtras.h"

#include <stdexcept>

namespace plait {
namespace {

using c10::IValue;

/// The bytes of its storage that `tensor` needs; none on overflow or a negative stride.
std::optional<int64_t> neededBytes(const at::Tensor &tensor) {
  int64_t last = tensor.storage_offset();
  if (last < 0)
    return std::nullopt;
  for (auto [size, stride] :
       llvm::zip_equal(llvm::ArrayRef(tensor.sizes().data(), tensor.dim()),
                       llvm::ArrayRef(tensor.strides().data(), tensor.dim()))) {
    int64_t span;
    if (size < 0 || stride < 0)
      return std::nullopt;
    if (size == 0)
      return 0;
    if (llvm::MulOverflow(size - 1, stride, span) || llvm::AddOverflow(last, span, last))
      return std::nullopt;
  }
  int64_t bytes;
  if (last == INT64_MAX ||
      llvm::MulOverflow(last + 1, static_cast<int64_t>(tensor.itemsize()), bytes))
    return std::nullopt;
  return bytes;
}

void checkTensor(const at::Tensor &tensor, BytesBehind bytesBehind) {
  if (!tensor.defined() || !tensor.has_storage() || tensor.layout() != at::kStrided)
    return;
  auto needed = neededBytes(tensor);
  uint64_t available = tensor.storage().nbytes();
  if (!needed || static_cast<uint64_t>(*needed) > available)
    throw std::runtime_error(
        "a tensor reaches out of its storage; the archive is damaged, save it again");
  if (auto behind = bytesBehind(tensor.storage().data()); behind && available > *behind)
    throw std::runtime_error(
        fmt::format("a tensor of {0} bytes lies in a record of {1}; the archive is damaged, save "
                    "it again",
                    available, *behind));
}

} // namespace

void checkTensorBounds(const IValue &value, BytesBehind bytesBehind) {
  llvm::SmallVector<IValue> pending{value};
  llvm::DenseSet<const void *> seen;
  while (!pending.empty()) {
    IValue next = pending.pop_back_val();
    if (next.isTensor()) {
      checkTensor(next.toTensor(), bytesBehind);
      continue;
    }
    if (!next.isPtrType() || next.isNone() || !seen.insert(next.internalToPointer()).second)
      continue;
    if (next.isTuple())
      llvm::append_range(pending, next.toTupleRef().elements());
    else if (next.isObject())
      llvm::append_range(pending, next.toObjectRef().slots());
    else if (next.isTensorList())
      for (const at::Tensor &tensor : next.toTensorVector())
        checkTensor(tensor, bytesBehind);
    else if (next.isList())
      for (const IValue &element : next.toListRef())
        pending.push_back(element);
    else if (next.isGenericDict())
      for (const auto &entry : next.toGenericDict()) {
        pending.push_back(entry.key());
        pending.push_back(entry.value());
      }
  }
}

static bool mayWriteTensors(at::ArrayRef<torch::jit::Block *> blocks);

static bool mayWriteTensors(torch::jit::Node &node) {
  if (node.kind() == c10::prim::CallMethod || node.kind() == c10::prim::CallFunction)
    return true;
  if (const c10::FunctionSchema *schema = node.maybeSchema())
    for (const c10::Argument &argument : schema->arguments())
      if (argument.alias_info() && argument.alias_info()->isWrite())
        return true;
  return mayWriteTensors(node.blocks());
}

static bool mayWriteTensors(at::ArrayRef<torch::jit::Block *> blocks) {
  for (torch::jit::Block *block : blocks)
    for (torch::jit::Node *node : block->nodes())
      if (mayWriteTensors(*node))
        return true;
  return false;
}

bool mayWriteTensors(torch::jit::Function &function) {
  if (!function.isGraphFunction())
    return false; // A C++ class's own __setstate__: it packs its weights into a form of its own.
  return mayWriteTensors({torch::jit::toGraphFunction(function).graph()->block()});
}

} // namespace plait
