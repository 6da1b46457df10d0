// Python's lists, decided while compiling. A list is a shared object: what one name appends, every
// name sees.
#include "frontend/lower/Families.h"

namespace plait::frontend {
namespace lists {

/// One call whose first argument is a list.
struct ListCall : ValueCall {
  explicit ListCall(const ValueCall &call) : ValueCall(call), values(call[0].list()->values) {}

  Val::ListPtr list() const { return (*this)[0].list(); }
  Val make(std::vector<Val> elements) const {
    return engine().makeList(list()->elementType, std::move(elements));
  }
  int64_t integer(unsigned index) const {
    auto dim = engine().dimOf((*this)[index]);
    TORCH_CHECK(dim && dim->isConst(),
                "a list is indexed by a value that is only known at run time; use a tensor");
    return dim->value();
  }
  int64_t wrap(int64_t index) const {
    int64_t size = values.size(), i = index < 0 ? index + size : index;
    TORCH_CHECK(i >= 0 && i < size, "list index ", index, " is out of range for a list of ", size);
    return i;
  }

  std::vector<Val> &values;
};

using ListFn = Handled (*)(ListCall &);

template <ListFn fn> Handled of(ValueCall &c) {
  if (!c[0].list())
    return std::nullopt;
  ListCall call(c);
  return fn(call);
}

/// Operations that write to the list, which may be one of the model's own attributes.
template <ListFn fn> Handled changing(ValueCall &c) {
  auto list = c[0].list();
  if (!list)
    return std::nullopt;
  if (!c.engine().mayChange(list->attribute, "list"))
    return none();
  if (list->mayBeAliased)
    throw Refusal(Code::NotKnown,
                  "the list is one of several by a condition or a loop that is only decided at run "
                  "time; change a copy of it: list(…)");
  c.engine().touch(list);
  return of<fn>(c);
}

// ---- Reading -----------------------------------------------------------------------------------

static Handled length(ListCall &c) { return one(c10::IValue(int64_t(c.values.size()))); }
static Handled item(ListCall &c) { return one(c.values[c.wrap(c.integer(1))]); }
static Handled copy(ListCall &c) { return one(c.make(c.values)); }

static Handled slice(ListCall &c) {
  int64_t size = c.values.size(), step = c.integer(3);
  TORCH_CHECK(step != 0, "a list is sliced with step 0");
  // Python's rule: backwards, -1 stands for the place before the first element.
  int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? size : size - 1;
  auto bound = [&](unsigned i, int64_t fallback) {
    if (c[i].isNone())
      return fallback;
    int64_t v = c.integer(i);
    return std::clamp<int64_t>(v < 0 && v >= -size ? v + size : v, lowest, highest);
  };
  int64_t begin = bound(1, step > 0 ? lowest : highest);
  int64_t end = bound(2, step > 0 ? highest : lowest);
  std::vector<Val> part;
  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step)
    part.push_back(c.values[i]);
  return one(c.make(std::move(part)));
}

static Handled join(ListCall &c) {
  auto other = c[1].list();
  if (!other)
    return std::nullopt;
  std::vector<Val> joined = c.values;
  llvm::append_range(joined, other->values);
  return one(c.make(std::move(joined)));
}

static Handled repeat(ListCall &c) {
  std::vector<Val> repeated;
  for (int64_t n = c.integer(1); n > 0; --n)
    llvm::append_range(repeated, c.values);
  return one(c.make(std::move(repeated)));
}

/// Equality of known values, as `==`, `in` and `index` see it; nullopt where it is not decided.
static std::optional<bool> knownEqual(const Val &a, const Val &b) {
  if (a.known() && b.known()) {
    if (a.known()->tagKind() != b.known()->tagKind() &&
        !(a.known()->isScalar() && b.known()->isScalar()))
      return false;
    return *a.known() == *b.known();
  }
  if (auto x = a.asDim(), y = b.asDim(); x && y) {
    if (*x == *y)
      return true;
    Dim difference = *x - *y;
    if (difference.lower() > 0 || difference.upper() < 0)
      return false;
  }
  return std::nullopt;
}

static std::optional<bool> isEqual(ListCall &c) {
  auto other = c[1].list();
  if (!other)
    return std::nullopt;
  std::optional<bool> same = c.values.size() == other->values.size();
  for (size_t i = 0; same && *same && i < c.values.size(); ++i)
    same = knownEqual(c.values[i], other->values[i]);
  return same;
}
static Handled equal(ListCall &c) {
  auto same = isEqual(c);
  return same ? one(c10::IValue(*same)) : std::nullopt;
}
static Handled notEqual(ListCall &c) {
  auto same = isEqual(c);
  return same ? one(c10::IValue(!*same)) : std::nullopt;
}

/// Where the second argument is among the elements.
struct Found {
  int64_t count = 0, first = -1;
};
static std::optional<Found> search(ListCall &c) {
  Found found;
  for (auto [i, value] : llvm::enumerate(c.values)) {
    auto equal = knownEqual(value, c[1]);
    if (!equal)
      return std::nullopt;
    found.count += *equal;
    if (*equal && found.first < 0)
      found.first = i;
  }
  return found;
}
static Handled contains(ListCall &c) {
  auto found = search(c);
  return found ? one(c10::IValue(found->count > 0)) : std::nullopt;
}
static Handled count(ListCall &c) {
  auto found = search(c);
  return found ? one(c10::IValue(found->count)) : std::nullopt;
}
static Handled index(ListCall &c) {
  auto found = search(c);
  if (!found)
    return std::nullopt;
  TORCH_CHECK(found->first >= 0, "the value is not in the list");
  return one(c10::IValue(found->first));
}

// ---- Writing -----------------------------------------------------------------------------------

static Handled remove(ListCall &c) {
  auto found = search(c);
  if (!found)
    return std::nullopt;
  TORCH_CHECK(found->first >= 0, "the value is not in the list");
  c.values.erase(c.values.begin() + found->first);
  return none();
}

static Handled append(ListCall &c) {
  c.values.push_back(c[1]);
  return one(c[0]);
}

static Handled insert(ListCall &c) {
  int64_t size = c.values.size(), at = c.integer(1);
  c.values.insert(c.values.begin() + std::clamp<int64_t>(at < 0 ? at + size : at, 0, size), c[2]);
  return none();
}

static Handled pop(ListCall &c) {
  int64_t i = c.wrap(c.integer(1));
  Val value = c.values[i];
  c.values.erase(c.values.begin() + i);
  return one(value);
}

static Handled erase(ListCall &c) {
  c.values.erase(c.values.begin() + c.wrap(c.integer(1)));
  return none();
}

static Handled setItem(ListCall &c) {
  c.values[c.wrap(c.integer(1))] = c[2];
  return one(c[0]);
}

static Handled extend(ListCall &c) {
  if (!c[1].list())
    return std::nullopt;
  auto other = c[1].list()->values;
  llvm::append_range(c.values, other);
  return one(c[0]);
}

static Handled clear(ListCall &c) {
  c.values.clear();
  return none();
}

static Handled reverse(ListCall &c) {
  std::reverse(c.values.begin(), c.values.end());
  return none();
}

static Handled sort(ListCall &c) {
  // Only what is known can be put in order.
  bool descending = c.size() > 1 && c[1].known() && c[1].known()->toBool();
  for (const Val &value : c.values)
    if (!value.known() || !value.known()->isScalar())
      return std::nullopt;
  llvm::stable_sort(c.values, [&](const Val &a, const Val &b) {
    double x = a.known()->toScalar().toDouble(), y = b.known()->toScalar().toDouble();
    return descending ? x > y : x < y;
  });
  return none();
}

} // namespace lists

