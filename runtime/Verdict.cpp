// Floating-point outputs are judged by distances, whole numbers and bools element by element.
#include "runtime/Verdict.h"

#include <cmath>

namespace plait::runtime {

using mil::TensorData;

namespace {

/// What a distance from the model may be, relative to the output, though no disturbed run goes so
/// far: operations that are composed of others (a logarithm of a softmax) lose a few digits more
/// than a rounding or two.
constexpr double kFloor = 2e-5;
/// With eight drawn runs an output of a single element is misjudged less than once in two thousand
/// times; most outputs need one.
constexpr size_t kMostDisturbed = 8;
/// What is so many times too far after the second of them stays too far.
constexpr double kHopeless = 10;

/// Steps that take an output further than this part of it are what it computes.
constexpr double kLargestSteps = 0.25;

/// How far an output may be from a model that computes in half itself, and from one that computes
/// in bfloat16, which has three bits fewer.
constexpr Tolerance kHalfModel{1e-3, 1e-2}, kBFloatModel{1e-2, 3e-2};

/// Tensors of one output in every run.
struct Runs {
  const TensorData *computed, *unrounded;
  std::vector<const TensorData *> disturbed;
  const TensorData *smooth = nullptr; ///< where the function rounds to steps
};

struct Judgement {
  OutputReport report;
  bool explained = false;
  bool hopeless = false; ///< more runs would not explain it
};

double share(double distance, double allowed) {
  return distance <= allowed ? 0 : distance / std::max(allowed, 1e-300);
}

Error judgeDistances(Judgement &judgement, const Runs &runs, const TensorData &theirs,
                     const Tolerance &limit, std::optional<mil::DType> inside) {
  auto rest = compare(*runs.unrounded, theirs);
  if (!rest)
    return rest.takeError();
  auto rounding = compare(*runs.computed, *runs.unrounded);
  if (!rounding)
    return rounding.takeError();
  double largest = kFloor * rest->peak, mean = kFloor * rest->rmsReference;
  double largestNoise = 0, meanNoise = 0;
  for (const TensorData *disturbed : runs.disturbed) {
    auto noise = compare(*disturbed, *runs.unrounded);
    if (!noise)
      return noise.takeError();
    largestNoise = std::max(largestNoise, noise->maxAbsolute);
    meanNoise = std::max(meanNoise, noise->rmsError);
  }
  largest += largestNoise;
  mean += meanNoise;
  double excess = std::max(share(rest->maxAbsolute, largest), share(rest->rmsError, mean));
  OutputReport &report = judgement.report;
  // A model that rounds by itself (x.half() in fp32) gives what the function computes, not what it
  // would give without rounding.
  const Comparison &own = report.comparison;
  bool same = own.nonFinite == 0 && own.maxAbsolute <= kFloor * own.peak;
  judgement.explained = same || (rest->nonFinite == 0 && excess == 0);
  judgement.hopeless = rest->nonFinite > 0 || excess > kHopeless;
  report.rounding = *rounding;
  // What a model computes in half is rounded there too, by an amount that no run here shows.
  if (theirs.dtype() == mil::DType::F16 || theirs.dtype() == mil::DType::BF16)
    inside = inside.value_or(theirs.dtype());
  if (!judgement.explained && inside) {
    const Tolerance &allowed = *inside == mil::DType::F16 ? kHalfModel : kBFloatModel;
    report.distance = own.maxAbsolute;
    report.explained = allowed.absolute + allowed.relative * own.peak;
    judgement.explained = allowed.accepts(own);
    judgement.hopeless = true;
    report.verdict = judgement.explained ? Verdict::Fine : Verdict::Wrong;
    return Error::success();
  }
  if (!judgement.explained) {
    report.verdict = Verdict::Wrong;
    report.distance = rest->maxAbsolute;
    report.explained = largest;
    report.comparison.worst = rest->worst;
    return Error::success();
  }
  report.distance = report.comparison.maxAbsolute;
  report.explained = rounding->maxAbsolute + largest;
  // A function that rounds nothing has no limit but what its noise explains.
  bool rounds = rounding->maxAbsolute > 0 || rounding->nonFinite > 0;
  bool near = report.comparison.nonFinite == 0 && (!rounds || limit.accepts(report.comparison));
  if (!near && runs.smooth) {
    auto steps = compare(*runs.unrounded, *runs.smooth); // nothing of rounding is in it
    if (!steps)
      return steps.takeError();
    near = isWithinSteps(report.comparison, *steps, limit);
    report.steps = *steps;
  }
  report.verdict = near ? Verdict::Fine : Verdict::Rounded;
  return Error::success();
}

/// A position where the run without rounding has another number than the model is explained where
/// another run has another number than that one, too: what is compared there differs by less than
/// rounding moves it.
Error judgeNumbers(Judgement &judgement, const Runs &runs, const TensorData &theirs) {
  auto wanted = theirs.floatValues(), exact = runs.unrounded->floatValues(),
       computed = runs.computed->floatValues();
  if (!wanted || !exact || !computed)
    return joinErrors(joinErrors(wanted.takeError(), exact.takeError()), computed.takeError());
  std::vector<bool> moves(exact->size());
  OutputReport &report = judgement.report;
  report.jumps = true;
  auto mark = [&](const std::vector<double> &other) {
    for (size_t i = 0; i < moves.size(); ++i)
      moves[i] = moves[i] || other[i] != (*exact)[i];
  };
  mark(*computed);
  report.flipped = llvm::count(moves, true);
  for (const TensorData *disturbed : runs.disturbed) {
    auto numbers = disturbed->floatValues();
    if (!numbers)
      return numbers.takeError();
    mark(*numbers);
  }
  int64_t unexplained = 0;
  for (size_t i = moves.size(); i-- > 0;)
    if ((*exact)[i] != (*wanted)[i] && !moves[i]) {
      ++unexplained;
      report.comparison.worst = int64_t(i);
    }
  judgement.explained = unexplained == 0;
  judgement.hopeless = double(unexplained) > double(kHopeless);
  report.unexplained = unexplained;
  report.verdict = unexplained ? Verdict::Wrong : Verdict::Fine;
  return Error::success();
}

Expected<std::vector<Judgement>>
judgeOnce(const mil::Function &function, const Noise &noise, llvm::ArrayRef<TensorData> expected,
          Arrange arrange, const Tolerance &limit, unsigned draw, std::optional<mil::DType> inside,
          const llvm::StringSet<> &random, llvm::ArrayRef<NamedResult> smooth) {
  std::vector<NamedResult> computed = arrange(noise.computed());
  std::vector<NamedResult> unrounded = arrange(noise.unrounded());
  std::vector<std::vector<NamedResult>> disturbed;
  for (size_t run = 0; run < noise.disturbedRuns(); ++run)
    disturbed.push_back(arrange(noise.disturbed(run)));
  if (computed.size() != expected.size())
    return makeError(Code::NotComparable,
                     "function '{0}' has {1} outputs where the model returns {2}", function.name,
                     computed.size(), expected.size());
  std::vector<Judgement> judgements;
  for (size_t i = 0; i < computed.size(); ++i) {
    const std::string &name = computed[i].name;
    const TensorData *tensor = computed[i].value.tensor();
    if (!tensor)
      return makeError(Code::NotComparable, "output '{0}' is no tensor and cannot be compared",
                       name);
    const TensorData &wanted = random.contains(name) ? *unrounded[i].value.tensor() : expected[i];
    TensorData theirs = shapedAs(wanted, *tensor);
    // Where rounding moves what decides about a size (non_zero …), the function has the model's
    // without it.
    const TensorData *exact = unrounded[i].value.tensor();
    auto hasModelShape = [&](const TensorData *other) { return other->shape() == theirs.shape(); };
    bool isOtherSize = !hasModelShape(tensor) && hasModelShape(exact);
    Judgement judgement;
    if (isOtherSize)
      judgement.report.roundedType = tensor->type();
    auto comparison = compare(isOtherSize ? *exact : *tensor, theirs);
    if (!comparison)
      return addContext(comparison.takeError(), "output '" + name + "'");
    judgement.report.name = name;
    judgement.report.comparison = *comparison;
    judgement.report.draw = draw;
    if (!hasModelShape(exact))
      return makeError(Code::NotComparable,
                       "output '{0}' has other shapes when rounding moves what decides about them "
                       "(non_zero …); compare it by --atol and --rtol",
                       name);
    Runs runs{isOtherSize ? exact : tensor, exact, {}};
    for (const std::vector<NamedResult> &run : disturbed)
      if (hasModelShape(run[i].value.tensor()))
        runs.disturbed.push_back(run[i].value.tensor());
    if (!smooth.empty() && hasModelShape(smooth[i].value.tensor()))
      runs.smooth = smooth[i].value.tensor();
    bool floats = mil::isFloat(theirs.dtype()) && mil::isFloat(tensor->dtype());
    if (Error error = floats ? judgeDistances(judgement, runs, theirs, limit, inside)
                             : judgeNumbers(judgement, runs, theirs))
      return addContext(std::move(error), "output '" + name + "'");
    if (isOtherSize && judgement.explained)
      judgement.report.verdict = Verdict::Rounded;
    judgements.push_back(std::move(judgement));
  }
  return judgements;
}

} // namespace

bool isWithinSteps(const Comparison &error, const Comparison &steps, const Tolerance &limit) {
  auto isWithin = [&](double distance, double size, double step) {
    return distance <= limit.absolute + limit.relative * size + 2 * step;
  };
  return error.nonFinite == 0 && steps.nonFinite == 0 &&
         steps.rmsError <= kLargestSteps * steps.rmsReference &&
         isWithin(error.maxAbsolute, error.peak, steps.maxAbsolute) &&
         isWithin(error.rmsError, error.rmsReference, steps.rmsError);
}

TensorData shapedAs(const TensorData &reference, const TensorData &actual) {
  bool scalar = reference.rank() == 0 && actual.rank() == 1 && actual.numElements() == 1;
  return scalar ? reference.reshape({1}) : reference;
}

Expected<std::vector<OutputReport>> judge(const mil::Function &function, Noise &noise,
                                          llvm::ArrayRef<TensorData> expected, Arrange arrange,
                                          const Tolerance &limit, unsigned draw,
                                          std::optional<mil::DType> inside,
                                          const llvm::StringSet<> &random) {
  std::vector<NamedResult> smooth;
  bool mayBeSmooth = roundsToSteps(function);
  for (;;) {
    auto judgements =
        judgeOnce(function, noise, expected, arrange, limit, draw, inside, random, smooth);
    if (!judgements)
      return judgements.takeError();
    size_t runs = noise.disturbedRuns();
    bool again =
        runs < kMostDisturbed &&
        llvm::any_of(
            *judgements,
            [&](const Judgement &one) { return !one.explained && !(one.hopeless && runs > 1); });
    if (again) {
      if (Error error = noise.disturbAgain())
        return error;
      continue;
    }
    bool isFar = llvm::any_of(*judgements, [](const Judgement &one) {
      return one.report.verdict == Verdict::Rounded && !one.report.jumps;
    });
    if (isFar && mayBeSmooth) {
      mayBeSmooth = false;
      if (auto results = noise.smooth())
        smooth = arrange(std::move(*results));
      else // its steps decide about a shape or an index: nothing is known of them
        llvm::consumeError(results.takeError());
      continue;
    }
    std::vector<OutputReport> reports;
    for (Judgement &judgement : *judgements)
      reports.push_back(std::move(judgement.report));
    return reports;
  }
}

} // namespace plait::runtime
