// Rows for tokens (trainable_token_indices): new embeddings for a few tokens beside the base's
// weight, which stays shared.
//
//   embedding   y = W[x], and where x is one of the tokens its own row
//   head        y = x W', and at each of the tokens x times its own row
//   elsewhere   what reads an embedding's weight without calling it: W with the rows in it
#include "adapters/Branch.h"

namespace plait::adapters {

using mil::DType;
using mil::OpKind;

Value *replaceRows(BranchBuilder &build, const AdaptedModule &module, Value *x, Value *y) {
  if (mil::Builder::isPoison(x) || mil::Builder::isPoison(y))
    return build.poison();
  llvm::ArrayRef<int64_t> tokens = module.tokens->tokens;
  Value *rows = build.constant(module.tokens->rows, "rows");
  if (module.layer.kind != Layer::Embedding)
    return build.putRows(y, tokens, build.linear(build.cast(x, DType::F32), rows), -1);
  mil::Builder &builder = build.builder();
  Value *isToken = builder.emit(OpKind::equal, {{mil::equal::x, build.expand(x, -1)},
                                                {mil::equal::y, builder.ints(tokens, "tokens")}});
  Value *own = build.mul(build.matmul(build.cast(isToken, DType::F32), rows), module.layer.scale);
  int64_t last = x->type.rank();
  Value *any =
      builder.emit(OpKind::reduce_max, {{mil::reduce_max::x, build.cast(isToken, DType::I32)},
                                        {mil::reduce_max::axes, {last}},
                                        {mil::reduce_max::keep_dims, true}});
  return build.select(build.cast(any, DType::Bool), own, y);
}

Value *weightWithRows(BranchBuilder &build, const AdaptedModule &module) {
  return build.putRows(build.constant(module.weight, "weight"), module.tokens->tokens,
                       build.constant(module.tokens->rows, "rows"), 0);
}

} // namespace plait::adapters
