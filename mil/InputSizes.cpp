// Symbols of inputs: where they are read off, and whether given sizes agree on them.
#include "mil/InputSizes.h"

#include "mil/Materialise.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/CheckedArithmetic.h"
#include "llvm/Support/MathExtras.h"

namespace plait::mil {

using llvm::StringRef;

// ---- One size ----------------------------------------------------------------------------------

std::optional<int64_t> LinearSize::solve(int64_t size) const {
  auto product = llvm::checkedSub(size, offset);
  return product && *product % factor == 0 ? std::optional(*product / factor) : std::nullopt;
}

std::optional<std::pair<int64_t, int64_t>> LinearSize::solve(int64_t lower, int64_t upper) const {
  auto low = llvm::checkedSub(lower, offset), high = llvm::checkedSub(upper, offset);
  if (!low || (!high && upper != INT64_MAX))
    return std::nullopt;
  int64_t least = *low > 0 ? (*low - 1) / factor + 1 : *low / factor;
  int64_t most = upper == INT64_MAX ? INT64_MAX : llvm::divideFloorSigned(*high, factor);
  return least <= most ? std::optional(std::pair(least, most)) : std::nullopt;
}

std::optional<LinearSize> linearSize(const Dim &dim) {
  LinearSize form;
  unsigned symbols = 0;
  for (const Dim::Term &term : dim.terms()) {
    if (!llvm::isInt<32>(term.coefficient))
      return std::nullopt;
    if (term.factors.empty()) {
      form.offset = term.coefficient;
      continue;
    }
    if (term.factors.size() != 1 || term.factors[0].kind != Dim::Factor::Symbol ||
        term.coefficient < 1)
      return std::nullopt;
    ++symbols;
    form.symbol = term.factors[0].name;
    form.factor = term.coefficient;
  }
  return symbols == 1 ? std::optional(std::move(form)) : std::nullopt;
}

// ---- Sources -----------------------------------------------------------------------------------

std::optional<SizeSource> sourceOfSize(const Function &function, StringRef symbol) {
  std::optional<SizeSource> found;
  for (const auto &input : function.inputs())
    for (auto [axis, dim] :
         llvm::enumerate(input->type.isTensor() ? input->type.shape() : llvm::ArrayRef<Dim>())) {
      auto form = dim.isConst() ? std::nullopt : linearSize(dim);
      if (!form || form->symbol != symbol || (found && !form->isBare()))
        continue;
      bool isBare = form->isBare();
      found = SizeSource{input.get(), unsigned(axis), std::move(*form)};
      if (isBare)
        return found;
    }
  return found;
}

Value *sizeFrom(Builder &builder, const SizeSource &source) {
  Value *size = sizeOfAxis(builder, source.input, source.axis);
  auto with = [&](OpKind kind, int64_t number) {
    Value *other = builder.constant(TensorData::scalar(int32_t(number)));
    size = builder.emit(kind, {{add::x, size}, {add::y, other}}); // as all binary rows have them
  };
  if (source.form.offset != 0)
    with(OpKind::sub, source.form.offset);
  if (source.form.factor != 1)
    with(OpKind::floor_div, source.form.factor);
  return size;
}

std::vector<llvm::SmallVector<int64_t, 5>>
inputShapes(const Function &function,
            llvm::function_ref<int64_t(int64_t lower, int64_t upper)> choose) {
  std::map<std::string, int64_t, std::less<>> values;
  auto valueOf = [&](StringRef symbol) -> std::optional<int64_t> {
    if (auto known = values.find(symbol); known != values.end())
      return known->second;
    int64_t lower = 1, upper = INT64_MAX;
    if (auto source = sourceOfSize(function, symbol)) {
      const Dim &dim = source->input->type.shape()[source->axis];
      if (auto bounds = source->form.solve(std::max<int64_t>(dim.lower(), 1), dim.upper()))
        std::tie(lower, upper) = *bounds;
    }
    return values[symbol.str()] = choose(lower, upper);
  };
  std::vector<llvm::SmallVector<int64_t, 5>> shapes;
  for (const auto &input : function.inputs()) {
    auto &shape = shapes.emplace_back();
    const Type &type = input->type.isState() ? input->type.element() : input->type;
    for (const Dim &dim : type.shape())
      shape.push_back(dim.evaluate(valueOf).value_or(std::max<int64_t>(dim.lower(), 1)));
  }
  return shapes;
}

// ---- Given sizes -------------------------------------------------------------------------------

namespace {

/// A symbol's value, and the input that says it.
struct Solved {
  int64_t value;
  const Value *by;
};

} // namespace

static Error contradiction(const Value &input, llvm::ArrayRef<int64_t> given,
                           const std::string &why) {
  llvm::SmallVector<Dim, 5> dims(given.begin(), given.end());
  return makeError(Code::ArrayMismatch,
                   "input '{0}' has shape {1} where the function takes {2}: {3}", input.name,
                   str(dims), str(input.type.shape()), why);
}

Error checkInputSizes(const Function &function,
                      const std::map<const Value *, llvm::SmallVector<int64_t, 5>> &shapes) {
  std::map<std::string, Solved, std::less<>> solved;
  auto eachSize = [&](auto &&visit) -> Error {
    for (const auto &input : function.inputs())
      if (auto it = shapes.find(input.get()); it != shapes.end())
        for (auto [dim, size] : llvm::zip(input->type.shape(), it->second))
          if (!dim.isConst())
            if (Error error = visit(*input, llvm::ArrayRef<int64_t>(it->second), dim, size))
              return error;
    return Error::success();
  };
  // What stands alone says its value first, in order; then what follows from one size.
  for (bool bare : {true, false}) {
    Error error = eachSize([&](const Value &input, llvm::ArrayRef<int64_t> shape, const Dim &dim,
                               int64_t size) -> Error {
      auto form = linearSize(dim);
      if (!form || form->isBare() != bare || solved.count(form->symbol))
        return Error::success();
      auto value = form->solve(size);
      if (!value)
        return contradiction(input, shape, fmt::format("{0} is no {1}", size, dim.str()));
      solved[form->symbol] = {*value, &input};
      return Error::success();
    });
    if (error)
      return error;
  }
  return eachSize([&](const Value &input, llvm::ArrayRef<int64_t> shape, const Dim &dim,
                      int64_t size) -> Error {
    std::string by;
    auto wanted = dim.evaluate([&](StringRef symbol) -> std::optional<int64_t> {
      auto it = solved.find(symbol);
      if (it == solved.end())
        return std::nullopt;
      std::string one =
          fmt::format("input '{0}' has {1} = {2}", it->second.by->name, symbol, it->second.value);
      if (!StringRef(by).contains(one))
        by += (by.empty() ? "" : " and ") + one;
      return it->second.value;
    });
    if (!wanted || *wanted == size)
      return Error::success();
    return contradiction(
        input, shape,
        by + (dim.isSymbol() ? "" : fmt::format(", so that {0} is {1}", dim.str(), *wanted)));
  });
}

} // namespace plait::mil
