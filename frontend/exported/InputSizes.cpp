// From the program's symbols to the interface's.
#include "frontend/exported/InputSizes.h"

#include "mil/InputSizes.h"
#include "mil/SizeExpression.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"

namespace plait::frontend {

using exported::Argument;
using llvm::StringRef;
using SpecKind = exported::InputSpec::Kind;

Expected<std::vector<ProgramInput>> programInputs(const exported::Program &program) {
  std::vector<ProgramInput> inputs;
  for (auto [spec, input] : llvm::zip(program.inputs, program.graph.inputs)) {
    if (spec.kind != SpecKind::User)
      continue;
    if (input.kind == Argument::Kind::CustomObject)
      return makeError(Code::UnsupportedType,
                       "the model takes an object of the class '{0}', which cannot be an input of "
                       "a Core ML function; export it without",
                       input.text);
    if (input.kind != Argument::Kind::Name)
      continue; // a number, text or None that the program was made for
    if (input.member != "as_tensor") {
      inputs.push_back({input.text, nullptr, &input});
      continue;
    }
    auto meta = program.graph.tensors.find(input.text);
    if (meta == program.graph.tensors.end())
      return makeError(Code::ArchiveDamaged,
                       "the archive does not describe its input '{0}'; save it again", input.text);
    inputs.push_back({input.text, &meta->second, &input});
  }
  return inputs;
}

Expected<Dim> sizeOf(const exported::Size &size, const SymbolRanges &ranges) {
  if (size.number)
    return Dim(*size.number);
  return mil::parseSize(size.expression, [&](StringRef name) -> std::optional<Dim> {
    auto range = ranges.find(name.str());
    if (range == ranges.end())
      return Dim::symbol(name, 1);
    int64_t lower = std::max<int64_t>(range->second.lower.value_or(1), 1);
    int64_t upper = range->second.upper.value_or(INT64_MAX);
    return lower == upper ? Dim(lower) : Dim::symbol(name, lower, upper);
  });
}

namespace {

/// A dimension whose size is an expression.
struct Occurrence {
  size_t input, axis;
  const exported::Size *size;
  std::optional<mil::LinearSize> form; ///< over the program's symbols
};

} // namespace

/// Nothing of inputs with enumerated shapes: each of these is a size of its own.
static Expected<std::vector<Occurrence>> occurrencesIn(llvm::ArrayRef<ProgramInput> inputs,
                                                       llvm::ArrayRef<const InputSpec *> declared) {
  std::vector<Occurrence> all;
  for (auto [i, input, spec] : llvm::enumerate(inputs, declared)) {
    if (!input.meta || !spec || !spec->enumerated.empty() ||
        spec->shape.size() != input.meta->sizes.size())
      continue;
    for (auto [axis, size] : llvm::enumerate(input.meta->sizes)) {
      if (size.number)
        continue;
      auto dim = sizeOf(size, {});
      if (!dim)
        return addContext(dim.takeError(), "input '" + input.name + "'");
      all.push_back({i, axis, &size, mil::linearSize(*dim)});
    }
  }
  return all;
}

Expected<SymbolRanges> narrowedRanges(const exported::Program &program,
                                      llvm::ArrayRef<ProgramInput> inputs,
                                      llvm::ArrayRef<const InputSpec *> declared) {
  SymbolRanges ranges = program.ranges;
  auto occurrences = occurrencesIn(inputs, declared);
  if (!occurrences)
    return occurrences.takeError();
  for (const Occurrence &at : *occurrences) {
    const InputSpec::Range &range = declared[at.input]->shape[at.axis];
    auto bounds = at.form ? at.form->solve(range.lower, range.upper) : std::nullopt;
    if (!bounds)
      continue;
    exported::Range &known = ranges[at.form->symbol];
    int64_t lower = std::max(known.lower.value_or(1), bounds->first);
    int64_t upper = std::min(known.upper.value_or(INT64_MAX), bounds->second);
    if (lower > upper)
      continue;
    known.lower = lower;
    if (upper != INT64_MAX)
      known.upper = upper;
  }
  return ranges;
}

namespace {

/// Finds what of the interface each symbol of the program is.
class SymbolNames {
public:
  SymbolNames(llvm::ArrayRef<ProgramInput> inputs, llvm::ArrayRef<InputSpec> declared)
      : inputs_(inputs), declared_(declared) {
    for (const InputSpec &spec : declared)
      specs_.push_back(&spec);
  }

  Expected<std::vector<InputShape>> run() {
    auto occurrences = occurrencesIn(inputs_, specs_);
    if (!occurrences)
      return occurrences.takeError();
    occurrences_ = std::move(*occurrences);
    takeNames();
    for (const Occurrence &at : occurrences_)
      if (at.form && at.form->isBare())
        if (Error error = addBare(at))
          return error;
    for (const Occurrence &at : occurrences_)
      if (at.form && !at.form->isBare() && !symbols_.count(at.form->symbol))
        addFrom(at);
    return shapes();
  }

private:
  struct Symbol {
    Dim dim;
    std::string input;
    InputSpec::Range range;
  };

  const InputSpec::Range &rangeAt(const Occurrence &at) const {
    return declared_[at.input].shape[at.axis];
  }

  /// A name of the user's is no other size.
  void takeNames() {
    for (const InputSpec &spec : declared_)
      for (const InputSpec::Range &range : spec.shape)
        if (!range.name.empty())
          taken_.insert(range.name);
  }
  std::string nameFor(std::string wanted) {
    while (!taken_.insert(wanted).second)
      wanted += "_";
    return wanted;
  }
  std::string ownName(size_t input, size_t axis) {
    return nameFor(declared_[input].name + "_" + std::to_string(axis));
  }

