// What does nothing in inference: its value is an argument, or it has none.
#include "frontend/lower/Families.h"

namespace plait::frontend {
namespace statements {

static Handled ignore(ValueCall &) { return none(); }
static Handled argument(ValueCall &c) { return one(c[0]); }

/// Dropout of a model in evaluation mode.
static Handled dropout(ValueCall &c) { return c.isFalse("train") ? one(c[0]) : std::nullopt; }
static Handled nativeDropout(ValueCall &c) {
  if (!c.isFalse("train"))
    return std::nullopt;
  return std::vector<Val>{c[0], Val()};
}

} // namespace statements

void registerStatements(Table &table) {
  using namespace statements;
  table.addValues({"aten::dropout", "aten::dropout_", "aten::feature_dropout",
                   "aten::feature_dropout_", "aten::alpha_dropout", "aten::alpha_dropout_",
                   "aten::feature_alpha_dropout", "aten::feature_alpha_dropout_"},
                  dropout);
  table.addValues({"aten::native_dropout"}, nativeDropout);
  table.addValues({"aten::warn", "aten::_assert_async", "aten::_assert_async.msg",
                   "aten::_assert_scalar", "aten::_assert_tensor_metadata",
                   "aten::sym_constrain_range", "aten::sym_constrain_range_for_size",
                   "aten::manual_seed", "aten::manual_seed.generator", "aten::set_grad_enabled",
                   "aten::_print", "profiler::_record_function_exit",
                   "profiler::_record_function_exit._RecordFunction"},
                  ignore);
  table.addValues(
      {"aten::requires_grad_", "aten::cuda", "aten::cpu", "aten::pin_memory", "aten::wait"},
      argument);
}

} // namespace plait::frontend
