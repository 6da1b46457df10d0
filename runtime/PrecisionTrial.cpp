// Two interpreters, one after the other, and what they have at the same places.
#include "runtime/PrecisionTrial.h"

#include "runtime/Noise.h"
#include "runtime/RoundingCauses.h"
#include "support/TorchMessage.h"

#include "llvm/ADT/SetVector.h"
#include <cmath>

namespace plait::runtime {

using mil::Op;
using mil::OpKind;
using mil::Value;

struct PrecisionTrial::Impl {
  explicit Impl(const mil::Function &exact) : exact(exact) {}

  /// What `function` has at `places`, in order, call after call.
  Expected<std::vector<at::Tensor>> run(const mil::Function &function,
                                        llvm::ArrayRef<const Value *> places,
                                        Interpreter::Options options) const;

  const mil::Function &exact;
  std::vector<const Value *> compared;
  std::vector<Interpreter::Inputs> inputs;
  unsigned calls = 1; ///< on each set
  std::vector<at::Tensor> wanted;
  /// What operations that draw random numbers gave to the exact run, by their names: every other
  /// run is given the same.
  mutable std::map<std::string, std::vector<at::Tensor>> drawn;
};

PrecisionTrial::PrecisionTrial(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PrecisionTrial::PrecisionTrial(PrecisionTrial &&) noexcept = default;
PrecisionTrial::~PrecisionTrial() = default;

Expected<std::vector<at::Tensor>> PrecisionTrial::Impl::run(const mil::Function &function,
                                                            llvm::ArrayRef<const Value *> places,
                                                            Interpreter::Options options) const {
  llvm::DenseMap<const Value *, at::Tensor> seen;
  for (const Value *place : places)
    seen[place];
  options.observer = [&](const Value &value, const Datum &datum) {
    if (auto it = seen.find(&value); it != seen.end())
      it->second = datum.tensor;
  };
  std::map<std::string, size_t> draws;
  options.disturb = [&](const Value &value, const at::Tensor &tensor) {
    if (!value.def() || !isRandom(*value.def()))
      return tensor;
    std::string name = value.def()->name.str();
    std::vector<at::Tensor> &known = drawn[name];
    size_t number = draws[name]++;
    if (number == known.size())
      known.push_back(tensor);
    return known[number].to(tensor.scalar_type());
  };
  auto interpreter = Interpreter::create(function, std::move(options));
  if (!interpreter)
    return interpreter.takeError();
  c10::InferenceMode guard;
  std::vector<at::Tensor> found;
  for (const Interpreter::Inputs &set : inputs) {
    (*interpreter)->states.clear();
    for (unsigned call = 0; call < calls; ++call) {
      auto outputs = (*interpreter)->run(set);
      if (!outputs)
        return outputs.takeError();
      for (const Value *place : places)
        found.push_back(seen[place]);
    }
  }
  return found;
}

Expected<PrecisionTrial> PrecisionTrial::create(const mil::Function &exact,
                                                llvm::ArrayRef<std::vector<NamedTensor>> inputs) {
  auto impl = std::make_unique<Impl>(exact);
  llvm::SetVector<const Value *> compared;
  auto add = [&](const Value *value) {
    if (value->def() && value->type.isTensor() && !mil::constTensor(value))
      compared.insert(value);
  };
  for (const Value *output : exact.outputs()) {
    if (output->type.isTensor() && mil::isFloat(output->type.dtype()))
      add(output);
    else
      for (const Value *deciding : decidingOf(output))
        add(deciding);
  }
  mil::walk(const_cast<mil::Block &>(exact.body()), [&](Op &op) {
    if (!op.is(OpKind::write_state))
      return;
    add(op[mil::write_state::data]);
    impl->calls = 2;
  });
  impl->compared.assign(compared.begin(), compared.end());
  for (const std::vector<NamedTensor> &set : inputs) {
    auto tensors = inputTensors(exact, set);
    if (!tensors)
      return tensors.takeError();
    impl->inputs.push_back(std::move(*tensors));
  }
  Interpreter::Options options;
  options.compute = Compute::Exact;
  auto wanted = impl->run(exact, impl->compared, std::move(options));
  if (!wanted)
    return wanted.takeError();
  impl->wanted = std::move(*wanted);
  return PrecisionTrial(std::move(impl));
}

/// The power of the error over that of the value.
static double noiseOf(const at::Tensor &given, const at::Tensor &wanted) {
  if (!given.defined() || !wanted.defined() || given.sizes() != wanted.sizes())
    return given.defined() == wanted.defined() && !given.defined() ? 0 : INFINITY;
  at::Tensor a = given.to(at::kDouble), b = wanted.to(at::kDouble);
  at::Tensor finite = at::isfinite(b);
  if (at::logical_and(finite, at::isfinite(a).logical_not()).any().item<bool>())
    return INFINITY;
  at::Tensor error = at::where(finite, a - b, 0.0);
  double noise = error.square().sum().item<double>();
  double signal = at::where(finite, b, 0.0).square().sum().item<double>();
  return noise == 0 ? 0 : noise / std::max(signal, 1e-300);
}

Expected<std::vector<double>>
PrecisionTrial::noise(const mil::Function &candidate,
                      llvm::function_ref<const Value *(const Value *)> counterpart) const {
  std::vector<const Value *> places;
  for (const Value *value : impl_->compared)
    places.push_back(counterpart(value));
  auto given = impl_->run(candidate, places, {});
  if (!given)
    return given.takeError();
  std::vector<double> noise;
  for (auto [one, other] : llvm::zip_equal(*given, impl_->wanted))
    noise.push_back(noiseOf(one, other));
  return noise;
}

} // namespace plait::runtime
