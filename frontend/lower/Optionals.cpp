// None and identity: decided while compiling.
#include "frontend/lower/Families.h"

namespace plait::frontend {
namespace optionals {

static bool isSame(ValueCall &c) {
  if (c[0].isNone() || c[1].isNone())
    return c[0].isNone() && c[1].isNone();
  if (c[0].known() && c[1].known())
    return c[0].known()->is(*c[1].known());
  return (c[0].tensor() && c[0].tensor() == c[1].tensor()) ||
         (c[0].list() && c[0].list() == c[1].list());
}
static Handled is(ValueCall &c) { return one(c10::IValue(isSame(c))); }
static Handled isNot(ValueCall &c) { return one(c10::IValue(!isSame(c))); }

static Handled unwrap(ValueCall &c) {
  TORCH_CHECK(!c[0].isNone(), "None is unwrapped");
  return one(c[0]);
}

} // namespace optionals

void registerOptionals(Table &table) {
  using namespace optionals;
  table.addValues({"aten::__is__"}, is);
  table.addValues({"aten::__isnot__"}, isNot);
  table.addValues({"aten::_unwrap_optional"}, unwrap);
}

} // namespace plait::frontend
