// Forms, sensitivities, and rounds of choosing and measuring.
#include "compress/Choosing.h"

#include "compress/Choice.h"
#include "compress/Rewrite.h"
#include "mil/Clone.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

#include <cmath>
#include <limits>
#include <memory>
#include <set>

namespace plait::compress {

using namespace mil;

namespace {

/// Rounds of choosing and measuring; the last one leaves everything as it is.
constexpr unsigned kMostRounds = 10;
/// Of what noise is allowed, the part that is good enough.
constexpr double kCloseEnough = 0.85;
/// Trials of changes of one weight, once schemes are chosen for a size.
constexpr unsigned kMostChanges = 24;
/// Of noises that are compared with inputs weighing errors: what is so much noisier than another
/// one may be the better one without.
constexpr double kNearlyAsGood = 1.3;
/// What a blob takes: a record of 64 bytes, and bytes up to the next multiple of 64.
uint64_t blobBytes(uint64_t bytes) { return 64 + (bytes + 63) / 64 * 64; }
uint64_t blobBytes(const TensorData &tensor) { return tensor ? blobBytes(tensor.byteSize()) : 0; }

/// Schemes of the ladder, from few bits to many. Tables for fewer channels take more bytes and are
/// right for weights whose channels differ; blocks, for those with few large numbers.
constexpr const char *kLadder[] = {"palette2[group 16]",
                                   "palette2[group 4]",
                                   "palette3[group 16]",
                                   "palette3[group 4]",
                                   "palette4[group 16]",
                                   "palette4[group 4]",
                                   "int4[block 32]",
                                   "palette6[group 16]",
                                   "palette6",
                                   "palette8",
                                   "int8"};
/// Of a weight that has no axis of outputs.
constexpr const char *kLadderWithoutAxes[] = {"palette2", "palette3", "palette4", "palette6",
                                              "palette8"};

/// Those that the weight can take.
std::vector<Scheme> ladderOf(const Weight &weight) {
  std::vector<Scheme> ladder;
  auto add = [&](llvm::ArrayRef<const char *> texts) {
    for (const char *text : texts) {
      Scheme scheme = llvm::cantFail(parseScheme(text));
      if (refusal(weight, scheme).empty())
        ladder.push_back(std::move(scheme));
    }
  };
  bool hasAxes = refusal(weight, llvm::cantFail(parseScheme(kLadder[0]))).empty();
  add(hasAxes ? llvm::ArrayRef(kLadder) : llvm::ArrayRef(kLadderWithoutAxes));
  return ladder;
}

/// A copy of a program, whose weights can be replaced.
class Copy {
public:
  explicit Copy(const Program &original) {
    program.metadata = original.metadata;
    program.defaultFunction = original.defaultFunction;
    program.docString = original.docString;
    program.attributes = original.attributes;
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
  Expected<GuidedOutcome> compress(size_t number, const Scheme &scheme, bool guided = true) const {
    return compressOne(*weights_[number], scheme, options_, guided);
  }
  /// All forms of a weight, the last one as it is, and what one of them does to the outputs.
  Error look(size_t number);
  /// A form of each weight, and whether inputs weigh their errors: few of them may weigh what
  /// others, or the same through the other layers, would not.
  struct Mix {
    std::vector<unsigned> forms;
    bool guided = true;
  };
  /// Compresses as chosen, and keeps what was compressed before.
  Error take(const Mix &mix);
  /// The program with what was taken.
  Expected<std::unique_ptr<Copy>> changed() const;
  Expected<Noise> measured() const;
  Error withinBudget();
  Error improve();
  Error reachSnr();
  Error checkBudget() const;
  /// Of these weights.
  uint64_t blobsOf(llvm::ArrayRef<unsigned> forms) const;
  /// The package with what was taken.
  Expected<uint64_t> packageBytes() const;
  /// One rung of the ladder for all weights; for one that has not that rung one of as many bits.
  std::vector<unsigned> uniform(const Scheme &scheme) const;
  /// All of these by ascending bytes.
  std::vector<std::vector<unsigned>> uniforms() const;
  /// Takes the forms, and says how noisy the worst output is; nullopt where they do not fit into
  /// the budget. The best ones so far are kept.
  Expected<std::optional<double>> attempt(Mix mix);
  /// As rules alone would take them, what is nearly as good as the best.
  Error attemptUnguided(llvm::ArrayRef<std::pair<Mix, double>> measured);
  bool isGuided() const {
    return llvm::any_of(weights_, [](const Weight *weight) { return weight->inputs != nullptr; });
  }

  const Program &program_;
  llvm::ArrayRef<const Weight *> weights_;
  const MeasuredOptions &options_;
  std::vector<Choice> chosen_;
  Mix taken_; ///< that chosen_ has
  std::vector<std::vector<Scheme>> ladders_;
  FormProblem problem_;
  Noise base_; ///< with these weights as they are
  /// Of withinBudget(): the best forms that were measured, and the noise of their worst output.
  Mix best_;
  uint64_t room_ = 0; ///< for these weights
  double least_ = std::numeric_limits<double>::infinity();
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
    for (const TensorData *part : {&parts.data, &parts.mask, &parts.table, &parts.scale,
                                   &parts.offset, &parts.down, &parts.up})
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

Error SchemeChooser::take(const Mix &mix) {
  bool isFirst = taken_.forms.empty() || taken_.guided != mix.guided;
  for (size_t i = 0; i < weights_.size(); ++i) {
    bool asItIs = mix.forms[i] == ladders_[i].size();
    if (!isFirst && taken_.forms[i] == mix.forms[i])
      continue;
    if (asItIs) {
      chosen_[i].compressed.reset();
      continue;
    }
    auto outcome = compress(i, ladders_[i][mix.forms[i]], mix.guided);
    if (!outcome)
      return outcome.takeError();
    chosen_[i] = std::move(*outcome);
  }
  taken_ = mix;
  return Error::success();
}

Expected<std::unique_ptr<Copy>> SchemeChooser::changed() const {
  auto copy = std::make_unique<Copy>(program_);
  for (auto [weight, choice] : llvm::zip_equal(weights_, chosen_))
    if (choice.compressed)
      if (Error error = copy->replace(*weight, *choice.compressed))
        return error;
  return copy;
}

Expected<SchemeChooser::Noise> SchemeChooser::measured() const {
  auto copy = changed();
  return copy ? options_.measure((*copy)->program) : copy.takeError();
}

uint64_t SchemeChooser::blobsOf(llvm::ArrayRef<unsigned> forms) const {
  uint64_t bytes = 0;
  for (size_t i = 0; i < forms.size(); ++i)
    bytes += problem_.forms[i][forms[i]].bytes;
  return bytes;
}

Expected<uint64_t> SchemeChooser::packageBytes() const {
  auto copy = changed();
  return copy ? options_.packageBytes((*copy)->program) : copy.takeError();
}

std::vector<unsigned> SchemeChooser::uniform(const Scheme &scheme) const {
  auto bitsOf = [](const Scheme &s) { return s.palette ? s.palette->bits : s.linear->bits; };
  std::vector<unsigned> forms;
  for (const auto &ladder : ladders_) {
    unsigned best = 0;
    for (unsigned form = 0; form < ladder.size(); ++form)
      if (bitsOf(ladder[form]) <= bitsOf(scheme))
        best = form;
    for (unsigned form = 0; form < ladder.size(); ++form)
      if (ladder[form] == scheme)
        best = form;
    forms.push_back(best); // where there is none at all it stays as it is
  }
  return forms;
}

std::vector<std::vector<unsigned>> SchemeChooser::uniforms() const {
  std::vector<std::vector<unsigned>> all;
  if (weights_.empty())
    return all;
  for (const char *text : kLadder)
    all.push_back(uniform(llvm::cantFail(parseScheme(text))));
  llvm::stable_sort(all, [&](const auto &a, const auto &b) { return blobsOf(a) < blobsOf(b); });
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

Expected<std::optional<double>> SchemeChooser::attempt(Mix mix) {
  if (blobsOf(mix.forms) > *options_.budget)
    return std::nullopt;
  if (Error error = take(mix))
    return error;
  auto bytes = packageBytes();
  if (!bytes)
    return bytes.takeError();
  if (*bytes > *options_.budget)
    return std::nullopt;
  auto noise = measured();
  if (!noise)
    return noise.takeError();
  double most = *llvm::max_element(*noise);
  if (most < least_) {
    least_ = most;
    best_ = std::move(mix);
  }
  return most;
}

Error SchemeChooser::attemptUnguided(llvm::ArrayRef<std::pair<Mix, double>> measured) {
  double near = kNearlyAsGood * least_;
  if (!isGuided())
    return Error::success();
  for (const auto &[mix, noise] : measured)
    if (noise <= near)
      if (auto other = attempt({mix.forms, false}); !other)
        return other.takeError();
  return Error::success();
}

/// Changes of one weight to the next form, larger or smaller, where the others are chosen anew for
/// what is left: those that are measured to be better stay.
Error SchemeChooser::improve() {
  std::set<std::vector<unsigned>> tried{best_.forms};
  unsigned trials = 0;
  for (bool better = true; better;) {
    better = false;
    for (size_t i = 0; i < weights_.size(); ++i)
      for (int step : {1, -1}) {
        if (trials == kMostChanges)
          return Error::success();
        const auto &forms = problem_.forms[i];
        // The next form by bytes.
        std::optional<unsigned> next;
        for (unsigned form = 0; form < forms.size(); ++form) {
          auto more = int64_t(forms[form].bytes) - int64_t(forms[best_.forms[i]].bytes);
          auto least =
              next ? int64_t(forms[*next].bytes) - int64_t(forms[best_.forms[i]].bytes) : 0;
          if (more * step > 0 && (!next || more * step < least * step) &&
              (forms[form].error < forms[best_.forms[i]].error) == (step > 0))
            next = form;
        }
        if (!next)
          continue;
        FormProblem fixed = problem_;
        fixed.forms[i] = {forms[*next]};
        auto chosen = leastNoise(fixed, room_);
        if (!chosen)
          continue;
        (*chosen)[i] = *next;
        if (!tried.insert(*chosen).second)
          continue;
        ++trials;
        if (Error error = proceed(0.8 + 0.2 * trials / kMostChanges))
          return error;
        double before = least_;
        if (auto noise = attempt({std::move(*chosen), best_.guided}); !noise)
          return noise.takeError();
        better |= least_ < before;
      }
  }
  return Error::success();
}

Error SchemeChooser::withinBudget() {
  uint64_t budget = *options_.budget;
  std::vector<unsigned> smallest;
  for (const auto &forms : problem_.forms)
    smallest.push_back(unsigned(
        llvm::min_element(forms, [](const Form &a, const Form &b) { return a.bytes < b.bytes; }) -
        forms.begin()));
  if (Error error = take({smallest}))
    return error;
  auto least = packageBytes();
  if (!least)
    return least.takeError();
  if (*least > budget)
    return makeError(Code::BudgetUnreached,
                     "--size-budget {0}: with 2 bits a number where that can be the package takes "
                     "{1} bytes; a scheme by name may prune more, or compress what a rule leaves "
                     "as it is",
                     budget, *least);
  // What else there is depends on the forms, though hardly: the model file.
  room_ = budget - (*least - blobsOf(smallest));
  auto noisiest = measured();
  if (!noisiest)
    return noisiest.takeError();
  best_ = {smallest};
  least_ = *llvm::max_element(*noisiest);
  std::vector<std::pair<Mix, double>> all{{best_, least_}};
  for (unsigned round = 0; round < 3; ++round) {
    auto chosen = leastNoise(problem_, room_);
    if (!chosen || *chosen == best_.forms)
      break;
    auto noise = attempt({*chosen});
    if (!noise)
      return noise.takeError();
    auto bytes = packageBytes();
    if (!bytes)
      return bytes.takeError();
    room_ = budget - std::min(budget, *bytes - blobsOf(taken_.forms));
    if (*noise)
      all.push_back({{*chosen}, **noise});
  }
  for (const auto &forms : uniforms()) {
    if (forms == best_.forms)
      continue;
    auto noise = attempt({forms});
    if (!noise)
      return noise.takeError();
    if (*noise)
      all.push_back({{forms}, **noise});
  }
  if (Error error = attemptUnguided(all))
    return error;
  if (Error error = improve())
    return error;
  if (isGuided())
    if (auto other = attempt({best_.forms, !best_.guided}); !other)
      return other.takeError();
  return take(best_);
}

/// Where both are asked for: whether what reaches the one is within the other.
Error SchemeChooser::checkBudget() const {
  auto bytes = packageBytes();
  if (!bytes)
    return bytes.takeError();
  return *bytes <= *options_.budget
             ? Error::success()
             : makeError(Code::BudgetUnreached,
                         "--min-snr {0} takes {1} bytes, and --size-budget allows {2}",
                         *options_.minSnr, *bytes, *options_.budget);
}

Error SchemeChooser::reachSnr() {
  double bar = std::pow(10, -*options_.minSnr / 10);
  for (double noise : base_)
    if (noise > bar)
      return makeError(Code::PrecisionUnreached,
                       "--min-snr {0}: with no more than the rules compress, an output reaches "
                       "{1:.1f} dB",
                       *options_.minSnr, -10 * std::log10(noise));
  Mix asTheyAre, best;
  for (const auto &ladder : ladders_)
    asTheyAre.forms.push_back(unsigned(ladder.size()));
  // Of the noise that is allowed, the part for which the choice is made.
  double part = 1, passes = 0, fails = std::numeric_limits<double>::infinity();
  for (unsigned round = 0; round < kMostRounds; ++round) {
    if (Error error = proceed(0.8 + 0.2 * round / kMostRounds))
      return error;
    Noise bars;
    for (double noise : base_)
      bars.push_back((bar - noise) * part);
    auto forms = fewestBytes(problem_, bars);
    if (!forms || *forms == best.forms)
      break;
    if (Error error = take({*forms}))
      return error;
    auto noise = measured();
    if (!noise)
      return noise.takeError();
    double worst = 0;
    for (auto [now, before] : llvm::zip_equal(*noise, base_))
      worst = std::max(worst, (now - before) / (bar - before));
    if (worst <= 1) {
      passes = part;
      best.forms = *forms;
    } else {
      fails = part;
    }
    if ((worst <= 1 && worst >= kCloseEnough) || passes * 1.02 > fails)
      break;
    part *= std::clamp(0.95 / std::max(worst, 1e-3), 0.1, 8.0);
    if (part >= fails || part <= passes)
      part = passes > 0 ? std::sqrt(passes * fails) : fails / 4;
  }
  if (best.forms.empty())
    best = asTheyAre;
  // One scheme for all, where that reaches it in fewer bytes.
  constexpr double kFarNoisier = 4; // what is expected to be so is not tried
  for (const auto &forms : uniforms()) {
    if (blobsOf(forms) >= blobsOf(best.forms))
      break;
    if (*llvm::max_element(noiseOf(problem_, forms)) > kFarNoisier * bar)
      continue;
    for (bool guided : {true, false}) {
      if (!guided && !isGuided())
        continue;
      if (Error error = take({forms, guided}))
        return error;
      auto noise = measured();
      if (!noise)
        return noise.takeError();
      double most = *llvm::max_element(*noise);
      if (most <= bar)
        best = {forms, guided};
      if (most <= bar || most > kNearlyAsGood * bar)
        break;
    }
    if (best.forms == forms)
      break;
  }
  return take(best);
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
