// What of plait takes LibTorch's types: modules in memory as functions of a package, and tensors as
// inputs and results. A program is compiled against the same LibTorch as libplait, and includes the
// headers of LibTorch that it uses itself: this one brings at::Tensor alone.
//
//     torch::nn::Sequential model = …;              // in the middle of training
//     plait::Compiler compiler;
//     plait::add(compiler, "classifier", model, {torch::rand({1, 3, 64, 64})});
//     compiler.write("classifier.mlpackage");
//
// The process is afterwards as before: modules with their train/eval modes and gradients, random
// generators, examples. Models are exported as in evaluation mode, so that a live module is in
// evaluation mode while add() runs: another thread must not train it meanwhile.
//
// Arguments of a live model have no names, so that those which are no inputs are said in C++ and
// not by FunctionOptions::input, which refuses "scale=2.0" and "mask=none" there. A lambda calls
// the model with the same values every time; the parameters stay the model's:
//
//     plait::add(compiler, "masked", [&](at::Tensor x) { return net->forward(x, std::nullopt, 2.0);
//     },
//                net, {torch::rand({1, 64})});
//
// Random numbers: the program draws the same ones as without the export. Where a model draws some
// in evaluation mode, what another thread draws in the microseconds of that operation comes from
// another stream: LibTorch has one default generator a device for all threads.
//
// Weights are not copied: until write() has returned, the tensors of what was added are read where
// they are, and must not be written to (no optimiser step in between; several write() calls, all).
// One whose version changed is a warning of the report. They are kept alive, the modules need not
// be. Parameters on another device are copied once, in pieces, to a mapped temporary file that
// nothing else sees.
#pragma once

#include <plait/plait.h>

#ifdef PLAIT_CXX20
#include <ATen/core/Tensor.h>

#include <array>
#include <concepts>
#include <optional>
#include <tuple>
#include <utility>

namespace c10 {
struct IValue;
}
namespace torch::jit {
struct Module;
}
namespace torch::nn {
class Module;
}

namespace plait {
inline namespace v0 {

/// Adds a function made of a method of a TorchScript module: loaded, scripted or traced. Throws
/// where it has no such method, or this does not take the inputs.
PLAIT_API void add(Compiler &compiler, const std::string &name, const torch::jit::Module &module,
                   FunctionOptions options = {});
/// The same with an example of each tensor, whose shapes and types `options.input` need not say.
/// Nothing is run. add(compiler, name, module, {x}) calls it.
PLAIT_API void addScript(Compiler &compiler, const std::string &name,
                         const torch::jit::Module &module, const std::vector<at::Tensor> &examples,
                         FunctionOptions options = {});

/// The results of a model, in order.
struct Outputs {
  std::vector<at::Tensor> tensors;
  /// By the keys of maps around a tensor: {"boxes": (a, b)} gives "boxes_0" and "boxes_1". "" where
  /// there are none. FunctionOptions::output goes before.
  std::vector<std::string> names;
};

/// Adds a function that is traced: `call` runs on the examples and on tensors like them, of other
/// values and of the sizes that `options.input` declares; docs/api.md says which. `module` holds
/// the parameters and buffers that it uses, by which they are known as weights; null where there
/// are none (other tensors become constants, unless they require gradients: an error). Control flow
/// is frozen as the examples decide it, with a warning where that is found out. Sizes that the
/// trace cannot follow are an error. An adapter cannot be applied; trace the adapted model. What
/// `call` throws on the examples comes out as it is, but for c10::Error. A call that uses plait is
/// refused.
PLAIT_API void addTraced(Compiler &compiler, const std::string &name,
                         const std::function<Outputs(const std::vector<at::Tensor> &)> &call,
                         torch::nn::Module *module, const std::vector<at::Tensor> &examples,
                         FunctionOptions options = {});

/// Anything that computes results from tensors: a tensor, or a tuple, list or dictionary of them.
using Callable = std::function<c10::IValue(const std::vector<at::Tensor> &)>;
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

} // namespace v0
} // namespace plait

#include <plait/torch_add.h>
#endif
