// Running in step, matching values, and looking for where they part.
#include "runtime/Bisect.h"

#include "runtime/Noise.h"
#include "support/TorchMessage.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

namespace plait::runtime {

using mil::DType;
using mil::Op;

static std::string placeText(llvm::StringRef operation, llvm::StringRef module,
                             llvm::StringRef source) {
  std::string text = operation.str();
  if (!module.empty())
    text += " in module '" + module.str() + "'";
  if (!source.empty())
    text += " at " + source.str();
  return text;
}

static std::string describe(const ReferenceStep &step) {
  return placeText(step.operation, step.module, step.source);
}

namespace {

/// A tensor made ready to be matched: flat, in fp32.
struct Sample {
  at::Tensor flat;
  double peak = 0;
  /// Holds more than one value, so that it agrees with nothing by chance.
  bool telling = false;
};

Sample sampleOf(const at::Tensor &tensor) {
  Sample sample;
  if (!tensor.defined() || tensor.numel() == 0)
    return sample;
  sample.flat = tensor.to(at::kFloat).reshape({-1});
  at::Tensor finite = at::nan_to_num(sample.flat, 0, 0, 0);
  sample.peak = finite.abs().max().item<double>();
  sample.telling = sample.flat.numel() == 1 || !sample.flat.eq(sample.flat[0]).all().item<bool>();
  return sample;
}

bool agree(const Sample &value, const Sample &wanted, Tolerance tolerance) {
  int64_t count = wanted.flat.numel();
  if (value.flat.numel() != count)
    return false;
  double allowed = tolerance.absolute + tolerance.relative * wanted.peak;
  // Most pairs differ at once.
  const float *a = value.flat.const_data_ptr<float>(), *b = wanted.flat.const_data_ptr<float>();
  for (int64_t probe = 0; probe < 8; ++probe) {
    int64_t i = (count - 1) * probe / 7;
    if (std::isfinite(a[i]) && std::isfinite(b[i]) && std::abs(double(a[i]) - b[i]) > allowed)
      return false;
  }
  return at::isclose(value.flat, wanted.flat, 0, allowed, /*equal_nan=*/true).all().item<bool>();
}

/// One result of the function, in order.
struct Point {
  const Op *op;
  unsigned result;
  std::vector<unsigned> operands; ///< earlier points
  std::optional<unsigned> match;  ///< the step that it agrees with
  bool telling = false;
  at::Tensor exact;
};

/// Marks the operands of every marked node, theirs, and so on; nodes are in order.
template <typename Node>
void markOperands(const std::vector<Node> &nodes, std::vector<bool> &marks) {
  for (size_t i = nodes.size(); i-- > 0;)
    if (marks[i])
      for (unsigned operand : nodes[i].operands)
        marks[operand] = true;
}

/// Which nodes lead to no agreement: the floating-point ones, for sizes and masks may be computed
/// by one side alone; all of them where none is floating-point.
template <typename Node, typename IsFloat>
std::vector<bool> findBad(const std::vector<Node> &nodes, std::vector<bool> agree,
                          const std::vector<bool> &telling, IsFloat isFloat) {
  markOperands(nodes, agree);
  std::vector<bool> bad(nodes.size()), badFloats(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    bad[i] = !agree[i] && telling[i];
    badFloats[i] = bad[i] && isFloat(nodes[i]);
  }
  return llvm::is_contained(badFloats, true) ? badFloats : bad;
}

/// What a view of the model may be here: the same elements in another order or fewer of them. Views
/// are no steps of the model, so that such a value has nothing to agree with.
bool isLikeView(const Op &op) {
  switch (op.kind()) {
  case mil::OpKind::expand_dims:
  case mil::OpKind::flatten2d:
  case mil::OpKind::identity:
  case mil::OpKind::reshape:
  case mil::OpKind::slice_by_index:
  case mil::OpKind::slice_by_size:
  case mil::OpKind::split:
  case mil::OpKind::squeeze:
  case mil::OpKind::transpose:
    return true;
  default:
    return false;
  }
}

class Bisection {
public:
  Bisection(const mil::Function &function, Tolerance tolerance, const ModelMatch &match,
            std::vector<ReferenceStep> steps)
      : function_(function), tolerance_(tolerance), match_(match), steps_(std::move(steps)) {}

