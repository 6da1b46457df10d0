// Finds the weights, decides by the rules, compresses and replaces.
#include "compress/Program.h"

#include "compress/Choosing.h"
#include "compress/Rewrite.h"
#include "compress/Rules.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::compress {

using namespace mil;

int64_t WeightResult::count() const {
  int64_t count = 1;
  for (int64_t size : shape)
    count *= size;
  return count;
}

double ProgramResult::coverage() const {
  double all = 0, done = 0;
  for (const WeightResult &weight : weights) {
    if (weight.ofAdapter)
      continue;
    all += double(weight.count());
    done += weight.skipped.empty() ? double(weight.count()) : 0;
  }
  return all > 0 ? 100 * done / all : 100;
}

namespace {

/// The last rule that fits a weight.
struct Decision {
  const Rule *rule = nullptr;
  bool named = false; ///< by its own name
};

/// Whether the tensors hold the same bytes.
Expected<bool> sameBytes(const TensorData &a, const TensorData &b, mil::Evaluator *evaluator) {
  if (a.sameTree(b))
    return true;
  if (a.dtype() != b.dtype() || a.shape() != b.shape())
    return false;
  auto one = a.bytes(evaluator), other = b.bytes(evaluator);
  if (!one || !other)
    return llvm::joinErrors(one.takeError(), other.takeError());
  return *one == *other;
}

class ProgramCompressor {
public:
  ProgramCompressor(Program &program, const MeasuredOptions &options)
      : program_(program), options_(options) {}

  Expected<MeasuredResult> run();

private:
  struct Job {
    size_t weight, entry;
    const Scheme *scheme; ///< null: to be chosen
    const StoredForm *stored = nullptr;
  };

  Error decide();
  Error compress(const Job &job);
  Error choose();
  Error finish(const Job &job, Outcome outcome);
  Error checkRules(llvm::ArrayRef<bool> used) const;
  /// What the weight was before the model was saved; null where it was what it is.
  const StoredForm *storedOf(const Weight &weight) const;
  Expected<Outcome> recover(const Job &job) const;

