// Lists, tuples and dictionaries: Python's containers, decided while compiling. Lists and
// dictionaries are shared objects: what one name appends, every name sees.
#include "frontend/engine/Engine.h"

#include <ATen/core/jit_type.h>
#include <torch/csrc/jit/ir/constants.h>

namespace plait::frontend {

namespace prim = c10::prim;
using Results = std::vector<Val>;

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

Engine::Handled Engine::containerPrimitive(Node &node, Arguments arguments) {
  c10::Symbol kind = node.kind();
  if (kind == prim::ListConstruct)
    return Results{makeList(node.output()->type()->expect<c10::ListType>()->getElementType(),
                            arguments.vec())};
  if (kind == prim::TupleConstruct)
    return Results{makeTuple(node.output()->type(), arguments.vec())};
  if (kind == prim::DictConstruct) {
    auto type = node.output()->type()->expect<c10::DictType>();
    auto dict = std::make_shared<DictObj>();
    dict->keyType = type->getKeyType();
    dict->valueType = type->getValueType();
    dict->serial = nextSerial_++;
    for (size_t i = 0; i + 1 < arguments.size(); i += 2) {
      auto key = toKnown(arguments[i]);
      if (!key) {
        fail(makeError("a dictionary has a key that is only known at run time"));
        return Results();
      }
      dict->entries.emplace_back(*key, arguments[i + 1]);
    }
    return Results{Val(std::move(dict))};
  }
  if (kind == prim::TupleUnpack || kind == prim::ListUnpack) {
    std::vector<Val> values;
    if (auto tuple = arguments[0].tuple())
      values = tuple->values;
    else if (auto list = arguments[0].list())
      values = list->values;
    else
      return Results();
    if (values.size() != node.outputs().size()) {
      fail(makeError("{0} values are unpacked into {1} names", values.size(),
                     node.outputs().size()));
      return Results();
    }
    return values;
  }
  if (kind == prim::TupleIndex) {
    auto tuple = arguments[0].tuple();
    auto index = arguments[1].known() ? std::optional(arguments[1].known()->toInt()) : std::nullopt;
    if (!tuple || !index)
      return Results();
    int64_t size = tuple->values.size(), i = *index < 0 ? *index + size : *index;
    TORCH_CHECK(i >= 0 && i < size, "tuple index ", *index, " is out of range");
    return Results{tuple->values[i]};
  }
  if (kind == prim::TupleSlice) {
    auto tuple = arguments[0].tuple();
    if (!tuple)
      return Results();
    int64_t begin = node.i(c10::attr::beg), end = node.i(c10::attr::end);
    return Results{makeTuple(node.output()->type(),
                             {tuple->values.begin() + begin, tuple->values.begin() + end})};
  }
  if (kind == prim::isinstance) {
    bool decided = false;
    c10::TypePtr type = node.input()->type();
    if (arguments[0].known() && !arguments[0].known()->isObject())
      type = arguments[0].known()->type();
    for (const c10::TypePtr &candidate : node.tys(c10::attr::types))
      decided |= type->isSubtypeOf(*candidate);
    return Results{Val(c10::IValue(decided))};
  }
  if (kind == prim::ConstantChunk) {
    auto self = arguments[0].tensor();
    if (!self)
      return Results();
    int64_t dim = node.i(c10::attr::dim), chunks = node.i(c10::attr::chunks);
    auto op = torch::jit::getOperatorForLiteral(
        "aten::chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]");
    auto list = call(op->schema(), {arguments[0], Val(c10::IValue(chunks)), Val(c10::IValue(dim))});
    return list && !list->empty() && (*list)[0].list() ? (*list)[0].list()->values : Results();
  }
  if (kind == prim::unchecked_unwrap_optional)
    return Results{arguments[0]};
  return std::nullopt;
}

Engine::Handled Engine::container(const c10::FunctionSchema &schema, Arguments arguments) {
  llvm::StringRef name = schema.name();
  if (!name.consume_front("aten::"))
    return std::nullopt;
  if (name == "__is__" || name == "__isnot__") {
    bool same;
    if (arguments[0].isNone() || arguments[1].isNone()) {
      same = arguments[0].isNone() && arguments[1].isNone();
    } else if (arguments[0].known() && arguments[1].known()) {
      same = arguments[0].known()->is(*arguments[1].known());
    } else {
      same = (arguments[0].tensor() && arguments[0].tensor() == arguments[1].tensor()) ||
             (arguments[0].list() && arguments[0].list() == arguments[1].list());
    }
    return Results{Val(c10::IValue(same == (name == "__is__")))};
  }
  if (name == "_unwrap_optional") {
    TORCH_CHECK(!arguments[0].isNone(), "None is unwrapped");
    return Results{arguments[0]};
  }
  auto integer = [&](unsigned i) -> int64_t {
    auto dim = dimOf(arguments[i]);
    TORCH_CHECK(dim && dim->isConst(),
                "a list is indexed by a value that is only known at run time; use a tensor");
    return dim->value();
  };

  if (auto list = arguments.empty() ? nullptr : arguments[0].list()) {
    auto &values = list->values;
    auto wrap = [&](int64_t index) {
      int64_t size = values.size(), i = index < 0 ? index + size : index;
      TORCH_CHECK(i >= 0 && i < size, "list index ", index, " is out of range for a list of ",
                  size);
      return i;
    };
    if (name == "len")
      return Results{Val(c10::IValue(int64_t(values.size())))};
    if (name == "__getitem__")
      return Results{values[wrap(integer(1))]};
    if (name == "slice") {
      int64_t size = values.size(), step = integer(3);
      TORCH_CHECK(step != 0, "a list is sliced with step 0");
      // Python's rule: backwards, -1 stands for the place before the first element.
      int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? size : size - 1;
      auto bound = [&](unsigned i, int64_t fallback) {
        if (arguments[i].isNone())
          return fallback;
        int64_t v = integer(i);
        return std::clamp<int64_t>(v < 0 && v >= -size ? v + size : v, lowest, highest);
      };
      int64_t begin = bound(1, step > 0 ? lowest : highest);
      int64_t end = bound(2, step > 0 ? highest : lowest);
      std::vector<Val> part;
      for (int64_t i = begin; step > 0 ? i < end : i > end; i += step)
        part.push_back(values[i]);
      return Results{makeList(list->elementType, std::move(part))};
    }
    if (name == "list" || name == "copy")
      return Results{makeList(list->elementType, values)};
    if (name == "add" && arguments[1].list()) {
      std::vector<Val> joined = values;
      llvm::append_range(joined, arguments[1].list()->values);
      return Results{makeList(list->elementType, std::move(joined))};
    }
    if (name == "mul" && arguments.size() == 2) {
      std::vector<Val> repeated;
      for (int64_t n = integer(1); n > 0; --n)
        llvm::append_range(repeated, values);
      return Results{makeList(list->elementType, std::move(repeated))};
    }
    if ((name == "eq" || name == "ne") && arguments[1].list()) {
      const auto &others = arguments[1].list()->values;
      std::optional<bool> same = values.size() == others.size();
      for (size_t i = 0; same && *same && i < values.size(); ++i)
        same = knownEqual(values[i], others[i]);
      if (!same)
        return std::nullopt;
      return Results{Val(c10::IValue(*same == (name == "eq")))};
    }
    if (name == "__contains__" || name == "index" || name == "count" || name == "remove") {
      int64_t count = 0, first = -1;
      for (auto [i, value] : llvm::enumerate(values)) {
        auto equal = knownEqual(value, arguments[1]);
        if (!equal)
          return std::nullopt;
        count += *equal;
        if (*equal && first < 0)
          first = i;
      }
      if (name == "__contains__")
        return Results{Val(c10::IValue(count > 0))};
      if (name == "count")
        return Results{Val(c10::IValue(count))};
      TORCH_CHECK(first >= 0, "the value is not in the list");
      if (name == "index")
        return Results{Val(c10::IValue(first))};
      touch(list);
      values.erase(values.begin() + first);
      return Results();
    }
    if (!schema.is_mutable() || schema.arguments()[0].type()->kind() != c10::TypeKind::ListType)
      return std::nullopt;
    if (!list->attribute.empty()) {
      fail(makeError("the model changes its attribute '{0}': what a Core ML function computes does "
                     "not persist "
                     "between calls",
                     list->attribute));
      return Results();
    }
    touch(list);
    if (name == "append") {
      values.push_back(arguments[1]);
      return Results{arguments[0]};
    }
    if (name == "insert") {
      int64_t size = values.size(), at = integer(1);
      values.insert(values.begin() + std::clamp<int64_t>(at < 0 ? at + size : at, 0, size),
                    arguments[2]);
      return Results();
    }
    if (name == "pop") {
      int64_t i = wrap(integer(1));
      Val value = values[i];
      values.erase(values.begin() + i);
      return Results{value};
    }
    if (name == "Delete") {
      values.erase(values.begin() + wrap(integer(1)));
      return Results();
    }
    if (name == "_set_item") {
      values[wrap(integer(1))] = arguments[2];
      return Results{arguments[0]};
    }
    if ((name == "extend" || name == "add_") && arguments[1].list()) {
      auto other = arguments[1].list()->values;
      llvm::append_range(values, other);
      return Results{arguments[0]};
    }
    if (name == "clear") {
      values.clear();
      return Results();
    }
    if (name == "reverse") {
      std::reverse(values.begin(), values.end());
      return Results();
    }
    if (name == "sort") {
      // Only what is known can be put in order.
      bool descending =
          arguments.size() > 1 && arguments[1].known() && arguments[1].known()->toBool();
      for (const Val &value : values)
        if (!value.known() || !value.known()->isScalar())
          return std::nullopt;
      llvm::stable_sort(values, [&](const Val &a, const Val &b) {
        double x = a.known()->toScalar().toDouble(), y = b.known()->toScalar().toDouble();
        return descending ? x > y : x < y;
      });
      return Results();
    }
    return std::nullopt;
  }

  if (auto dict = arguments.empty() ? nullptr : arguments[0].dict()) {
    auto &entries = dict->entries;
    auto find = [&](const Val &key) -> std::pair<c10::IValue, Val> * {
      auto known = toKnown(key);
      TORCH_CHECK(known, "a dictionary is indexed by a value that is only known at run time");
      for (auto &entry : entries)
        if (entry.first == *known)
          return &entry;
      return nullptr;
    };
    auto erase = [&](std::pair<c10::IValue, Val> *entry) {
      entries.erase(entries.begin() + (entry - entries.data()));
    };
    auto set = [&](const Val &key, const Val &value) {
      touch(dict);
      if (auto *entry = find(key))
        entry->second = value;
      else
        entries.emplace_back(*toKnown(key), value);
    };
    auto keyed = [&](const std::pair<c10::IValue, Val> &entry) { return fromIValue(entry.first); };
    if (name == "len")
      return Results{Val(c10::IValue(int64_t(entries.size())))};
    if (name == "__contains__")
      return Results{Val(c10::IValue(find(arguments[1]) != nullptr))};
    if (name == "__getitem__") {
      auto *entry = find(arguments[1]);
      TORCH_CHECK(entry, "the dictionary has no such key");
      return Results{entry->second};
    }
    if (name == "get") {
      auto *entry = find(arguments[1]);
      return Results{entry                  ? entry->second
                     : arguments.size() > 2 ? arguments[2]
                                            : Val(c10::IValue())};
    }
    if (name == "keys" || name == "values" || name == "items") {
      std::vector<Val> values;
      for (const auto &entry : entries)
        values.push_back(name == "keys" ? keyed(entry)
                         : name == "values"
                             ? entry.second
                             : makeTuple(c10::TupleType::create({dict->keyType, dict->valueType}),
                                         {keyed(entry), entry.second}));
      c10::TypePtr type =
          name == "keys" ? dict->keyType
          : name == "values"
              ? dict->valueType
              : c10::TypePtr(c10::TupleType::create({dict->keyType, dict->valueType}));
      return Results{makeList(std::move(type), std::move(values))};
    }
    if (name == "copy") {
      auto twin = std::make_shared<DictObj>(*dict);
      twin->serial = nextSerial_++;
      twin->attribute.clear();
      return Results{Val(std::move(twin))};
    }
    if (!schema.is_mutable())
      return std::nullopt;
    if (!dict->attribute.empty()) {
      fail(makeError("the model changes its attribute '{0}': what a Core ML function computes does "
                     "not persist "
                     "between calls",
                     dict->attribute));
      return Results();
    }
    if (name == "_set_item") {
      set(arguments[1], arguments[2]);
      return Results();
    }
    if (name == "setdefault") {
      if (!find(arguments[1]))
        set(arguments[1], arguments[2]);
      return Results{find(arguments[1])->second};
    }
    if (name == "pop" || name == "Delete") {
      auto *entry = find(arguments[1]);
      if (!entry && arguments.size() > 2)
        return Results{arguments[2]};
      TORCH_CHECK(entry, "the dictionary has no such key");
      touch(dict);
      Val value = entry->second;
      erase(entry);
      return name == "pop" ? Results{value} : Results();
    }
    if (name == "clear") {
      touch(dict);
      entries.clear();
      return Results();
    }
    if (name == "update" && arguments[1].dict()) {
      auto other = arguments[1].dict()->entries;
      for (const auto &[key, value] : other)
        set(fromIValue(key), value);
      return Results();
    }
  }
  return std::nullopt;
}

} // namespace plait::frontend
