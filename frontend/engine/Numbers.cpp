// Python numbers at run time. What MIL has one operation for is emitted here; mathematical
// functions go the way of 0-d tensors, so that there is one lowering of each.
#include "frontend/engine/Numbers.h"

#include "frontend/engine/Engine.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include <ATen/core/dispatch/Dispatcher.h>

#include <limits>
#include <numbers>

namespace plait::frontend {

using mil::DType;
using mil::OpKind;

namespace {

/// One operation while it is computed.
class Numbers {
public:
  Numbers(Engine &engine, const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments)
      : engine_(engine), builder_(engine.builder()), schema_(schema), arguments_(arguments) {
    floats_ = llvm::any_of(arguments, [](const Val &val) {
      return (val.number() && val.number()->kind == c10::TypeKind::FloatType) ||
             (val.known() && val.known()->isDouble());
    });
  }

  using Rule = mil::Value *(Numbers::*)();
  static Rule find(llvm::StringRef name);

  std::optional<Val> run() {
    Rule rule = find(schema_.name());
    if (!rule)
      return std::nullopt;
    mil::Value *value = (this->*rule)();
    if (!value)
      return std::nullopt;
    c10::TypeKind kind = resultKind();
    DType dtype = kind == c10::TypeKind::IntType    ? DType::I32
                  : kind == c10::TypeKind::BoolType ? DType::Bool
                                                    : DType::F32;
    return Val(Val::Number{engine_.castTo(value, dtype), kind});
  }

private:
  size_t count() const { return arguments_.size(); }
  /// As the schema says; of a Scalar what the operands make of it.
  c10::TypeKind resultKind() const {
    c10::TypeKind stated = schema_.returns()[0].type()->kind();
    if (stated == c10::TypeKind::IntType || stated == c10::TypeKind::FloatType ||
        stated == c10::TypeKind::BoolType)
      return stated;
    return floats_ ? c10::TypeKind::FloatType : c10::TypeKind::IntType;
  }

  // ---- operands ----
  mil::Value *as(unsigned index, DType dtype) { return engine_.scalar(arguments_[index], dtype); }
  mil::Value *real(unsigned index) { return as(index, DType::F32); }
  /// In the type that both operands fit.
  mil::Value *common(unsigned index) { return as(index, floats_ ? DType::F32 : DType::I32); }
  std::optional<int64_t> knownInt(unsigned index) const {
    const c10::IValue *known = arguments_[index].known();
    return known && known->isInt() ? std::optional(known->toInt()) : std::nullopt;
  }

  // ---- MIL ----
  mil::Value *emit(OpKind kind, mil::Value *x) {
    return builder_.emit(kind, {{mil::abs::x, x}}); // rows of one operand have x first
  }
  mil::Value *emit(OpKind kind, mil::Value *x, mil::Value *y) {
    return builder_.emit(kind, {{mil::add::x, x}, {mil::add::y, y}}); // and of two x and y
  }
  /// Of the element type of `like`, which may be poison.
  mil::Value *number(mil::Value *like, double value) {
    return mil::Builder::isPoison(like) ? like : builder_.scalar(like->type.dtype(), value);
  }
  /// A lowering of 0-d fp32 tensors.
  mil::Value *tensorOp(const char *name, const char *overload,
                       llvm::ArrayRef<mil::Value *> values) {
    std::vector<Val> operands;
    for (mil::Value *value : values)
      operands.push_back(engine_.makeTensor(value, at::kFloat));
    const c10::FunctionSchema &schema =
        c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).schema();
    auto results = engine_.call(schema, std::move(operands));
    if (!results || results->size() != 1 || !results->front().isTensor())
      return builder_.poison();
    return engine_.read(*results->front().tensor());
  }

