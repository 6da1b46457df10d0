// Looking through programs and reports for what may surprise.
#include "driver/libtorch/Warnings.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/StringExtras.h"

#include <cmath>
#include <map>
#include <set>

namespace plait::driver {

/// Whether it differs from run to run: it is made of inputs, of states or of random numbers.
static bool varies(const mil::Value *value) {
  llvm::SmallVector<const mil::Value *, 32> next{value};
  llvm::SmallPtrSet<const mil::Value *, 32> seen{value};
  auto add = [&](const mil::Op &op) {
    for (const mil::Operand &operand : op.operands())
      if (operand.get() && seen.insert(operand.get()).second)
        next.push_back(operand.get());
  };
  while (!next.empty()) {
    const mil::Value *one = next.pop_back_val();
    mil::Op *def = one->def();
    if (!def) // of a loop's body, or an input
      def = one->block()->parentOp();
    if (!def || llvm::StringRef(def->info().name).starts_with("random_"))
      return true;
    add(*def);
    for (const auto &block : def->blocks()) {
      mil::walk(*block, [&](mil::Op &inner) { add(inner); });
      for (const mil::Operand &output : block->outputs())
        if (output.get() && seen.insert(output.get()).second)
          next.push_back(output.get());
    }
  }
  return false;
}

void warnOfConstantResults(const mil::Function &function, CompileObserver &observer) {
  for (const mil::Operand &output : function.outputs())
    if (!varies(output.get()))
      observer.warning(
          {Code::ConstantResult,
           fmt::format("function {0}: result '{1}' depends on no input; it is the same "
                       "in every run",
                       function.name, output->name)});
}

void warnOfFrozenStates(const mil::Program &program, const CompileOptions &options,
                        CompileObserver &observer) {
  std::map<std::string, std::string> keptBy; // by the state's name
  for (const auto &function : program.functions())
    for (const auto &input : function->inputs())
      if (input->type.isState())
        keptBy.emplace(input->name.str(), function->name);
  if (keptBy.empty())
    return;
  for (const FunctionOptions &declared : options.functions) {
    const mil::Function *function = program.function(declared.name);
    if (!function || declared.states.others == frontend::StatesRequest::Others::Forget)
      continue;
    std::set<std::string> said;
    for (const auto &input : function->inputs())
      said.insert(input->name.str());
    mil::walk(const_cast<mil::Block &>(function->body()), [&](mil::Op &op) {
      const mil::TensorData *tensor = mil::constTensor(op.numResults() ? op.result() : nullptr);
      if (!tensor)
        return;
      for (const std::string &path : parametersOf(*tensor)) {
        std::string name = mil::legalName(path);
        auto kept = keptBy.find(name);
        if (kept == keptBy.end() || !said.insert(name).second)
          continue;
        observer.warning(
            {Code::FrozenStatistics,
             fmt::format(
                 "function {0} reads '{1}' as the model holds it, and function {2} keeps it as a "
                 "state; "
                 "--states '{1}=fp16' gives {0} the state too, --states none says that it is meant",
                 declared.name, path, kept->second)});
      }
    });
  }
}

/// Infinities are what masks are made of.
static bool isMask(const mil::Op &constant) {
  for (const mil::Operand &use : constant.result()->uses()) {
    switch (use.owner()->kind()) {
    case mil::OpKind::add:
    case mil::OpKind::maximum:
    case mil::OpKind::minimum:
    case mil::OpKind::scaled_dot_product_attention:
    case mil::OpKind::select:
    case mil::OpKind::slice_by_index:
    case mil::OpKind::slice_by_size:
      continue;
    default:
      return false;
    }
  }
  return true;
}

static void warnOfWeight(const mil::Function &function, const mil::Op &weight,
                         const mil::Saturation &found, CompileObserver &observer) {
  const mil::TensorData &tensor = *weight.val().tensor();
  std::vector<std::string> parameters = parametersOf(tensor);
  // What the compiler made of other things may be as it is on purpose.
  if (!parameters.empty() && (found.nan || (found.infinite && !isMask(weight))))
    observer.warning(
        {Code::NotFinite,
         fmt::format("function {0}: weight '{1}' ({2}): of {3} values {4} are NaN and {5} "
                     "infinite, as they are in the model; results will not be finite either",
                     function.name, weight.result()->name, llvm::join(parameters, ", "),
                     tensor.numElements(), found.nan, found.infinite)});
  if (!parameters.empty() && found.vanished && found.zeros == uint64_t(tensor.numElements()))
    observer.warning(
        {Code::LostInHalf,
         fmt::format("function {0}: weight '{1}' ({2}): all {3} values are 0 in fp16, the largest "
                     "is {4:.2g}; --precision fp32 keeps them",
                     function.name, weight.result()->name, llvm::join(parameters, ", "),
                     tensor.numElements(), found.largestVanished)});
}

Error warnOfWeights(const mil::Program &program, const WriteReport &written,
                    mil::Evaluator *evaluator, CompileObserver &observer) {
  llvm::DenseSet<uint32_t> said;
  llvm::DenseSet<const mil::Op *> inFile;
  for (const WriteReport::Weight &weight : written.weights) {
    const WeightLayout::Blob &blob = written.layout.blobs[weight.blob];
    inFile.insert(weight.op);
    if (blob.saturation && said.insert(weight.blob).second)
      warnOfWeight(*weight.function, *weight.op, blob.saturation, observer);
  }
  // Those of a few elements are in the program itself.
  Error failed = Error::success();
  for (const auto &function : program.functions())
    mil::walk(function->body(), [&](mil::Op &op) {
      if (failed || !op.is(mil::OpKind::const_) || inFile.contains(&op))
        return;
      const mil::TensorData *tensor = op.val().tensor();
      if (!tensor || !mil::isFloat(tensor->dtype()) || parametersOf(*tensor).empty())
        return;
      auto values = tensor->floatValues(evaluator);
      if (!values) {
        failed = values.takeError();
        return;
      }
      mil::Saturation found;
      for (double value : *values) {
        found.nan += std::isnan(value);
        found.infinite += std::isinf(value);
      }
      warnOfWeight(*function, op, found, observer);
    });
  return failed;
}

} // namespace plait::driver
