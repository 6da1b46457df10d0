// Reading operands, and the one list of evaluator families.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using mil::OpKind;

std::vector<at::Tensor> EvalContext::raws(unsigned param) const {
  std::vector<at::Tensor> tensors;
  for (const mil::Operand &operand : op_.operands(param))
    tensors.push_back(lookup_(*operand.get()).tensor);
  return tensors;
}

std::vector<at::Tensor> EvalContext::values(unsigned param) const {
  std::vector<at::Tensor> tensors = raws(param);
  for (at::Tensor &tensor : tensors)
    tensor = widen(tensor);
  return tensors;
}

std::vector<int64_t> EvalContext::ints(unsigned param) const {
  if (!has(param))
    return {};
  if (auto values = mil::constInts(op_[param]))
    return {values->begin(), values->end()};
  at::Tensor tensor = raw(param).to(at::kLong).contiguous();
  return {tensor.data_ptr<int64_t>(), tensor.data_ptr<int64_t>() + tensor.numel()};
}

std::vector<int64_t> EvalContext::ints(unsigned param, size_t count, int64_t fallback) const {
  std::vector<int64_t> values = has(param) ? ints(param) : std::vector(count, fallback);
  TORCH_CHECK(values.size() == count, op_.info().params[param].name, " has ", values.size(),
              " elements where ", count, " are needed");
  return values;
}

int64_t EvalContext::integer(unsigned param, int64_t fallback) const {
  if (!has(param))
    return fallback;
  std::vector<int64_t> values = ints(param);
  TORCH_CHECK(values.size() == 1, op_.info().params[param].name, " has ", values.size(),
              " elements where one is needed");
  return values[0];
}

double EvalContext::number(unsigned param, double fallback) const {
  if (!has(param))
    return fallback;
  at::Tensor tensor = raw(param);
  TORCH_CHECK(tensor.numel() == 1, op_.info().params[param].name, " has ", tensor.numel(),
              " elements where one is needed");
  return tensor.to(at::kDouble).item<double>();
}

std::string EvalContext::string(unsigned param, llvm::StringRef fallback) const {
  if (!has(param))
    return fallback.str();
  auto text = mil::constString(op_[param]);
  TORCH_CHECK(text, op_.info().params[param].name, " is no string");
  return text->str();
}

int64_t EvalContext::axis(unsigned param, int64_t rank, int64_t fallback) const {
  int64_t axis = integer(param, fallback);
  TORCH_CHECK(axis >= -rank && axis < rank, "axis ", axis, " is out of range for rank ", rank);
  return axis < 0 ? axis + rank : axis;
}

std::vector<int64_t> EvalContext::axes(unsigned param, int64_t rank) const {
  std::vector<int64_t> axes = ints(param);
  if (!has(param))
    for (int64_t i = 0; i < rank; ++i)
      axes.push_back(i);
  for (int64_t &axis : axes) {
    TORCH_CHECK(axis >= -rank && axis < rank, "axis ", axis, " is out of range for rank ", rank);
    axis = axis < 0 ? axis + rank : axis;
  }
  std::sort(axes.begin(), axes.end());
  return axes;
}

const EvalTable &evaluators() {
  static const EvalTable table = [] {
    EvalTable table{};
    Registry registry(table);
    registerActivations(registry);
    registerCompression(registry);
    registerConvolutions(registry);
    registerElementwiseBinary(registry);
    registerElementwiseUnary(registry);
    registerImageResizing(registry);
    registerLinear(registry);
    registerLists(registry);
    registerNormalization(registry);
    registerPooling(registry);
    registerQuantization(registry);
    registerRandom(registry);
    registerRecurrent(registry);
    registerReduction(registry);
    registerScatterGather(registry);
    registerSlicing(registry);
    registerSorting(registry);
    registerTensorOperations(registry);
    registerTensorTransformations(registry);
    return table;
  }();
  return table;
}

bool isEvaluated(OpKind kind) {
  switch (kind) {
  case OpKind::const_:
  case OpKind::cond:
  case OpKind::while_loop:
  case OpKind::read_state:
  case OpKind::write_state:
  case OpKind::block_return:
    return true;
  default:
    return evaluators()[unsigned(kind)] != nullptr;
  }
}

} // namespace plait::runtime
