// One operation on constants: made an operation of a throw-away function, so that it is checked and
// run exactly as the same operation in a program.
#include "runtime/RuntimeEvaluator.h"

#include "mil/Builder.h"
#include "runtime/Interpreter.h"

namespace plait::runtime {

using mil::Attr;
using mil::TensorData;

/// The newest opset whose form of the operation has all the parameters that are given.
static mil::Opset newestWith(const mil::OpInfo &row, llvm::ArrayRef<std::vector<Attr>> operands) {
  for (const mil::OpsetInfo &opset : llvm::reverse(mil::allOpsets())) {
    auto form = row.form(opset.opset);
    if (llvm::all_of(llvm::enumerate(operands), [&](const auto &given) {
          return given.value().empty() || form[given.index()];
        }))
      return opset.opset;
  }
  return mil::kDefaultOpset;
}

Expected<std::vector<TensorData>>
RuntimeEvaluator::evaluate(mil::OpKind kind, llvm::ArrayRef<std::vector<Attr>> operands,
                           llvm::ArrayRef<mil::Type> resultTypes) {
  const mil::OpInfo &row = mil::info(kind);
  if (row.traits & (mil::Effect | mil::ReadsMemory | mil::NonDeterministic))
    return makeError(Code::NotComputed, "{0} cannot be computed on constants", row.name);
  mil::Program program;
  mil::Function *function = program.addFunction("constants", newestWith(row, operands));
  mil::Builder builder(function->body());
  std::vector<mil::Arg> args;
  for (auto [param, attrs] : llvm::enumerate(operands)) {
    llvm::SmallVector<mil::Value *, 1> values;
    for (const Attr &attr : attrs)
      values.push_back(builder.constant(attr));
    if (!values.empty())
      args.emplace_back(unsigned(param), llvm::ArrayRef<mil::Value *>(values));
  }
  mil::Op *op = builder.create(kind, args);
  if (Error error = builder.takeError())
    return error;
  llvm::SmallVector<mil::Value *, 1> outputs;
  for (const auto &result : op->results())
    outputs.push_back(result.get());
  function->body().setOutputs(outputs);

  auto interpreter = Interpreter::create(*function, {});
  if (!interpreter)
    return interpreter.takeError();
  auto results = (*interpreter)->run({});
  if (!results)
    return results.takeError();
  std::vector<TensorData> constants;
  for (auto [value, datum] : llvm::zip(outputs, *results)) {
    if (!datum.tensor.defined())
      return makeError(Code::NotComputed, "{0} gives no tensor", row.name);
    constants.push_back(toTensorData(datum.tensor, value->type.dtype()));
  }
  if (resultTypes.size() == constants.size())
    for (auto [type, constant] : llvm::zip(resultTypes, constants))
      if (!mil::compatible(type, constant.type()))
        return makeError(Code::NotComputed, "{0} gives {1} where {2} is expected", row.name,
                         constant.type().str(), type.str());
  return constants;
}

} // namespace plait::runtime
