// Conversions among MIL values that the engine and lowerings share: casts, reshapes, broadcasts,
// sizes as values.
#include "frontend/engine/Engine.h"

#include "mil/InputSizes.h"
#include "mil/Materialise.h"
#include "mil/Reshape.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using mil::Builder;
using mil::DType;
using mil::OpKind;

DType milTypeOf(at::ScalarType dtype) {
  if (dtype == at::kBool)
    return DType::Bool;
  return at::isIntegralType(dtype, false) ? DType::I32 : DType::F32;
}

mil::Value *Engine::castTo(mil::Value *x, DType dtype) {
  if (Builder::isPoison(x) || x->type.dtype() == dtype)
    return x;
  if (const mil::TensorData *constant = mil::constTensor(x))
    return builder_.constant(constant->cast(dtype), x->name);
  return builder_.emit(OpKind::cast, {{mil::cast::x, x}, {mil::cast::dtype, name(dtype)}});
}

mil::Value *Engine::wrapInteger(mil::Value *x, at::ScalarType dtype) {
  // Two's complement by arithmetic: ((x + offset) mod range) - offset.
  int64_t range = dtype == at::kShort ? 65536 : 256, offset = dtype == at::kByte ? 0 : range / 2;
  if (dtype != at::kByte && dtype != at::kChar && dtype != at::kShort)
    return x;
  auto constant = [&](int64_t value) { return builder_.scalar(DType::I32, double(value)); };
  if (offset)
    x = builder_.emit(OpKind::add, {{mil::add::x, x}, {mil::add::y, constant(offset)}});
  x = builder_.emit(OpKind::mod, {{mil::mod::x, x}, {mil::mod::y, constant(range)}});
  if (offset)
    x = builder_.emit(OpKind::sub, {{mil::sub::x, x}, {mil::sub::y, constant(offset)}});
  return x;
}

Val Engine::castTensor(const Val::TensorPtr &tensor, at::ScalarType dtype) {
  at::ScalarType from = tensor->dtype();
  if (from == dtype)
    return Val(tensor);
  if (auto selection = selectionOf(Val(tensor)))
    return makeSelection({castTensor(selection->source, dtype).tensor(), selection->mask},
                         tensor->shape[0]);
  if ((at::isComplexType(from) || at::isComplexType(dtype)) &&
      (std::holds_alternative<ComplexParts>(tensor->cell->content) ||
       !readKnown(*tensor).defined())) {
    Val real = castTensor(part(tensor, 0).tensor(), c10::toRealValueType(dtype));
    if (at::isComplexType(dtype))
      return makeComplex(
          copy(real.tensor()),
          copy(castTensor(part(tensor, 1).tensor(), c10::toRealValueType(dtype)).tensor()));
    warn(Code::UnsupportedType,
         "a complex tensor is converted to a real one: as in PyTorch its imaginary part is left "
         "out; say torch.real(x) where that is meant");
    return copy(real.tensor());
  }
  if (at::isQIntType(from) || (!at::isFloatingType(dtype) && !at::isIntegralType(dtype, true) &&
                               !at::isComplexType(dtype))) {
    fail(makeError(Code::UnsupportedType,
                   "a tensor of {0} is converted to {1}, and Core ML does not have both",
                   at::toString(from), at::toString(dtype)));
    return Val();
  }
  at::Tensor known = readKnown(*tensor);
  if (const auto *cell = std::get_if<Cell::Known>(&tensor->cell->content);
      known.defined() && (known.nbytes() <= 65536 || !cell->fromWeight))
    return makeKnown({known.to(dtype), cell->fromWeight, cell->origin.asComputed()});
  if (auto dim = readDim(*tensor); dim && tensor->shape.empty() && at::isIntegralType(dtype, false))
    return makeDimTensor(*dim, dtype);
  mil::Value *value = castTo(read(*tensor), milTypeOf(dtype));
  // The tensor is computed in fp32 from here on, but with values rounded to half precision.
  if (dtype == at::kHalf)
    value = castTo(castTo(value, DType::F16), DType::F32);
  // Converting from floating point is undefined outside the range; from integers it wraps around.
  if (at::isIntegralType(from, false))
    value = wrapInteger(value, dtype);
  return makeTensor(value, dtype);
}

