// fuse-rms-norm: a root mean square norm whose squares cannot overflow in fp16.
//
//   %q = square(x = %x)                                             before
//   %m = reduce_mean(x = %q, axes = [-1], keep_dims = true)
//   %e = add(x = %m, y = 1e-6)
//   %r = rsqrt(x = %e)
//   %n = mul(x = %x, y = %r)
//   %y = mul(x = %n, y = const gamma)
//
//   %i = mul(x = %x, y = -1)                                        after
//   %c = concat(values = (%x, %i), axis = 2)
//   %l = layer_norm(x = %c, axes = [2], gamma = [gamma, 0], epsilon = 1e-6)
//   %y = slice_by_index(x = %l, …)                                  the first half
//
// The numbers and their negatives have the mean 0, so that their variance is the mean of the
// squares, and no square is a value of the program: in fp16 that of 256 is infinite. It is the form
// that apps for the Neural Engine use (ANEMLL), and has two operations fewer. With --precision fp32
// nothing overflows, and the norm stays as it is.
//
// Over one axis of known size. The square may be pow or a product, the mean a sum, the root rsqrt
// or a division by sqrt or pow(0.5).
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/DenseSet.h"

namespace plait::passes {

using namespace mil;

namespace {

struct RmsNorm {
  Value *x;
  unsigned axis;
  int64_t size;   ///< along it
  double epsilon; ///< added to the mean
  double factor;  ///< of the result
};

/// Slots: 0 x, 1 the mean, 2 epsilon.
bool matchRmsQuotient(Value *result, Captures &c) {
  auto withEpsilon = commutative(OpKind::add, value(1), anySplat(2));
  auto root = [](auto squared) {
    return either(unary(OpKind::sqrt, squared), binary(OpKind::pow, squared, splat(0.5)));
  };
  auto inverse = [&](auto squared) {
    return either(either(unary(OpKind::rsqrt, squared), binary(OpKind::pow, squared, splat(-0.5))),
                  binary(OpKind::real_div, splat(1), root(squared)));
  };
  auto quotient = [&](auto squared) {
    return either(commutative(OpKind::mul, value(0), inverse(squared)),
                  binary(OpKind::real_div, value(0), root(squared)));
  };
  if (match(result, quotient(withEpsilon), c))
    return true;
  c = {};
  // What rsqrt adds by itself.
  if (match(result,
            commutative(OpKind::mul, value(0), binary(OpKind::rsqrt, value(1), anySplat(2))), c))
    return true;
  c = {};
  return match(result, quotient(value(1)), c);
}

std::optional<RmsNorm> matchRmsNorm(Value *result) {
  Captures c{};
  if (!matchRmsQuotient(result, c))
    return std::nullopt;
  Op *mean = c[1]->def();
  bool isMean = definedBy(c[1], OpKind::reduce_mean);
  if (!mean || (!isMean && !mean->is(OpKind::reduce_sum) && !mean->is(OpKind::reduce_sum_square)))
    return std::nullopt;
  // The three have the same parameters.
  Value *x = (*mean)[reduce_mean::x];
  if (!mean->is(OpKind::reduce_sum_square)) {
    Captures squares{};
    auto operand = value(0);
    if (!match(
            x,
            either(unary(OpKind::square, operand), either(binary(OpKind::mul, operand, operand),
                                                          binary(OpKind::pow, operand, splat(2)))),
            squares))
      return std::nullopt;
    x = squares[0];
  }
  auto axes = constInts((*mean)[reduce_mean::axes]);
  auto kept = constBool((*mean)[reduce_mean::keep_dims]);
  if (x != c[0] || !axes || axes->size() != 1 || !kept || !*kept || !(x->type == result->type) ||
      x->type.dtype() != DType::F32)
    return std::nullopt;
  unsigned axis = unsigned(normalAxis((*axes)[0], x->type.rank()));
  if (!x->type.shape()[axis].isConst())
    return std::nullopt;
  int64_t size = x->type.shape()[axis].value();
  double epsilon = c[2] ? *splatValue(c[2]) : 0;
  if (isMean)
    return RmsNorm{x, axis, size, epsilon, 1};
  return RmsNorm{x, axis, size, epsilon / double(size), 1 / std::sqrt(double(size))};
}

/// The only use of the norm is a product with a constant for each element of the axis.
Op *scalingOf(Value *norm, unsigned axis, const PassContext &context, std::vector<double> &gamma) {
  if (!norm->hasOneUse())
    return nullptr;
  Op *user = (*norm->uses().begin()).owner();
  if (!user->is(OpKind::mul) || !(user->result()->type == norm->type))
    return nullptr;
  Value *other = (*user)[mul::x] == norm ? (*user)[mul::y] : (*user)[mul::x];
  auto factors = alongAxis(other, norm->type.shape(), axis, context);
  if (!factors || other == norm)
    return nullptr;
  gamma = std::move(*factors);
  return user;
}

/// Gives the operation whose place the norm took, which is no more.
const Op *replaceNorm(Op &root, const RmsNorm &norm, const PassContext &context) {
  std::vector<double> gamma(size_t(norm.size), 1);
  Op *last = &root;
  Value *weight = nullptr;
  if (Op *scaled = scalingOf(root.result(), norm.axis, context, gamma)) {
    weight = (*scaled)[mul::x] == root.result() ? (*scaled)[mul::y] : (*scaled)[mul::x];
    last = scaled;
  }
  for (double &factor : gamma)
    factor *= norm.factor;
  gamma.resize(2 * gamma.size(), 0);
  unsigned rank = norm.x->type.rank();
  std::vector<int64_t> begin(rank, 0), end(rank, 0);
  end[norm.axis] = norm.size;
  llvm::SmallVector<bool, 5> toTheEnd(rank, true);
  toTheEnd[norm.axis] = false;

  Builder builder = Builder::before(last);
  builder.setLocation(root.location);
  Value *negative = builder.emit(OpKind::mul, {{mul::x, norm.x}, {mul::y, -1.0}});
  Value *halves[] = {norm.x, negative};
  Value *both = builder.emit(OpKind::concat, {{concat::values, llvm::ArrayRef<Value *>(halves)},
                                              {concat::axis, int64_t(norm.axis)}});
  Value *normed = builder.emit(
      OpKind::layer_norm,
      {{layer_norm::x, both},
       {layer_norm::axes, {int64_t(norm.axis)}},
       {layer_norm::gamma, floats(DType::F32, {2 * norm.size}, gamma, computedFrom({weight}))},
       {layer_norm::epsilon, norm.epsilon}});
  replaceOp(last, builder.emit(OpKind::slice_by_index,
                               {{slice_by_index::x, normed},
                                {slice_by_index::begin, llvm::ArrayRef<int64_t>(begin)},
                                {slice_by_index::end, llvm::ArrayRef<int64_t>(end)},
                                {slice_by_index::end_mask, llvm::ArrayRef<bool>(toTheEnd)}}));
  return last;
}

} // namespace

bool fuseRmsNorm(Program &program, PassContext &context) {
  bool changed = false;
  if (context.options.precision != Precision::F16)
    return changed;
  std::vector<Op *> candidates; // the rewrite erases what follows, too
  walk(program, [&](Op &op) {
    if ((op.is(OpKind::mul) || op.is(OpKind::real_div)) && op.result()->hasUses())
      candidates.push_back(&op);
  });
  llvm::DenseSet<const Op *> gone;
  for (Op *op : candidates)
    if (!gone.contains(op))
      if (auto norm = matchRmsNorm(op->result())) {
        gone.insert(replaceNorm(*op, *norm, context));
        changed = true;
      }
  return changed;
}

} // namespace plait::passes
