// Finds the weights, decides by the rules, compresses and replaces.
#include "compress/Program.h"

#include "compress/Rewrite.h"
#include "compress/Rules.h"
#include "compress/SameContent.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"

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

/// A weight and all consts that hold it.
struct Weight {
  TensorData tensor;
  std::vector<Op *> constants;
  llvm::SetVector<const Function *> functions;
  std::vector<std::string> names;
  llvm::SmallVector<llvm::StringRef, 2> operations; ///< kinds of the users
  bool ofAdapter = false;
  bool isOutput = false;
  std::optional<Axes> axes; ///< of the users that have some
  std::string conflict;     ///< two users that do not agree

  const std::string &name() const { return names.front(); }
};

void addName(Weight &weight, std::string name) {
  if (!llvm::is_contained(weight.names, name))
    weight.names.push_back(std::move(name));
}

void addUser(Weight &weight, const Op &user, const Value *value) {
  if (user.isTerminator()) {
    weight.isOutput = true;
    return;
  }
  if (!llvm::is_contained(weight.operations, user.info().name))
    weight.operations.push_back(user.info().name);
  auto axes = axesOf(user, value);
  if (!axes)
    return;
  if (weight.axes && !(*weight.axes == *axes) && weight.conflict.empty())
    weight.conflict = fmt::format("its users ({0}) have its outputs along different axes",
                                  llvm::join(weight.operations, ", "));
  weight.axes = axes;
}

/// Floating-point constants that are weights, each once, in program order. What is compressed
/// already is made of parts, which are none.
Expected<std::vector<Weight>> weightsOf(Program &program, const ProgramOptions &options) {
  std::vector<Weight> weights;
  struct Known {
    TensorData tensor;
    size_t weight;
  };
  llvm::DenseMap<uint64_t, llvm::SmallVector<Known, 1>> byHash;
  SameContent contents(options.evaluator);
  Error error = Error::success();
  for (const auto &function : program.functions())
    walk(function->body(), [&](Op &op) {
      const TensorData *tensor = op.is(OpKind::const_) ? op.val().tensor() : nullptr;
      if (!tensor || (tensor->dtype() != DType::F16 && tensor->dtype() != DType::F32) ||
          tensor->rank() == 0 || !isWeight(*tensor) || !op.result()->hasUses())
        return;
      for (const Op *user : op.result()->users())
        if (user->info().traits & Constexpr)
          return;
      auto &same = byHash[tensor->treeHash()];
      auto known = llvm::find_if(same, [&](const Known &k) { return k.tensor.sameTree(*tensor); });
      if (known == same.end()) {
        auto number = contents.find(*tensor, weights.size());
        if (!number) {
          error = llvm::joinErrors(std::move(error), number.takeError());
          return;
        }
        same.push_back({*tensor, *number});
        known = std::prev(same.end());
        if (*number == weights.size())
          weights.emplace_back().tensor = *tensor;
      }
      Weight &weight = weights[known->weight];
      weight.constants.push_back(&op);
      weight.functions.insert(function.get());
      for (const std::string &path : parametersOf(*tensor))
        addName(weight, path);
      addName(weight, op.result()->name.str());
      weight.ofAdapter |= options.isAdapter(op);
      for (const Op *user : op.result()->users())
        addUser(weight, *user, op.result());
    });
  if (error)
    return error;
  return weights;
}

