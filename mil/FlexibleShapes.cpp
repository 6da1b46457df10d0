// FlexibleShapeInformation, read and made.
#include "mil/FlexibleShapes.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::mil {

namespace {

using Sizes = llvm::SmallVector<int64_t, 5>;

std::optional<Sizes> sizesOf(const Attr &attr) {
  const TensorData *tensor = attr.tensor();
  if (!tensor || tensor->dtype() != DType::I32)
    return std::nullopt;
  auto values = tensor->intValues();
  if (!values) {
    llvm::consumeError(values.takeError());
    return std::nullopt;
  }
  return Sizes(values->begin(), values->end());
}

/// What is known of one input.
struct Knowledge {
  Sizes defaultShape;
  std::vector<Sizes> enumerated;
  std::vector<std::pair<int64_t, int64_t>> ranges;
};

bool fits(const Value &input, llvm::ArrayRef<int64_t> sizes) {
  return input.type.isTensor() && sizes.size() == input.type.rank() &&
         llvm::all_of(sizes, [](int64_t size) { return size >= 1; }) &&
         compatible(input.type, Type::tensor(input.type.dtype(), sizes));
}

/// Reads the attribute. False where it has another form.
class Reader {
public:
  explicit Reader(const Function &function)
      : known(function.inputs().size()), inputs_(function.inputs()) {}

  bool read(const Attr &attribute) {
    const auto *parts = attribute.elements();
    return parts && llvm::all_of(*parts, [&](const Attr &part) { return readPart(part); });
  }

  std::vector<Knowledge> known; ///< parallel to the inputs

private:
  bool readPart(const Attr &part) {
    const auto *pair = part.elements();
    const std::string *name = pair && pair->size() == 2 ? (*pair)[0].string() : nullptr;
    const Attr::Dict *entries = name ? (*pair)[1].dict() : nullptr;
    if (!entries)
      return false;
    if (*name == "DefaultShapes")
      return eachInput(*entries, [](Knowledge &k, const Value &input, const Attr &value) {
        auto sizes = sizesOf(value);
        if (!sizes || !fits(input, *sizes))
          return false;
        k.defaultShape = *sizes;
        return true;
      });
    if (*name == "EnumeratedShapes")
      return llvm::all_of(*entries, [&](const auto &entry) {
        const Attr::Dict *shapes = entry.second.dict();
        return shapes &&
               eachInput(*shapes, [](Knowledge &k, const Value &input, const Attr &value) {
                 auto sizes = sizesOf(value);
                 if (!sizes || !fits(input, *sizes))
                   return false;
                 k.enumerated.push_back(*sizes);
                 return true;
               });
      });
    if (*name == "RangeDims")
      return eachInput(*entries, [](Knowledge &k, const Value &input, const Attr &value) {
        const auto *ranges = value.elements();
        if (!ranges || !input.type.isTensor() || ranges->size() != input.type.rank())
          return false;
        for (const Attr &range : *ranges) {
          auto bounds = sizesOf(range);
          if (!bounds || bounds->size() != 2 || (*bounds)[0] < 0)
            return false;
          int64_t upper = (*bounds)[1] < 0 ? INT64_MAX : (*bounds)[1];
          if (upper < (*bounds)[0])
            return false;
          k.ranges.emplace_back((*bounds)[0], upper);
        }
        return true;
      });
    return false;
  }

  bool eachInput(const Attr::Dict &entries,
                 llvm::function_ref<bool(Knowledge &, const Value &, const Attr &)> take) {
    for (const auto &[key, value] : entries) {
      const std::string *name = key.string();
      auto it =
          llvm::find_if(inputs_, [&](const auto &input) { return name && input->name == *name; });
      if (it == inputs_.end() || !take(known[it - inputs_.begin()], **it, value))
        return false;
    }
    return true;
  }