mil::Value *Engine::reshape(mil::Value *x, llvm::ArrayRef<Dim> shape) {
  return mil::reshapeTo(builder_, x, shape,
                        [&](llvm::ArrayRef<Dim> sizes) { return materialise(sizes); });
}

mil::Value *Engine::broadcastTo(mil::Value *x, llvm::ArrayRef<Dim> shape) {
  if (Builder::isPoison(x) || x->type.shape() == shape)
    return x;
  if (x->type.rank() > shape.size()) {
    builder_.fail(makeError(Code::OperandMismatch,
                            "a tensor of shape {0} does not fit into shape {1}",
                            mil::str(x->type.shape()), mil::str(shape)));
    return builder_.poison();
  }
  Shape padded(shape.size() - x->type.rank(), Dim(1));
  padded.append(x->type.shape().begin(), x->type.shape().end());
  x = reshape(x, padded);
  Shape reps;
  bool any = false;
  for (auto [from, to] : llvm::zip(padded, shape)) {
    if (from.isConst() && to.isConst() && !(from == to) && !(from == Dim(1))) {
      builder_.fail(makeError(Code::OperandMismatch,
                              "a tensor of shape {0} does not broadcast to shape {1}",
                              mil::str(padded), mil::str(shape)));
      return builder_.poison();
    }
    // A size that may be 1 is that, or equal: both divide.
    bool equal = from == to || to == Dim(1) || (!(from == Dim(1)) && !mayBeOne(from));
    reps.push_back(equal ? Dim(1) : floordiv(to, max(from, Dim(1))));
    any |= !equal;
  }
  if (!any)
    return x;
  mil::Value *result =
      builder_.emit(OpKind::tile, {{mil::tile::x, x}, {mil::tile::reps, materialise(reps)}});
  if (!Builder::isPoison(result))
    result->type = result->type.withShape(shape);
  return result;
}

mil::Value *Engine::symbolValue(llvm::StringRef name) {
  // An input's size that the symbol follows from (2*n + 1) serves where nothing has it alone.
  std::optional<mil::SizeSource> derived;
  for (const SymbolSource &source : symbolSources_[name.str()]) {
    if (!llvm::is_contained(scopes_, source.scope))
      continue;
    if (source.axis < 0)
      return source.value;
    auto form = source.value->def()
                    ? std::nullopt
                    : mil::linearSize(source.value->type.shape()[size_t(source.axis)]);
    if (!form || form->isBare())
      return mil::sizeOfAxis(builder_, source.value, source.axis);
    if (!derived)
      derived = mil::SizeSource{source.value, unsigned(source.axis), std::move(*form)};
  }
  if (derived)
    return mil::sizeFrom(builder_, *derived);
  builder_.fail(makeError(Code::NotKnown, "the size '{0}' is not known where it is needed", name));
  return builder_.poison();
}

mil::Value *Engine::materialise(const Dim &dim) {
  return mil::materialise(builder_, dim, [&](llvm::StringRef name) { return symbolValue(name); });
}

mil::Value *Engine::materialise(llvm::ArrayRef<Dim> shape) {
  return mil::materialise(builder_, shape, [&](llvm::StringRef name) { return symbolValue(name); });
}

mil::Value *Engine::scalar(const Val &val, DType dtype) {
  if (auto known = val.known()) {
    if (known->isInt() && dtype == DType::I32)
      return materialise(Dim(known->toInt()));
    if (known->isInt() || known->isDouble() || known->isBool()) {
      double number = known->isInt()    ? double(known->toInt())
                      : known->isBool() ? known->toBool()
                                        : known->toDouble();
      return builder_.scalar(dtype, number);
    }
  } else if (auto dim = val.dim()) {
    return castTo(materialise(*dim), dtype);
  } else if (auto number = val.number()) {
    return castTo(number->value, dtype);
  } else if (auto tensor = val.tensor()) {
    return castTo(reshape(read(*tensor), {}), dtype);
  }
  builder_.fail(makeError(Code::OperandMismatch, "a number is needed here"));
  return builder_.poison();
}

} // namespace plait::frontend
