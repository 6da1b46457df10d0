// Forms, sensitivities, and rounds of choosing and measuring.
#include "compress/Choosing.h"

#include "compress/Choice.h"
#include "compress/Rewrite.h"
#include "mil/Clone.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>
#include <limits>

namespace plait::compress {

using namespace mil;

namespace {

/// Rounds of choosing and measuring; the last one leaves everything as it is.
constexpr unsigned kMostRounds = 10;
/// Of what noise is allowed, the part that is good enough.
constexpr double kCloseEnough = 0.85;
/// What a blob takes: a record of 64 bytes, and bytes up to the next multiple of 64.
uint64_t blobBytes(uint64_t bytes) { return 64 + (bytes + 63) / 64 * 64; }
uint64_t blobBytes(const TensorData &tensor) { return tensor ? blobBytes(tensor.byteSize()) : 0; }
constexpr int64_t kSmallConstant = 16;

/// Schemes from few bits to many.
std::vector<Scheme> ladderOf(const Weight &weight) {
  std::vector<Scheme> ladder;
  auto add = [&](llvm::StringRef text) {
    Scheme scheme = llvm::cantFail(parseScheme(text));
    if (!refusal(weight, scheme).empty())
      return false;
    ladder.push_back(std::move(scheme));
    return true;
  };
  for (const char *bits : {"2", "3", "4", "6"})
    if (!add(fmt::format("palette{0}[group 16]", bits)))
      add(fmt::format("palette{0}", bits));
  add("palette8");
  add("int8");
  return ladder;
}

/// A copy of a program, whose weights can be replaced.
class Copy {
public:
  explicit Copy(const Program &original) {
    for (const auto &function : original.functions()) {
      Function *made = cloneFunction(program, *function, function->name);
      std::vector<const Op *> from;
      walk(const_cast<Block &>(function->body()), [&](Op &op) { from.push_back(&op); });
      size_t next = 0;
      walk(made->body(), [&](Op &op) { copies_[from[next++]] = &op; });
    }
  }
  Error replace(const Weight &weight, const Compressed &parts) {
    for (const Op *constant : weight.constants)
      if (Error error = replaceWeight(*copies_.lookup(constant), parts))
        return addContext(std::move(error), weight.name());
    return Error::success();
  }

  Program program;

private:
  llvm::DenseMap<const Op *, Op *> copies_;
};

class SchemeChooser {
public:
  SchemeChooser(const Program &program, llvm::ArrayRef<const Weight *> weights,
                const MeasuredOptions &options)
      : program_(program), weights_(weights), options_(options), chosen_(weights.size()),
        ladders_(weights.size()) {}

  Expected<std::vector<Choice>> run();

private:
  using Noise = std::vector<double>;

  Error proceed(double done) {
    return options_.proceed(done) ? Error::success()
                                  : makeError(Code::Cancelled, "cancelled; nothing is written");
  }
  Expected<GuidedOutcome> compress(size_t number, const Scheme &scheme) const {
    return compressOne(*weights_[number], scheme, options_);
  }
  /// All forms of a weight, the last one as it is, and what one of them does to the outputs.
  Error look(size_t number);
  /// Compresses as chosen, and keeps what was compressed before.
  Error take(llvm::ArrayRef<unsigned> forms);
  Expected<Noise> measured() const;
  Error withinBudget();
  Error reachSnr();
  Error checkBudget() const;
  uint64_t otherBytes() const;