  Program &program_;
  const MeasuredOptions &options_;
  std::vector<Weight> weights_;
  std::vector<Job> jobs_, free_;
  MeasuredResult result_;
};

Error ProgramCompressor::checkRules(llvm::ArrayRef<bool> used) const {
  for (auto [isUsed, rule] : llvm::zip_equal(used, options_.rules))
    if (!isUsed && !rule.pattern.empty()) {
      std::string some;
      for (const WeightResult &weight : llvm::ArrayRef(result_.weights).take_front(5))
        some += (some.empty() ? "" : ", ") + weight.name;
      std::vector<llvm::StringRef> known;
      for (const WeightResult &weight : result_.weights)
        known.push_back(weight.name);
      return makeError(Code::NothingMatches,
                       "--compress {0}={1}: no weight, module or kind of operation has that "
                       "name{2}; weights are {3}",
                       rule.pattern, rule.scheme.str(), didYouMean(rule.pattern, known),
                       some.empty() ? "none" : some + ", ...");
    }
  return Error::success();
}

const StoredForm *ProgramCompressor::storedOf(const Weight &weight) const {
  for (const StoredForm &form : options_.stored)
    if (llvm::is_contained(weight.names, form.path))
      return &form;
  return nullptr;
}

Expected<Outcome> ProgramCompressor::recover(const Job &job) const {
  const TensorData &tensor = weights_[job.weight].tensor;
  auto same = sameBytes(tensor, job.stored->value.cast(tensor.dtype()), options_.evaluator);
  if (!same)
    return same.takeError();
  if (!*same)
    return Outcome{std::nullopt, fmt::format("it was compressed as {0}, of which it is a part or "
                                             "another form",
                                             job.stored->path)};
  return recoverStored(*job.stored, tensor.dtype(), options_);
}

/// Which weights are compressed, by what, and why others are not.
Error ProgramCompressor::decide() {
  llvm::SmallVector<bool, 8> used(options_.rules.size());
  for (auto [index, weight] : llvm::enumerate(weights_)) {
    Decision decision;
    for (auto [number, rule] : llvm::enumerate(options_.rules))
      if (Fit fit = fitOf(rule, weight.names, weight.operations, weight.ofAdapter);
          fit != Fit::None) {
        decision = {&rule, fit == Fit::Name};
        used[number] = true;
      }
    const StoredForm *stored = storedOf(weight);
    if (decision.rule && !decision.rule->pattern.empty())
      stored = nullptr;
    if (weight.tensor.numElements() <= kSmallWeight && !decision.named && !stored) {
      ++result_.small;
      continue;
    }
    if (!stored && options_.rules.empty() && !options_.chooses())
      continue;
    WeightResult entry;
    entry.name = weight.name();
    entry.shape.assign(weight.tensor.shape().begin(), weight.tensor.shape().end());
    entry.dtype = weight.tensor.dtype();
    entry.functions = unsigned(weight.functions.size());
    entry.ofAdapter = weight.ofAdapter;
    bool isFree = !decision.rule && !weight.ofAdapter && options_.chooses();
    if (stored)
      entry.skipped = refusal(weight, Scheme());
    else if (!decision.rule && weight.ofAdapter)
      entry.skipped = "it is an adapter's (adapters=SCHEME names it)";
    else if (!decision.rule)
      entry.skipped = isFree ? refusal(weight, Scheme()) : "no rule fits it";
    else if (decision.rule->scheme.isNone())
      entry.skipped = "the scheme is none";
    else
      entry.skipped = refusal(weight, decision.rule->scheme);
    if (entry.skipped.empty()) {
      if (stored)
        jobs_.push_back({index, result_.weights.size(), nullptr, stored});
      else if (isFree)
        free_.push_back({index, result_.weights.size(), nullptr});
      else
        jobs_.push_back({index, result_.weights.size(), &decision.rule->scheme});
    }
    result_.weights.push_back(std::move(entry));
  }
  return checkRules(used);
}

/// Replaces the weight, or notes why it stays as it is.
Error ProgramCompressor::finish(const Job &job, Outcome outcome) {
  Weight &weight = weights_[job.weight];
  WeightResult &entry = result_.weights[job.entry];
  entry.skipped = outcome.skipped;
  if (!outcome.compressed)
    return Error::success();
  const Compressed &parts = *outcome.compressed;
  if (parts.bytes() >= weight.tensor.byteSize()) {
    entry.skipped = fmt::format("{0} would take {1} bytes in place of {2}", parts.scheme.str(),
                                parts.bytes(), weight.tensor.byteSize());
    return Error::success();
  }
  entry.scheme = parts.scheme.str();
  entry.note = parts.note;
  entry.bytes = parts.bytes();
  entry.bitsPerWeight = parts.bitsPerWeight();
  entry.snr = parts.snr();
  entry.largestError = parts.largestError;
  for (Op *constant : weight.constants)
    if (Error error = replaceWeight(*constant, parts))
      return addContext(std::move(error), entry.name);
  return Error::success();
}

Error ProgramCompressor::compress(const Job &job) {
  const Weight &weight = weights_[job.weight];
  if (job.stored) {
    auto outcome = recover(job);
    return outcome ? finish(job, std::move(*outcome))
                   : addContext(outcome.takeError(), weight.name());
  }
  auto outcome = compressOne(weight, *job.scheme, options_);
  return outcome ? finish(job, std::move(*outcome)) : outcome.takeError();
}

Error ProgramCompressor::choose() {
  std::vector<const Weight *> weights;
  for (const Job &job : free_)
    weights.push_back(&weights_[job.weight]);
  auto choices = chooseSchemes(program_, weights, options_);
  if (!choices)
    return choices.takeError();
  for (auto [job, choice] : llvm::zip_equal(free_, *choices))
    if (Error error = finish(job, std::move(choice)))
      return error;
  return Error::success();
}

Expected<MeasuredResult> ProgramCompressor::run() {
  auto found = weightsOf(program_, options_);
  if (!found)
    return found.takeError();
  weights_ = std::move(*found);
  if (Error error = decide())
    return error;
  if (options_.observe) {
    std::vector<Weight *> used;
    for (llvm::ArrayRef<Job> jobs : {llvm::ArrayRef(jobs_), llvm::ArrayRef(free_)})
      for (const Job &job : jobs)
        used.push_back(&weights_[job.weight]);
    if (Error error = calibrate(used, options_))
      return error;
  }
  double all = 0, done = 0;
  for (const Job &job : jobs_)
    all += double(weights_[job.weight].tensor.numElements());
  for (const Job &job : jobs_) {
    // Choosing takes far longer than what the rules say.
    if (!options_.proceed(free_.empty() ? done / all : 0))
      return makeError(Code::Cancelled, "cancelled; nothing is written");
    double count = double(weights_[job.weight].tensor.numElements());
    if (Error error = compress(job))
      return error;
    done += count;
  }
  if (options_.chooses())
    if (Error error = choose())
      return error;
  if (options_.measure) {
    auto noise = options_.measure(program_);
    if (!noise)
      return noise.takeError();
    result_.noise = std::move(*noise);
  }
  return std::move(result_);
}

} // namespace

Expected<MeasuredResult> compressProgram(Program &program, const MeasuredOptions &options) {
  return ProgramCompressor(program, options).run();
}

Expected<ProgramResult> compressProgram(Program &program, const ProgramOptions &options) {
  auto result = compressProgram(program, MeasuredOptions{options});
  if (!result)
    return result.takeError();
  return std::move(static_cast<ProgramResult &>(*result));
}

} // namespace plait::compress
