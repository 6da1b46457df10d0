// What all shape functions share: checking operands against the table, axes, broadcasting.
#include "mil/Infer.h"

#include "llvm/ADT/StringSwitch.h"

namespace plait::mil {

/// Parameters that hold one number a dimension or several axes: vectors, whatever their length.
static bool isVectorParam(const Op &op, llvm::StringRef name) {
  return llvm::StringSwitch<bool>(name)
      .Cases("axes", "perm", "reps", "kernel_sizes", "strides", "dilations", "pad", true)
      .Cases("begin", "begin_mask", "end_mask", "squeeze_mask", "split_sizes", true)
      .Cases("crop_height", "crop_width", "output_shape", true)
      .Case("end", !op.is(OpKind::range_1d))
      .Case("stride", !op.is(OpKind::sliding_windows))
      .Default(false);
}

static Error checkOperand(const Op &op, const ParamInfo &param, const Value &value,
                          std::map<char, DType> &variables) {
  const char *opName = op.info().name;
  const Type &type = value.type;
  if (param.flags & ListOnly) {
    if (!type.isList())
      return makeError(Code::OperandMismatch, "{0}: {1} must be a list, not {2}", opName,
                       param.name, type.str());
    return Error::success();
  }
  if (param.flags & StateOnly) {
    if (!type.isState())
      return makeError(Code::OperandMismatch, "{0}: {1} must be a state, not {2}", opName,
                       param.name, type.str());
    return Error::success();
  }
  if (param.isConst() && !isCompileTime(&value))
    return makeError(Code::OperandMismatch, "{0}: {1} must be a constant, but '{2}' is computed",
                     opName, param.name, value.name);
  if (!param.domain)
    return Error::success();
  if (!type.isTensor())
    return makeError(Code::OperandMismatch, "{0}: {1} must be a tensor, not {2}", opName,
                     param.name, type.str());
  if (!contains(param.domain, type.dtype()))
    return makeError(Code::OperandMismatch, "{0}: {1} is {2}; allowed: {3}", opName, param.name,
                     name(type.dtype()), describe(param.domain));
  if (type.rank() != 1 && isVectorParam(op, param.name))
    return makeError(Code::OperandMismatch, "{0}: {1} must be a vector, not {2}", opName,
                     param.name, type.str());
  if (param.var == '_')
    return Error::success();
  auto [it, fresh] = variables.try_emplace(param.var, type.dtype());
  if (!fresh && it->second != type.dtype())
    return makeError(Code::OperandMismatch,
                     "{0}: {1} is {2} where another operand of the same type is {3}", opName,
                     param.name, name(type.dtype()), name(it->second));
  return Error::success();
}

Expected<llvm::SmallVector<Type, 1>> inferTypes(const Op &op) {
  const OpInfo &row = op.info();
  std::map<char, DType> variables;
  for (auto [i, known] : llvm::enumerate(row.form(op.opset()))) {
    // Of another opset; the verifier tells.
    const ParamInfo &param = known ? *known : row.params[i];
    if (!known && op.operands(i).empty())
      continue;
    llvm::ArrayRef<Operand> bound = op.operands(i);
    if (bound.empty() && !param.isOptional())
      return makeError(Code::OperandMismatch, "{0}: {1} is missing", row.name, param.name);
    if (bound.size() > 1 && !param.isVariadic())
      return makeError(Code::OperandMismatch, "{0}: {1} takes one value, not {2}", row.name,
                       param.name, bound.size());
    for (const Operand &operand : bound)
      if (Error error = checkOperand(op, param, *operand.get(), variables))
        return error;
  }
  InferContext context(op);
  if (Error error = row.infer(context))
    return error;
  return llvm::SmallVector<Type, 1>(context.results());
}

Expected<int64_t> InferContext::axis(unsigned param, unsigned rank, int64_t fallback) const {
  int64_t axis = constInt(param).value_or(fallback);
  if (axis < -int64_t(rank) || axis >= int64_t(rank))
    return makeError(Code::OperandMismatch, "{0}: axis {1} is out of range for rank {2}",
                     op_.info().name, axis, rank);
  return axis < 0 ? axis + rank : axis;
}

Expected<Shape> broadcast(llvm::ArrayRef<Dim> a, llvm::ArrayRef<Dim> b) {
  size_t rank = std::max(a.size(), b.size());
  Shape shape;
  for (size_t i = 0; i < rank; ++i) {
    // Aligned at the right.
    Dim x = i + a.size() >= rank ? a[i + a.size() - rank] : Dim(1);
    Dim y = i + b.size() >= rank ? b[i + b.size() - rank] : Dim(1);
    if (x == y || y == Dim(1))
      shape.push_back(x);
    else if (x == Dim(1))
      shape.push_back(y);
    else if (x.isConst() && y.isConst())
      return makeError(Code::OperandMismatch, "shapes {0} and {1} do not broadcast", str(a),
                       str(b));
    else if (x.isConst() || y.isConst())
      shape.push_back(x.isConst() ? x : y); // above 1, so the dynamic one is that or 1
    else
      shape.push_back(max(x, y)); // equal, or one of them is 1
  }
  return shape;
}

} // namespace plait::mil
