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

/// pixel * scale + bias, computed as the function does it.
static Expected<TensorData> fromPixels(const TensorData &image,
                                       const mil::PixelArithmetic &pixels) {
  auto values = image.cast(DType::F32).floatValues();
  if (!values)
    return values.takeError();
  int64_t size = image.shape()[2] * image.shape()[3];
  auto of = [](llvm::ArrayRef<double> numbers, size_t channel, float otherwise) {
    return numbers.empty() ? otherwise : float(numbers[numbers.size() == 1 ? 0 : channel]);
  };
  for (auto [i, value] : llvm::enumerate(*values)) {
    size_t channel = i / size_t(size);
    value = float(value) * of(pixels.scale, channel, 1);
    value = float(value) + of(pixels.bias, channel, 0);
  }
  return TensorData::from<double>(DType::F64, image.shape(), *values).cast(DType::F32);
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

static Error checkPixels(const mil::Function &function,
                         const std::map<std::string, mil::PixelArithmetic> &pixels) {
  for (const auto &[name, arithmetic] : pixels) {
    const mil::Value *image = nullptr;
    for (auto [i, input] : llvm::enumerate(function.inputs()))
      if (input->name == name && function.infoOfInput(i).image)
        image = input.get();
    if (!image)
      return makeError("function '{0}' has no image '{1}'", function.name, name);
    for (size_t count : {arithmetic.scale.size(), arithmetic.bias.size()})
      if (count > 1 && image->type.shape()[1] != mil::Dim(int64_t(count)))
        return makeError("image '{0}' is {1}, and {2} numbers are given for its channels", name,
                         image->type.str(), count);
  }
  return Error::success();
}

/// What a classifier gives beside what the model does: the probabilities as one array, and the
/// label, which follows from them, left out.
static Expected<std::vector<NamedResult>> withoutLabels(const mil::Function &function,
                                                        llvm::ArrayRef<NamedResult> actual,
                                                        llvm::ArrayRef<TensorData> expected) {
  std::vector<NamedResult> results;
  for (const auto &[output, declared] : llvm::zip(actual, function.outputs())) {
    if (!declared->def() || !declared->def()->is(mil::OpKind::classify)) {
      results.push_back(output);
      continue;
    }
    const mil::Attr::Dict *dict = output.value.dict();
    if (!dict)
      continue;
    std::vector<double> values;
    for (const auto &[label, probability] : *dict) {
      auto value = probability.tensor()->floatValues();
      if (!value)
        return value.takeError();
      values.push_back(value->front());
    }
    size_t at = results.size();
    llvm::SmallVector<int64_t, 5> shape{int64_t(values.size())};
    if (at < expected.size() && expected[at].numElements() == shape[0])
      shape.assign(expected[at].shape().begin(), expected[at].shape().end());
    results.push_back(
        {output.name, mil::Attr(TensorData::from<double>(DType::F64, shape, values))});
  }
  return results;
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

namespace {

/// The calls of one function and of its model, beside each other.
class Verification {
public:
  Verification(const mil::Function &function, const Reference &reference,
               const VerifyOptions &options, Runner &runner, VerifyReport &report)
      : function_(function), reference_(reference), options_(options), runner_(runner),
        report_(report) {}

  /// Finds what the model keeps from call to call.
  Error begin();
  Error draw(unsigned number);

private:
  Error step(unsigned draw, unsigned number);
  /// The arrays of a call: drawn, given, or handed on from the call before.
  Expected<std::vector<NamedTensor>> inputsOf(unsigned draw, unsigned step);
  /// Those that the model takes: without the function's own, and images as it takes them.
  Expected<std::vector<NamedTensor>> commonOf(llvm::ArrayRef<NamedTensor> inputs);
  /// What the model's tensors hold now, for outputs that are handed on and for states.
  Error addKept(std::vector<NamedResult> &actual, std::vector<TensorData> &expected);
  Error lookInside(llvm::ArrayRef<NamedTensor> inputs);

  const mil::Function &function_;
  const Reference &reference_;
  const VerifyOptions &options_;
  Runner &runner_;
  VerifyReport &report_;
  std::vector<std::string> states_; ///< that the model has too
  llvm::StringSet<> own_;           ///< inputs that are no arguments of the model
  /// Inputs that the app hands on, the outputs they come from, and what they are next.
  struct Handed {
    std::string input, output;
    TensorData next;
  };
  std::vector<Handed> handed_;
};

Error Verification::begin() {
  for (const auto &entry : options_.ownInputs)
    own_.insert(entry.first());
  for (const auto &input : function_.inputs()) {
    std::string name = input->name.str();
    auto attribute = reference_.attribute(name);
    if (!attribute)
      return attribute.takeError();
    std::string out = name + "_out";
    if (input->type.isState()) {
      if (*attribute)
        states_.push_back(name);
      else
        report_.uncompared.push_back(name);
    } else if (*attribute && llvm::any_of(function_.outputs(), [&](const mil::Operand &output) {
                 return output->name == out;
               })) {
      handed_.push_back({name, out, {}});
      own_.insert(name);
    }
  }
  return Error::success();
}

Error Verification::draw(unsigned number) {
  reference_.reset();
  runner_.resetStates();
  for (Handed &handed : handed_) {
    auto value = reference_.attribute(handed.input);
    if (!value)
      return value.takeError();
    handed.next = std::move(**value);
  }
  for (unsigned i = 0; i < options_.steps; ++i)
    if (Error error = step(number, i))
      return options_.steps > 1 ? addContext(std::move(error), "step " + std::to_string(i + 1))
                                : std::move(error);
  return Error::success();
}

Expected<std::vector<NamedTensor>> Verification::commonOf(llvm::ArrayRef<NamedTensor> inputs) {
  std::vector<NamedTensor> common = withoutOwn(inputs, own_);
  for (NamedTensor &tensor : common)
    if (auto it = options_.pixels.find(tensor.name); it != options_.pixels.end()) {
      auto value = fromPixels(tensor.value, it->second);
      if (!value)
        return value.takeError();
      tensor.value = std::move(*value);
    }
  return common;
}

Expected<std::vector<NamedTensor>> Verification::inputsOf(unsigned draw, unsigned step) {
  auto inputs = randomInputs(function_, options_.seed * 10000 + draw + step * 1000003ull,
                             options_.ranges, draw);
  if (!inputs)
    return inputs;
  if (Error error = replaceGiven(*inputs, function_, options_.inputs))
    return error;
  for (const Handed &handed : handed_)
    for (NamedTensor &input : *inputs)
      if (input.name == handed.input) {
        TensorData value = handed.next.cast(input.value.dtype());
        input.value =
            value.shape() == input.value.shape() ? value : value.reshape(input.value.shape());
      }
  return inputs;
}

Error Verification::addKept(std::vector<NamedResult> &actual, std::vector<TensorData> &expected) {
  std::vector<NamedResult> last;
  for (Handed &handed : handed_) {
    auto it = llvm::find_if(actual, [&](const NamedResult &r) { return r.name == handed.output; });
    if (it == actual.end() || !it->value.tensor())
      continue;
    handed.next = *it->value.tensor();
    last.push_back(std::move(*it));
    actual.erase(it);
    auto theirs = reference_.attribute(handed.input);
    if (!theirs)
      return theirs.takeError();
    expected.push_back(std::move(**theirs));
  }
  llvm::append_range(actual, last);
  for (const NamedTensor &state : runner_.states()) {
    if (!llvm::is_contained(states_, state.name))
      continue;
    auto theirs = reference_.attribute(state.name);
    if (!theirs)
      return theirs.takeError();
    actual.push_back({state.name, mil::Attr(state.value)});
    expected.push_back(std::move(**theirs));
  }
  return Error::success();
}

Error Verification::step(unsigned draw, unsigned number) {
  auto inputs = inputsOf(draw, number);
  if (!inputs)
    return inputs.takeError();
  // The model first: what it refuses is no mistake of the package.
  auto common = commonOf(*inputs);
  if (!common)
    return common.takeError();
  std::vector<NamedTensor> given = forModel(function_, *common);
  auto expected = reference_(given);
  if (!expected)
    return addContext(expected.takeError(), "on inputs " + shapesOf(*inputs));
  auto actual = runner_.run(*inputs);
  if (!actual)
    return addContext(actual.takeError(), "on inputs " + shapesOf(*inputs));
  size_t returned = expected->size();
  auto returnedResults = withoutLabels(function_, *actual, *expected);
  if (!returnedResults)
    return returnedResults.takeError();
  std::vector<NamedResult> results = *returnedResults;
  if (Error error = addKept(results, *expected))
    return error;
  auto outputs = compareOutputs(function_, results, *expected, report_.tolerance, draw);
  if (!outputs)
    return outputs.takeError();
  bool asBool = llvm::any_of(llvm::zip(given, *common), [](auto pair) {
    return std::get<0>(pair).value.dtype() != std::get<1>(pair).value.dtype();
  });
  // A number that the model makes a bool itself may be used as a number too.
  if (asBool && !allPassed(*outputs)) {
    reference_.undo();
    auto again = reference_(*common);
    results = *returnedResults;
    Error error = again ? addKept(results, *again) : again.takeError();
    auto compared = error ? Expected<std::vector<OutputReport>>(std::move(error))
                          : compareOutputs(function_, results, *again, report_.tolerance, draw);
    if (compared && allPassed(*compared)) {
      outputs = std::move(compared);
    } else {
      llvm::consumeError(compared.takeError());
      reference_.undo();
      llvm::consumeError(reference_(given).takeError());
    }
  }
  for (auto [i, output] : llvm::enumerate(*outputs)) {
    output.step = number;
    output.isState = i >= returned + handed_.size();
  }
  bool failed = !allPassed(*outputs);
  if (report_.outputs.empty())
    report_.outputs = *outputs;
  for (auto [worst, current] : llvm::zip(report_.outputs, *outputs)) {
    bool passed = worst.passed && current.passed;
    if (isWorse(current.comparison, worst.comparison))
      worst = current;
    worst.passed = passed;
  }
  if (failed && report_.passed && options_.bisect && number == 0)
    if (Error error = lookInside(*inputs))
      return error;
  report_.passed &= !failed;
  return Error::success();
}

Error Verification::lookInside(llvm::ArrayRef<NamedTensor> inputs) {
  ReferenceTracer tracer;
  if (options_.tracer)
    tracer = [&](llvm::ArrayRef<NamedTensor> drawn) {
      auto common = commonOf(drawn);
      if (!common)
        return Expected<std::vector<ReferenceStep>>(common.takeError());
      return options_.tracer(forModel(function_, *common));
    };
  auto found = bisect(function_, inputs, report_.tolerance, options_.compute, tracer);
  if (!found)
    return found.takeError();
  report_.bisect = std::move(*found);
  return Error::success();
}

} // namespace

Expected<VerifyReport> verifyFunction(const mil::Function &function, const Reference &reference,
                                      const VerifyOptions &options) {
  if (Error error = checkPixels(function, options.pixels))
    return error;
  bool half = usesHalf(function);
  VerifyReport report;
  report.tolerance = {options.absolute.value_or(half ? 1e-3 : 1e-5),
                      options.relative.value_or(half ? 1e-2 : 1e-4)};
  RunOptions runOptions;
  runOptions.compute = options.compute;
  auto runner = Runner::create(function, std::move(runOptions));
  if (!runner)
    return runner.takeError();
  Verification verification(function, reference, options, *runner, report);
  if (Error error = verification.begin())
    return error;
  for (; report.draws < options.draws; ++report.draws)
    if (Error error = verification.draw(report.draws))
      return error;
  if (!report.passed)
    report.random = randomOperations(function);
  return report;
}

} // namespace plait::runtime
