// A callback of LibTorch's profiler that looks at the types of operands and results.
#include "runtime/NarrowArithmetic.h"

#include "llvm/ADT/STLExtras.h"
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

void NarrowArithmetic::end(const at::RecordFunction &function, at::ObserverContext *) {
  if (!current || onlyCopies(function.name()))
    return;
  for (const c10::IValue &output : function.outputs()) {
    auto type = narrowTypeOf(output);
    // Views are of what they view.
    bool computes =
        type && llvm::any_of(function.inputs(), [&](const c10::IValue &input) {
          return narrowTypeOf(input) == type && !input.toTensor().is_alias_of(output.toTensor());
        });
    if (computes && current->narrowest_ != at::kBFloat16)
      current->narrowest_ = type;
  }
}

} // namespace plait::runtime
