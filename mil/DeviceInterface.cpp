// Rules of the device profile about the inputs and outputs of functions, and about values in
// general.
#include "mil/DefaultValues.h"
#include "mil/DeviceRules.h"

#include "llvm/ADT/SmallPtrSet.h"

namespace plait::mil::device {

bool feedsOnlyConstexpr(const Value &value) {
  for (const Operand &use : value.uses())
    if (use.owner()->isTerminator() || !(use.owner()->info().traits & Constexpr))
      return false;
  return value.hasUses();
}

namespace {

/// Some operation uses the value; returning it does not count.
bool feedsOperation(const Value &value) {
  for (const Operand &use : value.uses())
    if (!use.owner()->isTerminator())
      return true;
  return false;
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
  for (const auto &input : f.inputs()) {
    if (input->type.isScalar())
      c.broken("input '{0}' has no dimensions; make it [1] and reshape inside", input->name);
    if (input->type.isTensor() && input->type.rank() > 5)
      c.broken("input '{0}' has rank {1}; 5 is the limit, reshape inside", input->name,
               input->type.rank());
  }
  for (const Operand &output : f.outputs())
    if (output->type.isScalar() && !(output->def() && output->def()->is(OpKind::classify)))
      c.broken("output '{0}' has no dimensions; reshape it to [1]", output->name);
}

void checkInterfaceType(Context &c, const Function &f) {
  DTypeSet allowed = info(f.opset).interface;
  auto good = [&](const Type &type) { return type.isTensor() && contains(allowed, type.dtype()); };
  for (const auto &input : f.inputs())
    if (!input->type.isState() && !good(input->type))
      c.broken("input '{0}' is {1}; {2} takes {3}: cast inside", input->name, input->type.str(),
               name(f.opset), describe(allowed));
  for (const Operand &output : f.outputs())
    if (!good(output->type) && !(output->def() && output->def()->is(OpKind::classify)))
      c.broken("output '{0}' is {1}; {2} gives {3}: cast it", output->name, output->type.str(),
               name(f.opset), describe(allowed));
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

/// A shape that the input may have.
bool allows(const Value &input, const InputInfo &info, llvm::ArrayRef<int64_t> sizes) {
  if (!info.enumeratedShapes.empty())
    return llvm::any_of(info.enumeratedShapes,
                        [&](llvm::ArrayRef<int64_t> shape) { return shape == sizes; });
  auto shape = input.type.shape();
  if (shape.size() != sizes.size())
    return false;
  for (auto [dim, size] : llvm::zip(shape, sizes))
    if (size < dim.lower() || size > dim.upper())
      return false;
  return true;
}

void checkFlexibleInputs(Context &c, const Function &f) {
  bool ranges = false, states = false;
  size_t enumerated = 0;
  for (auto [i, input] : llvm::enumerate(f.inputs())) {
    states |= input->type.isState();
    if (!input->type.isTensor())
      continue;
    const InputInfo *info = i < f.inputInfo.size() ? &f.inputInfo[i] : nullptr;
    if (info && !info->defaultShape.empty() && !allows(*input, *info, info->defaultShape))
      c.broken("the default shape of input '{0}' is none that it may have", input->name);
    if (info && !info->enumeratedShapes.empty()) {
      size_t count = info->enumeratedShapes.size();
      if (count > 128)
        c.broken("input '{0}' has {1} enumerated shapes; 128 are possible", input->name, count);
      if (enumerated && enumerated != count)
        c.broken(
            "inputs have {0} and {1} enumerated shapes; those of one place belong together, so "
            "repeat shapes",
            enumerated, count);
      enumerated = count;
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

void checkStateWidths(Context &c, const Function &f) {
  for (const auto &input : f.inputs()) {
    if (!input->type.isState() || input->type.rank() == 0)
      continue;
    const Dim &width = input->type.shape().back();
    if (width.isConst() && width.value() % 32)
      c.broken("the last dimension of state '{0}' is {1}; the Neural Engine takes multiples of 32, "
               "others run elsewhere or fail",
               input->name, width.value());
  }
}

void checkStateAgreement(Context &c, const Function &f) {
  for (const auto &input : f.inputs())
    for (const auto &other : c.program.functions()) {
      if (other.get() == &f)
        break;
      for (const auto &theirs : other->inputs())
        if (input->type.isState() && theirs->type.isState() && theirs->name == input->name &&
            !(theirs->type == input->type))
          c.broken("state '{0}' is {1}, and in function '{2}' it is {3}; functions that are to "
                   "share it have it alike",
                   input->name, input->type.element().str(), other->name,
                   theirs->type.element().str());
    }
}

void checkStateWrites(Context &c, const Op &op) {
  if (op.is(OpKind::write_state) && isCompileTime(op[write_state::data]))
    c.broken(op, "writes a constant into a state, which crashes at load; make it depend on a read "
                 "of the state");
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

void checkOptionalInputs(Context &c, const Function &f) {
  bool any = false;
  for (const auto &input : f.inputs())
    if (!input->type.isState()) {
      any = true;
      if (!defaultValueOf(f, input->name))
        return;
    }
  if (any)
    c.broken("every input has a default value; one has to be given by the app");
}

void checkOptionalOfFunctions(Context &c, const Function &f) {
  if (c.program.functions().size() < 2)
    return;
  for (const auto &input : f.inputs())
    if (defaultValueOf(f, input->name))
      c.broken("input '{0}' has a default value, which coremltools writes for packages of one "
               "function alone; whether devices know it elsewhere has to be tried",
               input->name);
}

// ---- values
// --------------------------------------------------------------------------------------

void checkRank(Context &c, const Op &op) {
  for (const auto &result : op.results())
    if (result->type.isTensor() && result->type.rank() > 5 &&
        !(isCompileTime(result.get()) && feedsOnlyConstexpr(*result)))
      c.broken(op, "'{0}' has rank {1}; 5 is the limit: join dimensions there", result->name,
               result->type.rank());
}

bool isEmpty(const Type &type) {
  return type.isTensor() && llvm::is_contained(type.shape(), Dim(0));
}

void checkEmptyInputs(Context &c, const Function &f) {
  for (const auto &input : f.inputs())
    if (isEmpty(input->type))
      c.broken("input '{0}' is {1}: it has no elements", input->name, input->type.str());
}

void checkEmpty(Context &c, const Op &op) {
  for (const auto &result : op.results())
    // Empty vectors as parameters (no axes) are a matter of their own rules.
    if (isEmpty(result->type) && !op.is(OpKind::const_))
      c.broken(op, "'{0}' is {1}: it has no elements", result->name, result->type.str());
}

void checkRuntimeType(Context &c, const Op &op) {
  // A constant may be of any of them: the operation that takes it says.
  DTypeSet all = allOpsets().back().computed;
  bool constant = op.is(OpKind::const_) || (op.info().traits & Constexpr);
  DTypeSet runtime = constant ? all : info(op.opset()).computed;
  if (op.is(OpKind::classify))
    return;
  for (const auto &result : op.results()) {
    if (!result->type.isTensor() || contains(runtime, result->type.dtype()))
      continue;
    if (contains(all, result->type.dtype())) {
      c.broken(op, "'{0}' is {1}, which {2} does not compute with", result->name,
               result->type.str(), name(op.opset()));
      continue;
    }
    // uint32 parameters and compressed constants are no values of the run.
    bool parameter = op.is(OpKind::const_) && result->type.dtype() == DType::U32;
    if (!parameter && !(isCompileTime(result.get()) && feedsOnlyConstexpr(*result)))
      c.broken(op, "'{0}' is {1}, which exists in compressed constants only", result->name,
               result->type.str());
  }
}

bool isHuge(const Type &type) {
  auto shape = type.isTensor() ? constShape(type.shape()) : std::nullopt;
  return shape && byteSize(type.dtype(), numElements(llvm::ArrayRef<int64_t>(*shape))) >=
                      uint64_t(INT32_MAX);
}

void checkInputSize(Context &c, const Function &f) {
  for (const auto &input : f.inputs())
    if (isHuge(input->type))
      c.broken("input '{0}' takes 2 GiB or more", input->name);
}

void checkSize(Context &c, const Op &op) {
  for (const auto &result : op.results())
    if (isHuge(result->type))
      c.broken(op, "'{0}' takes 2 GiB or more", result->name);
}

void checkDataDependent(Context &c, const Op &op) {
  if (op.is(OpKind::non_zero))
    c.broken(op, "the size of its result depends on the data, which crashes in places; select by a "
                 "mask where that will do");
}

void checkDefaults(Context &c, const Op &op) {
  for (auto [i, param] : llvm::enumerate(op.info().form(op.opset()))) {
    if (!param || param->def.kind == Default::None || op[i])
      continue;
    if (param->def.kind == Default::IndicesDType &&
        !constBool(op[topk::return_indices]).value_or(true))
      continue;
    c.broken(op, "{0} is not given; Core ML needs every parameter that has a default", param->name);
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

const Check kChecks[] = {
    {RuleId::PlainMain, checkMain, nullptr},
    {RuleId::InterfaceRank, checkInterfaceRank, nullptr},
    {RuleId::InterfaceType, checkInterfaceType, nullptr},
    {RuleId::UnusedInput, checkUnusedInput, nullptr},
    {RuleId::OutputComputed, checkOutputs, nullptr},
    {RuleId::FlexibleInputs, checkFlexibleInputs, nullptr},
    {RuleId::StateType, checkStates, nullptr},
    {RuleId::StateWidth, checkStateWidths, nullptr},
    {RuleId::StateAgreement, checkStateAgreement, nullptr},
    {RuleId::StateWrite, nullptr, checkStateWrites},
    {RuleId::Classifier, checkClassifier, nullptr},
    {RuleId::OptionalInputs, checkOptionalInputs, nullptr},
    {RuleId::OptionalOfFunctions, checkOptionalOfFunctions, nullptr},
    {RuleId::RankLimit, nullptr, checkRank},
    {RuleId::NoEmptyTensor, checkEmptyInputs, checkEmpty},
    {RuleId::RuntimeType, nullptr, checkRuntimeType},
    {RuleId::TensorSize, checkInputSize, checkSize},
    {RuleId::DataDependentSize, nullptr, checkDataDependent},
    {RuleId::DefaultsWritten, nullptr, checkDefaults},
    {RuleId::ScalarData, nullptr, checkScalarData},
    {RuleId::EmptyAxes, nullptr, checkEmptyAxes},
};

} // namespace

llvm::ArrayRef<Check> interfaceChecks() { return kChecks; }

} // namespace plait::mil::device
