// Arguments of a lowering by schema name, and the helpers that lowerings share.
#include "frontend/engine/Call.h"

#include "frontend/engine/Engine.h"
#include "frontend/engine/Table.h"

#include <ATen/Functions.h>
#include <ATen/native/TypeProperties.h>

namespace plait::frontend {

using mil::DType;
using mil::OpKind;

Call::Call(Engine &engine, const c10::FunctionSchema &schema, std::vector<Val> arguments,
           const Site *site)
    : engine_(engine), site_(site), schema_(&schema), name_(schema.name()),
      arguments_(std::move(arguments)) {
  if (!schema.operator_name().overload_name.empty())
    name_ += "." + schema.operator_name().overload_name;
}

void refuseArgument(const c10::FunctionSchema &schema, llvm::StringRef name) {
  throw Refusal(Code::Internal,
                fmt::format("the operator has no argument '{0}': a fault of plait's; please report "
                            "it with the schema {1}",
                            name, c10::toString(schema)));
}

bool Call::failed() { return builder().failed(); }

mil::Value *Call::made(mil::Value *value) {
  if (mil::Builder::isPoison(value))
    throw Abandoned();
  return value;
}

mil::Builder &Call::builder() { return engine_.builder(); }

void Call::refuse(Error error) { throw Refusal(std::move(error)); }

void Call::warn(Code code, const llvm::Twine &message) {
  engine_.warn(code, llvm::Twine(name_) + ": " + message);
}

// ---- Arguments ----------------------------------------------------------------------------------

std::optional<unsigned> Call::find(llvm::StringRef name) const {
  for (auto [i, argument] : llvm::enumerate(schema_->arguments()))
    if (argument.name() == name)
      return i;
  return std::nullopt;
}

bool Call::has(llvm::StringRef name) const {
  auto index = find(name);
  return index && !arguments_[*index].isNone();
}

const Val &Call::val(llvm::StringRef name) {
  if (auto index = find(name))
    return arguments_[*index];
  refuseArgument(*schema_, name);
}

Tensor Call::tensor(llvm::StringRef name) {
  const Val &argument = val(name);
  if (auto object = argument.tensor()) {
    mil::Value *value = made(engine_.read(*object));
    return {value, object->dtype()};
  }
  // A Python number where a tensor may stand.
  if (argument.number() || argument.dim() || (argument.known() && argument.known()->isScalar())) {
    bool isFloat = argument.number() ? argument.number()->kind == c10::TypeKind::FloatType
                                     : argument.known() && argument.known()->isDouble();
    bool isBool = argument.number() ? argument.number()->kind == c10::TypeKind::BoolType
                                    : argument.known() && argument.known()->isBool();
    at::ScalarType dtype = isFloat ? at::kFloat : isBool ? at::kBool : at::kLong;
    return {made(engine_.scalar(argument, milTypeOf(dtype))), dtype};
  }
  refuse(Code::OperandMismatch, "'{0}' must be a tensor", name);
}

Tensor Call::optionalTensor(llvm::StringRef name) { return has(name) ? tensor(name) : Tensor(); }

llvm::SmallVector<Tensor, 4> Call::tensors(llvm::StringRef name) {
  llvm::SmallVector<Tensor, 4> result;
  auto list = val(name).list();
  if (!list)
    refuse(Code::OperandMismatch, "'{0}' must be a list of tensors", name);
  for (const Val &element : list->values) {
    auto object = element.tensor();
    if (!object)
      refuse(Code::OperandMismatch, "'{0}' must hold tensors only", name);
    result.push_back({made(engine_.read(*object)), object->dtype()});
  }
  return result;
}

llvm::SmallVector<Tensor, 4> Call::optionalTensors(llvm::StringRef name) {
  llvm::SmallVector<Tensor, 4> result;
  auto list = val(name).list();
  if (!list)
    refuse(Code::OperandMismatch, "'{0}' must be a list of tensors", name);
  for (const Val &element : list->values) {
    auto object = element.tensor();
    if (!object && !element.isNone())
      refuse(Code::OperandMismatch, "'{0}' must hold tensors and None only", name);
    result.push_back(object ? Tensor{made(engine_.read(*object)), object->dtype()} : Tensor());
  }
  return result;
}

at::Tensor Call::knownTensor(llvm::StringRef name) {
  auto object = val(name).tensor();
  return object ? engine_.compute(*object) : at::Tensor();
}

Sizes Call::shapeOf(llvm::StringRef name) { return val(name).tensor()->shape; }

at::ScalarType Call::dtypeOf(llvm::StringRef name) { return val(name).tensor()->dtype(); }

int64_t Call::integer(llvm::StringRef name) {
  const Val &argument = val(name);
  if (auto dim = argument.asDim(); dim && dim->isConst())
    return dim->value();
  if (argument.known() && argument.known()->isBool())
    return argument.known()->toBool();
  if (auto object = argument.tensor())
    if (auto dim = engine_.readDim(*object); dim && dim->isConst())
      return dim->value();
  refuse(Code::NotKnown, "'{0}' must be an integer that is known while compiling", name);
}

std::optional<int64_t> Call::optionalInteger(llvm::StringRef name) {
  return has(name) ? std::optional(integer(name)) : std::nullopt;
}

double Call::number(llvm::StringRef name) {
  const Val &argument = val(name);
  auto known = argument.known();
  if (known && known->isDouble())
    return known->toDouble();
  if (known && known->isBool())
    return known->toBool();
  if (known && known->isInt())
    return double(known->toInt());
  if (at::Tensor tensor = argument.tensor() ? engine_.compute(*argument.tensor()) : at::Tensor();
      tensor.defined() && tensor.numel() == 1)
    return tensor.item().toDouble();
  refuse(Code::NotKnown, "'{0}' must be a number that is known while compiling", name);
}

std::optional<double> Call::optionalNumber(llvm::StringRef name) {
  return has(name) ? std::optional(number(name)) : std::nullopt;
}

bool Call::boolean(llvm::StringRef name) {
  auto known = val(name).known();
  if (known && known->isBool())
    return known->toBool();
  if (known && known->isInt())
    return known->toInt() != 0;
  refuse(Code::NotKnown, "'{0}' must be a bool that is known while compiling", name);
}

std::string Call::string(llvm::StringRef name) {
  auto known = val(name).known();
  if (known && known->isString())
    return known->toStringRef();
  refuse(Code::OperandMismatch, "'{0}' must be a string", name);
}

llvm::SmallVector<int64_t, 6> Call::integers(llvm::StringRef name) {
  llvm::SmallVector<int64_t, 6> result;
  const Val &argument = val(name);
  if (argument.asDim()) // a single int where the schema takes int[2]
    return {integer(name)};
  auto dims = engine_.dimsOf(argument);
  if (!dims)
    refuse(Code::OperandMismatch, "'{0}' must be a list of integers", name);
  for (const Dim &d : *dims) {
    if (!d.isConst())
      refuse(Code::NotKnown, "'{0}' must hold integers that are known while compiling", name);
    result.push_back(d.value());
  }
  return result;
}

std::optional<llvm::SmallVector<int64_t, 6>> Call::optionalIntegers(llvm::StringRef name) {
  return has(name) ? std::optional(integers(name)) : std::nullopt;
}

llvm::SmallVector<int64_t, 6> Call::integers(llvm::StringRef name, unsigned count) {
  auto values = integers(name);
  if (values.size() == 1 && count > 1)
    values.assign(count, int64_t(values[0]));
  if (values.size() != count)
    refuse(Code::OperandMismatch, "'{0}' has {1} values where {2} are needed", name, values.size(),
           count);
  return values;
}

llvm::SmallVector<bool, 4> Call::booleans(llvm::StringRef name) {
  llvm::SmallVector<bool, 4> result;
  auto list = val(name).list();
  if (!list)
    refuse(Code::OperandMismatch, "'{0}' must be a list of bools", name);
  for (const Val &element : list->values) {
    if (!element.known() || !element.known()->isBool())
      refuse(Code::NotKnown, "'{0}' must hold bools that are known while compiling", name);
    result.push_back(element.known()->toBool());
  }
  return result;
}

llvm::SmallVector<double, 4> Call::numbers(llvm::StringRef name) {
  llvm::SmallVector<double, 4> result;
  auto list = val(name).list();
  if (!list)
    refuse(Code::OperandMismatch, "'{0}' must be a list of numbers", name);
  for (const Val &element : list->values) {
    if (!element.known() || !element.known()->isScalar())
      refuse(Code::NotKnown, "'{0}' must hold numbers that are known while compiling", name);
    result.push_back(element.known()->toScalar().toDouble());
  }
  return result;
}

Dim Call::dim(llvm::StringRef name) {
  if (auto dim = engine_.dimOf(val(name)))
    return *dim;
  refuse(Code::OperandMismatch, "'{0}' must be an integer", name);
}

Shape Call::dims(llvm::StringRef name) {
  if (val(name).asDim())
    return {dim(name)};
  if (auto dims = engine_.dimsOf(val(name)))
    return *dims;
  refuse(Code::OperandMismatch, "'{0}' must be a list of integers", name);
}

std::optional<at::ScalarType> Call::optionalDType(llvm::StringRef name) {
  if (!has(name))
    return std::nullopt;
  return at::ScalarType(integer(name));
}

mil::Value *Call::scalar(llvm::StringRef name, DType dtype) {
  return made(engine_.scalar(val(name), dtype));
}

int64_t Call::axis(llvm::StringRef name, int64_t rank) {
  int64_t axis = integer(name), bound = std::max<int64_t>(rank, 1);
  if (axis < -bound || axis >= bound)
    refuse(Code::OperandMismatch, "dimension {0} is out of range for a tensor of rank {1}", axis,
           rank);
  return axis < 0 ? axis + bound : axis;
}

llvm::SmallVector<int64_t, 6> Call::axes(llvm::StringRef name, int64_t rank) {
  llvm::SmallVector<int64_t, 6> result;
  if (has(name))
    result = integers(name);
  if (result.empty()) {
    for (int64_t i = 0; i < rank; ++i)
      result.push_back(i);
    return result;
  }
  int64_t bound = std::max<int64_t>(rank, 1);
  for (int64_t &axis : result) {
    if (axis < -bound || axis >= bound)
      refuse(Code::OperandMismatch, "dimension {0} is out of range for a tensor of rank {1}", axis,
             rank);
    axis = axis < 0 ? axis + bound : axis;
  }
  llvm::sort(result);
  if (rank == 0)
    result.clear();
  return result;
}

// ---- Helpers ------------------------------------------------------------------------------------

mil::Value *Call::emit(OpKind kind, llvm::ArrayRef<mil::Arg> args, llvm::StringRef hint) {
  return made(builder().emit(kind, args, hint));
}
mil::Op *Call::create(OpKind kind, llvm::ArrayRef<mil::Arg> args, llvm::StringRef hint) {
  mil::Op *op = builder().create(kind, args, hint);
  if (!op)
    throw Abandoned();
  return op;
}

Tensor Call::cast(Tensor x, at::ScalarType dtype) {
  mil::Value *value = castTo(x.value, milTypeOf(dtype));
  if (x.isInt() && dtype != x.dtype)
    value = made(engine_.wrapInteger(value, dtype));
  return {value, dtype};
}

mil::Value *Call::castTo(mil::Value *x, DType dtype) { return made(engine_.castTo(x, dtype)); }
mil::Value *Call::reshape(mil::Value *x, llvm::ArrayRef<Dim> shape) {
  return made(engine_.reshape(x, shape));
}

mil::Value *Call::permute(mil::Value *x, llvm::ArrayRef<int64_t> perm) {
  if (llvm::all_of(llvm::enumerate(perm),
                   [](auto it) { return int64_t(it.index()) == it.value(); }))
    return x;
  return emit(OpKind::transpose, {{mil::transpose::x, x}, {mil::transpose::perm, perm}});
}

mil::Value *Call::broadcastTo(mil::Value *x, llvm::ArrayRef<Dim> shape) {
  return made(engine_.broadcastTo(x, shape));
}
mil::Value *Call::materialise(const Dim &dim) { return made(engine_.materialise(dim)); }
mil::Value *Call::materialise(llvm::ArrayRef<Dim> shape) {
  return made(engine_.materialise(shape));
}

mil::Value *Call::full(llvm::ArrayRef<Dim> shape, DType dtype, double value) {
  if (auto sizes = mil::constShape(shape))
    return builder().constant(mil::TensorData::splat(dtype, *sizes, value));
  mil::Value *result = emit(OpKind::fill, {{mil::fill::shape, materialise(shape)},
                                           {mil::fill::value, builder().scalar(dtype, value)}});
  result->type = result->type.withShape(shape);
  return result;
}

at::ScalarType Call::promote(llvm::ArrayRef<llvm::StringRef> names) {
  at::native::ResultTypeState state{};
  for (llvm::StringRef name : names) {
    const Val &argument = val(name);
    if (auto list = argument.list()) {
      for (const Val &element : list->values)
        if (auto object = element.tensor())
          state = at::native::update_result_type_state(
              at::empty(std::vector<int64_t>(object->shape.empty() ? 0 : 1, 0), object->dtype()),
              state);
    } else if (auto object = argument.tensor()) {
      state = at::native::update_result_type_state(
          at::empty(std::vector<int64_t>(object->shape.empty() ? 0 : 1, 0), object->dtype()),
          state);
    } else if (argument.number()) {
      c10::TypeKind kind = argument.number()->kind;
      c10::Scalar scalar = kind == c10::TypeKind::FloatType  ? c10::Scalar(1.0)
                           : kind == c10::TypeKind::BoolType ? c10::Scalar(true)
                                                             : c10::Scalar(1);
      state = at::native::update_result_type_state(scalar, state);
    } else if (argument.dim()) {
      state = at::native::update_result_type_state(c10::Scalar(1), state);
    } else if (argument.known() && argument.known()->isScalar()) {
      state = at::native::update_result_type_state(argument.known()->toScalar(), state);
    }
  }
  return at::native::result_type(state);
}

Tensor Call::operand(llvm::StringRef name, at::ScalarType dtype) {
  const Val &argument = val(name);
  if (argument.tensor())
    return cast(tensor(name), dtype);
  return {made(engine_.scalar(argument, milTypeOf(dtype))), dtype};
}

// ---- Results ------------------------------------------------------------------------------------

void Call::result(Tensor tensor) {
  if (const Row *row = Table::get().find(name_); tensor.value && row && row->leavesRange)
    tensor.value = engine_.wrapInteger(tensor.value, tensor.dtype);
  results_.push_back(tensor.value ? engine_.makeTensor(tensor.value, tensor.dtype) : Val());
}

void Call::resultList(llvm::ArrayRef<Tensor> tensors) {
  std::vector<Val> values;
  for (const Tensor &tensor : tensors)
    values.push_back(engine_.makeTensor(tensor.value, tensor.dtype));
  results_.push_back(engine_.makeList(c10::TensorType::get(), std::move(values)));
}

} // namespace plait::frontend
