// TorchScript modules as references run them (private: includes torch).
#pragma once

#include "runtime/Runner.h"
#include "support/TorchMessage.h"

#include <torch/script.h>

namespace plait::runtime {

/// Calls `run` with the inputs as LibTorch tensors: half-precision ones as fp32; int32 ones as
/// int64, and again as int32 or bool where that fails. Gives the first error where all fail.
template <typename Result>
Expected<Result>
callWithIntegers(llvm::ArrayRef<NamedTensor> inputs,
                 llvm::function_ref<Expected<Result>(std::vector<c10::IValue>)> run);

/// Copies, since a model may write to its inputs.
Expected<std::vector<c10::IValue>> argumentsOf(llvm::ArrayRef<NamedTensor> inputs,
                                               at::ScalarType integers);

template <typename Result>
Expected<Result>
callWithIntegers(llvm::ArrayRef<NamedTensor> inputs,
                 llvm::function_ref<Expected<Result>(std::vector<c10::IValue>)> run) {
  auto call = [&](at::ScalarType integers) -> Expected<Result> {
    auto arguments = argumentsOf(inputs, integers);
    if (!arguments)
      return arguments.takeError();
    try {
      c10::InferenceMode guard;
      return run(std::move(*arguments));
    } catch (const c10::Error &error) { // of the call itself
      std::string text = torchMessage(error.what_without_backtrace());
      return makeError(Code::ModelRaises, "the model fails: {0}",
                       llvm::StringRef(text).trim().split('\n').first);
    } catch (const std::exception &error) { // of TorchScript's interpreter: a traceback first
      llvm::StringRef text = error.what();
      // The message begins at the first "...Error: " that begins a line.
      llvm::StringRef message = text.rtrim().rsplit('\n').second;
      for (llvm::StringRef rest = text; !rest.empty(); rest = rest.split('\n').second) {
        llvm::StringRef line = rest.split('\n').first;
        if (!line.starts_with(" ") && line.split(": ").first.ends_with("Error")) {
          message = line;
          break;
        }
      }
      return makeError(Code::ModelRaises, "the model fails: {0}", message);
    }
  };
  Expected<Result> result = call(at::kLong);
  bool integers = llvm::any_of(
      inputs, [](const NamedTensor &input) { return input.value.dtype() == mil::DType::I32; });
  for (at::ScalarType type : {at::kInt, at::kBool}) {
    if (result || !integers)
      break;
    auto again = call(type);
    if (again) {
      llvm::consumeError(result.takeError());
      result = std::move(again);
    } else {
      llvm::consumeError(again.takeError());
    }
  }
  return result;
}

/// MIL's element type for LibTorch's; nullopt for those that no constant has.
std::optional<mil::DType> milType(at::ScalarType type);

} // namespace plait::runtime
