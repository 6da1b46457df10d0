// Running in step, and moving numbers by what rounding may have moved them.
#include "runtime/Noise.h"

#include "mil/Computation.h"
#include "runtime/WeightPages.h"

#include <ATen/Parallel.h>
#include <bit>
#include <cmath>

namespace plait::runtime {

using mil::DType;
using mil::OpKind;
using mil::Value;

namespace {

/// Results are moved by this part of themselves: two to four units in the last place of fp32, for
/// sums that LibTorch adds in another order.
constexpr float kResultNoise = 0x1p-22f;

/// The same for one value of one run, whatever the machine.
uint64_t seedOf(llvm::StringRef name, uint64_t seed) {
  uint64_t hash = 0xCBF29CE484222325 ^ (seed * 0x9E3779B97F4A7C15);
  for (char c : name)
    hash = (hash ^ uint8_t(c)) * 0x100000001B3;
  return hash ^ (hash >> 29);
}

/// 1 or -1 for an element.
float signOf(uint32_t index, uint32_t seed) {
  uint32_t h = (index ^ seed) * 0x9E3779B1u + seed;
  h = (h ^ (h >> 15)) * 0x85EBCA77u;
  h ^= h >> 13;
  return std::bit_cast<float>(0x3F800000u | (h & 0x80000000u));
}

/// A copy with each element moved by move(element, its sign).
template <typename Move> at::Tensor moved(const at::Tensor &tensor, uint64_t seed, Move move) {
  at::Tensor from = tensor.to(at::kFloat).contiguous(), to = at::empty_like(from);
  const float *x = from.const_data_ptr<float>();
  float *y = to.mutable_data_ptr<float>();
  at::parallel_for(0, from.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      y[i] = move(x[i], signOf(uint32_t(i), uint32_t(seed)));
  });
  return to;
}

/// By a unit of fp16. What four bits behind the leading one hold is taken as exact: 1, 0.5, -3. The
/// smallest number of all may stand for any that is smaller, such as an epsilon of 1e-12 (ToHalf):
/// it nearly vanishes.
float movedWeight(float x, float sign) {
  constexpr float kSmallest = 0x1p-24f, kSmallestNormal = 0x1p-14f;
  if (std::abs(x) == kSmallest)
    return x * 0x1p-20f;
  bool isNormal = std::abs(x) >= kSmallestNormal || x == 0;
  bool exact = isNormal && (std::bit_cast<uint32_t>(x) & 0x0007FFFFu) == 0;
  return exact ? x : x + sign * 2 * halfUnit(x);
}

/// Whole numbers stay what they are: they may be positions or counts.
float movedResult(float x, float sign) {
  return x == std::nearbyint(x) ? x : x + sign * kResultNoise * x;
}

/// Gives elements of its operands as they are: nothing is rounded.
bool roundsNothing(const mil::Op &op) {
  return computes(op, mil::Moves) || computes(op, mil::Picks);
}

at::Tensor disturbedResult(const Value &value, const at::Tensor &tensor, uint64_t seed) {
  bool isInput = !value.def();
  if (tensor.scalar_type() != at::kFloat || (!isInput && roundsNothing(*value.def())))
    return tensor;
  return moved(tensor, seedOf(value.name.str(), seed), movedResult);
}

at::Tensor joined(const UnroundedParts &parts,
                  llvm::function_ref<at::Tensor(const UnroundedWeight &)> tensorOf) {
  if (parts.size() == 1)
    return tensorOf(parts[0]);
  std::vector<at::Tensor> tensors;
  for (const UnroundedWeight &part : parts)
    tensors.push_back(tensorOf(part));
  return at::cat(tensors);
}

/// In fp32.
at::Tensor asInModel(const UnroundedParts &parts) {
  return joined(parts, [](const UnroundedWeight &part) { return part.tensor(); });
}

/// Rows times factors that are as far off as those that were found may be.
at::Tensor disturbedParts(const UnroundedParts &parts, uint64_t seed) {
  return joined(parts, [&](const UnroundedWeight &part) {
    if (part.rowError == 0)
      return part.tensor();
    return part.tensor(moved(at::ones({part.known.size(0), 1}), seed, [&](float one, float sign) {
      return one + sign * 2 * float(part.rowError);
    }));
  });
}

/// The outputs and then the states, in fp32 where the run does not round.
Expected<std::vector<NamedResult>> resultsOf(const mil::Function &function,
                                             Interpreter &interpreter) {
  auto outputs = interpreter.finish();
  if (!outputs)
    return outputs.takeError();
  auto results = namedResults(function, *outputs);
  if (!results)
    return results.takeError();
  for (const auto &input : function.inputs()) {
    auto state = interpreter.states.find(input->name.str());
    if (!input->type.isState() || state == interpreter.states.end())
      continue;
    bool half = state->second.scalar_type() == at::kHalf;
    results->push_back(
        {input->name.str(), toTensorData(state->second, input->type.dtype() == DType::F16 && !half
                                                            ? DType::F32
                                                            : input->type.dtype())});
  }
  return results;
}

} // namespace

