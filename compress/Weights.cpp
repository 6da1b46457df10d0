// Finding weights, and judging schemes by their users.
#include "compress/Weights.h"

#include "compress/SameContent.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <map>

namespace plait::compress {

using namespace mil;

namespace {

void addName(Weight &weight, std::string name) {
  if (!llvm::is_contained(weight.names, name))
    weight.names.push_back(std::move(name));
}

void addUser(Weight &weight, const Op &user, const Value *value) {
  if (user.isTerminator()) {
    weight.isOutput = true;
    return;
  }
  weight.ofLinear &=
      user.is(OpKind::linear) && user[linear::weight] == value && user[linear::x] != value;
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

} // namespace

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

Error calibrate(llvm::ArrayRef<Weight *> weights, const MeasuredOptions &options) {
  struct Use {
    InputSums *sums;
    Activation activation;
  };
  // Weights that are multiplied with the same values share their sums.
  std::map<std::string, std::shared_ptr<InputSums>> known;
  llvm::MapVector<const Function *, std::map<std::string, std::vector<Use>>> uses;
  for (Weight *weight : weights) {
    if (!weight->axes || !weight->axes->in || !weight->conflict.empty())
      continue;
    int64_t inputs = weight->tensor.shape()[*weight->axes->in];
    std::string key = fmt::format("{0}", inputs);
    std::vector<std::pair<const Function *, Activation>> own;
    bool alsoPlain = false;
    for (const Op *constant : weight->constants)
      for (const Op *user : constant->result()->users())
        if (auto activation = activationOf(*user, constant->result())) {
          own.emplace_back(user->function(), *activation);
          key +=
              fmt::format(" {0}:{1}:{2}:{3}:{4}", user->function()->name, activation->value->name,
                          activation->axis, activation->groups, int(activation->isMatrix));
        } else {
          alsoPlain = true;
        }
    if (own.empty())
      continue;
    std::shared_ptr<InputSums> &sums = known[key + (alsoPlain ? " plain" : "")];
    if (!sums) {
      sums = std::make_shared<InputSums>(inputs, options.gptq, alsoPlain);
      for (const auto &[function, activation] : own)
        uses[function][activation.value->name.str()].push_back({sums.get(), activation});
    }
    weight->inputs = sums;
  }
  for (auto &[function, values] : uses) {
    std::vector<std::string> names;
    for (const auto &[name, users] : values)
      names.push_back(name);
    auto see = [&, &values = values](llvm::StringRef name, const TensorData &tensor) -> Error {
      for (const Use &use : values[name.str()])
        if (Error error = use.sums->add(tensor, use.activation, options.threads))
          return addContext(std::move(error), name);
      return Error::success();
    };
    if (Error error = options.observe(*function, names, see))
      return addContext(std::move(error), "function " + function->name);
  }
  return Error::success();
}

Expected<GuidedOutcome> compressOne(const Weight &weight, const Scheme &scheme,
                                    const MeasuredOptions &options, bool guided) {
  Scheme possible = scheme;
  if (!weight.ofLinear)
    possible.lowRank = 0;
  auto outcome = compressGuided(weight.tensor, weight.axes.value_or(Axes{0, 1}), possible, options,
                                {guided ? weight.inputs.get() : nullptr, options.gptq});
  if (!outcome)
    return addContext(outcome.takeError(), weight.name());
  if (outcome->compressed && possible.lowRank != scheme.lowRank) {
    std::string &note = outcome->compressed->note;
    note += fmt::format("{0}no correction: it is a weight of {1}, which has no sum of layers",
                        note.empty() ? "" : "; ", llvm::join(weight.operations, ", "));
  }
  return outcome;
}

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

} // namespace plait::compress
