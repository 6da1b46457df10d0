// Scaled dot-product attention, and the fused layers that PyTorch's fast path puts in traces.
//
// MIL's operation has no scale, causality or grouped heads: queries are scaled before it, the
// causal mask is an additive constant where sizes are known, heads of key and value are repeated.
// Rows that a mask hides wholly give 0 (Masks.h).
#include "frontend/engine/Engine.h"
#include "frontend/lower/Contract.h"
#include "frontend/lower/Families.h"
#include "frontend/lower/Masks.h"
#include "frontend/lower/Norm.h"

#include <cmath>

namespace plait::frontend {

using namespace mil;

namespace {
/// What a masked-out score gets added: its exponential is zero, and sums with scores stay finite in
/// half precision.
constexpr double maskedOut = -3e4;

/// Repeats each head (axis -3) so that there are as many as `heads`.
Expr repeatHeads(const Expr &x, const Dim &heads) {
  Call &c = x.call();
  int64_t axis = x.rank() - 3;
  Dim own = x.shape()[axis];
  Dim times = floordiv(heads, own);
  if (times == Dim(1))
    return x;
  Shape shape(x.shape());
  shape.insert(shape.begin() + axis + 1, times);
  Expr tiled(c, c.broadcastTo(expandDims(x, {axis + 1}), shape));
  Shape merged(x.shape());
  merged[axis] = heads;
  return Expr(c, c.reshape(tiled, merged));
}

/// A [queries, keys] mask that lets a query see keys up to its own position: at least the first.
Value *causalMask(Call &c, const Dim &queries, const Dim &keys) {
  auto rows = queries.tryValue(), columns = keys.tryValue();
  if (rows && columns) {
    std::vector<float> mask(*rows * *columns, 0);
    for (int64_t i = 0; i < *rows; ++i)
      for (int64_t j = i + 1; j < *columns; ++j)
        mask[i * *columns + j] = maskedOut;
    return c.builder().constant(TensorData::from<float>(DType::F32, {*rows, *columns}, mask),
                                "causal_mask");
  }
  Expr row(c, c.reshape(iota(c, queries), {queries, 1}));
  Expr column(c, c.reshape(iota(c, keys), {1, keys}));
  return lessEqual(column, row);
}

/// softmax(q k^T / sqrt(E) * …+ mask) v, and 0 in rows that are masked wholly.
Expr attend(Expr q, Expr k, Expr v, const AttentionMask &rows, std::optional<double> scale,
            bool groupedHeads) {
  Call &c = q.call();
  if (!q.valid() || !k.valid() || !v.valid())
    return q;
  if (q.rank() < 2 || k.rank() < 2 || v.rank() < 2) {
    c.refuse(Code::OperandMismatch, "query, key and value need rank 2 or more");
    return q;
  }
  Dim width = q.shape().back();
  if (scale) {
    // The operation divides by sqrt(E) itself.
    double factor = width.isConst() ? *scale * std::sqrt(double(width.value())) : 0;
    if (!width.isConst())
      q = q * squareRoot(castTo(sizeOf(c, width), DType::F32)) * *scale;
    else if (std::abs(factor - 1) > 1e-6)
      q = q * factor;
  }
  if (groupedHeads && q.rank() >= 3) {
    k = repeatHeads(k, q.shape()[q.rank() - 3]);
    v = repeatHeads(v, q.shape()[q.rank() - 3]);
  }
  // One batch shape for all three, of rank at least 1.
  int64_t rank = std::max({q.rank(), k.rank(), v.rank(), int64_t(3)});
  auto batch =
      broadcastShapes(c, {q.shape().drop_back(2), k.shape().drop_back(2), v.shape().drop_back(2)});
  if (!batch)
    return q;
  bool flat = batch->empty();
  if (flat)
    batch->push_back(1);
  auto lift = [&](Expr x) {
    Shape shape = *batch;
    shape.append(x.shape().end() - 2, x.shape().end());
    if (x.rank() < rank) {
      Shape padded(rank - x.rank(), 1);
      padded.append(x.shape().begin(), x.shape().end());
      x = Expr(c, c.reshape(x, padded));
    }
    return Expr(c, c.broadcastTo(x, shape));
  };
  Value *mask = rows.value;
  if (mask && mask->type.isTensor()) {
    // Only the leading axes of a mask broadcast.
    Shape shape(mask->type.shape());
    if (shape.size() >= 2) {
      shape[shape.size() - 1] = k.shape()[k.rank() - 2];
      shape[shape.size() - 2] = q.shape()[q.rank() - 2];
      mask = c.broadcastTo(mask, shape);
    } else {
      mask = c.broadcastTo(mask, {q.shape()[q.rank() - 2], k.shape()[k.rank() - 2]});
    }
  }
  Expr y(c, c.emit(OpKind::scaled_dot_product_attention,
                   {{scaled_dot_product_attention::query, lift(q).value()},
                    {scaled_dot_product_attention::key, lift(k).value()},
                    {scaled_dot_product_attention::value, lift(v).value()},
                    {scaled_dot_product_attention::attn_mask, mask}}));
  y = zeroDeadRows(y, rows);
  return flat ? squeeze(y, {0}) : y;
}

void lowerAttention(Call &c) {
  Tensor q = c.tensor("query"), k = c.tensor("key"), v = c.tensor("value"),
         mask = c.optionalTensor("attn_mask");
  double dropout = c.number("dropout_p");
  bool causal = c.boolean("is_causal");
  bool grouped = c.schema().argumentIndexWithName("enable_gqa") && c.boolean("enable_gqa");
  auto scale = c.optionalNumber("scale");
  if (c.failed())
    return;
  if (dropout != 0)
    return c.refuse(
        Code::TrainingMode,
        "dropout of {0:.2f} in attention cannot be kept; call model.eval() before tracing",
        dropout);
  if (c.schema().returns().size() == 2 && c.isUsed(1))
    return c.refuse(Code::UnsupportedForm,
                    "only the attention's result can be used, not its logsumexp");
  if (causal && mask)
    return c.refuse(Code::UnsupportedForm, "a mask and is_causal exclude each other");
  AttentionMask rows;
  if (causal)
    rows.value = causalMask(c, q.size(q.rank() - 2), k.size(k.rank() - 2));
  else if (mask)
    rows = withoutDeadRows(c, mask.isBool() ? mask.value : c.castTo(mask.value, DType::F32));
  c.result(attend(Expr(c, q), Expr(c, k), Expr(c, v), rows, scale, grouped), q.dtype);
  if (c.schema().returns().size() == 2)
    c.result(Val());
}

/// [N, L, E] to [N, heads, L, E / heads].
Expr splitHeads(const Expr &x, int64_t heads) {
  Call &c = x.call();
  if (!x.valid())
    return x;
  auto s = x.shape();
  Value *split = c.reshape(x, {s[0], s[1], heads, floordiv(s[2], Dim(heads))});
  return Expr(c, c.permute(split, {0, 2, 1, 3}));
}

Expr mergeHeads(const Expr &x) {
  Call &c = x.call();
  if (!x.valid())
    return x;
  auto s = x.shape();
  return Expr(c, c.reshape(c.permute(x, {0, 2, 1, 3}), {s[0], s[2], s[1] * s[3]}));
}

/// One of the three stacked projections of an input projection [3 E, E].
Value *third(Call &c, llvm::StringRef name, int64_t index, int64_t width) {
  if (at::Tensor known = c.knownTensor(name); known.defined())
    return c.engine().constant(known.narrow(0, index * width, width));
  return slice(Expr(c, c.tensor(name)), 0, index * width, (index + 1) * width);
}

/// The masks of nn.MultiheadAttention's fast path are true where a position is left out: type 0
/// masks [L, L], 1 masks keys [N, L], 2 is a whole [N, heads, L, L] mask. PyTorch's kernel gives
/// NaN for rows that are masked wholly; 0 here, as the same layers give outside of the fast path.
AttentionMask fastPathMask(Call &c) {
  Tensor mask = c.optionalTensor("mask");
  if (!mask || c.failed())
    return {};
  int64_t type = c.optionalInteger("mask_type").value_or(mask.rank() == 2 ? 1 : 2);
  Expr m(c, mask);
  if (type == 1 && mask.rank() == 2)
    m = Expr(c, c.reshape(m, {mask.size(0), 1, 1, mask.size(1)}));
  return withoutDeadRows(c, mask.isBool() ? logicalNot(m) : m);
}

/// softmax(q k^T / sqrt(width) + mask): what scaled_dot_product_attention does not give.
Expr attentionWeights(const Expr &q, const Expr &k, const AttentionMask &rows, int64_t width) {
  Call &c = q.call();
  Value *mask = rows.value;
  Expr scores = matmul(q * (1 / std::sqrt(double(width))), k, false, /*transposeY=*/true);
  if (mask && mask->type.isTensor())
    scores = mask->type.dtype() == DType::Bool ? select(Expr(c, mask), scores, maskedOut)
                                               : scores + Expr(c, mask);
  Expr weights(c, c.emit(OpKind::softmax, {{softmax::x, scores.value()}, {softmax::axis, -1}}));
  return zeroDeadRows(weights, rows);
}

/// Self-attention with input and output projections, as both fused layers compute it.
/// `weights`, where not null, becomes what each head's softmax gives, [N, heads, L, S].
Expr selfAttention(Call &c, const Expr &q, const Expr &k, const Expr &v, int64_t width,
                   int64_t heads, Value **weights = nullptr) {
  Tensor weight = c.tensor("qkv_weight"), bias = c.tensor("qkv_bias");
  Tensor outWeight = c.tensor("proj_weight"), outBias = c.tensor("proj_bias");
  if (c.failed())
    return q;
  // The stacked weight is applied at once where all three inputs are one.
  llvm::SmallVector<Expr, 3> projected;
  if (q.value() == k.value() && q.value() == v.value()) {
    Expr all = linearLayer(q, weight.value, bias.value);
    for (int64_t i = 0; i < 3 && all.valid(); ++i)
      projected.push_back(slice(all, all.rank() - 1, i * width, (i + 1) * width));
  } else {
    int64_t i = 0;
    for (const Expr &x : {q, k, v}) {
      projected.push_back(
          linearLayer(x, third(c, "qkv_weight", i, width), third(c, "qkv_bias", i, width)));
      ++i;
    }
  }
  if (c.failed() || projected.size() != 3)
    return q;
  for (Expr &x : projected)
    x = splitHeads(x, heads);
  AttentionMask mask = fastPathMask(c);
  if (weights && projected[0].valid() && projected[1].valid())
    *weights = attentionWeights(projected[0], projected[1], mask, width / heads);
  Expr y = attend(projected[0], projected[1], projected[2], mask, std::nullopt, false);
  return linearLayer(mergeHeads(y), outWeight.value, outBias.value);
}

void lowerMultiHeadAttention(Call &c) {
  Tensor q = c.tensor("query"), k = c.tensor("key"), v = c.tensor("value");
  int64_t width = c.integer("embed_dim"), heads = c.integer("num_head");
  if (c.failed())
    return;
  Value *weights = nullptr;
  bool wanted = c.isUsed(1) && c.boolean("need_weights");
  c.result(selfAttention(c, Expr(c, q), Expr(c, k), Expr(c, v), width, heads,
                         wanted ? &weights : nullptr),
           q.dtype);
  if (!weights)
    return c.result(Val());
  Expr all(c, weights);
  if (c.boolean("average_attn_weights"))
    all = reduce(OpKind::reduce_mean, all, {1}, /*keepDims=*/false);
  c.result(all, q.dtype);
}

/// nn.TransformerEncoderLayer's fast path: attention and a two-layer network, each with a residual
/// and a layer norm before or after.
void lowerEncoderLayer(Call &c) {
  Tensor src = c.tensor("src");
  int64_t width = c.integer("embed_dim"), heads = c.integer("num_heads");
  bool gelu = c.boolean("use_gelu"), normFirst = c.boolean("norm_first");
  double epsilon = c.number("eps");
  auto weights = [&](llvm::StringRef name) { return c.tensor(name).value; };
  Value *norm1[] = {weights("norm_weight_1"), weights("norm_bias_1")};
  Value *norm2[] = {weights("norm_weight_2"), weights("norm_bias_2")};
  Value *first[] = {weights("ffn_weight_1"), weights("ffn_bias_1")};
  Value *second[] = {weights("ffn_weight_2"), weights("ffn_bias_2")};
  if (c.failed())
    return;
  auto normalize = [&](const Expr &x, Value **norm) {
    return layerNorm(x, 1, norm[0], norm[1], epsilon);
  };
  auto attention = [&](const Expr &x) { return selfAttention(c, x, x, x, width, heads); };
  auto network = [&](const Expr &x) {
    Expr hidden = linearLayer(x, first[0], first[1]);
    hidden = gelu
                 ? Expr(c, c.emit(OpKind::gelu, {{gelu::x, hidden.value()}, {gelu::mode, "EXACT"}}))
                 : unary(OpKind::relu, hidden);
    return linearLayer(hidden, second[0], second[1]);
  };
  Expr x(c, src);
  if (normFirst) {
    x = x + attention(normalize(x, norm1));
    x = x + network(normalize(x, norm2));
  } else {
    x = normalize(x + attention(x), norm1);
    x = normalize(x + network(x), norm2);
  }
  c.result(x, src.dtype);
}
} // namespace

void registerAttention(Table &table) {
  table.add(
      {"aten::scaled_dot_product_attention", "aten::_scaled_dot_product_flash_attention_for_cpu"},
      lowerAttention);
  table.add({"aten::_native_multi_head_attention"}, lowerMultiHeadAttention);
  table.add({"aten::_transformer_encoder_layer_fwd"}, lowerEncoderLayer);
}

} // namespace plait::frontend
