// A walk over a result.
#include "frontend/live/Results.h"

#include <c10/util/Exception.h>

namespace plait::frontend {

static void add(const c10::IValue &value, const std::string &name, Results &results) {
  auto elements = [&](c10::ArrayRef<c10::IValue> values) {
    for (size_t i = 0; i < values.size(); ++i)
      add(values[i], name.empty() ? "" : name + "_" + std::to_string(i), results);
  };
  if (value.isTensor()) {
    if (!value.toTensor().defined())
      return;
    results.tensors.push_back(value.toTensor());
    results.names.push_back(name);
  } else if (value.isTuple()) {
    elements(value.toTupleRef().elements());
  } else if (value.isList()) {
    elements(value.toListRef());
  } else if (value.isGenericDict()) {
    for (const auto &entry : value.toGenericDict()) {
      std::string key = entry.key().isString() ? entry.key().toStringRef() : "";
      add(entry.value(), name.empty() || key.empty() ? name + key : name + "_" + key, results);
    }
  } else if (!value.isNone()) {
    C10_THROW_ERROR(ValueError, "its result has a " + value.tagKind() +
                                    " in it, where tensors are wanted, alone or in tuples, lists "
                                    "and dictionaries");
  }
}

Results flatten(const c10::IValue &result, const std::string &name) {
  Results results;
  add(result, name, results);
  return results;
}

} // namespace plait::frontend
