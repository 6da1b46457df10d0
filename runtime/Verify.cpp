// Comparing a function with its model.
#include "runtime/Verify.h"

namespace plait::runtime {

using mil::DType;
using mil::TensorData;

static bool usesHalf(const mil::Function &function) {
  auto half = [](const auto &value) {
    return value->type.isTensor() && value->type.dtype() == DType::F16;
  };
  bool found = llvm::any_of(function.inputs(), half);
  mil::walk(const_cast<mil::Block &>(function.body()),
            [&](mil::Op &op) { found |= llvm::any_of(op.results(), half); });
  return found;
}

static Error replaceGiven(std::vector<NamedTensor> &inputs, const mil::Function &function,
                          llvm::ArrayRef<NamedTensor> given) {
  for (const NamedTensor &tensor : given) {
    auto it = llvm::find_if(inputs, [&](const NamedTensor &i) { return i.name == tensor.name; });
    if (it == inputs.end())
      return makeError("function '{0}' has no input '{1}'", function.name, tensor.name);
    it->value = tensor.value;
  }
  return Error::success();
}

/// "x [2, 7], mask [2, 7]".
static std::string shapesOf(llvm::ArrayRef<NamedTensor> inputs) {
  std::string text;
  for (const NamedTensor &input : inputs) {
    auto shape = input.value.shape();
    text += (text.empty() ? "" : ", ") + input.name + " " +
            mil::str(mil::Shape(shape.begin(), shape.end()));
  }
  return text;
}

/// The inputs in the element types that the model takes them in.
static std::vector<NamedTensor> forModel(const mil::Function &function,
                                         llvm::ArrayRef<NamedTensor> inputs) {
  std::vector<NamedTensor> given = inputs.vec();
  for (NamedTensor &tensor : given)
    for (const auto &input : function.inputs())
      if (input->name == tensor.name && standsForBool(*input))
        tensor.value = tensor.value.cast(mil::DType::Bool);
  return given;
}

static bool isWorse(const Comparison &a, const Comparison &b) {
  if (a.nonFinite != b.nonFinite)
    return a.nonFinite > b.nonFinite;
  return a.maxAbsolute * (b.peak + 1e-30) > b.maxAbsolute * (a.peak + 1e-30);
}

Expected<VerifyReport> verifyFunction(const mil::Function &function, const Reference &reference,
                                      const VerifyOptions &options) {
  bool half = usesHalf(function);
  VerifyReport report;
  report.tolerance = {options.absolute.value_or(half ? 1e-3 : 1e-5),
                      options.relative.value_or(half ? 1e-2 : 1e-4)};
  RunOptions runOptions;
  runOptions.compute = options.compute;
  auto runner = Runner::create(function, std::move(runOptions));
  if (!runner)
    return runner.takeError();
  for (; report.draws < options.draws; ++report.draws) {
    auto inputs =
        randomInputs(function, options.seed * 10000 + report.draws, options.ranges, report.draws);
    if (!inputs)
      return inputs.takeError();
    if (Error error = replaceGiven(*inputs, function, options.inputs))
      return error;
    // The model first: what it refuses is no mistake of the package.
    auto expected = reference(forModel(function, *inputs));
    if (!expected)
      return addContext(expected.takeError(), "on inputs " + shapesOf(*inputs));
    runner->resetStates();
    auto actual = runner->run(*inputs);
    if (!actual)
      return addContext(actual.takeError(), "on inputs " + shapesOf(*inputs));
    if (actual->size() != expected->size())
      return makeError("function '{0}' has {1} outputs where the model returns {2}", function.name,
                       actual->size(), expected->size());
    bool failed = false;
    for (size_t i = 0; i < actual->size(); ++i) {
      const NamedResult &output = (*actual)[i];
      const TensorData *tensor = output.value.tensor();
      if (!tensor)
        return makeError("output '{0}' is no tensor and cannot be compared", output.name);
      // The interface has no rank 0: the model's scalar stands beside a [1].
      TensorData wanted = (*expected)[i];
      if (wanted.rank() == 0 && tensor->rank() == 1 && tensor->numElements() == 1)
        wanted = wanted.reshape({1});
      auto comparison = compare(*tensor, wanted);
      if (!comparison)
        return addContext(comparison.takeError(), "output '" + output.name + "'");
      bool passed = report.tolerance.accepts(*comparison);
      failed |= !passed;
      OutputReport current{output.name, *comparison, report.draws, passed};
      if (report.draws == 0)
        report.outputs.push_back(current);
      else if (isWorse(*comparison, report.outputs[i].comparison))
        report.outputs[i] = current;
      report.outputs[i].passed &= passed;
    }
    if (failed && report.passed && options.bisect) {
      ReferenceTracer tracer;
      if (options.tracer)
        tracer = [&](llvm::ArrayRef<NamedTensor> drawn) {
          return options.tracer(forModel(function, drawn));
        };
      auto found = bisect(function, *inputs, report.tolerance, options.compute, tracer);
      if (!found)
        return found.takeError();
      report.bisect = std::move(*found);
    }
    report.passed &= !failed;
  }
  return report;
}

} // namespace plait::runtime
