// Products of matrices and of labelled tensors, as functions of values: shared by linear layers,
// einsum and attention.
#pragma once

#include "frontend/lower/Expr.h"

namespace plait::frontend {

/// x W^T + b over the last axis: MIL's linear where weight and bias are constants, matmul and add
/// otherwise. `bias` may be null. Weight has rank 2 ([out, in]) or 1.
Expr linearLayer(const Expr &x, Value *weight, Value *bias);

/// torch.matmul: vectors at either side, batches broadcast.
Expr matrixProduct(const Expr &x, const Expr &y);

/// einsum without its text: operands with one label an axis (repeats allowed), and the labels of
/// the result.
Expr contract(Call &c, std::vector<std::pair<Expr, std::string>> operands, llvm::StringRef result);

} // namespace plait::frontend
