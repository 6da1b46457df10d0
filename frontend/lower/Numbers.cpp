// Python's numbers at run time: what takes no sizes.
#include "frontend/lower/Numbers.h"
#include "frontend/lower/Families.h"

#include <ATen/core/dispatch/Dispatcher.h>

namespace plait::frontend {

using mil::DType;
using mil::OpKind;

Numbers::Numbers(Engine &engine, const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments)
    : engine_(engine), builder_(engine.builder()), schema_(schema), arguments_(arguments) {
  floats_ = llvm::any_of(arguments, [](const Val &val) {
    return (val.number() && val.number()->kind == c10::TypeKind::FloatType) ||
           (val.known() && val.known()->isDouble());
  });
}

Handled Numbers::run(ValueCall &call, Rule rule) {
  auto isNumber = [](const Val &val) {
    return val.number() || val.dim() ||
           (val.known() &&
            (val.known()->isInt() || val.known()->isDouble() || val.known()->isBool()));
  };
  auto isRunTime = [](const Val &val) { return val.number() || val.dim(); };
  // min and max of one list take its elements.
  llvm::ArrayRef<Val> operands = call.arguments();
  if (auto list = operands.size() == 1 ? operands[0].list() : nullptr)
    operands = list->values;
  if (operands.empty() || !llvm::all_of(operands, isNumber) || !llvm::any_of(operands, isRunTime))
    return std::nullopt;
  Numbers numbers(call.engine(), call.schema(), operands);
  mil::Value *value = (numbers.*rule)();
  c10::TypeKind kind = numbers.resultKind();
  DType dtype = kind == c10::TypeKind::IntType    ? DType::I32
                : kind == c10::TypeKind::BoolType ? DType::Bool
                                                  : DType::F32;
  return one(Val(Val::Number{call.engine().castTo(value, dtype), kind}));
}

c10::TypeKind Numbers::resultKind() const {
  c10::TypeKind stated = schema_.returns()[0].type()->kind();
  if (stated == c10::TypeKind::IntType || stated == c10::TypeKind::FloatType ||
      stated == c10::TypeKind::BoolType)
    return stated;
  return floats_ ? c10::TypeKind::FloatType : c10::TypeKind::IntType;
}

mil::Value *Numbers::tensorOp(const char *name, const char *overload,
                              llvm::ArrayRef<mil::Value *> values, at::ScalarType dtype) {
  std::vector<Val> operands;
  for (mil::Value *value : values)
    operands.push_back(engine_.makeTensor(value, dtype));
  const c10::FunctionSchema &schema =
      c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).schema();
  auto results = engine_.call(schema, std::move(operands));
  if (!results || results->size() != 1 || !results->front().isTensor())
    return builder_.poison();
  return engine_.read(*results->front().tensor());
}

mil::Value *Numbers::bits() {
  std::string name =
      "aten::bitwise_" + llvm::StringRef(schema_.name()).drop_front(6).trim('_').str();
  return tensorOp(name.c_str(), "Tensor", {as(0, DType::I32), as(1, DType::I32)}, at::kInt);
}

mil::Value *Numbers::logicalAnd() {
  if (logical())
    return logic<OpKind::logical_and>();
  // The low bits are a remainder.
  for (unsigned i : {0, 1})
    if (auto mask = knownInt(i);
        mask && *mask >= 0 && *mask < INT32_MAX && (*mask & (*mask + 1)) == 0) {
      mil::Value *x = as(1 - i, DType::I32);
      return emit(OpKind::mod, x, number(x, double(*mask + 1)));
    }
  return bits();
}

/// LibTorch's own divides without a look at the divisor.
static Handled roundToZeroFloorDiv(ValueCall &call) {
  TORCH_CHECK(!(call[1].asDim() && *call[1].asDim() == Dim(0)), "division by zero");
  return number<&Numbers::truncDiv>(call);
}

void registerNumbers(Table &table) {
  using N = Numbers;
  const auto all = {"int", "float", "int_float", "float_int", ""};
  const auto unary = {"int", "float", "Scalar"};
  table.addValues({"aten::__round_to_zero_floordiv.int"}, roundToZeroFloorDiv);
  table.addValues("aten::mathremainder", all, number<&N::mathRemainder>);
  table.addValues("aten::pow",
                  {"int", "float", "int_float", "float_int", "Scalar_Scalar", "int_to_int"},
                  number<&N::pow>);
  table.addValues("prim::abs", unary, number<&N::abs>);
  table.addValues("aten::fabs", unary, number<&N::fabs>);
  table.addValues("aten::round", unary, number<&N::round>);
  table.addValues("aten::floor", unary, number<&N::floor>);
  table.addValues("aten::ceil", unary, number<&N::ceil>);

  table.addValues("aten::__and__", {"bool", "int"}, number<&N::logicalAnd>);
  table.addValues("aten::__or__", {"bool", "int"}, number<&N::logic<OpKind::logical_or>>);
  table.addValues("aten::__xor__", {"bool", "int"}, number<&N::logic<OpKind::logical_xor>>);
  table.addValues({"aten::__not__"}, number<&N::logicalNot>);
  table.addValues({"aten::__lshift__.int"}, number<&N::shiftLeft>);
  table.addValues({"aten::__rshift__.int"}, number<&N::shiftRight>);
  table.addValues({"aten::isnan.float"}, number<&N::isNan>);
  table.addValues({"aten::isinf.float"}, number<&N::isInf>);
  table.addValues({"aten::isfinite.float"}, number<&N::isFinite>);

  table.addValues("aten::sqrt", unary, number<&N::sqrt>);
  table.addValues("aten::log", unary, number<&N::log>);
  table.addValues("aten::log",
                  {"int_int", "float_float", "int_float", "float_int", "Scalar_Scalar"},
                  number<&N::log>);
  table.addValues("aten::degrees", unary, number<&N::degrees>);
  table.addValues("aten::radians", unary, number<&N::radians>);
  table.addValues({"aten::ldexp"}, number<&N::ldexp>);
  table.addValues("aten::copysign", all, number<&N::copysign>);
  table.addValues("aten::atan2", {"int", "float", "int_float", "float_int", "Scalar_Scalar"},
                  number<&N::function2>);
  for (const char *name :
       {"aten::acos", "aten::acosh", "aten::asin", "aten::asinh", "aten::atan", "aten::atanh",
        "aten::cos", "aten::cosh", "aten::erf", "aten::erfc", "aten::exp", "aten::expm1",
        "aten::log10", "aten::log1p", "aten::sin", "aten::sinh", "aten::tan", "aten::tanh"})
    table.addValues(name, unary, number<&N::function>);
}

} // namespace plait::frontend
