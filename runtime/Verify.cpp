// Comparing a function with its model.
#include "runtime/Verify.h"

#include "runtime/RoundingCauses.h"
#include "runtime/Verdict.h"

#include <cmath>

namespace plait::runtime {

using mil::DType;
using mil::TensorData;

static Error replaceGiven(std::vector<NamedTensor> &inputs, const mil::Function &function,
                          llvm::ArrayRef<NamedTensor> given) {
  for (const NamedTensor &tensor : given) {
    auto it = llvm::find_if(inputs, [&](const NamedTensor &i) { return i.name == tensor.name; });
    if (it == inputs.end())
      return makeError(Code::ArrayMismatch, "function '{0}' has no input '{1}'", function.name,
                       tensor.name);
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
      return makeError(Code::ImageMismatch, "function '{0}' has no image '{1}'", function.name,
                       name);
    for (size_t count : {arithmetic.scale.size(), arithmetic.bias.size()})
      if (count > 1 && image->type.shape()[1] != mil::Dim(int64_t(count)))
        return makeError(Code::ImageMismatch,
                         "image '{0}' is {1}, and {2} numbers are given for its channels", name,
                         image->type.str(), count);
  }
  return Error::success();
}

/// What the model gives where a classifier has a dictionary: its probabilities as one array, of the
/// model's shape where it has as many.
static NamedResult probabilitiesOf(const std::string &name, const mil::Attr::Dict &dict,
                                   const TensorData *theirs) {
  std::vector<double> values;
  for (const auto &[label, probability] : dict)
    values.push_back(llvm::cantFail(probability.tensor()->floatValues()).front());
  llvm::SmallVector<int64_t, 5> shape{int64_t(values.size())};
  if (theirs && theirs->numElements() == shape[0])
    shape.assign(theirs->shape().begin(), theirs->shape().end());
  return {name, mil::Attr(TensorData::from<double>(DType::F64, shape, values))};
}

static bool isClassified(const mil::Value &output) {
  return output.def() && output.def()->is(mil::OpKind::classify);
}

static bool isWorse(const OutputReport &one, const OutputReport &other) {
  if (one.verdict != other.verdict)
    return one.verdict > other.verdict;
  const Comparison &a = one.comparison, &b = other.comparison;
  if (a.nonFinite != b.nonFinite)
    return a.nonFinite > b.nonFinite;
  return a.maxAbsolute * (b.peak + 1e-30) > b.maxAbsolute * (a.peak + 1e-30);
}

/// Output by output, what the function gave beside what the model gives.
static Expected<std::vector<OutputReport>>
compareOutputs(const mil::Function &function, llvm::ArrayRef<NamedResult> actual,
               llvm::ArrayRef<TensorData> expected, const Tolerance &tolerance, unsigned draw) {
  if (actual.size() != expected.size())
    return makeError(Code::NotComparable,
                     "function '{0}' has {1} outputs where the model returns {2}", function.name,
                     actual.size(), expected.size());
  std::vector<OutputReport> outputs;
  for (auto [output, theirs] : llvm::zip(actual, expected)) {
    const TensorData *tensor = output.value.tensor();
    if (!tensor)
      return makeError(Code::NotComparable, "output '{0}' is no tensor and cannot be compared",
                       output.name);
    auto comparison = compare(*tensor, shapedAs(theirs, *tensor));
    if (!comparison)
      return addContext(comparison.takeError(), "output '" + output.name + "'");
    OutputReport report;
    report.name = output.name;
    report.comparison = *comparison;
    report.draw = draw;
    report.verdict = tolerance.accepts(*comparison) ? Verdict::Fine : Verdict::Wrong;
    report.distance = comparison->maxAbsolute;
    report.explained = tolerance.absolute + tolerance.relative * comparison->peak;
    outputs.push_back(std::move(report));
  }
  return outputs;
}

static bool allPassed(llvm::ArrayRef<OutputReport> outputs) {
  return llvm::all_of(outputs, [](const OutputReport &output) { return output.passed(); });
}

/// How narrowly its values are held against the model's: between what the outputs' noise explains
/// and how far the wrong ones are off, so that values before the fault agree and those behind it do
/// not.
static ModelMatch matchOf(llvm::ArrayRef<OutputReport> outputs, const VerifyOptions &options) {
  std::optional<double> between;
  for (const OutputReport &output : outputs)
    if (output.verdict == Verdict::Wrong)
      between = std::max(between.value_or(0), std::sqrt(output.explained * output.distance) /
                                                  (output.comparison.peak + 1e-30));
  return ModelMatch{
      {1e-7, std::clamp(between.value_or(0), 3e-5, 1e-2)}, options.weights, !between.has_value()};
}

namespace {

/// The calls of one function and of its model, beside each other.
class Verification {
public:
  Verification(const mil::Function &function, const Reference &reference,
               const VerifyOptions &options, VerifyReport &report)
      : function_(function), reference_(reference), options_(options), report_(report) {}

