// fuse-pad: takes zeros around an image into the padding of the convolution behind them.
//
//   %a = pad(x = %x, pad = [0, 0, 0, 0, 1, 1, 2, 0], constant_val = 0)  before: [begin, end] of
//   %b = conv(x = %a, weight = const W, pad_type = "valid")             each axis
//
//   %b = conv(x = %x, weight = const W, pad_type = "custom",            after
//             pad = [1, 1, 2, 0])
//
// The convolution must be all that uses the padded image, and its own padding in numbers. Batch and
// channels must not be padded.
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

/// The zeros before and behind each axis of space; nullopt where the operation adds anything else.
static std::optional<llvm::SmallVector<int64_t, 8>> zerosAround(const Op &op) {
  auto amounts = constInts(op[pad::pad]);
  if (!amounts || constString(op[pad::mode]) != "constant" || !isSplat(op[pad::constant_val], 0))
    return std::nullopt;
  // Axes that are not mentioned are the first ones.
  size_t whole = 2 * op[pad::x]->type.rank();
  amounts->insert(amounts->begin(), whole - amounts->size(), 0);
  if (amounts->size() <= 4 || llvm::any_of(*amounts, [](int64_t n) { return n < 0; }) ||
      llvm::any_of(llvm::ArrayRef(*amounts).take_front(4), [](int64_t n) { return n != 0; }))
    return std::nullopt;
  amounts->erase(amounts->begin(), amounts->begin() + 4);
  return amounts;
}

bool fusePad(Program &program, PassContext &) {
  bool changed = false;
  walk(program, [&](Op &op) {
    if (!op.is(OpKind::conv))
      return;
    Op *padding = op[conv::x]->hasOneUse() ? definedBy(op[conv::x], OpKind::pad) : nullptr;
    auto amounts = padding ? zerosAround(*padding) : std::nullopt;
    auto type = constString(op[conv::pad_type]);
    auto own = constInts(op[conv::pad]);
    if (!amounts || (type != "valid" && (type != "custom" || !own)))
      return;
    if (type == "custom")
      for (auto [amount, more] : llvm::zip(*amounts, *own))
        amount += more;
    Builder builder = Builder::before(&op);
    op.set(conv::pad_type, builder.constant(Attr::string("custom")));
    op.set(conv::pad, builder.ints(*amounts));
    op.set(conv::x, (*padding)[pad::x]);
    eraseDead(padding);
    changed = true;
  });
  return changed;
}

} // namespace plait::passes
