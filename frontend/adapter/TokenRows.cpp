// Rows for tokens (trainable_token_indices): new embeddings for a few tokens beside the base's
// weight, which stays shared.
//
//   embedding   y = W[x], and where x is one of the tokens its own row
//   head        y = x W', and at each of the tokens x times its own row
//   elsewhere   what reads an embedding's weight without calling it: W with the rows in it
#include "frontend/adapter/Branch.h"

#include <ATen/Functions.h>

namespace plait::frontend {

Val replaceRows(Ops &ops, const AdaptedModule &module, const Val &x, const Val &y) {
  if (!x.tensor() || !y.tensor()) {
    if (!x.isPoison() && !y.isPoison())
      ops.engine().fail(makeError("the adapted module '{0}' is called without a tensor that fits "
                                  "its weight; trace the adapted model and give it as --function "
                                  "NAME=MODEL.pt",
                                  module.path));
    return Val();
  }
  at::ScalarType dtype = y.tensor()->dtype();
  Val tokens = ops.engine().fromIValue(at::tensor(module.tokens->tokens), "tokens");
  Val rows = ops.constant(module.tokens->rows, "rows");
  if (module.use.kind != WeightUse::Embedding) {
    Val own = ops.cast(ops.linear(ops.toFloat(x), rows), dtype);
    return ops.call("aten::index_copy", "", {y, Val(c10::IValue(int64_t(-1))), tokens, own});
  }
  Val last(c10::IValue(int64_t(-1)));
  Val isToken =
      ops.call("aten::eq", "Tensor", {ops.call("aten::unsqueeze", "", {x, last}), tokens});
  Val own = ops.mul(ops.matmul(ops.toFloat(isToken), rows), embeddingScale(module));
  Val any = ops.call("aten::any", "dim", {isToken, last, Val(c10::IValue(true))});
  return ops.call("aten::where", "self", {any, ops.cast(own, dtype), y});
}

Val weightWithRows(Ops &ops, const AdaptedModule &module) {
  Val weight = ops.engine().fromIValue(module.weight, module.path + ".weight", /*fromWeight=*/true);
  Val rows = ops.cast(ops.constant(module.tokens->rows, "rows"), module.weight.scalar_type());
  return ops.call("aten::index_copy", "",
                  {weight, Val(c10::IValue(int64_t(0))),
                   ops.engine().fromIValue(at::tensor(module.tokens->tokens), "tokens"), rows});
}

} // namespace plait::frontend