  /// Makes what runs the function, and finds what the model keeps from call to call.
  Error begin();
  Error draw(unsigned number);

private:
  Error step(unsigned draw, unsigned number);
  /// Of the model, what the function does not keep.
  void forgetOthers();
  /// The arrays of a call: drawn, given, or handed on from the call before.
  Expected<std::vector<NamedTensor>> inputsOf(unsigned draw, unsigned step);
  /// Those that the model takes: without the function's own, and images as it takes them.
  Expected<std::vector<NamedTensor>> commonOf(llvm::ArrayRef<NamedTensor> inputs);
  /// Runs the function; results are its outputs and then its states.
  Error run(llvm::ArrayRef<NamedTensor> inputs);
  const std::vector<NamedResult> &results() const { return noise_ ? noise_->computed() : results_; }
  /// Outputs, then those that are handed on, then the states that the model has; of a classifier
  /// the probabilities alone, from which its label follows.
  std::vector<NamedResult> arranged(std::vector<NamedResult> results,
                                    llvm::ArrayRef<TensorData> expected) const;
  /// What the model's tensors hold now, for outputs that are handed on and for states.
  Error addKept(std::vector<TensorData> &expected);
  Expected<std::vector<OutputReport>> judgeAgainst(std::vector<TensorData> expected, unsigned draw);
  Error lookInside(llvm::ArrayRef<NamedTensor> inputs, llvm::ArrayRef<OutputReport> outputs);
  /// What a call is at, and how much of it is done.
  using Progress = llvm::function_ref<void(llvm::StringRef, double)>;
  /// Refuses what depends on random numbers and cannot be compared by distribution.
  Error checkRandom() const;
  /// Draws the outputs that depend on random numbers from both.
  Error compareDistributions(llvm::ArrayRef<NamedTensor> inputs, llvm::ArrayRef<NamedTensor> given,
                             std::vector<OutputReport> &outputs, Progress progress);
  /// The outputs of the first call of a draw as they would be judged without a tolerance that the
  /// user gave: whether the package is right is another question than whether it is near enough.
  Expected<std::vector<OutputReport>> calibrate(llvm::ArrayRef<NamedTensor> inputs,
                                                std::vector<TensorData> expected, unsigned draw);

