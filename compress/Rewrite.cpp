// The operations of each form.
#include "compress/Rewrite.h"

#include "mil/Builder.h"

namespace plait::compress {

using namespace mil;

/// Adds up(down(x)) to the layer's result.
static Error correct(Op &layer, Value *down, Value *up) {
  Value *plain = layer.result();
  std::string name = plain->name.str();
  Builder b = Builder::before(&layer);
  b.setInsertionPoint(*layer.parent(), std::next(layer.getIterator()));
  Value *few = b.emit(OpKind::linear, {{linear::x, layer[linear::x]}, {linear::weight, down}},
                      name + "_down");
  Value *error = b.emit(OpKind::linear, {{linear::x, few}, {linear::weight, up}}, name + "_up");
  Value *sum = b.emit(OpKind::add, {{add::x, error}, {add::y, error}}, name + "_plain");
  if (Error failure = b.takeError())
    return failure;
  // The sum is what everybody knows by the name.
  plain->replaceAllUsesWith(sum);
  sum->def()->set(add::x, plain);
  std::swap(plain->name, sum->name);
  std::swap(layer.name, sum->def()->name);
  return Error::success();
}

Error replaceWeight(Op &constant, const Compressed &parts) {
  Value *weight = constant.result();
  std::string name = weight->name.str();
  Builder b = Builder::before(&constant);
  // Whose numbers they stand for is not forgotten.
  TensorData codes = parts.data.withOrigin(originOf(*constant.val().tensor()).asComputed());
  auto part = [&](const TensorData &tensor, const char *what) -> Value * {
    return tensor ? b.constant(tensor, name + "_" + what) : nullptr;
  };
  // Parameters that are absent are left out of the list.
  Value *axis = parts.vectorAxis ? b.scalar(DType::I32, *parts.vectorAxis) : nullptr;
  auto emit = [&](OpKind kind, llvm::ArrayRef<std::pair<unsigned, Value *>> operands,
                  const llvm::Twine &hint) {
    llvm::SmallVector<Arg, 4> args;
    for (auto [param, value] : operands)
      if (value)
        args.emplace_back(param, value);
    return b.create(kind, args, hint.str());
  };
  // What is not pruned is dense already; what is pruned gets its zeros at the end.
  Value *mask = part(parts.mask, "mask"), *result = nullptr;
  Op *op = nullptr;
  if (parts.table) {
    Value *table = part(parts.table, "palette");
    if (parts.scale) {
      namespace p = constexpr_blockwise_shift_scale;
      op = emit(OpKind::constexpr_blockwise_shift_scale,
                {{p::data, table},
                 {p::scale, part(parts.scale, "palette_scale")},
                 {p::offset, part(parts.offset, "palette_offset")}},
                name + "_table");
      table = op ? op->result() : nullptr;
    }
    Value *indices = part(codes, "indices");
    namespace d = constexpr_lut_to_dense;
    namespace s = constexpr_lut_to_sparse;
    if (table)
      op =
          mask
              ? emit(OpKind::constexpr_lut_to_sparse,
                     {{s::indices_mask, mask}, {s::indices_nonzero_data, indices}, {s::lut, table}},
                     name + "_sparse")
              : emit(OpKind::constexpr_lut_to_dense,
                     {{d::indices, indices}, {d::lut, table}, {d::vector_axis, axis}},
                     name + "_dense");
  } else if (parts.scale) {
    Value *data = part(codes, "integers"), *scale = part(parts.scale, "scale"),
          *offset = part(parts.offset, "offset");
    namespace d = constexpr_blockwise_shift_scale;
    namespace s = constexpr_sparse_blockwise_shift_scale;
    op = mask ? emit(OpKind::constexpr_sparse_blockwise_shift_scale,
                     {{s::data_mask, mask},
                      {s::nonzero_data, data},
                      {s::scale, scale},
                      {s::offset, offset}},
                     name + "_sparse")
              : emit(OpKind::constexpr_blockwise_shift_scale,
                     {{d::data, data}, {d::scale, scale}, {d::offset, offset}}, name + "_dense");
  }
  if (op && !mask)
    result = op->result();
  if (mask) {
    namespace p = constexpr_sparse_to_dense;
    bool joint = parts.table || parts.scale;
    if (!joint || op)
      op = emit(OpKind::constexpr_sparse_to_dense,
                {{p::nonzero_data, joint ? op->result(1) : part(codes, "nonzero")},
                 {p::mask, joint ? op->result(0) : mask}},
                name + "_dense");
    result = op ? op->result() : nullptr;
  }
  Value *down = part(parts.down, "down"), *up = part(parts.up, "up");
  if (Error error = b.takeError())
    return error;
  llvm::SmallVector<Op *, 4> layers;
  if (down)
    layers = weight->users();
  weight->replaceAllUsesWith(result);
  constant.erase();
  for (Op *layer : layers)
    if (Error error = correct(*layer, down, up))
      return error;
  return Error::success();
}

} // namespace plait::compress
