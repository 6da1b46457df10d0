// What Core ML refuses or gets wrong although it is well-formed MIL. Sources are named as in the
// rules: "coremltools" is its code (validator, back end, operation definitions, tests) at 9.0;
// numbers are its issues; others are projects that write ML programs and run them on devices.
#include "mil/Verifier.h"

#include "mil/Infer.h"

#include "llvm/ADT/SmallPtrSet.h"

namespace plait::mil {

namespace {

/// Collects violations of the rule that is being checked.
class Context {
public:
  Context(const Program &program, std::vector<Violation> &violations)
      : program(program), violations_(violations) {}

  const Program &program;
  const Function *function = nullptr;
  const Rule *rule = nullptr;

  template <typename... Args> void broken(const Op &op, const char *format, Args &&...args) {
    add("operation '" + op.name + "' (" + op.info().name + ")",
        llvm::formatv(format, std::forward<Args>(args)...).str());
  }
  template <typename... Args> void broken(const char *format, Args &&...args) {
    add("", llvm::formatv(format, std::forward<Args>(args)...).str());
  }

private:
  void add(const std::string &where, const std::string &what) {
    std::string message = function ? function->name + ": " : "";
    if (!where.empty())
      message += where + ": ";
    violations_.push_back({rule, message + what + " [" + rule->id + "]"});
  }
  std::vector<Violation> &violations_;
};

/// The value has uses, and none but by constexpr_* operations.
bool feedsOnlyConstexpr(const Value &value) {
  for (const Operand &use : value.uses())
    if (use.owner()->isTerminator() || !(use.owner()->info().traits & Constexpr))
      return false;
  return value.hasUses();
}

/// Some operation uses the value; returning it does not count.
bool feedsOperation(const Value &value) {
  for (const Operand &use : value.uses())
    if (!use.owner()->isTerminator())
      return true;
  return false;
}

/// Elements of a float constant that is small enough to look at.
std::vector<double> smallFloats(const Value *value) {
  const TensorData *tensor = constTensor(value);
  if (!tensor || !isFloat(tensor->dtype()) || tensor->numElements() > 4096)
    return {};
  auto values = tensor->floatValues();
  if (values)
    return std::move(*values);
  llvm::consumeError(values.takeError());
  return {};
}

// ---- the interface
// -------------------------------------------------------------------------------

void checkMain(Context &c, const Function &f) {
  if (c.program.functions().size() == 1 && c.program.defaultFunction.empty() && f.name != "main")
    c.broken("a plain package has its function named 'main'; give it that name or a default "
             "function");
  if (c.program.functions().size() > 1 && c.program.defaultFunction.empty() &&
      &f == c.program.functions()[0].get())
    c.broken("a package of several functions needs a default function");
}

void checkInterfaceRank(Context &c, const Function &f) {
  for (const auto &input : f.inputs())
    if (input->type.isScalar())
      c.broken("input '{0}' has no dimensions; make it [1] and reshape inside", input->name);
  for (const Operand &output : f.outputs())
    if (output->type.isScalar() && !(output->def() && output->def()->is(OpKind::classify)))
      c.broken("output '{0}' has no dimensions; reshape it to [1]", output->name);
}

void checkInterfaceType(Context &c, const Function &f) {
  auto good = [](const Type &type) {
    return type.isTensor() &&
           (type.dtype() == DType::F16 || type.dtype() == DType::F32 || type.dtype() == DType::I32);
  };
  for (const auto &input : f.inputs())
    if (!input->type.isState() && !good(input->type))
      c.broken("input '{0}' is {1}; take fp16, fp32 or int32 and cast inside", input->name,
               input->type.str());
  for (const Operand &output : f.outputs())
    if (!good(output->type) && !(output->def() && output->def()->is(OpKind::classify)))
      c.broken("output '{0}' is {1}; cast it to fp16, fp32 or int32", output->name,
               output->type.str());
}

void checkUnusedInput(Context &c, const Function &f) {
  for (const auto &input : f.inputs())
    if (!input->type.isState() && !feedsOperation(*input))
      c.broken("input '{0}' feeds no operation; put an identity on it", input->name);
}

void checkOutputs(Context &c, const Function &f) {
  llvm::SmallPtrSet<const Value *, 8> seen;
  for (const Operand &output : f.outputs()) {
    const Value *value = output.get();
    if (!value->def())
      c.broken("output '{0}' is an input; put an identity between", value->name);
    else if (isCompileTime(value))
      c.broken("output '{0}' is a constant; compute it from an input", value->name);
    if (!seen.insert(value).second)
      c.broken("output '{0}' is returned twice; put an identity between", value->name);
  }
}

void checkFlexibleInputs(Context &c, const Function &f) {
  bool enumerated = false, ranges = false, states = false;
  for (auto [i, input] : llvm::enumerate(f.inputs())) {
    states |= input->type.isState();
    if (!input->type.isTensor())
      continue;
    const InputInfo *info = i < f.inputInfo.size() ? &f.inputInfo[i] : nullptr;
    if (info && !info->enumeratedShapes.empty()) {
      enumerated = true;
      if (info->enumeratedShapes.size() > 128)
        c.broken("input '{0}' has {1} enumerated shapes; 128 are possible", input->name,
                 info->enumeratedShapes.size());
      continue;
    }
    for (const Dim &d : input->type.shape())
      if (!d.isConst()) {
        ranges = true;
        if (d.upper() == INT64_MAX)
          c.broken("input '{0}' has a dimension without an upper bound; state one", input->name);
      }
  }
  if (enumerated && ranges)
    c.broken("inputs with enumerated shapes stand beside inputs with ranges; use one kind");
  if (states && ranges)
    c.broken("a stateful function has inputs with ranges; give every input a fixed shape or every "
             "one a range");
}

void checkStates(Context &c, const Function &f) {
  for (const auto &input : f.inputs())
    if (input->type.isState() && (input->type.dtype() != DType::F16 ||
                                  !input->type.hasStaticShape() || input->type.rank() == 0))
      c.broken("state '{0}' is {1}; fp16 of a fixed shape of at least one dimension is needed",
               input->name, input->type.str());
}

void checkClassifier(Context &c, const Function &f) {
  walk(const_cast<Function &>(f).body(), [&](Op &op) {
    if (!op.is(OpKind::classify))
      return;
    if (c.program.functions().size() > 1)
      c.broken(op, "classifiers cannot stand in a package of several functions");
    if (&f.body().back() != &op)
      c.broken(op, "must be the last operation of the function");
  });
}

// ---- values
// --------------------------------------------------------------------------------------

void checkRank(Context &c, const Op &op) {
  for (const auto &result : op.results())
    if (result->type.isTensor() && result->type.rank() > 5 &&
        !(isCompileTime(result.get()) && feedsOnlyConstexpr(*result)))
      c.broken(op, "'{0}' has rank {1}; 5 is the limit", result->name, result->type.rank());
}

void checkEmpty(Context &c, const Op &op) {
  for (const auto &result : op.results())
    // Empty vectors as parameters (no axes) are a matter of their own rules.
    if (result->type.isTensor() && !op.is(OpKind::const_) &&
        llvm::is_contained(result->type.shape(), Dim(0)))
      c.broken(op, "'{0}' is {1}: it has no elements", result->name, result->type.str());
}

void checkRuntimeType(Context &c, const Op &op) {
  constexpr DTypeSet runtime = setOf(DType::F16) | setOf(DType::F32) | setOf(DType::I32) |
                               setOf(DType::Bool) | setOf(DType::String) | setOf(DType::I8) |
                               setOf(DType::U8) | setOf(DType::I16) | setOf(DType::U16);
  if (op.is(OpKind::classify))
    return;
  for (const auto &result : op.results()) {
    if (!result->type.isTensor() || contains(runtime, result->type.dtype()))
      continue;
    // uint32 parameters and compressed constants are no values of the run.
    bool parameter = op.is(OpKind::const_) && result->type.dtype() == DType::U32;
    if (!parameter && !(isCompileTime(result.get()) && feedsOnlyConstexpr(*result)))
      c.broken(op, "'{0}' is {1}, which exists in compressed constants only", result->name,
               result->type.str());
  }
}

void checkSize(Context &c, const Op &op) {
  for (const auto &result : op.results()) {
    auto shape = result->type.isTensor() ? constShape(result->type.shape()) : std::nullopt;
    if (shape && byteSize(result->type.dtype(), numElements(llvm::ArrayRef<int64_t>(*shape))) >=
                     uint64_t(INT32_MAX))
      c.broken(op, "'{0}' takes 2 GiB or more", result->name);
  }
}

void checkDefaults(Context &c, const Op &op) {
  // Older opsets know fewer parameters than the table's rows.
  if (c.function->opset != Opset::iOS18)
    return;
  for (auto [i, param] : llvm::enumerate(op.info().params)) {
    if (param.def.kind == Default::None || op[i])
      continue;
    if (param.def.kind == Default::IndicesDType &&
        !constBool(op[topk::return_indices]).value_or(true))
      continue;
    c.broken(op, "{0} is not given; Core ML needs every parameter that has a default", param.name);
  }
}

void checkScalarData(Context &c, const Op &op) {
  switch (op.kind()) {
  case OpKind::transpose:
    if (op[transpose::x]->type.rank() < 2)
      c.broken(op, "x has rank {0}; transposing needs 2 or more, use identity",
               op[transpose::x]->type.rank());
    return;
  case OpKind::slice_by_index:
  case OpKind::slice_by_size:
  case OpKind::tile:
  case OpKind::quantize:
  case OpKind::dequantize:
  case OpKind::reduce_argmax:
  case OpKind::reduce_argmin:
  case OpKind::reduce_l1_norm:
  case OpKind::reduce_l2_norm:
  case OpKind::reduce_log_sum:
  case OpKind::reduce_log_sum_exp:
  case OpKind::reduce_max:
  case OpKind::reduce_mean:
  case OpKind::reduce_min:
  case OpKind::reduce_prod:
  case OpKind::reduce_sum:
  case OpKind::reduce_sum_square:
    if (op[0]->type.rank() == 0)
      c.broken(op, "works on a scalar; reshape it to [1] first");
    return;
  default:
    return;
  }
}

void checkEmptyAxes(Context &c, const Op &op) {
  auto param = op.info().findParam("axes");
  if (auto axes = param ? constInts(op[*param]) : std::nullopt; axes && axes->empty())
    c.broken(op, "axes is empty; leave the operation out");
}

// ---- single operations
// ---------------------------------------------------------------------------

void checkLinear(Context &c, const Op &op) {
  if (!op.is(OpKind::linear))
    return;
  if (op[linear::x]->type.dtype() == DType::I32)
    c.broken(op, "int32 is refused when the model runs; use matmul");
  if (op[linear::x]->type.rank() > 3)
    c.broken(op, "x has rank {0}; reshape it to 3 or less", op[linear::x]->type.rank());
}

void checkMatmul(Context &c, const Op &op) {
  if (op.is(OpKind::matmul) && op[matmul::x]->type.rank() == 1)
    c.broken(op, "x is a vector; reshape it to rank 2");
}

void checkGather(Context &c, const Op &op) {
  if (op.is(OpKind::gather) && op[gather::indices]->type.rank() == 0 &&
      (op[gather::x]->type.rank() == 5 || constInt(op[gather::axis]).value_or(0) != 0))
    c.broken(op, "a scalar index crashes for rank 5 and is wrong on axes other than 0; use [1] and "
                 "reshape");
}

void checkIndices(Context &c, const Op &op) {
  auto validate = op.info().findParam("validate_indices");
  if (!validate)
    return;
  if (constBool(op[*validate]).value_or(false))
    c.broken(op, "validate_indices is true, which fails in places; write false");
  if (auto indices = constInts(op[*op.info().findParam("indices")]);
      indices && llvm::any_of(*indices, [](int64_t i) { return i < 0; }))
    c.broken(op, "has a negative index, which is out of bounds; add the size of the axis");
}

void checkSqueeze(Context &c, const Op &op) {
  auto axes = op.is(OpKind::squeeze) ? constInts(op[squeeze::axes]) : std::nullopt;
  if (!axes)
    return;
  auto shape = op[squeeze::x]->type.shape();
  for (int64_t axis : *axes) {
    axis = axis < 0 ? axis + int64_t(shape.size()) : axis;
    if (axis >= 0 && axis < int64_t(shape.size()) && shape[axis].isConst() &&
        !(shape[axis] == Dim(1)))
      c.broken(op, "axis {0} has {1} elements; only axes of 1 can be squeezed", axis,
               shape[axis].str());
  }
}

void checkLayerNorm(Context &c, const Op &op) {
  auto axes = op.is(OpKind::layer_norm) ? constInts(op[layer_norm::axes]) : std::nullopt;
  if (!axes)
    return;
  int64_t rank = op[layer_norm::x]->type.rank();
  for (size_t i = 1; i < axes->size(); ++i) {
    auto at = [&](size_t k) { return (*axes)[k] < 0 ? (*axes)[k] + rank : (*axes)[k]; };
    if (at(i) != at(i - 1) + 1)
      return c.broken(op, "axes are not ascending neighbours; transpose first");
  }
}

void checkBatchNorm(Context &c, const Op &op) {
  if (op.is(OpKind::batch_norm) && op[batch_norm::x]->type.rank() == 5)
    c.broken(op, "x of rank 5 crashes off the CPU; reshape it to rank 4");
}

void checkPad(Context &c, const Op &op) {
  if (!op.is(OpKind::pad))
    return;
  auto amounts = constInts(op[pad::pad]);
  llvm::StringRef mode = constString(op[pad::mode]).value_or("constant");
  if (!amounts || mode == "constant")
    return;
  auto shape = op[pad::x]->type.shape();
  size_t count = amounts->size() / 2, first = shape.size() - count;
  for (size_t i = 0; i < count; ++i) {
    int64_t most = std::max((*amounts)[2 * i], (*amounts)[2 * i + 1]);
    const Dim &size = shape[first + i];
    if (most > 0 && first + i + 2 < shape.size())
      return c.broken(op, "{0} pads only the last two dimensions", mode);
    if (mode == "reflect" && size.isConst() && most > size.value() - 1)
      return c.broken(op, "reflects {0} elements of {1}", most, size.value());
  }
}

void checkSelect(Context &c, const Op &op) {
  if (!op.is(OpKind::select) || c.program.functions().size() < 2)
    return;
  auto shape = op.result()->type.shape();
  for (unsigned param : {select::cond, select::a, select::b})
    if (!(op[param]->type.shape() == shape) && op[param]->type.rank() != 0)
      return c.broken(op,
                      "broadcasts {0} of shape {1}, which fails to load in packages of several "
                      "functions; tile it",
                      op.info().params[param].name, str(op[param]->type.shape()));
}

void checkPow(Context &c, const Op &op) {
  if (op.is(OpKind::pow) && constFloat(op[pow::x]).value_or(0) == 2)
    c.broken(op, "2 to the power of y is computed as y squared; use exp2");
}

void checkSlices(Context &c, const Op &op) {
  if (op.is(OpKind::slice_update)) {
    for (unsigned param : {slice_update::begin, slice_update::end})
      if (auto bounds = constInts(op[param]);
          bounds && llvm::any_of(*bounds, [](int64_t b) { return b < 0; }))
        return c.broken(op, "{0} is negative, which fails on the CPU; add the size",
                        op.info().params[param].name);
  } else if (op.is(OpKind::slice_by_index)) {
    if (auto mask = constInts(op[slice_by_index::squeeze_mask]);
        mask && llvm::is_contained(*mask, 1))
      c.broken(op, "squeeze_mask was ignored by some systems; slice, then squeeze");
  }
}

void checkSplit(Context &c, const Op &op) {
  if (op.is(OpKind::split) && op.numResults() == 1)
    c.broken(op, "splits into one part; use identity");
}

void checkStateWrites(Context &c, const Op &op) {
  if (op.is(OpKind::write_state) && isCompileTime(op[write_state::data]))
    c.broken(op, "writes a constant into a state, which crashes at load; make it depend on a read "
                 "of the state");
}

void checkScale(Context &c, const Op &op) {
  if (!op.is(OpKind::quantize) && !op.is(OpKind::dequantize))
    return;
  const Value *scale =
      op[op.is(OpKind::quantize) ? unsigned(quantize::scale) : unsigned(dequantize::scale)];
  if (llvm::any_of(smallFloats(scale), [](double s) { return !(s > 0); }))
    c.broken(op, "scale must be positive");
}

void checkConstexprRank(Context &c, const Op &op) {
  if (op.is(OpKind::constexpr_blockwise_shift_scale) && op.result()->type.rank() == 1)
    c.broken(op, "compresses a vector, whose values come out wrong; leave it as it is");
}

void checkInfinite(Context &c, const Op &op) {
  if (!op.is(OpKind::const_))
    return;
  if (op.result()->type.isTensor() && op.result()->type.dtype() == DType::F16 &&
      llvm::any_of(smallFloats(op.result()), [](double v) { return v > 65504 || v < -65504; }))
    c.broken(op, "holds an infinite fp16 value; masks made of it give NaN on fully masked rows, "
                 "use -3e4");
}

void checkLists(Context &c, const Op &op) {
  if (op.is(OpKind::make_list) && op.result()->type.element().rank() > 4)
    c.broken(op, "elements have rank {0}; 4 is the limit", op.result()->type.element().rank());
}

void checkConvTranspose(Context &c, const Op &op) {
  if (!op.is(OpKind::conv_transpose) ||
      constString(op[conv_transpose::pad_type]).value_or("valid") != "custom")
    return;
  auto pad = constInts(op[conv_transpose::pad]);
  for (size_t i = 0; pad && i + 1 < pad->size(); i += 2)
    if ((*pad)[i] != (*pad)[i + 1])
      return c.broken(op, "asymmetric padding shifts fp16 results; pad symmetrically and crop");
}

void checkResample(Context &c, const Op &op) {
  if ((op.is(OpKind::upsample_bilinear) || op.is(OpKind::upsample_nearest_neighbor)) &&
      op[0]->type.rank() > 4)
    c.broken(op, "x has rank {0}; 3 or 4 is what devices resize", op[0]->type.rank());
}

// ---- the table
// -----------------------------------------------------------------------------------

struct Check {
  Rule rule;
  void (*function)(Context &, const Function &);
  void (*op)(Context &, const Op &);
};

const Check kChecks[] = {
    {{"plain-main", Rule::Refused,
      "one function without a default is named main; several have a default function",
      "coremltools validator; stablehlo-coreml"},
     checkMain,
     nullptr},
    {{"interface-rank", Rule::Refused, "inputs and outputs have at least one dimension",
      "coremltools Placeholder; chromium; onnxruntime; executorch 10443"},
     checkInterfaceRank,
     nullptr},
    {{"interface-type", Rule::Refused, "inputs and outputs are fp16, fp32 or int32 tensors",
      "coremltools validator and adjust_io_to_supported_types"},
     checkInterfaceType,
     nullptr},
    {{"unused-input", Rule::Refused, "every input that is no state feeds an operation",
      "coremltools handle_unused_inputs, 2661"},
     checkUnusedInput,
     nullptr},
    {{"output-computed", Rule::Refused, "outputs are computed: no inputs, no constants, none twice",
      "coremltools 1742, 1887, 1450, test_quantization_passes"},
     checkOutputs,
     nullptr},
    {{"flexible-inputs", Rule::Risky,
      "dynamic dimensions are bounded; enumerated shapes (at most 128) and ranges do not mix; no "
      "ranges beside states",
      "coremltools validator, 989, 2500, 2548"},
     checkFlexibleInputs,
     nullptr},
    {{"state-type", Rule::Refused, "states are fp16, of a fixed shape of rank 1 or more",
      "coremltools validator"},
     checkStates,
     nullptr},
    {{"state-write", Rule::Refused, "what is written into a state is computed",
      "stablehlo-coreml function_interface"},
     nullptr,
     checkStateWrites},
    {{"classifier", Rule::Refused,
      "classify is the last operation, and not in packages of several functions",
      "coremltools back end"},
     checkClassifier,
     nullptr},
    {{"rank-limit", Rule::Refused, "tensors have at most five dimensions",
      "coremltools program; executorch 11694"},
     nullptr,
     checkRank},
    {{"no-empty-tensor", Rule::Refused, "no tensor has a dimension of size 0",
      "coremltools front end; onnxruntime"},
     nullptr,
     checkEmpty},
    {{"runtime-type", Rule::Refused,
      "int64, uint64, uint32, fp64, bf16 and sub-byte types exist only in compressed constants and "
      "parameters",
      "coremltools adjust_io_to_supported_types, operation definitions"},
     nullptr,
     checkRuntimeType},
    {{"tensor-size", Rule::Refused, "a tensor takes less than 2 GiB", "chromium"},
     nullptr,
     checkSize},
    {{"defaults-written", Rule::Refused, "every parameter that has a default is given",
      "chromium; rustnn; coremltools serialises them always"},
     nullptr,
     checkDefaults},
    {{"scalar-data", Rule::Refused,
      "slice, tile, reduce, quantize and transpose do not work on scalars", "chromium; rustnn"},
     nullptr,
     checkScalarData},
    {{"empty-axes", Rule::Refused, "reductions and layer_norm have at least one axis", "chromium"},
     nullptr,
     checkEmptyAxes},
    {{"linear-x", Rule::Risky, "linear works on floats of rank up to 3",
      "coremltools 2673 and its tests"},
     nullptr,
     checkLinear},
    {{"matmul-vector", Rule::Refused, "operands of matmul have rank 2 or more",
      "coremltools 2263; onnxruntime 21186"},
     nullptr,
     checkMatmul},
    {{"gather-scalar", Rule::Risky, "scalar indices only on axis 0 and below rank 5",
      "chromium; coremltools tests"},
     nullptr,
     checkGather},
    {{"indices-valid", Rule::Risky, "indices are not negative and not validated",
      "coremltools operation definitions and tests; rustnn"},
     nullptr,
     checkIndices},
    {{"squeeze-ones", Rule::Refused, "only axes of size 1 are squeezed", "coremltools front end"},
     nullptr,
     checkSqueeze},
    {{"layer-norm-axes", Rule::Risky, "the axes of layer_norm are ascending neighbours",
      "chromium"},
     nullptr,
     checkLayerNorm},
    {{"batch-norm-rank", Rule::Risky, "batch_norm works on rank 3 and 4",
      "chromium; executorch 11701"},
     nullptr,
     checkBatchNorm},
    {{"pad-mode", Rule::Refused,
      "reflect and replicate pad the last two dimensions, reflect by less than their size",
      "chromium; executorch 11708, 11709"},
     nullptr,
     checkPad},
    {{"select-broadcast", Rule::Risky, "select does not broadcast in packages of several functions",
      "stablehlo-coreml"},
     nullptr,
     checkSelect},
    {{"pow-of-two", Rule::Risky, "the base of pow is not the constant 2", "coremltools 2628"},
     nullptr,
     checkPow},
    {{"slice-masks", Rule::Risky,
      "slices squeeze in an operation of their own; slice_update has bounds that are not negative",
      "coremltools tests and operation definitions"},
     nullptr,
     checkSlices},
    {{"split-one", Rule::Risky, "split makes two or more parts", "rustnn"}, nullptr, checkSplit},
    {{"quantize-scale", Rule::Refused, "scales are positive", "coremltools; webnn 822"},
     nullptr,
     checkScale},
    {{"compressed-vector", Rule::Risky, "vectors are not compressed blockwise",
      "coremltools compression tests"},
     nullptr,
     checkConstexprRank},
    {{"finite-fp16", Rule::Risky, "fp16 constants are finite", "coremltools 2669"},
     nullptr,
     checkInfinite},
    {{"list-rank", Rule::Refused, "elements of lists have rank 4 or less", "coremltools operation"},
     nullptr,
     checkLists},
    {{"conv-transpose-pad", Rule::Risky, "conv_transpose pads symmetrically",
      "coremltools 2281, 2324"},
     nullptr,
     checkConvTranspose},
    {{"upsample-rank", Rule::Risky, "images have rank 3 or 4", "chromium"}, nullptr, checkResample},
};

} // namespace

llvm::ArrayRef<Rule> listRules() {
  static const std::vector<Rule> rules = [] {
    std::vector<Rule> list;
    for (const Check &check : kChecks)
      list.push_back(check.rule);
    return list;
  }();
  return rules;
}

std::vector<Violation> checkDeviceProfile(const Program &program) {
  std::vector<Violation> violations;
  Context context(program, violations);
  llvm::ArrayRef<Rule> rules = listRules();
  for (const auto &function : program.functions()) {
    context.function = function.get();
    auto run = [&](auto member, const auto &subject) {
      for (auto [i, check] : llvm::enumerate(kChecks))
        if (check.*member) {
          context.rule = &rules[i];
          (check.*member)(context, subject);
        }
    };
    run(&Check::function, *function);
    walk(function->body(), [&](Op &op) { run(&Check::op, op); });
  }
  return violations;
}

} // namespace plait::mil