  llvm::ArrayRef<std::unique_ptr<Value>> inputs_;
};

/// The bounds of dimension `i`: stated, or those of the enumerated shapes.
std::pair<int64_t, int64_t> boundsOf(const Knowledge &k, size_t i) {
  if (!k.ranges.empty())
    return k.ranges[i];
  if (k.enumerated.empty())
    return {1, INT64_MAX};
  auto at = [&](const Sizes &a, const Sizes &b) { return a[i] < b[i]; };
  auto [least, most] = std::minmax_element(k.enumerated.begin(), k.enumerated.end(), at);
  return {(*least)[i], (*most)[i]};
}

Attr sizesAttr(llvm::ArrayRef<int64_t> sizes) { return TensorData::ints(sizes); }

bool isStatable(llvm::ArrayRef<int64_t> sizes) {
  return llvm::all_of(sizes, [](int64_t size) { return size >= 1 && size <= INT32_MAX; });
}

Type sizesType() { return Type::tensor(DType::I32, llvm::ArrayRef<Dim>(Dim::unknown())); }
Type stringType() { return Type::tensor(DType::String); }

Attr part(const char *name, Attr entries) {
  return Attr::tuple({Attr::string(name), std::move(entries)});
}

} // namespace

bool applyFlexibleShapes(Function &function, const Attr &attribute) {
  Reader reader(function);
  if (!reader.read(attribute))
    return false;
  function.inputInfo.resize(function.inputs().size());
  for (auto [k, input, info] : llvm::zip(reader.known, function.inputs(), function.inputInfo)) {
    if (!input->type.isTensor() || input->type.hasStaticShape())
      continue;
    Shape shape(input->type.shape());
    for (auto [i, dim] : llvm::enumerate(shape)) {
      if (dim.isConst())
        continue;
      auto [lower, upper] = boundsOf(k, i);
      std::string name = dim.isSymbol() ? dim.str() : "";
      if (name.empty() || name[0] == '?')
        name = input->name + "_" + std::to_string(i);
      dim = Dim::symbol(name, std::max<int64_t>(lower, 1), std::max<int64_t>(upper, 1));
    }
    input->type = input->type.withShape(shape);
    info.defaultShape = k.defaultShape;
    info.enumeratedShapes = std::move(k.enumerated);
  }
  return true;
}

std::optional<Attr> flexibleShapes(const Function &function) {
  Attr::Dict defaults, ranges;
  std::vector<Attr::Dict> enumerated;
  for (auto [i, input] : llvm::enumerate(function.inputs())) {
    if (!input->type.isTensor() || input->type.hasStaticShape())
      continue;
    static const InputInfo nothing;
    const InputInfo &info = i < function.inputInfo.size() ? function.inputInfo[i] : nothing;
    Attr name = Attr::string(input->name);
    if (!isStatable(info.defaultShape) || !llvm::all_of(info.enumeratedShapes, isStatable))
      continue;
    if (!info.defaultShape.empty())
      defaults.emplace_back(name, sizesAttr(info.defaultShape));
    if (!info.enumeratedShapes.empty()) {
      enumerated.resize(std::max(enumerated.size(), info.enumeratedShapes.size()));
      for (auto [k, sizes] : llvm::enumerate(info.enumeratedShapes))
        enumerated[k].emplace_back(name, sizesAttr(sizes));
      continue;
    }
    bool bounded = llvm::any_of(input->type.shape(), [](const Dim &dim) {
      return !dim.isConst() && (dim.lower() > 1 || dim.upper() < INT64_MAX);
    });
    if (!bounded)
      continue;
    std::vector<Attr> bounds;
    for (const Dim &dim : input->type.shape()) {
      int64_t upper = dim.upper() > INT32_MAX ? -1 : dim.upper();
      bounds.push_back(sizesAttr({std::clamp<int64_t>(dim.lower(), 0, INT32_MAX), upper}));
    }
    Type pair = Type::tensor(DType::I32, {2});
    ranges.emplace_back(name, Attr::list(pair, std::move(bounds)));
  }
  std::vector<Attr> parts;
  if (!defaults.empty())
    parts.push_back(
        part("DefaultShapes", Attr::dict(stringType(), sizesType(), std::move(defaults))));
  if (!enumerated.empty()) {
    Type shapes = Type::dict(stringType(), sizesType());
    Attr::Dict entries;
    for (auto [k, inputs] : llvm::enumerate(enumerated))
      entries.emplace_back(Attr::string(std::to_string(k)),
                           Attr::dict(stringType(), sizesType(), std::move(inputs)));
    parts.push_back(part("EnumeratedShapes", Attr::dict(stringType(), shapes, std::move(entries))));
  }
  if (!ranges.empty()) {
    Type bounds = Type::list(Type::tensor(DType::I32, {2}), Dim::unknown());
    parts.push_back(part("RangeDims", Attr::dict(stringType(), bounds, std::move(ranges))));
  }
  if (parts.empty())
    return std::nullopt;
  return Attr::tuple(std::move(parts));
}

} // namespace plait::mil
