// Operations that are one MIL operation each: the rows of Direct.def.
#include "frontend/lower/Expr.h"
#include "frontend/lower/Families.h"

namespace plait::frontend {

namespace {
enum class Integers { Promote, Keep, Copy };

template <OpKind Kind, Integers Mode> void lower(Call &c) {
  Tensor x = c.tensor("self");
  if (c.failed())
    return;
  if (!x.isFloat()) {
    if (Mode == Integers::Copy)
      return c.result(x);
    x = Mode == Integers::Promote ? toFloat(c, x) : x.isBool() ? c.cast(x, at::kLong) : x;
  }
  c.result(unary(Kind, Expr(c, x)), x.dtype);
}
} // namespace

void registerDirect(Table &table) {
#define DIRECT(SCHEMA, OP, INTEGERS) table.add({SCHEMA}, lower<OpKind::OP, Integers::INTEGERS>);
#include "frontend/lower/Direct.def"
  table.setLeavesRange({"aten::square", "aten::abs", "aten::absolute"});
}

} // namespace plait::frontend
