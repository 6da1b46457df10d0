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

static bool isRandom(const mil::Op &op) {
  return op.is(mil::OpKind::random_bernoulli) || op.is(mil::OpKind::random_categorical) ||
         op.is(mil::OpKind::random_normal) || op.is(mil::OpKind::random_uniform);
}

/// "random_normal 'noise'" …
static std::vector<std::string> randomOperations(const mil::Function &function) {
  std::vector<std::string> found;
  mil::walk(const_cast<mil::Block &>(function.body()), [&](mil::Op &op) {
    if (isRandom(op))
      found.push_back(fmt::format("{0} '{1}'", op.info().name, op.name));
  });
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

static std::vector<NamedTensor> withoutOwn(llvm::ArrayRef<NamedTensor> inputs,
                                           const llvm::StringSet<> &own) {
  std::vector<NamedTensor> others = inputs.vec();
  llvm::erase_if(others, [&](const NamedTensor &input) { return own.contains(input.name); });
  return others;
}

/// The inputs in the element types that the model most likely takes them in.
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

/// Output by output, what the function gave beside what the model gives.
static Expected<std::vector<OutputReport>>
compareOutputs(const mil::Function &function, llvm::ArrayRef<NamedResult> actual,
               llvm::ArrayRef<TensorData> expected, const Tolerance &tolerance, unsigned draw) {
  if (actual.size() != expected.size())
    return makeError("function '{0}' has {1} outputs where the model returns {2}", function.name,
                     actual.size(), expected.size());
  std::vector<OutputReport> outputs;
  for (auto [output, theirs] : llvm::zip(actual, expected)) {
    const TensorData *tensor = output.value.tensor();
    if (!tensor)
      return makeError("output '{0}' is no tensor and cannot be compared", output.name);
    // The interface has no rank 0: the model's scalar stands beside a [1].
    bool scalar = theirs.rank() == 0 && tensor->rank() == 1 && tensor->numElements() == 1;
    auto comparison = compare(*tensor, scalar ? theirs.reshape({1}) : theirs);
    if (!comparison)
      return addContext(comparison.takeError(), "output '" + output.name + "'");
    outputs.push_back({output.name, *comparison, draw, tolerance.accepts(*comparison)});
  }
  return outputs;
}

static bool allPassed(llvm::ArrayRef<OutputReport> outputs) {
  return llvm::all_of(outputs, [](const OutputReport &output) { return output.passed; });
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
    std::vector<NamedTensor> common = withoutOwn(*inputs, options.ownInputs);
    std::vector<NamedTensor> given = forModel(function, common);
    auto expected = reference(given);
    if (!expected)
      return addContext(expected.takeError(), "on inputs " + shapesOf(*inputs));
    runner->resetStates();
    auto actual = runner->run(*inputs);
    if (!actual)
      return addContext(actual.takeError(), "on inputs " + shapesOf(*inputs));
    auto outputs = compareOutputs(function, *actual, *expected, report.tolerance, report.draws);
    if (!outputs)
      return outputs.takeError();
    bool asBool = llvm::any_of(llvm::zip(given, common), [](auto pair) {
      return std::get<0>(pair).value.dtype() != std::get<1>(pair).value.dtype();
    });
    // A number that the model makes a bool itself may be used as a number too.
    if (asBool && !allPassed(*outputs)) {
      auto again = reference(common);
      auto compared =
          again ? compareOutputs(function, *actual, *again, report.tolerance, report.draws)
                : Expected<std::vector<OutputReport>>(again.takeError());
      if (compared && allPassed(*compared))
        outputs = std::move(compared);
      else
        llvm::consumeError(compared.takeError());
    }
    bool failed = !allPassed(*outputs);
    if (report.outputs.empty())
      report.outputs = *outputs;
    for (auto [worst, current] : llvm::zip(report.outputs, *outputs)) {
      bool passed = worst.passed && current.passed;
      if (isWorse(current.comparison, worst.comparison))
        worst = current;
      worst.passed = passed;
    }
    if (failed && report.passed && options.bisect) {
      ReferenceTracer tracer;
      if (options.tracer)
        tracer = [&](llvm::ArrayRef<NamedTensor> drawn) {
          return options.tracer(forModel(function, withoutOwn(drawn, options.ownInputs)));
        };
      auto found = bisect(function, *inputs, report.tolerance, options.compute, tracer);
      if (!found)
        return found.takeError();
      report.bisect = std::move(*found);
    }
    report.passed &= !failed;
  }
  if (!report.passed)
    report.random = randomOperations(function);
  return report;
}

} // namespace plait::runtime
