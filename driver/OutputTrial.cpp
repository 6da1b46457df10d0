// Runs of all sets, outputs and states compared.
#include "driver/OutputTrial.h"

#include "driver/LibTorch.h"
#include "runtime/arrays/Compare.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <cmath>

namespace plait::driver {

namespace {

/// Sets that outputs are measured on: every trial runs them all.
constexpr size_t kMostSets = 4;

/// The sets of one function: those of the folder of its name within `folder`, where functions have
/// folders.
Expected<std::vector<InputSet>> setsOf(const mil::Function &function, llvm::StringRef folder) {
  llvm::SmallString<256> own(folder);
  llvm::sys::path::append(own, function.name);
  return readInputSets(llvm::sys::fs::is_directory(own) ? own.str() : folder, function);
}

} // namespace

Expected<std::vector<mil::TensorData>> OutputTrial::run(const mil::Function &function,
                                                        llvm::ArrayRef<InputSet> sets) {
  auto part = libTorch();
  if (!part)
    return part.takeError();
  auto runner = (*part)->makeRunner(function, {});
  if (!runner)
    return addContext(runner.takeError(), "function " + function.name);
  bool hasStates =
      llvm::any_of(function.inputs(), [](const auto &input) { return input->type.isState(); });
  std::vector<mil::TensorData> found;
  auto keep = [&](const mil::TensorData &tensor) {
    if (isFloat(tensor.dtype()))
      found.push_back(tensor);
  };
  for (const InputSet &set : sets) {
    runner->resetStates();
    for (int call = 0; call < (hasStates ? 2 : 1); ++call) {
      auto results = runner->run(set);
      if (!results)
        return addContext(results.takeError(), "function " + function.name);
      for (const runtime::NamedResult &result : *results)
        if (const mil::TensorData *tensor = result.value.tensor())
          keep(*tensor);
    }
    for (const runtime::NamedTensor &state : runner->states())
      keep(state.value);
  }
  return found;
}

Expected<OutputTrial> OutputTrial::create(const mil::Program &program, llvm::StringRef folder,
                                          llvm::function_ref<void(const Warning &)> warn) {
  OutputTrial made;
  for (const auto &function : program.functions()) {
    auto sets = setsOf(*function, folder);
    if (!sets)
      return sets.takeError();
    if (sets->size() > kMostSets) {
      warn({Code::SetsLeftOut,
            fmt::format("--inputs {0}: outputs of function '{1}' are measured on the first {2} of "
                        "{3} sets",
                        folder, function->name, kMostSets, sets->size())});
      sets->resize(kMostSets);
    }
    auto wanted = run(*function, *sets);
    if (!wanted)
      return wanted.takeError();
    if (wanted->empty())
      return makeError(Code::NotComparable,
                       "function {0}: none of its outputs are floating-point numbers, whose noise "
                       "could be measured",
                       function->name);
    made.tried_.push_back({function->name, std::move(*sets), std::move(*wanted)});
  }
  return made;
}

Expected<std::vector<double>> OutputTrial::noise(const mil::Program &changed) const {
  std::vector<double> noise;
  for (const Tried &tried : tried_) {
    auto found = run(*changed.function(tried.function), tried.sets);
    if (!found)
      return found.takeError();
    for (auto [one, wanted] : llvm::zip_equal(*found, tried.wanted)) {
      auto compared = runtime::compare(one, wanted);
      if (!compared)
        return addContext(compared.takeError(), "function " + tried.function);
      noise.push_back(compared->nonFinite ? INFINITY : std::pow(10, -compared->snr / 10));
    }
  }
  return noise;
}

std::vector<FunctionSnr> OutputTrial::perFunction(llvm::ArrayRef<double> noise) const {
  std::vector<FunctionSnr> outputs;
  for (const Tried &tried : tried_) {
    llvm::ArrayRef<double> own = noise.take_front(tried.wanted.size());
    noise = noise.drop_front(own.size());
    outputs.push_back({tried.function, -10 * std::log10(*llvm::max_element(own))});
  }
  return outputs;
}

Error observe(const mil::Function &function, llvm::StringRef folder,
              llvm::ArrayRef<std::string> values,
              llvm::function_ref<Error(llvm::StringRef, const mil::TensorData &)> see) {
  auto part = libTorch();
  if (!part)
    return part.takeError();
  auto sets = setsOf(function, folder);
  if (!sets)
    return sets.takeError();
  runtime::RunOptions options;
  for (const std::string &value : values)
    if (llvm::none_of(function.inputs(), [&](const auto &input) { return input->name == value; }))
      options.trace.push_back(value);
  auto runner = (*part)->makeRunner(function, options);
  if (!runner)
    return runner.takeError();
  for (const InputSet &set : *sets) {
    runner->resetStates();
    if (Error error = runner->run(set).takeError())
      return error;
    for (const runtime::NamedTensor &input : set)
      if (llvm::is_contained(values, input.name))
        if (Error error = see(input.name, input.value))
          return error;
    for (const runtime::NamedTensor &value : runner->traced())
      if (Error error = see(value.name, value.value))
        return error;
  }
  return Error::success();
}

} // namespace plait::driver
