// Counting, operation by operation; the rules on compute units.
#include "driver/cost/OperationCost.h"

#include "mil/Computation.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::driver {

using namespace mil;

namespace {

enum RuleIndex { NotHalf, LargeSize, ControlFlow, RecurrentLayer, WideIndices, DilatedConv };

const UnitRule kRules[] = {
    {"no-fp16", "the Neural Engine computes in fp16: none of its results is",
     "coremltools guide, Typed Execution"},
    {"size", "a dimension is above 16384", "coremltools 1003"},
    {"control-flow", "loops and branches run on the CPU", "coremltools 2208"},
    {"recurrent", "lstm, gru and rnn are not on the Neural Engine",
     "hollance/neural-engine, unsupported layers"},
    {"gather-32", "gather is on the Neural Engine with indices of 16 bits alone",
     "coremltools, add_int16_cast; hollance/neural-engine, unsupported layers"},
    {"dilated", "dilated convolutions are not on the Neural Engine",
     "hollance/neural-engine, unsupported layers"},
};

std::optional<uint64_t> elements(const Value *value) {
  if (!value->type.isTensor() && !value->type.isState())
    return 0;
  uint64_t count = 1;
  for (const Dim &size : value->type.shape()) {
    auto number = size.tryValue();
    if (!number)
      return std::nullopt;
    count *= uint64_t(*number);
  }
  return count;
}

std::optional<uint64_t> times(std::initializer_list<std::optional<uint64_t>> factors) {
  uint64_t product = 1;
  for (const auto &factor : factors) {
    if (!factor)
      return std::nullopt;
    product *= *factor;
  }
  return product;
}

std::optional<uint64_t> size(const Value *value, int64_t axis) {
  llvm::ArrayRef<Dim> shape = value->type.shape();
  axis = axis < 0 ? axis + int64_t(shape.size()) : axis;
  if (axis < 0 || axis >= int64_t(shape.size()))
    return 1;
  auto number = shape[axis].tryValue();
  return number ? std::optional(uint64_t(*number)) : std::nullopt;
}

/// The elements for each position of the first axis.
std::optional<uint64_t> withoutFirst(const Value *value) {
  std::optional<uint64_t> product = 1;
  for (size_t i = 1; i < value->type.rank(); ++i)
    product = times({product, size(value, int64_t(i))});
  return product;
}

/// Bytes in memory: of a weight that is decompressed, those that it is stored in.
std::optional<uint64_t> bytesOf(const Value *value) {
  if (const Op *op = value->def(); op && (op->info().traits & Constexpr)) {
    uint64_t sum = 0;
    for (const Operand &operand : op->operands())
      sum += bytesOf(operand).value_or(0);
    return sum;
  }
  if (const TensorData *tensor = constTensor(value))
    return byteSize(tensor->dtype(), tensor->numElements());
  auto count = elements(value);
  return count && (value->type.isTensor() || value->type.isState())
             ? std::optional(byteSize(value->type.dtype(), int64_t(*count)))
             : count;
}

/// That of one direction of a recurrent layer with weights [gates * hidden, …].
std::optional<uint64_t> recurrent(const Op &op, unsigned ih, unsigned hh) {
  if (!op[ih] || !op[hh])
    return 0;
  auto steps = times({size(op[0], 0), size(op[0], 1)}); // of [length, batch, features]
  auto products = elements(op[ih]), states = elements(op[hh]);
  return products && states ? times({steps, 2 * (*products + *states)}) : std::nullopt;
}

std::optional<uint64_t> sumOf(std::optional<uint64_t> a, std::optional<uint64_t> b) {
  return a && b ? std::optional(*a + *b) : std::nullopt;
}

std::optional<uint64_t> arithmeticOf(const Op &op) {
  if (computes(op, Moves) || !op.blocks().empty())
    return 0;
  switch (op.kind()) {
  case OpKind::linear:
    return times({2, elements(op.result()), size(op[linear::x], -1)});
  case OpKind::matmul: {
    bool transposed = constBool(op[matmul::transpose_x]).value_or(false);
    return times({2, elements(op.result()), size(op[matmul::x], transposed ? -2 : -1)});
  }
  case OpKind::conv: // weight [out, in / groups, kernel…]
    return times({2, elements(op.result()), withoutFirst(op[conv::weight])});
  case OpKind::conv_transpose: // weight [in, out / groups, kernel…]
    return times({2, elements(op[conv_transpose::x]), withoutFirst(op[conv_transpose::weight])});
  case OpKind::scaled_dot_product_attention: {
    namespace a = scaled_dot_product_attention;
    auto scores = times({elements(op[a::query]), size(op[a::key], -2)}); // per feature
    auto sums = times({elements(op.result()), size(op[a::key], -2)});
    return times({2, sumOf(scores, sums)});
  }
  case OpKind::lstm:
    return sumOf(recurrent(op, lstm::weight_ih, lstm::weight_hh),
                 recurrent(op, lstm::weight_ih_back, lstm::weight_hh_back));
  case OpKind::gru:
    return recurrent(op, gru::weight_ih, gru::weight_hh);
  case OpKind::rnn:
    return recurrent(op, rnn::weight_ih, rnn::weight_hh);
  default: {
    // One step for each element of the largest tensor: reductions and norms read more than they
    // write.
    std::optional<uint64_t> most = 0;
    auto consider = [&](const Value *value) {
      auto count = elements(value);
      most = most && count ? std::optional(std::max(*most, *count)) : std::nullopt;
    };
    for (const Operand &operand : op.operands())
      if (!constAttr(operand))
        consider(operand);
    for (const auto &result : op.results())
      consider(result.get());
    return most;
  }
  }
}

bool hasLargeSize(const Value *value) {
  return (value->type.isTensor() || value->type.isState()) &&
         llvm::any_of(value->type.shape(), [](const Dim &d) { return d.lower() > 16384; });
}

const UnitRule *offEngine(const Op &op) {
  if (!op.blocks().empty())
    return &kRules[ControlFlow];
  if (llvm::none_of(op.results(),
                    [](const auto &result) {
                      return result->type.isTensor() && result->type.dtype() == DType::F16;
                    }) &&
      op.numResults())
    return &kRules[NotHalf];
  for (const Operand &operand : op.operands())
    if (!constAttr(operand) && hasLargeSize(operand))
      return &kRules[LargeSize];
  for (const auto &result : op.results())
    if (hasLargeSize(result.get()))
      return &kRules[LargeSize];
  switch (op.kind()) {
  case OpKind::lstm:
  case OpKind::gru:
  case OpKind::rnn:
    return &kRules[RecurrentLayer];
  case OpKind::gather:
  case OpKind::gather_along_axis:
  case OpKind::gather_nd: {
    const Value *indices = op[*op.info().findParam("indices")];
    return bitWidth(indices->type.dtype()) > 16 ? &kRules[WideIndices] : nullptr;
  }
  case OpKind::conv: {
    auto dilations = constInts(op[conv::dilations]);
    bool dilated = dilations && llvm::any_of(*dilations, [](int64_t d) { return d > 1; });
    return dilated ? &kRules[DilatedConv] : nullptr;
  }
  default:
    return nullptr;
  }
}

} // namespace

llvm::ArrayRef<UnitRule> unitRules() { return kRules; }

std::vector<OperationCost> operationCosts(const Function &function) {
  std::vector<OperationCost> costs;
  mil::walk(const_cast<Block &>(function.body()), [&](Op &op) {
    if (op.is(OpKind::const_) || (op.info().traits & Constexpr))
      return;
    OperationCost cost{&op, arithmeticOf(op), 0, offEngine(op),
                       op.blocks().empty() ? nullptr : &kRules[ControlFlow]};
    if (op.blocks().empty()) {
      for (const Operand &operand : op.operands())
        cost.bytes = sumOf(cost.bytes, bytesOf(operand));
      for (const auto &result : op.results())
        cost.bytes = sumOf(cost.bytes, bytesOf(result.get()));
    }
    costs.push_back(cost);
  });
  return costs;
}

} // namespace plait::driver
