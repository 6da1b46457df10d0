// Python's dictionaries, decided while compiling: in order of insertion, shared objects as lists
// are.
#include "frontend/lower/Families.h"

#include <ATen/core/jit_type.h>

namespace plait::frontend {
namespace dicts {

using Entry = std::pair<c10::IValue, Val>;

/// One call whose first argument is a dictionary.
struct DictCall : ValueCall {
  explicit DictCall(const ValueCall &call) : ValueCall(call), entries(call[0].dict()->entries) {}

  Val::DictPtr dict() const { return (*this)[0].dict(); }
  Entry *find(const Val &key) const {
    auto known = engine().toKnown(key);
    TORCH_CHECK(known, "a dictionary is indexed by a value that is only known at run time");
    for (Entry &entry : entries)
      if (entry.first == *known)
        return &entry;
    return nullptr;
  }
  void set(const Val &key, const Val &value) const {
    engine().touch(dict());
    if (Entry *entry = find(key))
      entry->second = value;
    else
      entries.emplace_back(*engine().toKnown(key), value);
  }
  c10::TypePtr itemType() const {
    return c10::TupleType::create({dict()->keyType, dict()->valueType});
  }

  std::vector<Entry> &entries;
};

using DictFn = Handled (*)(DictCall &);

template <DictFn fn> Handled of(ValueCall &c) {
  if (!c[0].dict())
    return std::nullopt;
  DictCall call(c);
  return fn(call);
}

/// Operations that write to the dictionary, which may be one of the model's own attributes.
template <DictFn fn> Handled changing(ValueCall &c) {
  auto dict = c[0].dict();
  if (dict && !c.engine().mayChange(dict->attribute, "dictionary"))
    return none();
  return of<fn>(c);
}

// ---- Reading -----------------------------------------------------------------------------------

static Handled length(DictCall &c) { return one(c10::IValue(int64_t(c.entries.size()))); }
static Handled contains(DictCall &c) { return one(c10::IValue(c.find(c[1]) != nullptr)); }

static Handled item(DictCall &c) {
  Entry *entry = c.find(c[1]);
  TORCH_CHECK(entry, "the dictionary has no such key");
  return one(entry->second);
}

static Handled get(DictCall &c) {
  Entry *entry = c.find(c[1]);
  return one(entry ? entry->second : c.size() > 2 ? c[2] : Val(c10::IValue()));
}

static Handled keys(DictCall &c) {
  std::vector<Val> values;
  for (const auto &[key, value] : c.entries)
    values.push_back(c.engine().fromIValue(key));
  return one(c.engine().makeList(c.dict()->keyType, std::move(values)));
}

static Handled values(DictCall &c) {
  std::vector<Val> values;
  for (const auto &[key, value] : c.entries)
    values.push_back(value);
  return one(c.engine().makeList(c.dict()->valueType, std::move(values)));
}

static Handled items(DictCall &c) {
  std::vector<Val> values;
  for (const auto &[key, value] : c.entries)
    values.push_back(c.engine().makeTuple(c.itemType(), {c.engine().fromIValue(key), value}));
  return one(c.engine().makeList(c.itemType(), std::move(values)));
}

static Handled copy(DictCall &c) {
  return one(c.engine().makeDict(c.dict()->keyType, c.dict()->valueType, c.entries));
}

// ---- Writing -----------------------------------------------------------------------------------

static Handled setItem(DictCall &c) {
  c.set(c[1], c[2]);
  return none();
}

static Handled setDefault(DictCall &c) {
  if (!c.find(c[1]))
    c.set(c[1], c[2]);
  return one(c.find(c[1])->second);
}

static Val take(DictCall &c, Entry *entry) {
  TORCH_CHECK(entry, "the dictionary has no such key");
  c.engine().touch(c.dict());
  Val value = entry->second;
  c.entries.erase(c.entries.begin() + (entry - c.entries.data()));
  return value;
}
static Handled pop(DictCall &c) {
  Entry *entry = c.find(c[1]);
  return one(!entry && c.size() > 2 ? c[2] : take(c, entry));
}
static Handled erase(DictCall &c) {
  take(c, c.find(c[1]));
  return none();
}

static Handled clear(DictCall &c) {
  c.engine().touch(c.dict());
  c.entries.clear();
  return none();
}

static Handled update(DictCall &c) {
  if (!c[1].dict())
    return std::nullopt;
  auto other = c[1].dict()->entries;
  for (const auto &[key, value] : other)
    c.set(c.engine().fromIValue(key), value);
  return none();
}

} // namespace dicts

void registerDicts(Table &table) {
  using namespace dicts;
  // One overload for each type of key.
  const auto overloads = {"str", "int", "bool", "float", "complex", "Tensor"};
  const auto prefixed = {"Dict_str",   "Dict_int",     "Dict_bool",
                         "Dict_float", "Dict_complex", "Dict_Tensor"};
  table.addValues("aten::len", prefixed, of<length>);
  table.addValues("aten::__contains__", overloads, of<contains>);
  table.addValues("aten::__getitem__", prefixed, of<item>);
  table.addValues("aten::get", overloads, of<get>);
  table.addValues("aten::get",
                  {"default_str", "default_int", "default_bool", "default_float", "default_complex",
                   "default_Tensor"},
                  of<get>);
  table.addValues("aten::keys", overloads, of<keys>);
  table.addValues("aten::values", overloads, of<values>);
  table.addValues("aten::items", overloads, of<items>);
  table.addValues("aten::copy", prefixed, of<copy>);

  table.addValues("aten::_set_item", overloads, changing<setItem>);
  table.addValues("aten::setdefault", overloads, changing<setDefault>);
  table.addValues("aten::pop", prefixed, changing<pop>);
  table.addValues("aten::pop",
                  {"Dict_default_str", "Dict_default_int", "Dict_default_bool",
                   "Dict_default_float", "Dict_default_complex", "Dict_default_Tensor"},
                  changing<pop>);
  table.addValues("aten::Delete", prefixed, changing<erase>);
  table.addValues("aten::clear", overloads, changing<clear>);
  table.addValues("aten::update", overloads, changing<update>);
}

} // namespace plait::frontend