  const Program &program_;
  llvm::ArrayRef<const Weight *> weights_;
  const MeasuredOptions &options_;
  std::vector<Choice> chosen_;
  std::vector<unsigned> forms_; ///< that chosen_ has
  std::vector<std::vector<Scheme>> ladders_;
  FormProblem problem_;
  Noise base_; ///< with these weights as they are
};

Error SchemeChooser::look(size_t number) {
  const Weight &weight = *weights_[number];
  std::vector<Form> &forms = problem_.forms.emplace_back();
  Noise &sensitivity = problem_.sensitivity.emplace_back(base_.size());
  std::optional<Compressed> sample;
  double sampleError = 0;
  std::vector<Scheme> ladder;
  for (const Scheme &scheme : ladderOf(weight)) {
    auto outcome = compress(number, scheme);
    if (!outcome)
      return outcome.takeError();
    if (!outcome->compressed) {
      chosen_[number].skipped = outcome->skipped;
      continue;
    }
    const Compressed &parts = *outcome->compressed;
    uint64_t bytes = 0;
    for (const TensorData *part :
         {&parts.data, &parts.mask, &parts.table, &parts.scale, &parts.offset})
      bytes += blobBytes(*part);
    if (bytes >= weight.tensor.byteSize())
      continue;
    double error = outcome->power > 0 ? outcome->error / outcome->power : 0;
    forms.push_back({bytes, error});
    ladder.push_back(scheme);
    // A form whose error is seen, and is not all that is left: 4 bits, or what is next to it.
    if (error > 0 &&
        (!sample || std::fabs(std::log(error / 0.01)) < std::fabs(std::log(sampleError / 0.01)))) {
      sample = std::move(*outcome->compressed);
      sampleError = error;
    }
  }
  forms.push_back({blobBytes(weight.tensor), 0});
  ladders_[number] = std::move(ladder);
  if (!sample)
    return Error::success();
  Copy copy(program_);
  if (Error error = copy.replace(weight, *sample))
    return error;
  auto noise = options_.measure(copy.program);
  if (!noise)
    return noise.takeError();
  for (size_t i = 0; i < noise->size(); ++i)
    sensitivity[i] =
        std::isfinite((*noise)[i]) ? std::max(0.0, (*noise)[i] - base_[i]) / sampleError : 1e6;
  return Error::success();
}

Error SchemeChooser::take(llvm::ArrayRef<unsigned> forms) {
  for (size_t i = 0; i < weights_.size(); ++i) {
    bool asItIs = forms[i] == ladders_[i].size();
    if (!forms_.empty() && forms_[i] == forms[i])
      continue;
    if (asItIs) {
      chosen_[i].compressed.reset();
      continue;
    }
    auto outcome = compress(i, ladders_[i][forms[i]]);
    if (!outcome)
      return outcome.takeError();
    chosen_[i] = std::move(*outcome);
  }
  forms_ = forms.vec();
  return Error::success();
}

Expected<SchemeChooser::Noise> SchemeChooser::measured() const {
  Copy copy(program_);
  for (auto [weight, choice] : llvm::zip_equal(weights_, chosen_))
    if (choice.compressed)
      if (Error error = copy.replace(*weight, *choice.compressed))
        return error;
  return options_.measure(copy.program);
}

/// The bytes of all constants but these weights.
uint64_t SchemeChooser::otherBytes() const {
  llvm::DenseSet<const Op *> own;
  for (const Weight *weight : weights_)
    own.insert(weight->constants.begin(), weight->constants.end());
  llvm::DenseSet<uint64_t> seen;
  uint64_t bytes = 0;
  for (const auto &function : program_.functions())
    walk(const_cast<Block &>(function->body()), [&](Op &op) {
      const TensorData *tensor = op.is(OpKind::const_) ? op.val().tensor() : nullptr;
      if (tensor && !own.contains(&op) && tensor->numElements() > kSmallConstant &&
          seen.insert(tensor->treeHash()).second)
        bytes += blobBytes(*tensor);
    });
  return bytes;
}

Error SchemeChooser::withinBudget() {
  uint64_t others = otherBytes(), least = others;
  for (const auto &forms : problem_.forms)
    least += llvm::min_element(forms, [](const Form &a, const Form &b) {
               return a.bytes < b.bytes;
             })->bytes;
  if (least > *options_.budget)
    return makeError(Code::BudgetUnreached,
                     "--size-budget: with 2 bits a number where that can be the weights take {0} "
                     "bytes, and {1} bytes are left for them; a scheme by name may prune more, or "
                     "compress what a rule leaves as it is",
                     least, *options_.budget);
  return take(*leastNoise(problem_, *options_.budget - others));
}

/// Where both are asked for: whether what reaches the one is within the other.
Error SchemeChooser::checkBudget() const {
  uint64_t bytes = otherBytes();
  for (size_t i = 0; i < forms_.size(); ++i)
    bytes += problem_.forms[i][forms_[i]].bytes;
  return bytes <= *options_.budget
             ? Error::success()
             : makeError(Code::BudgetUnreached,
                         "--min-snr {0} takes {1} bytes of weights, and --size-budget leaves {2} "
                         "for them",
                         *options_.minSnr, bytes, *options_.budget);
}

Error SchemeChooser::reachSnr() {
  double bar = std::pow(10, -*options_.minSnr / 10);
  for (double noise : base_)
    if (noise > bar)
      return makeError(Code::PrecisionUnreached,
                       "--min-snr {0}: with no more than the rules compress, an output reaches "
                       "{1:.1f} dB",
                       *options_.minSnr, -10 * std::log10(noise));
  std::vector<unsigned> asTheyAre, best;
  for (const auto &ladder : ladders_)
    asTheyAre.push_back(unsigned(ladder.size()));
  // Of the noise that is allowed, the part for which the choice is made.
  double part = 1, passes = 0, fails = std::numeric_limits<double>::infinity();
  for (unsigned round = 0; round < kMostRounds; ++round) {
    if (Error error = proceed(0.8 + 0.2 * round / kMostRounds))
      return error;
    Noise bars;
    for (double noise : base_)
      bars.push_back((bar - noise) * part);
    auto forms = fewestBytes(problem_, bars);
    if (!forms || *forms == best)
      break;
    if (Error error = take(*forms))
      return error;
    auto noise = measured();
    if (!noise)
      return noise.takeError();
    double worst = 0;
    for (auto [now, before] : llvm::zip_equal(*noise, base_))
      worst = std::max(worst, (now - before) / (bar - before));
    if (worst <= 1) {
      passes = part;
      best = *forms;
    } else {
      fails = part;
    }
    if ((worst <= 1 && worst >= kCloseEnough) || passes * 1.02 > fails)
      break;
    part *= std::clamp(0.95 / std::max(worst, 1e-3), 0.1, 8.0);
    if (part >= fails || part <= passes)
      part = passes > 0 ? std::sqrt(passes * fails) : fails / 4;
  }
  return take(best.empty() ? asTheyAre : best);
}

Expected<std::vector<Choice>> SchemeChooser::run() {
  auto base = options_.measure(program_);
  if (!base)
    return base.takeError();
  base_ = std::move(*base);
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (Error error = proceed(0.8 * double(i) / double(weights_.size())))
      return error;
    if (Error error = look(i))
      return error;
  }
  if (Error error = options_.minSnr ? reachSnr() : withinBudget())
    return error;
  if (options_.minSnr && options_.budget)
    if (Error error = checkBudget())
      return error;
  for (Choice &choice : chosen_)
    if (!choice.compressed && choice.skipped.empty())
      choice.skipped = options_.minSnr ? "with fewer bits the outputs would not reach --min-snr"
                                       : "there is room for it as it is";
  return std::move(chosen_);
}

} // namespace

Expected<std::vector<Choice>> chooseSchemes(const Program &program,
                                            llvm::ArrayRef<const Weight *> weights,
                                            const MeasuredOptions &options) {
  return SchemeChooser(program, weights, options).run();
}

} // namespace plait::compress