  Dim named(const std::string &name, int64_t lower, int64_t upper) {
    lowest_[name] = lower;
    return lower == upper ? Dim(lower) : Dim::symbol(name, lower, upper);
  }
  Dim own(size_t input, size_t axis) {
    const InputSpec::Range &range = declared_[input].shape[axis];
    return named(range.name.empty() ? ownName(input, axis) : range.name, range.lower, range.upper);
  }

  Error addBare(const Occurrence &at) {
    const InputSpec::Range &range = rangeAt(at);
    auto [known, isNew] = symbols_.try_emplace(at.form->symbol);
    if (isNew) {
      known->second = {own(at.input, at.axis), declared_[at.input].name, range};
      return Error::success();
    }
    const InputSpec::Range &first = known->second.range;
    if (first.lower == range.lower && first.upper == range.upper)
      return Error::success();
    return makeError(Code::InputShape,
                     "inputs '{0}' and '{1}' have one size in common (dimension {2} of the "
                     "second); declare the same range for both",
                     known->second.input, declared_[at.input].name, at.axis);
  }

  /// Of a symbol that no dimension is alone: its range follows from the first that has it.
  void addFrom(const Occurrence &at) {
    const InputSpec::Range &range = rangeAt(at);
    auto bounds = at.form->solve(range.lower, range.upper);
    if (!bounds || bounds->first < 1)
      return;
    std::string name = nameFor(mil::legalName(at.form->symbol));
    symbols_[at.form->symbol] = {named(name, bounds->first, bounds->second),
                                 declared_[at.input].name, range};
  }

  /// A size that is not one symbol alone, over the interface's symbols; a size of its own where it
  /// cannot be said so.
  Expected<Dim> derived(const Occurrence &at) {
    const InputSpec::Range &range = rangeAt(at);
    const InputSpec &spec = declared_[at.input];
    if (Error error = checkName(at))
      return error;
    bool isKnown = true;
    auto dim = mil::parseSize(at.size->expression, [&](StringRef name) -> std::optional<Dim> {
      auto it = symbols_.find(name.str());
      isKnown &= it != symbols_.end();
      return it == symbols_.end() ? Dim::symbol(name) : it->second.dim;
    });
    if (!dim)
      return dim.takeError();
    bool fits = isKnown && dim->lower() == range.lower && dim->upper() == range.upper;
    if (isKnown && !fits && at.form)
      return makeError(Code::InputShape,
                       "dimension {0} of input '{1}' is declared {2}..{3}, and it is {4}, from {5} "
                       "to {6} where the other inputs are as declared; declare it so, or leave it "
                       "out",
                       at.axis, spec.name, range.lower, range.upper, dim->str(), dim->lower(),
                       dim->upper());
    return fits ? *dim : own(at.input, at.axis);
  }

  /// A name says that sizes are equal; of what is no size of its own it can only say that again.
  Error checkName(const Occurrence &at) const {
    const std::string &name = rangeAt(at).name;
    if (name.empty())
      return Error::success();
    for (auto [i, spec] : llvm::enumerate(declared_))
      for (auto [axis, range] : llvm::enumerate(spec.shape)) {
        auto isThis = [&, i = i, axis = axis](const Occurrence &other) {
          return other.input == i && other.axis == axis &&
                 other.size->expression == at.size->expression;
        };
        if (range.name == name && llvm::none_of(occurrences_, isThis))
          return makeError(Code::InputShape,
                           "dimension {0} of input '{1}' is called '{2}', as is dimension {3} of "
                           "input '{4}', and by the program the two are not equal; give them "
                           "different names",
                           at.axis, declared_[at.input].name, name, axis, spec.name);
      }
    return Error::success();
  }

  Expected<std::vector<InputShape>> shapes() {
    std::vector<InputShape> shapes(declared_.size());
    auto next = occurrences_.begin();
    for (auto [i, spec] : llvm::enumerate(declared_)) {
      for (auto [axis, range] : llvm::enumerate(spec.shape)) {
        Dim dim;
        if (next != occurrences_.end() && next->input == i && next->axis == axis) {
          const Occurrence &at = *next++;
          Expected<Dim> known = at.form && at.form->isBare()
                                    ? symbols_.find(at.form->symbol)->second.dim
                                    : derived(at);
          if (!known)
            return known.takeError();
          dim = *known;
        } else {
          dim = own(i, axis);
        }
        auto lowest = dim.evaluate([&](StringRef symbol) -> std::optional<int64_t> {
          auto it = lowest_.find(symbol);
          return it == lowest_.end() ? std::nullopt : std::optional(it->second);
        });
        shapes[i].dims.push_back(dim);
        shapes[i].defaults.push_back(lowest.value_or(range.lower));
      }
    }
    return shapes;
  }

  llvm::ArrayRef<ProgramInput> inputs_;
  llvm::ArrayRef<InputSpec> declared_;
  std::vector<const InputSpec *> specs_;
  std::vector<Occurrence> occurrences_;
  std::map<std::string, Symbol> symbols_;              ///< by the program's name
  std::map<std::string, int64_t, std::less<>> lowest_; ///< by the interface's name
  llvm::StringSet<> taken_;
};

} // namespace

Expected<std::vector<InputShape>> declaredShapes(llvm::ArrayRef<ProgramInput> inputs,
                                                 llvm::ArrayRef<InputSpec> declared) {
  return SymbolNames(inputs, declared).run();
}

} // namespace plait::frontend
