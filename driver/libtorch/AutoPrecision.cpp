// The search runs copies of the functions, each with other operations in fp32.
//
// What is chosen is a unit: the operations of one name in all functions, and those that take the
// same weight. So what functions share they share afterwards, and a choice is said by patterns that
// hold for the next compile, too.
#include "driver/libtorch/AutoPrecision.h"

#include "driver/InputSets.h"
#include "driver/PrecisionSearch.h"
#include "mil/Clone.h"
#include "passes/Constants.h"
#include "passes/HalfBorders.h"
#include "runtime/PrecisionTrial.h"
#include "runtime/RandomInputs.h"

#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <cmath>
#include <set>

namespace plait::driver {

using llvm::StringRef;
using mil::Function;
using mil::Op;
using mil::Program;
using mil::Value;

namespace {

/// Sets of a folder that are run: each trial runs them all.
constexpr size_t kMostSets = 4;
constexpr unsigned kDraws = 2;

/// A copy of each function of a program, with the way back to what was copied.
struct Copy {
  explicit Copy(const Program &original) {
    for (const auto &function : original.functions()) {
      Function *made = mil::cloneFunction(program, *function, function->name);
      std::vector<const Op *> from;
      mil::walk(const_cast<mil::Block &>(function->body()), [&](Op &op) { from.push_back(&op); });
      size_t next = 0;
      mil::walk(made->body(), [&](Op &op) {
        originals[&op] = from[next];
        copies[from[next++]] = &op;
      });
    }
  }
  const Value *copyOf(const Value *value) const {
    return copies.lookup(value->def())->result(value->index());
  }

