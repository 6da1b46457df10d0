// Products by their dimensions; all else by elements.
#include "driver/report/CostEstimate.h"

#include "llvm/ADT/StringMap.h"

namespace plait::driver {

using mil::Op;
using mil::OpKind;
using mil::Type;
using mil::Value;

static uint64_t sizeOf(const mil::Dim &dim) { return uint64_t(std::max<int64_t>(dim.lower(), 0)); }

static uint64_t elementsOf(const Value *value) {
  if (!value || !(value->type.isTensor() || value->type.isState()))
    return 0;
  uint64_t elements = 1;
  for (const mil::Dim &dim : value->type.shape())
    elements *= sizeOf(dim);
  return elements;
}

/// Of what lies in memory; a compressed weight counts as it is stored.
static uint64_t bytesOf(const Value *value) {
  if (!value || !(value->type.isTensor() || value->type.isState()))
    return 0;
  if (const Op *op = value->def(); op && !op->is(OpKind::const_) && mil::isCompileTime(value)) {
    uint64_t bytes = 0;
    for (const mil::Operand &operand : op->operands())
      bytes += bytesOf(operand.get());
    return bytes;
  }
  return mil::byteSize(value->type.dtype(), int64_t(elementsOf(value)));
}

/// The dimension `fromEnd` of the shape's end (1: the last), 1 where there is none.
static uint64_t sizeAt(const Value *value, unsigned fromEnd) {
  return value && fromEnd <= value->type.rank()
             ? sizeOf(value->type.shape()[value->type.rank() - fromEnd])
             : 1;
}

/// All combinations of indices of an equation such as "bnc,bcm->bnm".
static uint64_t einsumSize(const Op &op) {
  llvm::StringRef equation = mil::constString(op[mil::einsum::equation]).value_or("");
  llvm::StringMap<uint64_t> sizes;
  llvm::SmallVector<llvm::StringRef, 2> terms;
  equation.split("->").first.split(terms, ',');
  auto values = op.operands(mil::einsum::values);
  for (auto [term, value] : llvm::zip(terms, values))
    for (size_t i = 0; i < term.size() && i < value->type.rank(); ++i)
      sizes[term.substr(i, 1)] = sizeOf(value->type.shape()[i]);
  uint64_t size = 1;
  for (const auto &entry : sizes)
    size *= entry.second;
  return size;
}

static bool onlyMoves(OpKind kind) {
  switch (kind) {
  case OpKind::reshape:
  case OpKind::expand_dims:
  case OpKind::squeeze:
  case OpKind::transpose:
  case OpKind::concat:
  case OpKind::split:
  case OpKind::stack:
  case OpKind::tile:
  case OpKind::pad:
  case OpKind::fill:
  case OpKind::shape:
  case OpKind::gather:
  case OpKind::gather_along_axis:
  case OpKind::gather_nd:
  case OpKind::slice_by_index:
  case OpKind::slice_by_size:
  case OpKind::slice_update:
  case OpKind::sliding_windows:
  case OpKind::read_state:
  case OpKind::write_state:
  case OpKind::identity:
  case OpKind::reverse:
  case OpKind::depth_to_space:
  case OpKind::space_to_depth:
  case OpKind::pixel_shuffle:
  case OpKind::pixel_unshuffle:
    return true;
  default:
    return false;
  }
}

static uint64_t arithmeticOf(const Op &op) {
  uint64_t results = 0;
  for (const auto &result : op.results())
    results += elementsOf(result.get());
  switch (op.kind()) {
  case OpKind::linear:
    return results * (2 * sizeAt(op[mil::linear::weight], 1));
  case OpKind::matmul: {
    bool transposed = mil::constBool(op[mil::matmul::transpose_x]).value_or(false);
    return results * (2 * sizeAt(op[mil::matmul::x], transposed ? 2 : 1));
  }
  case OpKind::conv: {
    // A weight is [out, in / groups, kernel…]: each result takes what lies below one `out`.
    const Value *weight = op[mil::conv::weight];
    return weight && weight->type.rank()
               ? 2 * results * elementsOf(weight) /
                     std::max<uint64_t>(1, sizeOf(weight->type.shape()[0]))
               : results;
  }
  case OpKind::conv_transpose: {
    // [in, out / groups, kernel…]: each element of x goes to what lies below one `in`.
    const Value *weight = op[mil::conv_transpose::weight];
    return weight && weight->type.rank()
               ? 2 * elementsOf(op[mil::conv_transpose::x]) * elementsOf(weight) /
                     std::max<uint64_t>(1, sizeOf(weight->type.shape()[0]))
               : results;
  }
  case OpKind::einsum:
    return 2 * einsumSize(op);
  case OpKind::scaled_dot_product_attention: {
    const Value *query = op[mil::scaled_dot_product_attention::query];
    const Value *key = op[mil::scaled_dot_product_attention::key];
    const Value *value = op[mil::scaled_dot_product_attention::value];
    uint64_t width = std::max<uint64_t>(1, sizeAt(query, 1));
    uint64_t scores = elementsOf(query) / width * sizeAt(key, 2);
    return scores * (2 * width + 2 * sizeAt(value, 1) + 5); // both products, and a softmax
  }
  case OpKind::lstm:
  case OpKind::gru:
  case OpKind::rnn: {
    // x is [steps, batch, …]; every step takes both matrices.
    uint64_t weights = 0;
    const Value *x = nullptr;
    for (unsigned param = 0; param < op.numParams(); ++param) {
      llvm::StringRef name = op.info().params[param].name;
      if (name == "x")
        x = op[param];
      else if (name.starts_with("weight_"))
        weights += elementsOf(op[param]);
    }
    return x && x->type.rank() > 1
               ? 2 * weights * sizeOf(x->type.shape()[0]) * sizeOf(x->type.shape()[1])
               : results;
  }
  default:
    break;
  }
  if (onlyMoves(op.kind()) || !op.blocks().empty())
    return 0;
  // Reductions and norms read more than they give.
  uint64_t operands = 0;
  for (const mil::Operand &operand : op.operands())
    if (!mil::isCompileTime(operand.get()))
      operands = std::max(operands, elementsOf(operand.get()));
  return std::max(results, operands);
}

CostEstimate estimateCost(const Op &op) {
  if (!op.blocks().empty())
    return {};
  CostEstimate cost{arithmeticOf(op), 0};
  for (const mil::Operand &operand : op.operands())
    cost.bytes += bytesOf(operand.get());
  for (const auto &result : op.results())
    cost.bytes += bytesOf(result.get());
  return cost;
}

} // namespace plait::driver
