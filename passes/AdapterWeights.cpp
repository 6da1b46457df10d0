// Asks LoraMatch about every sum.
#include "passes/AdapterWeights.h"

#include "passes/LoraMatch.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

/// Whether the product of the branch's matrices could be added to the weight of `base`.
static bool isBaseOf(const Op &base, const LoraBranch &branch) {
  if (base.kind() != branch.a->kind())
    return false;
  llvm::ArrayRef<Dim> w = base[weightParam(base)]->type.shape(),
                      a = (*branch.a)[weightParam(*branch.a)]->type.shape(),
                      b = (*branch.b)[weightParam(*branch.b)]->type.shape();
  if (w.size() < 2 || a.size() < 2 || b.size() < 2)
    return false;
  bool isGather = base.is(OpKind::gather);
  Dim rows = isGather ? a[0] : b[0], columns = isGather ? b[0] : a[1];
  return w[0] == rows && w[1] == columns;
}

llvm::DenseSet<const Op *> adapterWeights(Program &program, PassContext &context) {
  llvm::DenseSet<const Op *> found;
  for (const auto &function : program.functions())
    walk(function->body(), [&](Op &op) {
      if (!op.is(OpKind::add) && !op.is(OpKind::sub))
        return;
      auto sum = matchLoraSum(op, context);
      if (!sum)
        return;
      for (const LoraTerm &term : sum->terms)
        if (term.branch && llvm::any_of(sum->terms, [&](const LoraTerm &other) {
              return other.layer && !other.branch && isBaseOf(*other.layer, *term.branch);
            }))
          for (const Op *layer : {term.branch->a, term.branch->b})
            found.insert((*layer)[weightParam(*layer)]->def());
    });
  return found;
}

} // namespace plait::passes
