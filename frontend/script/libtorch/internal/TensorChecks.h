// What LibTorch's unpickler takes on trust and a mapped file cannot afford: that each tensor lies
// within its storage and each storage within its record. And which __setstate__ methods write to
// tensors.
#pragma once

#include "ATen/core/ivalue.h"
#include "llvm/ADT/STLFunctionalExtras.h"

#include <optional>

namespace plait {

/// The number of bytes that may be read from `data` on, if it is memory of the archive's.
using BytesBehind = llvm::function_ref<std::optional<uint64_t>(const void *data)>;

/// Throws std::runtime_error for a tensor anywhere in `value` (in lists, dicts, tuples, objects)
/// that reaches out of its storage, or whose storage reaches out of its record.
void checkTensorBounds(const c10::IValue &value, BytesBehind bytesBehind);

/// Whether running `function` may write to one of its inputs. True when in doubt (it calls others).
bool mayWriteTensors(torch::jit::Function &function);

} // namespace plait