/// Why the scheme is not for the weight; empty where it is.
std::string refusal(const Weight &weight, const Scheme &scheme) {
  if (weight.isOutput)
    return "it is an output";
  unsigned rank = weight.tensor.rank();
  if (scheme.linear && rank == 1)
    return "Core ML computes wrong numbers from integers of a vector; a palette for the tensor, "
           "such as palette8, is one way";
  bool byAxis = (scheme.linear && scheme.linear->grain.kind != Grain::Kind::Tensor) ||
                (scheme.palette && (scheme.palette->grain.kind != Grain::Kind::Tensor ||
                                    scheme.palette->vector > 1)) ||
                (scheme.prune && scheme.prune->of);
  if (byAxis && rank == 1)
    return "it is a vector, which has no output channels";
  if (byAxis && !weight.conflict.empty())
    return weight.conflict + "; a palette for the tensor, such as palette4, has no axes";
  if (scheme.linear && scheme.linear->bits == 4 && rank == 4) {
    Layout layout(weight.tensor.shape(), weight.axes.value_or(Axes{0, 1}));
    Cells cells = cellsOf(layout, scheme.linear->grain);
    if (llvm::equal(weight.tensor.shape().drop_front(), llvm::drop_begin(cells.shape)))
      return "Core ML refuses int4 whose blocks lie along the first of four axes; int8 is one way";
  }
  return "";
}

} // namespace

Expected<ProgramResult> compressProgram(Program &program, const ProgramOptions &options) {
  auto found = weightsOf(program, options);
  if (!found)
    return found.takeError();
  std::vector<Weight> &weights = *found;
  ProgramResult result;
  std::vector<bool> used(options.rules.size());
  struct Job {
    size_t weight, entry;
    const Scheme *scheme;
  };
  std::vector<Job> jobs;
  double all = 0;
  for (auto [index, weight] : llvm::enumerate(weights)) {
    const Scheme *scheme = nullptr;
    bool named = false;
    for (auto [number, rule] : llvm::enumerate(options.rules))
      if (Fit fit = fitOf(rule, weight.names, weight.operations, weight.ofAdapter);
          fit != Fit::None) {
        scheme = &rule.scheme;
        named = fit == Fit::Name;
        used[number] = true;
      }
    if (weight.tensor.numElements() <= kSmallWeight && !named) {
      ++result.small;
      continue;
    }
    WeightResult entry;
    entry.name = weight.name();
    entry.shape.assign(weight.tensor.shape().begin(), weight.tensor.shape().end());
    entry.dtype = weight.tensor.dtype();
    entry.functions = unsigned(weight.functions.size());
    entry.ofAdapter = weight.ofAdapter;
    if (!scheme)
      entry.skipped =
          weight.ofAdapter ? "it is an adapter's (adapters=SCHEME names it)" : "no rule fits it";
    else if (scheme->isNone())
      entry.skipped = "the scheme is none";
    else
      entry.skipped = refusal(weight, *scheme);
    if (entry.skipped.empty()) {
      jobs.push_back({index, result.weights.size(), scheme});
      all += double(weight.tensor.numElements());
    }
    result.weights.push_back(std::move(entry));
  }
  for (auto [number, rule] : llvm::enumerate(options.rules))
    if (!used[number] && !rule.pattern.empty()) {
      std::string some;
      for (const WeightResult &weight : llvm::ArrayRef(result.weights).take_front(5))
        some += (some.empty() ? "" : ", ") + weight.name;
      return makeError("--compress {0}={1}: no weight, module or kind of operation has that name; "
                       "weights are {2}",
                       rule.pattern, rule.scheme.str(), some.empty() ? "none" : some + ", ...");
    }

  double done = 0;
  for (const Job &job : jobs) {
    Weight &weight = weights[job.weight];
    WeightResult &entry = result.weights[job.entry];
    if (!options.proceed(done / all))
      return makeError("cancelled; nothing is written");
    auto outcome =
        compressWeight(weight.tensor, weight.axes.value_or(Axes{0, 1}), *job.scheme, options);
    if (!outcome)
      return addContext(outcome.takeError(), entry.name);
    done += double(weight.tensor.numElements());
    entry.skipped = outcome->skipped;
    if (!outcome->compressed)
      continue;
    const Compressed &parts = *outcome->compressed;
    if (parts.bytes() >= weight.tensor.byteSize()) {
      entry.skipped = fmt::format("{0} would take {1} bytes in place of {2}", parts.scheme.str(),
                                  parts.bytes(), weight.tensor.byteSize());
      continue;
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
  }
  return result;
}

} // namespace plait::compress