  Program program;
  llvm::DenseMap<const Op *, const Op *> originals;
  llvm::DenseMap<const Op *, const Op *> copies;
};

using Decider = std::function<bool(const Op &original)>;

/// The program as to-half leaves it where `keeps` says what stays in fp32.
std::unique_ptr<Copy> halved(const Program &program, const passes::PassContext &context,
                             const Decider &keeps) {
  auto copy = std::make_unique<Copy>(program);
  passes::PassContext own = context;
  own.warn = nullptr;
  own.options.keepFloat32 = [&](const Op &op) { return keeps(*copy->originals.lookup(&op)); };
  passes::toHalf(copy->program, own);
  return copy;
}

/// What is decided alike.
struct Units {
  std::vector<std::vector<const Op *>> members;
  llvm::DenseMap<const Op *, unsigned> of;
};

/// Operations that could be computed in fp16 and give other numbers there, in program order.
Units unitsOf(const Program &program, const passes::PassContext &context, const Decider &isKept) {
  std::vector<const Op *> ops;
  halved(program, context, [&](const Op &op) {
    if (!isKept(op) && !passes::commutesWithRounding(op))
      ops.push_back(&op);
    return false;
  });
  llvm::EquivalenceClasses<std::string> same;
  auto nameOf = [](const Op &op) { return op.result()->name.str(); };
  for (const Op *op : ops) {
    same.insert(nameOf(*op));
    for (const mil::Operand &operand : op->operands())
      if (const mil::TensorData *tensor = mil::constTensor(operand);
          tensor && tensor->numElements() >= passes::kBlobElements)
        for (const std::string &path : parametersOf(*tensor))
          same.unionSets(nameOf(*op), "weight " + path);
  }
  Units units;
  std::map<std::string, unsigned> numbers;
  for (const Op *op : ops) {
    auto [it, isNew] =
        numbers.try_emplace(same.getLeaderValue(nameOf(*op)), unsigned(units.members.size()));
    if (isNew)
      units.members.emplace_back();
    units.members[it->second].push_back(op);
    units.of[op] = it->second;
  }
  return units;
}

/// "layers.*.norm" of "layers.3.norm".
std::string withoutNumbers(StringRef path) {
  std::string general;
  llvm::SmallVector<StringRef, 8> parts;
  path.split(parts, '.');
  for (StringRef part : parts) {
    bool isNumber = !part.empty() && llvm::all_of(part, llvm::isDigit);
    general += (general.empty() ? "" : ".") + (isNumber ? std::string("*") : part.str());
  }
  return general;
}

/// The shortest patterns that choose these operations and no others of the program: by kind and
/// module where that does it, else by name.
std::vector<std::pair<std::string, std::vector<const Op *>>>
patternsOf(const Program &program, const llvm::DenseSet<const Op *> &chosen) {
  std::vector<const Op *> all, order;
  for (const auto &function : program.functions())
    mil::walk(const_cast<mil::Block &>(function->body()), [&](Op &op) {
      all.push_back(&op);
      if (chosen.contains(&op))
        order.push_back(&op);
    });
  std::vector<std::pair<std::string, std::vector<const Op *>>> patterns;
  llvm::DenseSet<const Op *> said;
  for (const Op *op : order) {
    if (said.contains(op))
      continue;
    std::vector<std::string> candidates;
    StringRef module = op->location ? StringRef(op->location.module()) : StringRef();
    if (!module.empty())
      for (const std::string &path : {withoutNumbers(module), module.str()})
        candidates.push_back(fmt::format("{0} at {1}", op->info().name, path));
    candidates.push_back("%" + op->result()->name.str());
    for (const std::string &candidate : candidates) {
      auto pattern = mil::OperationPattern::parse(candidate);
      if (!pattern) { // a name that is no pattern
        llvm::consumeError(pattern.takeError());
        continue;
      }
      std::vector<const Op *> found;
      llvm::copy_if(all, std::back_inserter(found),
                    [&](const Op *one) { return pattern->matches(*one); });
      bool isLast = &candidate == &candidates.back();
      if (!isLast && !llvm::all_of(found, [&](const Op *one) { return chosen.contains(one); }))
        continue;
      said.insert(found.begin(), found.end());
      patterns.emplace_back(candidate, std::move(found));
      break;
    }
  }
  return patterns;
}

/// Operations that compute on floats, and those of them that do so in fp32.
void count(const Program &program, PrecisionReport &report) {
  for (const auto &function : program.functions())
    mil::walk(const_cast<mil::Block &>(function->body()), [&](Op &op) {
      if (op.is(mil::OpKind::const_))
        return;
      ++report.operations;
      if (op.is(mil::OpKind::cast) || op.numResults() == 0)
        return;
      auto isWide = [](const Value *value) {
        return value->type.isTensor() && value->type.dtype() == mil::DType::F32 &&
               !mil::isCompileTime(value);
      };
      if (llvm::any_of(op.results(), [&](const auto &result) { return isWide(result.get()); }) ||
          llvm::any_of(op.operands(), isWide))
        ++report.wide;
    });
}

} // namespace

Expected<std::unique_ptr<MixedPrecision>> MixedPrecision::create(const CompileOptions &options,
                                                                 CompileObserver &observer) {
  std::unique_ptr<MixedPrecision> made(new MixedPrecision(options, observer));
  for (const std::string &text : options.keepFloat32) {
    auto pattern = mil::OperationPattern::parse(text);
    if (!pattern)
      return pattern.takeError();
    made->patterns_.push_back(std::move(*pattern));
  }
  made->matched_.resize(made->patterns_.size());
  return made;
}

bool MixedPrecision::isKept(const Op &op) {
  bool kept = chosen_.contains(&op);
  for (auto [i, pattern] : llvm::enumerate(patterns_))
    if (pattern.matches(op))
      kept = matched_[i] = true;
  return kept;
}

Error MixedPrecision::decide(const Program &program, passes::PassContext &context) {
  if (options_.autoPrecision)
    if (Error error = search(program, context))
      return error;
  if (options_.autoPrecision || !patterns_.empty())
    context.options.keepFloat32 = [this](const Op &op) { return isKept(op); };
  return Error::success();
}

Error MixedPrecision::checkPatterns() const {
  for (auto [matched, pattern] : llvm::zip_equal(matched_, patterns_))
    if (!matched)
      return makeError(Code::NothingMatches,
                       "--keep-fp32: '{0}' fits no operation that would be computed in fp16: it is "
                       "no kind of operation, operator, module, parameter or value of any function "
                       "(plait opt --print-after and inspect --mil show them)",
                       pattern.text());
  return Error::success();
}

Error MixedPrecision::search(const Program &program, const passes::PassContext &context) {
  const AutoPrecision &wanted = *options_.autoPrecision;
  observer_.progress("looking for what has to be in fp32");
  std::vector<runtime::PrecisionTrial> trials;
  for (const auto &function : program.functions()) {
    std::vector<InputSet> sets;
    if (!wanted.inputs.empty()) {
      auto read = readInputSets(wanted.inputs, *function);
      if (!read)
        return read.takeError();
      if (read->size() > kMostSets) {
        observer_.warning(
            {Code::SetsLeftOut, fmt::format("--inputs {0}: the first {1} of {2} sets are used",
                                            wanted.inputs, kMostSets, read->size())});
        read->resize(kMostSets);
      }
      sets = std::move(*read);
    } else {
      sets.resize(kDraws);
    }
    for (auto [number, set] : llvm::enumerate(sets)) {
      auto drawn =
          runtime::randomInputs(*function, number, {}, unsigned(number), {wanted.inputScale});
      if (!drawn)
        return drawn.takeError();
      for (runtime::NamedTensor &input : *drawn)
        if (llvm::none_of(set, [&](const auto &given) { return given.name == input.name; }))
          set.push_back(std::move(input));
    }
    auto trial = runtime::PrecisionTrial::create(*function, sets);
    if (!trial)
      return addContext(trial.takeError(), "--precision auto: function " + function->name);
    trials.push_back(std::move(*trial));
  }

  Decider kept = [this](const Op &op) { return isKept(op); };
  Units units = unitsOf(program, context, kept);
  unsigned number = 0;
  auto measure = [&](const std::vector<bool> &wide) -> Expected<std::vector<double>> {
    if (!observer_.proceed(0))
      return makeError(Code::Cancelled, "{0}: cancelled; nothing is written", options_.output);
    observer_.progress(fmt::format("looking for what has to be in fp32: trial {0}", ++number));
    std::unique_ptr<Copy> copy = halved(program, context, [&](const Op &op) {
      auto unit = units.of.find(&op);
      return isKept(op) || (unit != units.of.end() && wide[unit->second]);
    });
    std::vector<double> noise;
    for (auto [trial, candidate] : llvm::zip_equal(trials, copy->program.functions())) {
      auto own = trial.noise(*candidate, [&](const Value *value) { return copy->copyOf(value); });
      if (!own)
        return own.takeError();
      llvm::append_range(noise, *own);
    }
    return noise;
  };
  auto found = searchPrecision(unsigned(units.members.size()), toNoise(wanted.minSnr), measure);
  if (!found)
    return addContext(
        found.takeError(),
        fmt::format("--precision auto: {0} dB cannot be reached; where an input or output itself "
                    "is too large for fp16, declare it fp32 (--input 'NAME=fp32[...]', --output "
                    "NAME=fp32), or lower --min-snr",
                    wanted.minSnr));
  PrecisionReport report;
  report.before = toDecibels(found->before);
  report.after = toDecibels(found->after);
  report.trials = found->trials;
  llvm::DenseMap<const Op *, double> without;
  for (const PrecisionSearch::Kept &one : found->kept)
    for (const Op *op : units.members[one.unit]) {
      chosen_.insert(op);
      without[op] = toDecibels(one.without);
    }
  for (auto &[pattern, ops] : patternsOf(program, chosen_)) {
    double least = INFINITY;
    for (const Op *op : ops)
      least = std::min(least, without.lookup(op));
    report.kept.push_back({pattern, ops.size(), least});
  }
  count(halved(program, context, kept)->program, report);
  report_ = std::move(report);
  return Error::success();
}

} // namespace plait::driver
