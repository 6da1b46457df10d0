// What of plait takes LibTorch's types: modules in memory as functions of a package, and tensors as
// inputs and results. A program is compiled against the same LibTorch as libplait.
//
//     torch::nn::Sequential model = …;              // in the middle of training
//     plait::Compiler compiler;
//     plait::add(compiler, "classifier", model, {torch::rand({1, 3, 64, 64})});
//     compiler.write("classifier.mlpackage");
//
// The process is afterwards as before: modules with their train/eval modes and gradients, random
// generators, examples. Models are exported as in evaluation mode.
//
// Weights are not copied: until write() has returned, the tensors of what was added are read where
// they are, and must not be written to (no optimiser step in between; several write() calls, all).
// They are kept alive, the modules need not be. Parameters on another device are copied once, in
// pieces, to a mapped temporary file that nothing else sees.
#pragma once

#include <plait/plait.h>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <concepts>
#include <utility>

namespace torch::jit {
struct Module;
}
namespace torch::nn {
class Module;
}

namespace plait {
inline namespace v0 {

/// Adds a function made of a method of a TorchScript module: loaded, scripted or traced.
PLAIT_API void add(Compiler &compiler, const std::string &name, const torch::jit::Module &module,
                   FunctionOptions options = {});

/// Anything that computes results from tensors: a tensor, or a tuple, list or dictionary of them.
using Callable = std::function<c10::IValue(const std::vector<at::Tensor> &)>;

/// Adds a function that is traced: `call` runs two or three times on the examples and on tensors
/// like them. `module` holds the parameters and buffers that it uses, by which they are known as
/// weights; null where there are none (other tensors become constants, unless they require
/// gradients: an error). Control flow is frozen as the examples decide it, with a warning where
/// that is found out. With ranges declared in `options.input`, sizes that the trace cannot follow
/// are an error. An adapter cannot be applied; trace the adapted model.
PLAIT_API void addCallable(Compiler &compiler, const std::string &name, const Callable &call,
                           torch::nn::Module *module, const std::vector<at::Tensor> &examples,
                           FunctionOptions options = {});

/// Inputs and results of a session as tensors. Inputs may be on any device and of any strides.
/// Results are on the host and own their memory.
PLAIT_API std::map<std::string, at::Tensor> run(Session &session,
                                                const std::map<std::string, at::Tensor> &inputs);
PLAIT_API std::map<std::string, at::Tensor> states(const Session &session);
PLAIT_API void setStates(Session &session, const std::map<std::string, at::Tensor> &states);

/// Arrays and tensors as one another; the result owns its memory, a tensor is on the host. Throws
/// for element types that the other has not.
PLAIT_API at::Tensor toTensor(const Array &array);
PLAIT_API Array toArray(const at::Tensor &tensor);

namespace detail {

/// The module behind a reference, a module holder or a pointer.
template <typename M> auto &moduleOf(M &model) {
  if constexpr (std::derived_from<M, torch::nn::Module>)
    return model;
  else if constexpr (requires { model.ptr(); })
    return *model.ptr();
  else
    return *model;
}

template <typename M, std::size_t... I>
bool tryForward(M &model, const std::vector<at::Tensor> &inputs, c10::IValue &result,
                std::index_sequence<I...>) {
  if constexpr (requires { model.forward(inputs[I]...); }) {
    if (inputs.size() == sizeof...(I)) {
      result = c10::IValue(model.forward(inputs[I]...));
      return true;
    }
  }
  return false;
}

template <typename M, std::size_t... Counts>
c10::IValue forward(M &model, const std::vector<at::Tensor> &inputs,
                    std::index_sequence<Counts...>) {
  c10::IValue result;
  if (!(tryForward(model, inputs, result, std::make_index_sequence<Counts + 1>()) || ...))
    throw Exception(
        "the module's forward() does not take " + std::to_string(inputs.size()) +
        " tensors; addCallable() takes a function that calls it as it wants to be called");
  return result;
}

} // namespace detail

/// Adds a live module: a torch::nn::Module, a module holder (torch::nn::Linear …) or a shared_ptr,
/// whose forward() takes one to eight tensors. For others, and for what tracing means, see
/// addCallable().
template <typename M>
  requires(!std::derived_from<std::remove_cvref_t<M>, torch::jit::Module>)
void add(Compiler &compiler, const std::string &name, M &&model,
         const std::vector<at::Tensor> &examples, FunctionOptions options = {}) {
  auto &module = detail::moduleOf(model);
  addCallable(compiler, name, Callable([&](const std::vector<at::Tensor> &inputs) {
                return detail::forward(module, inputs, std::make_index_sequence<8>());
              }),
              &module, examples, std::move(options));
}

} // namespace v0
} // namespace plait
