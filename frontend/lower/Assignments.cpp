// In-place operations whose functional form is plain assignment, and those that change what a
// tensor object views instead of what it holds. All others are their functional form, stored
// (engine/Mutation.cpp).
#include "frontend/lower/Families.h"
#include "frontend/lower/ViewCall.h"

namespace plait::frontend {
namespace assignments {

static Handled assign(ViewCall &c) {
  c.engine().write(*c.self, c[1]);
  return one(c[0]);
}

static Handled zero(ViewCall &c) {
  c.engine().write(*c.self, Val(c10::IValue(0)));
  return one(c[0]);
}

/// The object views what the functional form gives.
static Handled viewInPlace(ViewCall &c) {
  auto results = c.engine().functional(c.schema(), c.arguments());
  if (!results)
    return none();
  if (auto changed = results->front().tensor()) {
    if (c.self->mayBeAnother && changed->view.size() != c.self->view.size())
      throw Refusal(Code::SharedMemory,
                    "it changes the shape of a tensor that may or may not be another one; assign "
                    "what the form without the underscore gives");
    c.engine().touch(c.self);
    uint64_t serial = c.self->serial;
    bool mayBeAnother = c.self->mayBeAnother;
    *c.self = *changed;
    c.self->serial = serial;
    c.self->mayBeAnother = mayBeAnother;
  }
  return one(c[0]);
}

} // namespace assignments

void registerAssignments(Table &table) {
  using namespace assignments;
  table.addValues("aten::copy_", {"", "Tensor", "int", "float"}, ofTensor<assign>);
  table.addValues("aten::fill_", {"Scalar", "Tensor"}, ofTensor<assign>);
  table.addValues({"aten::zero_"}, ofTensor<zero>);
  table.addValues("aten::squeeze_", {"", "dim", "dims"}, ofTensor<viewInPlace>);
  table.addValues({"aten::unsqueeze_", "aten::t_", "aten::transpose_", "aten::swapaxes_",
                   "aten::swapdims_", "aten::detach_"},
                  ofTensor<viewInPlace>);
}

} // namespace plait::frontend