  Error readSteps() {
    for (const ReferenceStep &step : steps_) {
      auto tensor = toTensor(step.value, Compute::Float32, nullptr);
      if (!tensor)
        return tensor.takeError();
      samples_.push_back(sampleOf(*tensor));
      if (samples_.back().telling)
        bySize_[samples_.back().flat.numel()].push_back(unsigned(samples_.size()) - 1);
    }
    return Error::success();
  }

  Error run(const Interpreter::Inputs &inputs, Compute compute);
  BisectReport report(bool traced);

private:
  Error see(const Op &op, const Data &rounded, const Data &exact);
  Error compareRounding(const Op &op, unsigned result, const at::Tensor &rounded,
                        const at::Tensor &exact);
  std::string placeOf(unsigned point) const;
  Finding findingAt(unsigned point, std::optional<Comparison> comparison) const;
  void collectOperands(const Op &op, std::vector<unsigned> &operands) const;

  const mil::Function &function_;
  Tolerance tolerance_;
  ModelMatch match_;
  std::vector<ReferenceStep> steps_;
  std::vector<Sample> samples_;
  std::map<int64_t, std::vector<unsigned>> bySize_;
  std::vector<bool> matched_;
  std::vector<Point> points_;
  llvm::DenseMap<const mil::Value *, unsigned> pointOf_;
  // Points where something was found.
  std::optional<unsigned> rounding_, overflow_, nonFinite_;
  std::optional<Comparison> roundingError_;
  int64_t overflowed_ = 0;
  double magnitude_ = 0;
  llvm::DenseSet<const mil::Value *> tainted_; ///< not finite in the run that rounds
};

void Bisection::collectOperands(const Op &op, std::vector<unsigned> &operands) const {
  auto add = [&](const mil::Value *value) {
    if (auto it = pointOf_.find(value);
        it != pointOf_.end() && !llvm::is_contained(operands, it->second))
      operands.push_back(it->second);
  };
  for (const mil::Operand &operand : op.operands())
    add(operand.get());
  for (const auto &block : op.blocks()) {
    for (const Op &inner : *block)
      collectOperands(inner, operands);
    for (const mil::Operand &output : block->outputs())
      add(output.get());
  }
}

bool allFinite(const at::Tensor &tensor) {
  return !tensor.is_floating_point() || at::isfinite(tensor).all().item<bool>();
}

Error Bisection::compareRounding(const Op &op, unsigned result, const at::Tensor &rounded,
                                 const at::Tensor &exact) {
  unsigned point = unsigned(points_.size()) - 1;
  const mil::Value *value = op.result(result);
  bool finite = allFinite(rounded);
  if (!finite) {
    tainted_.insert(value);
    bool fromFinite = llvm::none_of(op.operands(), [&](const mil::Operand &operand) {
      return tainted_.contains(operand.get());
    });
    if (!nonFinite_ && fromFinite)
      nonFinite_ = point;
  }
  bool overflows = false;
  if (!finite && !overflow_ && exact.is_floating_point()) {
    at::Tensor lost = at::logical_and(at::isfinite(rounded).logical_not(), at::isfinite(exact));
    if (int64_t count = lost.sum().item<int64_t>()) {
      overflows = true;
      overflow_ = point;
      overflowed_ = count;
      magnitude_ = exact.masked_select(lost).abs().max().item<double>();
    }
  }
  if (rounding_ && !overflows)
    return Error::success();
  auto comparison = compare(toTensorData(rounded.to(at::kFloat), DType::F32),
                            toTensorData(exact.to(at::kFloat), DType::F32));
  if (!comparison)
    return comparison.takeError();
  if (!rounding_ && !tolerance_.accepts(*comparison)) {
    rounding_ = point;
    roundingError_ = *comparison;
  }
  return Error::success();
}

Error Bisection::see(const Op &op, const Data &rounded, const Data &exact) {
  for (unsigned i = 0; i < exact.size(); ++i) {
    const at::Tensor &value = exact[i].tensor;
    if (!value.defined())
      continue;
    Point point{&op, i, {}, std::nullopt, false, {}};
    collectOperands(op, point.operands);
    Sample sample = sampleOf(value);
    point.telling = sample.telling;
    if (sample.telling)
      if (auto it = bySize_.find(sample.flat.numel()); it != bySize_.end()) {
        for (unsigned step : it->second)
          if (agree(sample, samples_[step], match_.tolerance)) {
            matched_[step] = true;
            if (!point.match)
              point.match = step;
          }
        if (!point.match)
          point.exact = value; // it may turn out to be the one
      }
    points_.push_back(std::move(point));
    if (i < rounded.size() && rounded[i].tensor.defined() &&
        rounded[i].tensor.sizes() == value.sizes())
      if (Error error = compareRounding(op, i, rounded[i].tensor, value))
        return error;
  }
  for (const auto &result : op.results())
    for (unsigned point = unsigned(points_.size()); point-- > 0 && points_[point].op == &op;)
      if (op.result(points_[point].result) == result.get())
        pointOf_[result.get()] = point;
  return Error::success();
}

Error Bisection::run(const Interpreter::Inputs &inputs, Compute compute) {
  matched_.assign(steps_.size(), false);
  auto weights = unroundedWeights(function_, match_.weights);
  if (!weights)
    return weights.takeError();
  Interpreter::Options rounded, exact = unroundedOptions(*weights);
  rounded.compute = compute;
  auto a = Interpreter::create(function_, rounded), b = Interpreter::create(function_, exact);
  if (!a || !b)
    return llvm::joinErrors(a.takeError(), b.takeError());
  c10::InferenceMode guard;
  if (Error error = (*a)->start(inputs))
    return error;
  if (Error error = (*b)->start(inputs))
    return error;
  while (const Op *op = (*a)->next()) {
    auto x = (*a)->step(), y = (*b)->step();
    if (!x || !y)
      return llvm::joinErrors(x.takeError(), y.takeError());
    if (Error error = see(*op, *x, *y))
      return error;
  }
  return Error::success();
}

/// What the operation says of itself; else the step that the point agrees with, else that of the
/// first point computed from it that agrees with one: fused operations compute what the model gives
/// a little later.
std::string Bisection::placeOf(unsigned point) const {
  if (const mil::Location &location = points_[point].op->location)
    return placeText(location.op(), location.module(), location.source());
  std::vector<bool> reached(points_.size());
  reached[point] = true;
  for (size_t i = point; i < points_.size(); ++i) {
    for (unsigned operand : points_[i].operands)
      reached[i] = reached[i] || reached[operand];
    if (!reached[i] || !points_[i].match)
      continue;
    const ReferenceStep &step = steps_[*points_[i].match];
    return (i == point ? "" : "before ") + describe(step);
  }
  return "";
}

Finding Bisection::findingAt(unsigned point, std::optional<Comparison> comparison) const {
  const Op &op = *points_[point].op;
  Finding finding{describe(op, /*withLocation=*/false),
                  op.result(points_[point].result)->name.str(),
                  placeOf(point),
                  std::move(comparison),
                  {}};
  for (const mil::Operand &operand : op.operands())
    if (const mil::TensorData *tensor = mil::constTensor(operand))
      for (const std::string &path : parametersOf(*tensor)) {
        std::string module = llvm::StringRef(path).rsplit('.').first.str();
        bool isOwn = op.location && llvm::StringRef(op.location.module()) == module;
        if (!isOwn && llvm::StringRef(path).contains('.') &&
            !llvm::is_contained(finding.modules, module))
          finding.modules.push_back(module);
      }
  return finding;
}

BisectReport Bisection::report(bool traced) {
  BisectReport report;
  report.traced = traced;
  if (rounding_)
    report.rounding = findingAt(*rounding_, roundingError_);
  if (overflow_)
    report.overflow = findingAt(*overflow_, std::nullopt);
  else if (nonFinite_)
    report.nonFinite = findingAt(*nonFinite_, std::nullopt);
  report.overflowed = overflowed_;
  report.magnitude = magnitude_;
  if (!traced || match_.reached)
    return report;

  // Nothing that the model computes and does not use can be to blame.
  std::vector<bool> stepsTelling(steps_.size());
  for (size_t i = 0; i < steps_.size(); ++i)
    stepsTelling[i] = steps_[i].isOutput;
  markOperands(steps_, stepsTelling);
  for (size_t i = 0; i < steps_.size(); ++i)
    stepsTelling[i] = stepsTelling[i] && samples_[i].telling;
  std::vector<bool> pointsAgree, pointsTelling;
  for (const Point &point : points_) {
    // A view of what agrees, or of an input, agrees.
    bool seen = isLikeView(*point.op) && llvm::all_of(point.operands, [&](unsigned operand) {
                  return pointsAgree[operand];
                });
    pointsAgree.push_back(point.match.has_value() || seen);
    pointsTelling.push_back(point.telling);
  }
  auto badSteps = findBad(steps_, matched_, stepsTelling, [](const ReferenceStep &step) {
    return mil::isFloat(step.value.dtype());
  });
  auto badPoints = findBad(points_, pointsAgree, pointsTelling, [](const Point &point) {
    return mil::isFloat(point.op->result(point.result)->type.dtype());
  });
  auto step = llvm::find(badSteps, true), point = llvm::find(badPoints, true);
  if (step == badSteps.end() || point == badPoints.end())
    return report;
  unsigned first = unsigned(point - badPoints.begin());
  report.departure = findingAt(first, std::nullopt);
  // Of the model's bad steps the one that the operation computes has its size and, where that is
  // known, its place; else the first.
  const mil::Location &location = points_[first].op->location;
  auto isElsewhere = [&](const ReferenceStep &one) {
    return location &&
           (one.module != llvm::StringRef(location.module()) || one.source != location.source());
  };
  auto wanted = step;
  const at::Tensor &exact = points_[first].exact;
  for (auto it = step; it != badSteps.end(); ++it) {
    unsigned index = unsigned(it - badSteps.begin());
    if (*it && exact.defined() && samples_[index].flat.numel() == exact.numel() &&
        !isElsewhere(steps_[index])) {
      wanted = it;
      at::Tensor expected = samples_[index].flat.reshape(exact.sizes());
      if (auto comparison = compare(toTensorData(exact.to(at::kFloat), DType::F32),
                                    toTensorData(expected, DType::F32)))
        report.departure->comparison = *comparison;
      else
        llvm::consumeError(comparison.takeError());
      break;
    }
  }
  if (!location)
    report.departure->place = describe(steps_[wanted - badSteps.begin()]);
  return report;
}

} // namespace

Expected<BisectReport> bisect(const mil::Function &function, llvm::ArrayRef<NamedTensor> inputs,
                              Tolerance tolerance, Compute compute, const ReferenceTracer &tracer,
                              std::optional<ModelMatch> match) {
  std::vector<ReferenceStep> steps;
  std::string untraced;
  if (tracer) {
    if (auto traced = tracer(inputs))
      steps = std::move(*traced);
    else
      untraced = llvm::toString(traced.takeError());
  }
  Interpreter::Inputs tensors;
  for (const NamedTensor &input : inputs) {
    auto tensor = toTensor(input.value, Compute::Float32, nullptr);
    if (!tensor)
      return tensor.takeError();
    tensors[input.name] = *tensor;
  }
  Bisection bisection(function, tolerance, match.value_or(ModelMatch{tolerance}), std::move(steps));
  try {
    if (Error error = bisection.readSteps())
      return error;
    if (Error error = bisection.run(tensors, compute))
      return error;
    BisectReport report = bisection.report(tracer && untraced.empty());
    report.untraced = std::move(untraced);
    return report;
  } catch (const c10::Error &error) {
    return makeError(Code::NotComparable, "function '{0}': values cannot be compared: {1}",
                     function.name, torchMessage(error.what_without_backtrace()));
  }
}

static std::string describe(const Finding &finding) {
  std::string text = finding.operation;
  if (!finding.place.empty())
    text += " (" + finding.place + ")";
  if (!finding.modules.empty())
    text += ", which has taken in parameters of '" + llvm::join(finding.modules, "', '") + "'";
  return text;
}

std::vector<std::string> describe(const BisectReport &report) {
  std::vector<std::string> lines;
  if (!report.untraced.empty())
    lines.push_back("the model's own values are not at hand: " + report.untraced);
  if (report.departure) {
    lines.push_back("leaves the model at " + describe(*report.departure));
    if (report.departure->comparison)
      lines.back() += ": " + describe(*report.departure->comparison);
  } else if (report.traced && (report.rounding || report.overflow)) {
    lines.push_back("without rounding to fp16 every value of the model is reached");
  } else if (report.traced) {
    lines.push_back("every value of the model is reached: the outputs may be in another order");
  }
  if (report.rounding && !(report.overflow && report.overflow->value == report.rounding->value))
    lines.push_back("fp16 leaves fp32 at " + describe(*report.rounding) + ": " +
                    describe(*report.rounding->comparison));
  if (report.overflow)
    lines.push_back(fmt::format("fp16 overflows at {0}: {1} elements, {2:.2e} in fp32",
                                describe(*report.overflow), report.overflowed, report.magnitude));
  if (report.nonFinite)
    lines.push_back("NaN or infinity comes from finite operands at " + describe(*report.nonFinite));
  return lines;
}

} // namespace plait::runtime
