// The function run once more, beside itself without rounding: the error of every result, and who
// adds to it.
#include "runtime/RoundingCauses.h"

#include "runtime/Verdict.h"

#include "llvm/ADT/DenseSet.h"
#include <cmath>

namespace plait::runtime {

using mil::DType;
using mil::Op;
using mil::Value;

bool isFar(const OutputReport &report) {
  if (report.jumps)
    return report.flipped > 0;
  const std::optional<Comparison> &rounding = report.rounding;
  return rounding &&
         (rounding->nonFinite > 0 || rounding->maxAbsolute > kFarByRounding * rounding->peak);
}

namespace {

using Errors = llvm::DenseMap<const Value *, Comparison>;

/// Where an overflow is, any other error is small.
double relative(const Comparison &error) {
  if (error.nonFinite > 0)
    return INFINITY;
  return error.rmsError == 0 ? 0 : error.rmsError / std::max(error.rmsReference, 1e-300);
}

double errorOf(const Errors &errors, const Value *value) {
  auto it = errors.find(value);
  return it == errors.end() ? 0 : relative(it->second);
}

/// Values that an operation reads, in its blocks too.
void operandsOf(const Op &op, llvm::SmallVectorImpl<const Value *> &values) {
  for (const mil::Operand &operand : op.operands())
    values.push_back(operand.get());
  for (const auto &block : op.blocks()) {
    for (const Op &inner : *block)
      operandsOf(inner, values);
    for (const mil::Operand &output : block->outputs())
      values.push_back(output.get());
  }
}

bool isFloating(const Value &value) {
  return value.type.isTensor() && mil::isFloat(value.type.dtype());
}

/// Operations that a value comes from.
llvm::DenseSet<const Op *> sourcesOf(const Value *output) {
  llvm::DenseSet<const Op *> sources;
  llvm::SmallVector<const Value *, 16> work{output};
  while (!work.empty()) {
    const Op *op = work.pop_back_val()->def();
    if (op && sources.insert(op).second)
      operandsOf(*op, work);
  }
  return sources;
}

std::vector<RoundingCause> causesOf(const Errors &errors, const Value *output) {
  std::vector<RoundingCause> causes;
  llvm::DenseSet<const Op *> sources = sourcesOf(output);
  double most = 0;
  for (const Op *op : sources) {
    double after = 0, before = 0;
    for (const auto &result : op->results())
      after = std::max(after, errorOf(errors, result.get()));
    llvm::SmallVector<const Value *, 8> operands;
    operandsOf(*op, operands);
    for (const Value *operand : operands)
      before = std::max(before, errorOf(errors, operand));
    if (after <= before) // also of infinities
      continue;
    causes.push_back({describe(*op), before, after});
    most = std::max(most, after - before);
  }
  llvm::sort(causes, [](const RoundingCause &a, const RoundingCause &b) {
    double x = a.after - a.before, y = b.after - b.before;
    return x != y ? x > y : a.operation < b.operation;
  });
  llvm::erase_if(causes,
                 [&](const RoundingCause &cause) { return cause.after - cause.before < most / 4; });
  if (causes.size() > 3)
    causes.resize(3);
  return causes;
}

} // namespace

std::vector<const Value *> decidingOf(const Value *output) {
  std::vector<const Value *> deciding;
  llvm::DenseSet<const Value *> seen;
  llvm::SmallVector<const Value *, 16> work{output};
  while (!work.empty()) {
    const Value *value = work.pop_back_val();
    if (!seen.insert(value).second)
      continue;
    if (value != output && isFloating(*value))
      deciding.push_back(value);
    else if (value->def())
      operandsOf(*value->def(), work);
  }
  return deciding;
}

namespace {

/// Compares every floating-point result of two runs.
auto comparing(Errors &errors) {
  return [&errors](const Op &op, const Data &computed, const Data &exact) -> Error {
    for (unsigned i = 0; i < exact.size(); ++i) {
      const at::Tensor &a = computed[i].tensor, &b = exact[i].tensor;
      const Value *result = op.result(i);
      if (!a.defined() || !b.defined() || !isFloating(*result) || a.sizes() != b.sizes())
        continue;
      auto comparison = compare(toTensorData(a.to(at::kFloat), DType::F32),
                                toTensorData(b.to(at::kFloat), DType::F32));
      if (!comparison)
        return comparison.takeError();
      errors[result] = *comparison;
    }
    return Error::success();
  };
}

} // namespace

Error findRoundingCauses(const mil::Function &function, Noise &noise, const Tolerance &limit,
                         llvm::MutableArrayRef<OutputReport> reports) {
  Errors errors, steps;
  if (Error error = noise.watch(comparing(errors)))
    return error;
  bool jumps =
      llvm::any_of(reports, [](const OutputReport &one) { return one.jumps && isFar(one); });
  if (jumps && roundsToSteps(function))
    if (Error error = noise.watchSmooth(comparing(steps))) {
      llvm::consumeError(std::move(error)); // the function cannot do without them
      steps.clear();
    }
  for (OutputReport &report : reports) {
    auto output = llvm::find_if(function.outputs(), [&](const mil::Operand &one) {
      return one->name == report.name && !report.isState;
    });
    if (!isFar(report) || output == function.outputs().end())
      continue;
    const Value *value = output->get();
    if (!report.jumps) {
      report.causes = causesOf(errors, value);
      continue;
    }
    const Value *worst = nullptr;
    for (const Value *deciding : decidingOf(value)) {
      auto it = errors.find(deciding);
      if (it == errors.end())
        continue;
      const Comparison &error = it->second;
      double share = error.nonFinite ? INFINITY : error.maxAbsolute / std::max(error.peak, 1e-300);
      if (!worst || share > report.deciding) {
        report.deciding = share;
        worst = deciding;
      }
      auto step = steps.find(deciding);
      bool isNear = limit.accepts(error) ||
                    (step != steps.end() && isWithinSteps(error, step->second, limit));
      if (!isNear && report.verdict == Verdict::Fine)
        report.verdict = Verdict::Rounded;
    }
    if (worst && report.deciding > kFarByRounding)
      report.causes = causesOf(errors, worst);
  }
  return Error::success();
}

} // namespace plait::runtime
