// Conversions among the values of the environment.
#include "frontend/engine/Val.h"

namespace plait::frontend {

Shape contiguousStrides(llvm::ArrayRef<Dim> shape) {
  Shape strides(shape.size());
  Dim step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step = step * shape[i];
  }
  return strides;
}

bool isContiguous(const TensorObj &tensor) {
  if (!tensor.strides)
    return false;
  Dim step = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (!(tensor.shape[i] == Dim(1)) && !((*tensor.strides)[i] == step))
      return false;
    step = step * tensor.shape[i];
  }
  return true;
}

Val::Val(Dim dim) {
  if (dim.isConst())
    data_ = c10::IValue(dim.value());
  else
    data_ = std::move(dim);
}

std::optional<Dim> Val::asDim() const {
  if (const Dim *d = dim())
    return *d;
  if (known() && known()->isInt())
    return Dim(known()->toInt());
  return std::nullopt;
}

} // namespace plait::frontend
