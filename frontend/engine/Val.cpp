// Conversions among the values of the environment.
#include "frontend/engine/Val.h"

namespace plait::frontend {

void refuseMissing(const char *what) {
  throw Refusal(Code::NotKnown,
                std::string(what) +
                    " that is known while compiling is needed here; what is computed from "
                    "the elements of an input is only known at run time");
}

void refuseRank(llvm::ArrayRef<Dim> shape) {
  throw Refusal(Code::OperandMismatch,
                fmt::format("a tensor of shape {0} has too few dimensions for this operation",
                            mil::str(shape)));
}

Shape contiguousStrides(llvm::ArrayRef<Dim> shape) {
  Shape strides(shape.size());
  Dim step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step = step * shape[i];
  }
  return strides;
}

bool isEmpty(llvm::ArrayRef<Dim> shape) { return mil::numElements(shape) == Dim(0); }

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

Maybe<Dim> Val::asDim() const {
  if (auto d = dim())
    return *d;
  if (known() && known()->isInt())
    return Dim(known()->toInt());
  return std::nullopt;
}

} // namespace plait::frontend