  // ---- arithmetic ----
  mil::Value *add() { return emit(OpKind::add, common(0), common(1)); }
  mil::Value *sub() { return emit(OpKind::sub, common(0), common(1)); }
  mil::Value *mul() { return emit(OpKind::mul, common(0), common(1)); }
  mil::Value *div() { return emit(OpKind::real_div, real(0), real(1)); }
  // Towards minus infinity, and the sign of the divisor, as in Python.
  mil::Value *floorDiv() { return emit(OpKind::floor_div, common(0), common(1)); }
  mil::Value *remainder() { return emit(OpKind::mod, common(0), common(1)); }
  mil::Value *truncDiv() {
    mil::Value *a = common(0), *b = common(1);
    mil::Value *magnitude = emit(OpKind::floor_div, emit(OpKind::abs, a), emit(OpKind::abs, b));
    return emit(OpKind::mul, magnitude,
                emit(OpKind::mul, emit(OpKind::sign, a), emit(OpKind::sign, b)));
  }
  /// C's: the sign of the dividend.
  mil::Value *fmod() {
    mil::Value *a = real(0);
    mil::Value *magnitude = emit(OpKind::mod, emit(OpKind::abs, a), emit(OpKind::abs, real(1)));
    return emit(OpKind::mul, magnitude, emit(OpKind::sign, a));
  }
  /// IEEE's: a - b * (a / b rounded to the nearest even integer).
  mil::Value *mathRemainder() {
    mil::Value *a = real(0), *b = real(1);
    return emit(OpKind::sub, a,
                emit(OpKind::mul, b, emit(OpKind::round, emit(OpKind::real_div, a, b))));
  }
  mil::Value *pow() {
    bool integers = resultKind() == c10::TypeKind::IntType;
    DType dtype = integers ? DType::I32 : DType::F32;
    return emit(OpKind::pow, as(0, dtype), as(1, dtype));
  }
  mil::Value *neg() {
    mil::Value *x = common(0);
    return emit(OpKind::mul, x, number(x, -1));
  }
  mil::Value *abs() { return emit(OpKind::abs, common(0)); }
  mil::Value *fabs() { return emit(OpKind::abs, real(0)); }
  mil::Value *extreme(OpKind kind) {
    mil::Value *result = common(0);
    for (unsigned i = 1; i < count(); ++i)
      result = emit(kind, result, common(i));
    return result;
  }
  mil::Value *min() { return extreme(OpKind::minimum); }
  mil::Value *max() { return extreme(OpKind::maximum); }

  // ---- rounding and conversion ----
  mil::Value *convert() {
    return as(0, resultKind() == c10::TypeKind::IntType    ? DType::I32
                 : resultKind() == c10::TypeKind::BoolType ? DType::Bool
                                                           : DType::F32);
  }
  mil::Value *rounded(OpKind kind) { return floats_ ? emit(kind, real(0)) : common(0); }
  mil::Value *round() { return rounded(OpKind::round); }
  mil::Value *floor() { return rounded(OpKind::floor); }
  mil::Value *ceil() { return rounded(OpKind::ceil); }

