// Walks torch::nn::Module's registries.
#include "frontend/live/ModuleMirror.h"

#include <torch/nn/module.h>

#include <map>

namespace plait::frontend {

using JitModule = torch::jit::Module;

static JitModule mirror(const torch::nn::Module *module,
                        const std::shared_ptr<torch::jit::CompilationUnit> &unit,
                        std::map<const torch::nn::Module *, JitModule> &done,
                        llvm::function_ref<void()> each) {
  if (auto it = done.find(module); it != done.end())
    return it->second;
  JitModule result(c10::QualifiedName("__torch__.live.Module"), unit, /*shouldMangle=*/true);
  done.emplace(module, result);
  if (!module)
    return result;
  for (const auto &parameter : module->named_parameters(/*recurse=*/false))
    if (parameter.value().defined()) // a linear without bias registers an undefined one
      result.register_parameter(parameter.key(), parameter.value(), /*is_buffer=*/false);
  for (const auto &buffer : module->named_buffers(/*recurse=*/false))
    if (buffer.value().defined())
      result.register_buffer(buffer.key(), buffer.value());
  for (const auto &child : module->named_children()) {
    each();
    result.register_module(child.key(), mirror(child.value().get(), unit, done, each));
  }
  return result;
}

JitModule mirror(const torch::nn::Module *module, llvm::function_ref<void()> each) {
  std::map<const torch::nn::Module *, JitModule> done;
  return mirror(module, std::make_shared<torch::jit::CompilationUnit>(), done, each);
}

} // namespace plait::frontend
