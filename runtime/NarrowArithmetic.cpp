// A callback of LibTorch's profiler that looks at the types of operands and results.
#include "runtime/NarrowArithmetic.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"

namespace plait::runtime {

static thread_local NarrowArithmetic *current = nullptr;

static std::optional<at::ScalarType> narrowTypeOf(const c10::IValue &value) {
  if (!value.isTensor() || !value.toTensor().defined())
    return std::nullopt;
  at::ScalarType type = value.toTensor().scalar_type();
  return type == at::kHalf || type == at::kBFloat16 ? std::optional(type) : std::nullopt;
}

/// Gives elements of its operands as they are, or in another type.
static bool onlyCopies(llvm::StringRef name) {
  name.consume_front("aten::");
  return llvm::is_contained({"to", "_to_copy", "copy_", "clone", "contiguous", "cat", "stack",
                             "embedding", "index", "gather", "index_select", "repeat", "flip",
                             "roll", "detach", "where"},
                            name);
}

NarrowArithmetic::NarrowArithmetic() : outer_(current) {
  current = this;
  handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&begin, &end)
                                           .needsInputs(true)
                                           .needsOutputs(true)
                                           .scopes({at::RecordScope::FUNCTION}));
}

NarrowArithmetic::~NarrowArithmetic() {
  at::removeCallback(handle_);
  current = outer_;
}

/// The operands in half or bfloat16. They are looked at before the operator runs: it may take them
/// off the stack that LibTorch shows.
struct Operands : at::ObserverContext {
  llvm::SmallVector<std::pair<at::ScalarType, const void *>, 4> narrow; ///< with their storage
};

static const void *storageOf(const at::Tensor &tensor) {
  return tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

std::unique_ptr<at::ObserverContext> NarrowArithmetic::begin(const at::RecordFunction &function) {
  if (!current || onlyCopies(function.name()))
    return nullptr;
  auto operands = std::make_unique<Operands>();
  for (const c10::IValue &input : function.inputs())
    if (auto type = narrowTypeOf(input))
      operands->narrow.emplace_back(*type, storageOf(input.toTensor()));
  if (operands->narrow.empty())
    return nullptr;
  return operands;
}

void NarrowArithmetic::end(const at::RecordFunction &function, at::ObserverContext *context) {
  if (!current || !context)
    return;
  for (const c10::IValue &output : function.outputs()) {
    auto type = narrowTypeOf(output);
    // Views are of what they view.
    bool computes = type && llvm::any_of(static_cast<Operands *>(context)->narrow, [&](auto &one) {
                      return one.first == *type && one.second != storageOf(output.toTensor());
                    });
    if (computes && current->narrowest_ != at::kBFloat16)
      current->narrowest_ = type;
  }
}

} // namespace plait::runtime