  // ---- comparison and logic ----
  template <OpKind kind> mil::Value *compare() { return emit(kind, common(0), common(1)); }
  bool logical() const { return resultKind() == c10::TypeKind::BoolType; }
  template <OpKind kind> mil::Value *logic() {
    return logical() ? emit(kind, as(0, DType::Bool), as(1, DType::Bool)) : bits();
  }
  mil::Value *bits() {
    engine_.fail(
        makeError("{0} of integers that are only known at run time: Core ML has no bitwise "
                  "operations; compute it while tracing, or by arithmetic",
                  schema_.name()));
    return builder_.poison();
  }
  mil::Value *logicalAnd() {
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
  mil::Value *logicalNot() { return emit(OpKind::logical_not, as(0, DType::Bool)); }
  mil::Value *powerOfTwo(unsigned index) {
    mil::Value *exponent = as(index, DType::I32);
    return emit(OpKind::pow, number(exponent, 2), exponent);
  }
  mil::Value *shiftLeft() { return emit(OpKind::mul, as(0, DType::I32), powerOfTwo(1)); }
  mil::Value *shiftRight() { return emit(OpKind::floor_div, as(0, DType::I32), powerOfTwo(1)); }
  mil::Value *isNan() {
    mil::Value *x = real(0);
    return emit(OpKind::not_equal, x, x);
  }
  mil::Value *isInf() {
    mil::Value *x = real(0);
    return emit(OpKind::equal, emit(OpKind::abs, x),
                number(x, std::numeric_limits<double>::infinity()));
  }
  mil::Value *isFinite() {
    mil::Value *x = real(0);
    return emit(OpKind::less, emit(OpKind::abs, x),
                number(x, std::numeric_limits<double>::infinity()));
  }

  // ---- mathematics ----
  mil::Value *sqrt() { return emit(OpKind::sqrt, real(0)); }
  mil::Value *log() {
    mil::Value *x = tensorOp("aten::log", "", {real(0)});
    return count() == 1 ? x : emit(OpKind::real_div, x, tensorOp("aten::log", "", {real(1)}));
  }
  mil::Value *scaled(double factor) {
    mil::Value *x = real(0);
    return emit(OpKind::mul, x, number(x, factor));
  }
  mil::Value *degrees() { return scaled(180 / std::numbers::pi); }
  mil::Value *radians() { return scaled(std::numbers::pi / 180); }
  mil::Value *ldexp() {
    mil::Value *exponent = real(1);
    return emit(OpKind::mul, real(0), emit(OpKind::pow, number(exponent, 2), exponent));
  }
  /// The tensor operation of the same name.
  mil::Value *function() { return tensorOp(schema_.name().c_str(), "", {real(0)}); }
  mil::Value *function2() { return tensorOp(schema_.name().c_str(), "", {real(0), real(1)}); }
  mil::Value *copysign() { return tensorOp("aten::copysign", "Tensor", {real(0), real(1)}); }

  // ---- loops ----
  mil::Value *rangeLength() { // max(ceil((end - start) / step), 0) for any sign of the step
    mil::Value *back = emit(OpKind::sub, as(0, DType::I32), as(1, DType::I32));
    mil::Value *steps = emit(OpKind::floor_div, back, as(2, DType::I32));
    return emit(OpKind::maximum, emit(OpKind::mul, steps, number(steps, -1)), number(steps, 0));
  }
  mil::Value *deriveIndex() {
    mil::Value *offset = emit(OpKind::mul, as(0, DType::I32), as(2, DType::I32));
    return emit(OpKind::add, as(1, DType::I32), offset);
  }

  Engine &engine_;
  mil::Builder &builder_;
  const c10::FunctionSchema &schema_;
  llvm::ArrayRef<Val> arguments_;
  bool floats_;
};

Numbers::Rule Numbers::find(llvm::StringRef name) {
  static const llvm::StringMap<Rule> rules = {
      {"aten::add", &Numbers::add},
      {"aten::sub", &Numbers::sub},
      {"aten::mul", &Numbers::mul},
      {"aten::div", &Numbers::div},
      {"aten::floordiv", &Numbers::floorDiv},
      {"aten::__round_to_zero_floordiv", &Numbers::truncDiv},
      {"aten::remainder", &Numbers::remainder},
      {"aten::fmod", &Numbers::fmod},
      {"aten::mathremainder", &Numbers::mathRemainder},
      {"aten::pow", &Numbers::pow},
      {"aten::neg", &Numbers::neg},
      {"prim::abs", &Numbers::abs},
      {"aten::fabs", &Numbers::fabs},
      {"prim::min", &Numbers::min},
      {"prim::max", &Numbers::max},
      {"aten::Int", &Numbers::convert},
      {"aten::Float", &Numbers::convert},
      {"aten::Bool", &Numbers::convert},
      {"aten::round", &Numbers::round},
      {"aten::floor", &Numbers::floor},
      {"aten::ceil", &Numbers::ceil},
      {"aten::eq", &Numbers::compare<OpKind::equal>},
      {"aten::ne", &Numbers::compare<OpKind::not_equal>},
      {"aten::lt", &Numbers::compare<OpKind::less>},
      {"aten::le", &Numbers::compare<OpKind::less_equal>},
      {"aten::gt", &Numbers::compare<OpKind::greater>},
      {"aten::ge", &Numbers::compare<OpKind::greater_equal>},
      {"aten::__and__", &Numbers::logicalAnd},
      {"aten::__or__", &Numbers::logic<OpKind::logical_or>},
      {"aten::__xor__", &Numbers::logic<OpKind::logical_xor>},
      {"aten::__not__", &Numbers::logicalNot},
      {"aten::__lshift__", &Numbers::shiftLeft},
      {"aten::__rshift__", &Numbers::shiftRight},
      {"aten::isnan", &Numbers::isNan},
      {"aten::isinf", &Numbers::isInf},
      {"aten::isfinite", &Numbers::isFinite},
      {"aten::sqrt", &Numbers::sqrt},
      {"aten::log", &Numbers::log},
      {"aten::degrees", &Numbers::degrees},
      {"aten::radians", &Numbers::radians},
      {"aten::ldexp", &Numbers::ldexp},
      {"aten::copysign", &Numbers::copysign},
      {"aten::atan2", &Numbers::function2},
      {"aten::__range_length", &Numbers::rangeLength},
      {"aten::__derive_index", &Numbers::deriveIndex},
  };
  static const llvm::StringSet<> functions = {
      "aten::acos",  "aten::acosh", "aten::asin", "aten::asinh", "aten::atan", "aten::atanh",
      "aten::cos",   "aten::cosh",  "aten::erf",  "aten::erfc",  "aten::exp",  "aten::expm1",
      "aten::log10", "aten::log1p", "aten::sin",  "aten::sinh",  "aten::tan",  "aten::tanh"};
  if (auto it = rules.find(name); it != rules.end())
    return it->second;
  return functions.contains(name) ? &Numbers::function : nullptr;
}

} // namespace

std::optional<Val> numberOperation(Engine &engine, const c10::FunctionSchema &schema,
                                   llvm::ArrayRef<Val> arguments) {
  auto isNumber = [](const Val &val) {
    return val.number() || val.dim() ||
           (val.known() &&
            (val.known()->isInt() || val.known()->isDouble() || val.known()->isBool()));
  };
  auto isRunTime = [](const Val &val) { return val.number() || val.dim(); };
  // min and max of one list take its elements.
  llvm::ArrayRef<Val> operands = arguments;
  if (auto list = arguments.size() == 1 ? arguments[0].list() : nullptr)
    operands = list->values;
  if (operands.empty() || !llvm::all_of(operands, isNumber) || !llvm::any_of(operands, isRunTime) ||
      schema.returns().size() != 1)
    return std::nullopt;
  return Numbers(engine, schema, operands).run();
}

} // namespace plait::frontend