  const mil::Function &function_;
  const Reference &reference_;
  const VerifyOptions &options_;
  VerifyReport &report_;
  std::unique_ptr<Noise> noise_; ///< of rounding; judged by that, or
  std::optional<Runner> runner_; ///< by a tolerance
  std::vector<NamedResult> results_;
  std::vector<std::string> states_; ///< that the model has too
  llvm::StringSet<> own_;           ///< inputs that are no arguments of the model
  llvm::StringSet<> random_;        ///< outputs and states that depend on random numbers
  /// Inputs that the app hands on, the outputs they come from, and what they are next.
  struct Handed {
    std::string input, output;
    TensorData next;
  };
  std::vector<Handed> handed_;
  std::map<std::string, std::string> handedOn_; ///< inputs, and the outputs they come from
};

/// "random_normal 'noise', random_uniform 'u'".
static std::string listed(llvm::ArrayRef<std::string> names) {
  std::string text;
  for (const std::string &name : names)
    text += (text.empty() ? "" : ", ") + name;
  return text;
}

Error Verification::checkRandom() const {
  if (random_.empty())
    return Error::success();
  auto refuse = [&](const std::string &why) {
    return makeError(Code::NotComparable,
                     "function '{0}' draws random numbers ({1}), {2}; or give the numbers to the "
                     "model as an input, and compile it again",
                     function_.name, listed(report_.random), why);
  };
  for (const auto &input : function_.inputs())
    if (random_.contains(input->name.str()))
      return refuse(fmt::format("and its state '{0}' depends on them, whose distribution is not "
                                "compared: verify a function without the state",
                                input->name));
  if (!handed_.empty())
    return refuse(fmt::format("and input '{0}' is handed on from call to call, whose distribution "
                              "is not compared: verify a function without it",
                              handed_[0].input));
  if (options_.absolute || options_.relative)
    return refuse("which no two runs have alike, so that no tolerance tells a right output: leave "
                  "out --atol and --rtol, and distributions are compared");
  if (options_.steps > 1)
    return refuse("and distributions are compared of a single call: leave out --steps");
  return Error::success();
}

Error Verification::begin() {
  report_.random = randomOperations(function_);
  random_ = randomResults(function_);
  report_.calibrated = !options_.absolute && !options_.relative;
  if (report_.calibrated) {
    auto noise = Noise::create(function_, options_.compute, options_.weights);
    if (!noise)
      return noise.takeError();
    noise_ = std::move(*noise);
  } else {
    RunOptions runOptions;
    runOptions.compute = options_.compute;
    runOptions.seed = options_.seed;
    auto runner = Runner::create(function_, std::move(runOptions));
    if (!runner)
      return runner.takeError();
    runner_ = std::move(*runner);
  }
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
  return checkRandom();
}

Error Verification::draw(unsigned number) {
  reference_.reset();
  if (runner_)
    runner_->resetStates();
  handedOn_.clear();
  // What the model holds at first may be wider than the input, as an adapter's weights are.
  llvm::StringSet<> rounded = options_.ownInputs;
  for (Handed &handed : handed_) {
    handedOn_[handed.input] = handed.output;
    rounded.insert(handed.input);
    auto value = reference_.attribute(handed.input);
    if (!value)
      return value.takeError();
    handed.next = std::move(**value);
  }
  if (noise_)
    noise_->begin((options_.seed * 10000 + number) * 100, handedOn_, std::move(rounded));
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
                             options_.ranges, draw, distributionOf(draw, options_.inputScale));
  if (!inputs)
    return inputs;
  if (!options_.sets.empty())
    if (Error error = replaceGiven(*inputs, function_, options_.sets[draw % options_.sets.size()]))
      return error;
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

Error Verification::run(llvm::ArrayRef<NamedTensor> inputs) {
  if (noise_)
    return noise_->step(inputs);
  auto actual = runner_->run(inputs);
  if (!actual)
    return actual.takeError();
  results_ = std::move(*actual);
  for (const NamedTensor &state : runner_->states())
    results_.push_back({state.name, mil::Attr(state.value)});
  return Error::success();
}

std::vector<NamedResult> Verification::arranged(std::vector<NamedResult> results,
                                                llvm::ArrayRef<TensorData> expected) const {
  std::vector<NamedResult> outputs, last;
  size_t count = function_.outputs().size();
  auto isHanded = [&](const NamedResult &result) {
    return llvm::any_of(handed_, [&](const Handed &one) { return one.output == result.name; });
  };
  for (size_t i = 0; i < count; ++i) {
    if (isHanded(results[i]))
      continue;
    const TensorData *theirs =
        outputs.size() < expected.size() ? &expected[outputs.size()] : nullptr;
    if (!isClassified(*function_.outputs()[i]))
      outputs.push_back(results[i]);
    else if (const mil::Attr::Dict *dict = results[i].value.dict())
      outputs.push_back(probabilitiesOf(results[i].name, *dict, theirs));
  }
  for (const Handed &handed : handed_)
    for (size_t i = 0; i < count; ++i)
      if (results[i].name == handed.output)
        outputs.push_back(results[i]);
  for (size_t i = count; i < results.size(); ++i)
    if (llvm::is_contained(states_, results[i].name))
      outputs.push_back(results[i]);
  return outputs;
}

Error Verification::addKept(std::vector<TensorData> &expected) {
  auto add = [&](const std::string &name) -> Error {
    auto theirs = reference_.attribute(name);
    if (!theirs)
      return theirs.takeError();
    expected.push_back(std::move(**theirs));
    return Error::success();
  };
  for (const Handed &handed : handed_)
    if (Error error = add(handed.input))
      return error;
  size_t count = function_.outputs().size();
  for (size_t i = count; i < results().size(); ++i)
    if (llvm::is_contained(states_, results()[i].name))
      if (Error error = add(results()[i].name))
        return error;
  return Error::success();
}

Expected<std::vector<OutputReport>> Verification::judgeAgainst(std::vector<TensorData> expected,
                                                               unsigned draw) {
  if (Error error = addKept(expected))
    return error;
  auto arrange = [&](std::vector<NamedResult> all) { return arranged(std::move(all), expected); };
  return noise_ ? judge(function_, *noise_, expected, arrange, report_.tolerance, draw,
                        reference_.narrowest(), random_)
                : compareOutputs(function_, arranged(results_, expected), expected,
                                 report_.tolerance, draw);
}

Error Verification::compareDistributions(llvm::ArrayRef<NamedTensor> inputs,
                                         llvm::ArrayRef<NamedTensor> given,
                                         std::vector<OutputReport> &outputs, Progress progress) {
  std::map<std::string, TwoSamples> distributions;
  for (unsigned i = 0; i < kRandomDraws; ++i) {
    progress("drawing random numbers", double(i) / kRandomDraws);
    reference_.reset();
    auto theirs = reference_(given);
    auto ours = noise_->draw(inputs);
    if (!theirs || !ours)
      return joinErrors(theirs.takeError(), ours.takeError());
    auto results = arranged(std::move(*ours), *theirs);
    for (auto [result, reference] : llvm::zip(results, *theirs))
      if (random_.contains(result.name))
        if (Error error = distributions[result.name].add(*result.value.tensor(), reference))
          return addContext(std::move(error),
                            fmt::format("output '{0}' depends on random numbers ({1})", result.name,
                                        listed(report_.random)));
  }
  reference_.reset();
  for (OutputReport &output : outputs) {
    auto found = distributions.find(output.name);
    if (found == distributions.end())
      continue;
    const TwoSamples &samples = found->second;
    const Tolerance &limit = report_.tolerance;
    double explained = output.jumps ? 0 : output.explained;
    double most = limit.absolute + limit.relative * output.comparison.peak;
    output.distribution = samples.compare(std::min(explained, most));
    output.verdict = output.distribution->passed()         ? Verdict::Fine
                     : samples.compare(explained).passed() ? Verdict::Rounded
                                                           : Verdict::Wrong;
  }
  return Error::success();
}

void Verification::forgetOthers() {
  std::vector<std::string> kept = states_;
  for (const Handed &handed : handed_)
    kept.push_back(handed.input);
  for (std::string &path : reference_.resetBut(kept))
    if (!llvm::is_contained(report_.forgotten, path))
      report_.forgotten.push_back(std::move(path));
}

Error Verification::step(unsigned draw, unsigned number) {
  if (number > 0)
    forgetOthers();
  auto inputs = inputsOf(draw, number);
  if (!inputs)
    return inputs.takeError();
  // The model first: what it refuses is no mistake of the package.
  auto common = commonOf(*inputs);
  if (!common)
    return common.takeError();
  std::vector<NamedTensor> given = forModel(function_, *common);
  std::string call = options_.draws > 1 || options_.steps > 1
                         ? fmt::format(", draw {0} of {1}, step {2} of {3}", draw + 1,
                                       options_.draws, number + 1, options_.steps)
                         : "";
  double calls = double(options_.draws) * options_.steps,
         done = (double(draw) * options_.steps + number) / calls;
  auto progress = [&](llvm::StringRef what, double part) {
    options_.progress(fmt::format("{0}: {1}{2}", function_.name, what, call), done + part / calls);
  };
  progress("running the model", 0);
  auto expected = reference_(given);
  if (!expected)
    return addContext(expected.takeError(), "on inputs " + shapesOf(*inputs));
  progress("running the function", random_.empty() ? 0.2 : 0.01); // which takes longer
  if (Error error = run(*inputs))
    return addContext(std::move(error), "on inputs " + shapesOf(*inputs));
  for (Handed &handed : handed_)
    for (const NamedResult &result : results())
      if (result.name == handed.output && result.value.tensor())
        handed.next = *result.value.tensor();
  size_t returned = expected->size();
  std::vector<TensorData> theirs = *expected;
  auto outputs = judgeAgainst(std::move(*expected), draw);
  if (!outputs)
    return outputs.takeError();
  bool asBool = llvm::any_of(llvm::zip(given, *common), [](auto pair) {
    return std::get<0>(pair).value.dtype() != std::get<1>(pair).value.dtype();
  });
  llvm::ArrayRef<NamedTensor> used = given;
  // A number that the model makes a bool itself may be used as a number too.
  if (asBool && !allPassed(*outputs)) {
    reference_.undo();
    auto again = reference_(*common);
    auto judged = again ? judgeAgainst(std::move(*again), draw)
                        : Expected<std::vector<OutputReport>>(again.takeError());
    if (judged && allPassed(*judged)) {
      outputs = std::move(judged);
      used = *common;
    } else {
      llvm::consumeError(judged.takeError());
      reference_.undo();
      llvm::consumeError(reference_(given).takeError());
    }
  }
  for (auto [i, output] : llvm::enumerate(*outputs)) {
    output.step = number;
    output.isState = i >= returned + handed_.size();
  }
  if (!random_.empty())
    if (Error error = compareDistributions(*inputs, used, *outputs, progress))
      return error;
  if (noise_ && llvm::any_of(*outputs, isFar))
    if (Error error = findRoundingCauses(function_, *noise_, report_.tolerance, *outputs))
      return error;
  bool failed = !allPassed(*outputs);
  if (report_.outputs.empty())
    report_.outputs = *outputs;
  for (auto [worst, current] : llvm::zip(report_.outputs, *outputs)) {
    if (isWorse(current, worst))
      worst = current;
  }
  if (failed && report_.passed && options_.bisect && number == 0) {
    auto judged = noise_ ? Expected<std::vector<OutputReport>>(*outputs)
                         : calibrate(*inputs, std::move(theirs), draw);
    if (!judged)
      return judged.takeError();
    if (Error error = lookInside(*inputs, *judged))
      return error;
  }
  report_.passed &= !failed;
  return Error::success();
}

Expected<std::vector<OutputReport>> Verification::calibrate(llvm::ArrayRef<NamedTensor> inputs,
                                                            std::vector<TensorData> expected,
                                                            unsigned draw) {
  auto noise = Noise::create(function_, options_.compute, options_.weights);
  if (!noise)
    return noise.takeError();
  (*noise)->begin((options_.seed * 10000 + draw) * 100, handedOn_, options_.ownInputs);
  if (Error error = (*noise)->step(inputs))
    return error;
  noise_ = std::move(*noise);
  auto judged = judgeAgainst(std::move(expected), draw);
  noise_.reset();
  return judged;
}

Error Verification::lookInside(llvm::ArrayRef<NamedTensor> inputs,
                               llvm::ArrayRef<OutputReport> outputs) {
  ReferenceTracer tracer;
  if (options_.tracer)
    tracer = [&](llvm::ArrayRef<NamedTensor> drawn) {
      auto common = commonOf(drawn);
      if (!common)
        return Expected<std::vector<ReferenceStep>>(common.takeError());
      return options_.tracer(forModel(function_, *common));
    };
  auto found = bisect(function_, inputs, report_.tolerance, options_.compute, tracer,
                      matchOf(outputs, options_));
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
  bool half = computesInHalf(function);
  VerifyReport report;
  report.tolerance = {options.absolute.value_or(half ? 1e-3 : 1e-5),
                      options.relative.value_or(half ? 1e-2 : 1e-4)};
  Verification verification(function, reference, options, report);
  if (Error error = verification.begin())
    return error;
  for (; report.draws < options.draws; ++report.draws)
    if (Error error = verification.draw(report.draws))
      return error;
  return report;
}

} // namespace plait::runtime