Interpreter::Options unroundedOptions(const UnroundedWeights &weights) {
  Interpreter::Options options;
  options.compute = Compute::Exact;
  options.constant = [&weights](const Value &value) -> Expected<std::optional<at::Tensor>> {
    auto it = weights.find(&value);
    return it == weights.end() ? std::nullopt : std::optional(asInModel(it->second));
  };
  return options;
}

bool computesInHalf(const mil::Function &function) {
  auto half = [](const auto &value) {
    return value->type.isTensor() && value->type.dtype() == DType::F16;
  };
  bool found = llvm::any_of(function.inputs(), half);
  mil::walk(const_cast<mil::Block &>(function.body()),
            [&](mil::Op &op) { found |= llvm::any_of(op.results(), half); });
  return found;
}

bool roundsToSteps(const mil::Function &function) {
  bool found = false;
  mil::walk(const_cast<mil::Block &>(function.body()),
            [&](mil::Op &op) { found |= op.is(OpKind::quantize) || op.is(OpKind::round); });
  return found;
}

Expected<std::unique_ptr<Noise>> Noise::create(const mil::Function &function, Compute compute,
                                               llvm::ArrayRef<mil::TensorData> known) {
  auto noise = std::unique_ptr<Noise>(new Noise(function));
  auto weights = unroundedWeights(function, known);
  if (!weights)
    return weights.takeError();
  noise->weights_ = std::move(*weights);
  auto draws = [noise = noise.get()](const Value &value, const at::Tensor &tensor) {
    return noise->drawn(value, tensor);
  };
  Interpreter::Options unrounded = unroundedOptions(noise->weights_);
  unrounded.disturb = draws;
  auto exact = Interpreter::create(function, std::move(unrounded));
  if (!exact)
    return exact.takeError();
  noise->unrounded_.interpreter = std::move(*exact);
  noise->rounds_ = computesInHalf(function);
  if (!noise->rounds_)
    return noise;
  Interpreter::Options options;
  options.compute = compute;
  options.disturb = draws;
  auto computed = Interpreter::create(function, std::move(options));
  if (!computed)
    return computed.takeError();
  noise->computed_.interpreter = std::move(*computed);
  return noise;
}

at::Tensor Noise::drawn(const Value &value, const at::Tensor &tensor) const {
  if (!value.def() || !isRandom(*value.def()))
    return tensor;
  Draws &draws = draws_[{step_, value.def()}];
  if (draws.next == draws.tensors.size())
    draws.tensors.push_back(tensor);
  return draws.tensors[draws.next++].to(tensor.scalar_type());
}

Expected<Noise::Run> Noise::makeDisturbed(uint64_t seed) const {
  Interpreter::Options options;
  options.compute = Compute::Exact;
  options.constant = [this, seed](const Value &value) -> Expected<std::optional<at::Tensor>> {
    if (auto it = weights_.find(&value); it != weights_.end())
      return disturbedParts(it->second, seedOf(value.name.str(), seed));
    if (value.type.dtype() != DType::F16)
      return std::nullopt;
    auto tensor = toTensor(*value.def()->val().tensor(), Compute::Float32, nullptr);
    if (!tensor)
      return tensor.takeError();
    return moved(*tensor, seedOf(value.name.str(), seed), movedWeight);
  };
  options.disturb = [this, seed](const Value &value, const at::Tensor &tensor) {
    return value.def() && isRandom(*value.def()) ? drawn(value, tensor)
                                                 : disturbedResult(value, tensor, seed);
  };
  auto interpreter = Interpreter::create(function_, std::move(options));
  if (!interpreter)
    return interpreter.takeError();
  return Run{std::move(*interpreter), {}, seed};
}

/// Operation by operation, so that a weight that one run has read is still at hand for the others.
Error Noise::runStep(llvm::ArrayRef<Run *> runs, size_t step, Watch watch) const {
  c10::InferenceMode guard;
  step_ = step;
  for (Run *run : runs) {
    Interpreter::Inputs inputs = steps_[step];
    for (const NamedResult &result : run->results) // of the step before
      for (const auto &[input, output] : handed_) {
        auto own = inputs.find(input);
        if (step == 0 || output != result.name || own == inputs.end())
          continue;
        auto tensor = toTensor(*result.value.tensor(), Compute::Float32, nullptr);
        if (!tensor)
          return tensor.takeError();
        // In the type of the interface where the run rounds.
        bool wide = run != &computed_ && own->second.scalar_type() == at::kHalf;
        own->second =
            tensor->to(wide ? at::kFloat : own->second.scalar_type()).reshape(own->second.sizes());
      }
    if (run != &computed_ && run != &unrounded_)
      for (auto &[name, tensor] : inputs)
        if (rounded_.contains(name) && tensor.scalar_type() == at::kHalf)
          tensor = moved(tensor, seedOf(name, run->seed), movedWeight);
    if (Error error = run->interpreter->start(inputs))
      return error;
  }
  while (const mil::Op *op = runs[0]->interpreter->next()) {
    llvm::SmallVector<Data, 3> results;
    for (Run *run : runs) {
      for (auto &[place, draws] : draws_)
        draws.next = 0;
      auto given = run->interpreter->step();
      if (!given)
        return given.takeError();
      results.push_back(std::move(*given));
    }
    releasePages(*op);
    for (const mil::Operand &operand : op->operands())
      if (auto known = weights_.find(operand.get()); known != weights_.end())
        for (const UnroundedWeight &part : known->second)
          if (part.source)
            releasePages(part.source);
    if (watch)
      if (Error error = watch(*op, results[0], results[1]))
        return error;
  }
  for (Run *run : runs) {
    auto results = resultsOf(function_, *run->interpreter);
    if (!results)
      return results.takeError();
    run->results = std::move(*results);
  }
  return Error::success();
}

