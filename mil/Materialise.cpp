// Sums of products of symbols, floor divisions, remainders, minima and maxima.
#include "mil/Materialise.h"

namespace plait::mil {

Value *sizeOfAxis(Builder &builder, Value *x, int64_t axis) {
  Value *sizes = builder.emit(OpKind::shape, {{shape::x, x}});
  return builder.emit(OpKind::gather,
                      {{gather::x, sizes}, {gather::indices, axis}, {gather::axis, 0}});
}

Value *materialise(Builder &builder, const Dim &dim, SymbolValue symbol) {
  if (dim.isConst()) {
    if (dim.value() > INT32_MAX || dim.value() < INT32_MIN) {
      builder.fail(makeError(Code::UnsupportedType, "the integer {0} does not fit Core ML's int32",
                             dim.value()));
      return builder.poison();
    }
    return builder.constant(TensorData::scalar(int32_t(dim.value())));
  }
  auto binary = [&](OpKind kind, Value *a, Value *b) {
    return builder.emit(kind, {{add::x, a}, {add::y, b}}); // all binary rows have x and y first
  };
  Value *sum = nullptr;
  for (const Dim::Term &term : dim.terms()) {
    Value *product = nullptr;
    for (const Dim::Factor &factor : term.factors) {
      Value *value = nullptr;
      if (factor.kind == Dim::Factor::Symbol) {
        value = symbol(factor.name);
      } else {
        static constexpr OpKind kinds[] = {OpKind::floor_div, OpKind::floor_div, OpKind::mod,
                                           OpKind::minimum, OpKind::maximum};
        Value *a = materialise(builder, factor.a, symbol);
        value = binary(kinds[factor.kind], a, materialise(builder, factor.b, symbol));
      }
      product = product ? binary(OpKind::mul, product, value) : value;
    }
    if (!product)
      product = materialise(builder, Dim(term.coefficient), symbol);
    else if (term.coefficient != 1)
      product = binary(OpKind::mul, product, materialise(builder, Dim(term.coefficient), symbol));
    sum = sum ? binary(OpKind::add, sum, product) : product;
  }
  return sum;
}

Value *materialise(Builder &builder, llvm::ArrayRef<Dim> shape, SymbolValue symbol) {
  if (auto sizes = constShape(shape))
    return builder.ints(*sizes);
  llvm::SmallVector<Value *, 5> parts;
  for (const Dim &d : shape)
    parts.push_back(d.isConst() ? builder.ints({d.value()})
                                : builder.emit(OpKind::expand_dims,
                                               {{expand_dims::x, materialise(builder, d, symbol)},
                                                {expand_dims::axes, {0}}}));
  if (parts.size() == 1)
    return parts[0];
  return builder.emit(OpKind::concat, {{concat::values, parts}, {concat::axis, 0}});
}

} // namespace plait::mil