void registerLists(Table &table) {
  using namespace lists;
  table.addValues("aten::len", {"t", "any"}, of<length>);
  table.addValues({"aten::__getitem__.t"}, of<item>);
  table.addValues({"aten::slice.t"}, of<slice>);
  table.addValues({"aten::list.t", "aten::copy.t"}, of<copy>);
  table.addValues({"aten::add.t"}, of<join>);
  table.addValues({"aten::mul.left_t"}, of<repeat>);
  const auto ofElements = {"int_list", "float_list", "Tensor_list", "bool_list", "str_list"};
  table.addValues("aten::eq", ofElements, of<equal>);
  table.addValues("aten::ne", ofElements, of<notEqual>);
  table.addValues("aten::__contains__", {"int_list", "str_list", "float_list"}, of<contains>);
  const auto elements = {"int", "float", "bool", "Tensor", "str"};
  table.addValues("aten::count", elements, of<count>);
  table.addValues("aten::index", {"list_int", "list_float", "list_bool", "list_Tensor", "list_str"},
                  of<index>);

  table.addValues("aten::remove", elements, changing<remove>);
  table.addValues("aten::sort", elements, changing<sort>);
  table.addValues({"aten::sort.any"}, changing<sort>);
  table.addValues({"aten::append.t"}, changing<append>);
  table.addValues({"aten::insert.t"}, changing<insert>);
  table.addValues({"aten::pop.t"}, changing<pop>);
  table.addValues({"aten::Delete.t"}, changing<erase>);
  table.addValues({"aten::_set_item.t"}, changing<setItem>);
  table.addValues({"aten::extend.t", "aten::add_.t"}, changing<extend>);
  table.addValues({"aten::clear.t"}, changing<clear>);
  table.addValues({"aten::reverse.t"}, changing<reverse>);
}

} // namespace plait::frontend