void Noise::begin(uint64_t seed, std::map<std::string, std::string> handed,
                  llvm::StringSet<> rounded) {
  seed_ = seed;
  handed_ = std::move(handed);
  rounded_ = std::move(rounded);
  steps_.clear();
  draws_.clear();
  disturbed_.clear();
  for (Run *run : {&computed_, &unrounded_})
    if (run->interpreter) {
      run->interpreter->states.clear();
      run->interpreter->seedRandom(seed);
    }
}

Error Noise::step(llvm::ArrayRef<NamedTensor> inputs) {
  auto tensors = inputTensors(function_, inputs);
  if (!tensors)
    return tensors.takeError();
  steps_.push_back(std::move(*tensors));
  if (disturbed_.empty()) {
    auto disturbed = makeDisturbed(seed_);
    if (!disturbed)
      return disturbed.takeError();
    disturbed_.push_back(std::move(*disturbed));
  }
  llvm::SmallVector<Run *, 4> runs{&unrounded_};
  if (rounds_)
    runs.push_back(&computed_);
  for (Run &disturbed : disturbed_)
    runs.push_back(&disturbed);
  if (Error error = runStep(runs, steps_.size() - 1, nullptr))
    return error;
  if (!rounds_)
    computed_.results = unrounded_.results;
  return Error::success();
}

Error Noise::disturbAgain() {
  auto disturbed = makeDisturbed(seed_ + disturbed_.size());
  if (!disturbed)
    return disturbed.takeError();
  for (size_t step = 0; step < steps_.size(); ++step)
    if (Error error = runStep(&*disturbed, step, nullptr))
      return error;
  disturbed_.push_back(std::move(*disturbed));
  return Error::success();
}

Expected<std::vector<NamedResult>> Noise::draw(llvm::ArrayRef<NamedTensor> inputs) const {
  auto tensors = inputTensors(function_, inputs);
  if (!tensors)
    return tensors.takeError();
  Interpreter &interpreter = *(rounds_ ? computed_ : unrounded_).interpreter;
  auto kept = std::move(interpreter.states);
  interpreter.states.clear();
  step_ = steps_.size(); // of none that is run again
  std::erase_if(draws_, [&](const auto &draws) { return draws.first.first == step_; });
  c10::InferenceMode guard;
  Error error = interpreter.start(*tensors);
  while (!error && interpreter.next())
    error = interpreter.step().takeError();
  auto results = error ? Expected<std::vector<NamedResult>>(std::move(error))
                       : resultsOf(function_, interpreter);
  interpreter.states = std::move(kept);
  return results;
}

Expected<Noise::Run> Noise::makeSmooth() const {
  Interpreter::Options options = unroundedOptions(weights_);
  options.compute = Compute::Smooth;
  options.disturb = [this](const Value &value, const at::Tensor &tensor) {
    return drawn(value, tensor);
  };
  auto interpreter = Interpreter::create(function_, std::move(options));
  if (!interpreter)
    return interpreter.takeError();
  return Run{std::move(*interpreter), {}};
}

Expected<std::vector<NamedResult>> Noise::smooth() const {
  auto run = makeSmooth();
  if (!run)
    return run.takeError();
  if (Error error = watchAll(&*run, nullptr))
    return error;
  return std::move(run->results);
}

Error Noise::watch(Watch watch) {
  return rounds_ ? watchAll({&computed_, &unrounded_}, watch) : Error::success();
}

Error Noise::watchSmooth(Watch watch) {
  auto run = makeSmooth();
  return run ? watchAll({&*run, &unrounded_}, watch) : run.takeError();
}

Error Noise::watchAll(llvm::ArrayRef<Run *> runs, Watch watch) const {
  for (Run *run : runs)
    run->interpreter->states.clear();
  for (size_t step = 0; step < steps_.size(); ++step)
    if (Error error = runStep(runs, step, step + 1 == steps_.size() ? watch : Watch(nullptr)))
      return error;
  return Error::success();
}

} // namespace plait::runtime
