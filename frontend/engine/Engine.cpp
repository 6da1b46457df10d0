// Values of the environment, the ways that one operation may take, diagnostics.
#include "frontend/engine/Engine.h"
#include "frontend/engine/Table.h"
#include "frontend/lower/Refusals.h"
#include "mil/InputSizes.h"
#include "support/Failure.h"
#include "support/TorchMessage.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/ScopeExit.h"

#include <ATen/core/ivalue.h>

namespace plait::frontend {

Engine::Engine(mil::Function &function, EngineOptions options)
    : function_(function), options_(std::move(options)), builder_(function.body()) {}

// ---- Making values -----------------------------------------------------------------------------

Val::TensorPtr Engine::makeObject(std::shared_ptr<Cell> cell) {
  auto object = std::make_shared<TensorObj>();
  object->serial = nextSerial_++;
  object->shape = cell->shape;
  object->strides = contiguousStrides(cell->shape);
  object->cell = std::move(cell);
  return object;
}

Val Engine::makeTensor(mil::Value *value, at::ScalarType dtype) {
  if (mil::Builder::isPoison(value))
    return Val();
  if (at::isComplexType(dtype)) {
    fail(makeError(Code::UnsupportedType,
                   "a complex tensor is made here of real values; make it of two real tensors: "
                   "torch.complex(real, imag)"));
    return Val();
  }
  if (at::isQIntType(dtype)) {
    fail(makeError(Code::UnsupportedType,
                   "a quantised tensor is made here of values that Core ML has no type for; call "
                   "dequantize() before it"));
    return Val();
  }
  // Its size can be asked for, where computing it anew from its parts would take many operations.
  bool isInput = !value->def() && value->block() == &function_.body();
  mil::Shape sizes(value->type.shape().begin(), value->type.shape().end());
  for (Dim &size : sizes)
    size = isInput ? size : named(size);
  if (!(llvm::ArrayRef<Dim>(sizes) == value->type.shape()))
    value->type = value->type.withShape(sizes);
  auto cell = std::make_shared<Cell>();
  cell->serial = nextSerial_++;
  cell->shape.assign(value->type.shape().begin(), value->type.shape().end());
  cell->content = value;
  cell->dtype = dtype;
  cell->version = nextVersion_++;
  for (auto [axis, d] : llvm::enumerate(value->type.shape())) {
    auto form = d.isSymbol() || (isInput && !d.isConst()) ? mil::linearSize(d) : std::nullopt;
    if (form)
      symbolSources_[form->symbol].push_back({value, int(axis), scopes_.back()});
  }
  return Val(makeObject(std::move(cell)));
}

Val Engine::makeKnown(KnownTensor known, llvm::StringRef attribute) {
  auto cell = std::make_shared<Cell>();
  cell->serial = nextSerial_++;
  for (int64_t size : known.tensor.sizes())
    cell->shape.push_back(size);
  cell->dtype = known.tensor.scalar_type();
  cell->content = std::move(known);
  cell->version = nextVersion_++;
  cell->attribute = attribute.str();
  return Val(makeObject(std::move(cell)));
}

Val Engine::makeDimTensor(Dim dim, at::ScalarType dtype) {
  if (dim.isConst())
    return makeKnown({at::scalar_tensor(dim.value(), dtype)});
  auto cell = std::make_shared<Cell>();
  cell->serial = nextSerial_++;
  cell->content = std::move(dim);
  cell->dtype = dtype;
  cell->version = nextVersion_++;
  return Val(makeObject(std::move(cell)));
}

Val Engine::makeList(c10::TypePtr elementType, std::vector<Val> values) {
  auto list = std::make_shared<ListObj>();
  list->elementType = std::move(elementType);
  list->values = std::move(values);
  list->serial = nextSerial_++;
  return Val(std::move(list));
}

Val Engine::makeTuple(c10::TypePtr type, std::vector<Val> values) {
  auto tuple = std::make_shared<TupleObj>();
  tuple->type = std::move(type);
  tuple->values = std::move(values);
  return Val(std::move(tuple));
}

Val Engine::makeDict(c10::TypePtr keyType, c10::TypePtr valueType,
                     std::vector<std::pair<c10::IValue, Val>> entries) {
  auto dict = std::make_shared<DictObj>();
  dict->keyType = std::move(keyType);
  dict->valueType = std::move(valueType);
  dict->entries = std::move(entries);
  dict->serial = nextSerial_++;
  return Val(std::move(dict));
}

/// The name that ParameterNames gives to an element of a list or dictionary; "" if it is no
/// attribute.
template <typename T> static std::string elementPath(llvm::StringRef attribute, const T &key) {
  return attribute.empty() ? "" : fmt::format("{0}.{1}", attribute, key);
}

Val Engine::fromIValue(const c10::IValue &value, llvm::StringRef attribute, bool fromWeight) {
  if (value.isTensor()) {
    const at::Tensor &tensor = value.toTensor();
    if (!tensor.defined())
      return Val(c10::IValue());
    if (options_.noteRead)
      options_.noteRead(tensor);
    if (!fromWeight)
      return makeKnown({tensor}, attribute);
    if (KeptState *state = keptState(tensor))
      return Val(makeObject(state->initial));
    // Tied weights are one cell: a write through one name is seen through the other.
    auto &cells =
        attributeCells_[tensor.numel() ? tensor.const_data_ptr() : tensor.unsafeGetTensorImpl()];
    auto known = llvm::find_if(cells, [&](const auto &entry) {
      return entry.first.scalar_type() == tensor.scalar_type() &&
             entry.first.sizes() == tensor.sizes() && entry.first.strides() == tensor.strides();
    });
    if (known == cells.end()) {
      mil::Origin origin = options_.originOf ? options_.originOf(tensor) : mil::Origin();
      // A tensor that replaces an attribute for an adapter has the attribute's name.
      if (!origin && !attribute.empty())
        origin = mil::Origin::parameter({attribute.str()});
      known = &cells.emplace_back(
          tensor, makeKnown({tensor, true, std::move(origin)}, attribute).tensor()->cell);
      // It was there before any region that reads it first, so what regions write is undone.
      known->second->serial = 0;
    }
    return Val(makeObject(known->second));
  }
  if (value.isList()) {
    std::vector<Val> values;
    for (auto [i, element] : llvm::enumerate(value.toListRef()))
      values.push_back(fromIValue(element, elementPath(attribute, i), fromWeight));
    Val list = makeList(value.toList().elementType(), std::move(values));
    list.list()->attribute = attribute.str();
    if (fromWeight)
      list.list()->serial = 0;
    return list;
  }
  if (value.isTuple()) {
    std::vector<Val> values;
    for (auto [i, element] : llvm::enumerate(value.toTupleRef().elements()))
      values.push_back(fromIValue(element, elementPath(attribute, i), fromWeight));
    return makeTuple(value.type(), std::move(values));
  }
  if (value.isGenericDict()) {
    auto source = value.toGenericDict();
    Val dict = makeDict(source.keyType(), source.valueType(), {});
    dict.dict()->attribute = attribute.str();
    if (fromWeight)
      dict.dict()->serial = 0;
    for (const auto &entry : source)
      dict.dict()->entries.emplace_back(
          entry.key(),
          fromIValue(entry.value(),
                     entry.key().isString() ? elementPath(attribute, entry.key().toStringRef())
                                            : attribute.str(),
                     fromWeight));
    return dict;
  }
  if (value.isDevice()) // a model traced on another device runs on this one
    return Val(c10::IValue(at::Device(at::kCPU)));
  return Val(value);
}

bool Engine::hasPoison(const Val &val) {
  if (val.isPoison())
    return true;
  if (auto list = val.list())
    return llvm::any_of(list->values, hasPoison);
  if (auto tuple = val.tuple())
    return llvm::any_of(tuple->values, hasPoison);
  if (auto dict = val.dict())
    return llvm::any_of(dict->entries, [](const auto &entry) { return hasPoison(entry.second); });
  return false;
}

// ---- Diagnostics -------------------------------------------------------------------------------

void Engine::addProblem(std::string what, Code code) {
  problems_.push_back(
      {std::move(what), code == Code::UnsupportedOperator, code, builder_.location()});
}

void Engine::fail(Error error) {
  Failure failure = takeFailure(std::move(error));
  addProblem(std::move(failure.message), failure.code());
}

void Engine::unsupported(llvm::StringRef name) {
  addProblem(name.str(), Code::UnsupportedOperator);
}

void Engine::warn(Code code, const llvm::Twine &message) {
  std::string text = message.str();
  if (llvm::none_of(warnings_, [&](const Warning &warning) { return warning.text == text; }))
    warnings_.push_back({code, std::move(text)});
}

static FailureProblem describe(const Problem &problem) {
  FailureProblem result;
  result.module = problem.location.module().str();
  std::tie(result.file, result.line) = sourceLine(problem.location.source());
  llvm::StringRef what = problem.what, operation = what;
  if (!problem.unsupported) // "aten::sum: why"
    operation = what.take_front(what.find(": "));
  if (operation.contains("::") && !operation.contains(' '))
    result.operation = operation.str();
  result.code = problem.code;
  result.message = problem.unsupported ? what.str() + " is not supported" : what.str();
  return result;
}

static std::string whereOf(const Problem &problem) {
  std::string module = problem.location.module().str(), source = problem.location.source();
  std::string where = module.empty() ? "" : " in module '" + module + "'";
  return source.empty() ? where : where + " at " + source;
}

Error Engine::takeError() {
  if (problems_.empty())
    return Error::success();
  struct Group {
    unsigned count = 0;
    const Problem *first = nullptr;
  };
  llvm::MapVector<llvm::StringRef, Group, llvm::StringMap<unsigned>> unsupportedOps, refusals;
  for (const Problem &problem : problems_) {
    Group &group = (problem.unsupported ? unsupportedOps : refusals)[problem.what];
    if (!group.count++)
      group.first = &problem;
  }
  std::string text;
  if (!unsupportedOps.empty()) {
    text = fmt::format("{0} operation{1} not supported:", unsupportedOps.size(),
                       unsupportedOps.size() == 1 ? " is" : "s are");
    for (const auto &[name, group] : unsupportedOps) {
      text += fmt::format("\n  {0} ({1} use{2}), first{3}", name, group.count,
                          group.count == 1 ? "" : "s", whereOf(*group.first));
      if (llvm::StringRef why = refusalOf(name); !why.empty())
        text += fmt::format(": {0}", why);
    }
    text += "\nrewrite the model with supported operations, or move this part out of it";
  }
  Failure all(FailureKind::Unsupported, Code::None, "");
  if (!text.empty())
    all.append(Code::UnsupportedOperator, text);
  for (const auto &[message, group] : refusals) {
    text = message.str() + whereOf(*group.first);
    if (group.count > 1)
      text += fmt::format(" (and {0} more)", group.count - 1);
    all.append(group.first->code, text);
  }
  for (const Problem &problem : problems_)
    all.problems.push_back(describe(problem));
  problems_.clear();
  discard();
  return makeFailure(std::move(all));
}

// ---- One operation -----------------------------------------------------------------------------

Engine::Results Engine::within(const Site &site, llvm::function_ref<Results()> lower) {
  // Operations of a branch, a loop's body or a call stand inside of this one, which goes on
  // afterwards.
  const mil::Location outer = builder_.location();
  auto leave = llvm::make_scope_exit([&] { builder_.setLocation(outer); });
  builder_.setLocation(site.location);
  return lower();
}

Engine::Results Engine::at(const Site &site, llvm::StringRef name,
                           llvm::function_ref<Results()> lower) {
  return within(site, [&] {
    Results results;
    refusing(name, [&] { results = lower(); });
    return results;
  });
}

void Engine::refusing(llvm::StringRef name, llvm::function_ref<void()> lower) {
  size_t before = problems_.size();
  std::optional<std::string> why;
  Code code = Code::UnsupportedForm; // what LibTorch refuses, too
  try {
    lower();
  } catch (const Refusal &refusal) {
    why = refusal.what();
    code = refusal.code;
  } catch (const c10::Error &error) {
    why = torchMessage(error.what_without_backtrace());
  } catch (const std::exception &error) {
    why = error.what();
  }
  // An operation that a helper of the engine could not build refuses this one.
  if (builder_.failed())
    fail(addContext(builder_.takeError(), name));
  // An error behind a problem is no problem of its own: the value is missing because of the first
  // one.
  if (why && problems_.size() == before)
    fail(makeError(code, "{0}: {1}", name, *why));
}

Engine::Results Engine::lower(const Site &site, const c10::FunctionSchema &schema,
                              std::vector<Val> arguments) {
  return within(site, [&] {
    size_t before = problems_.size();
    Handled results;
    refusing(schema.name(), [&] { results = call(schema, arguments, &site); });
    if (problems_.size() == before)
      return results ? std::move(*results) : Results();
    bool isUnsupported = problems_.back().unsupported;
    dropConsequences(before, arguments);
    if (isUnsupported)
      return unknownResults(schema, arguments);
    // LibTorch is not asked for shapes, because it may not survive a call that was refused
    // (chunk(0) ends the process). The contents of tensors that the call writes to are unknown from
    // here on.
    for (auto [argument, val] : llvm::zip(schema.arguments(), arguments))
      if (auto tensor = val.tensor();
          tensor && argument.alias_info() && argument.alias_info()->isWrite())
        forget(tensor->cell, /*isGuess=*/true);
    return Results();
  });
}

std::optional<Engine::Results> Engine::call(const c10::FunctionSchema &schema,
                                            std::vector<Val> arguments) {
  return call(schema, arguments, nullptr);
}

/// LibTorch uses the number of an element type without checking it.
static void checkElementTypes(const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments) {
  for (auto [argument, val] : llvm::zip(schema.arguments(), arguments)) {
    c10::TypePtr type = argument.real_type();
    if (auto optional = type->cast<c10::OptionalType>())
      type = optional->getElementType();
    if (type->kind() != c10::TypeKind::ScalarTypeType || !val.known() || !val.known()->isInt())
      continue;
    int64_t number = val.known()->toInt();
    if (number < 0 || number >= int64_t(at::ScalarType::Undefined))
      throw Refusal(Code::UnsupportedType,
                    fmt::format("'{0}' is {1}, and PyTorch has no such element type",
                                argument.name(), number));
  }
}

static std::string nameOf(const c10::FunctionSchema &schema) {
  const std::string &overload = schema.operator_name().overload_name;
  return overload.empty() ? schema.name() : schema.name() + "." + overload;
}

static bool isOfTensors(c10::TypePtr type) {
  if (auto optional = type->cast<c10::OptionalType>())
    type = optional->getElementType();
  if (auto list = type->cast<c10::ListType>())
    return isOfTensors(list->getElementType());
  return type->kind() == c10::TypeKind::TensorType;
}

bool Engine::isLowered(const c10::FunctionSchema &schema) {
  if (Table::get().find(nameOf(schema)))
    return true;
  const c10::FunctionSchema *twin = schema.is_mutable() ? functionalTwin(schema) : nullptr;
  return twin && Table::get().find(nameOf(*twin));
}

/// Whether results may be the arguments or views of them, although the schema has them as tensors
/// of their own.
static bool isViewUnsaid(llvm::StringRef name) {
  return name.starts_with("aten::atleast_") || name.starts_with("aten::meshgrid") ||
         name == "aten::broadcast_tensors";
}

/// Padding with a constant: what is longer than the operand was made for the result, and is
/// row-major but for images and volumes, which keep their channels where they are.
static bool isLaidOutAnew(const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments,
                          llvm::ArrayRef<Val> results) {
  if (schema.name() != "aten::constant_pad_nd" && schema.name() != "aten::pad")
    return false;
  auto x = arguments[0].tensor(), y = results.size() == 1 ? results[0].tensor() : nullptr;
  bool isConstant = schema.name() == "aten::constant_pad_nd" ||
                    (arguments[2].known() && arguments[2].known()->isString() &&
                     arguments[2].known()->toStringRef() == "constant");
  return x && y && isConstant && x->shape.size() == y->shape.size() && x->shape.size() < 4 &&
         llvm::any_of(
             llvm::zip(x->shape, y->shape),
             [](auto sizes) { return (std::get<1>(sizes) - std::get<0>(sizes)).lower() > 0; });
}

Engine::Handled Engine::call(const c10::FunctionSchema &schema, std::vector<Val> &arguments,
                             const Site *own) {
  // Arguments that an older graph does not have take the schema's defaults.
  for (size_t i = arguments.size(); i < schema.arguments().size(); ++i) {
    const auto &value = schema.arguments()[i].default_value();
    arguments.push_back(fromIValue(value.value_or(c10::IValue())));
  }
  std::string name = nameOf(schema);
  if (llvm::any_of(arguments, hasPoison)) {
    // For the operations behind it, the only check is whether they have a lowering.
    bool takesTensors = llvm::any_of(llvm::zip(schema.arguments(), arguments), [](auto pair) {
      return isOfTensors(std::get<0>(pair).type()) && hasPoison(std::get<1>(pair));
    });
    if (takesTensors && !isLowered(schema))
      unsupported(name);
    return Results();
  }
  checkElementTypes(schema, arguments);
  const Row *row = Table::get().find(name);
  // A result that the schema says may share memory with an argument was computed as a copy: writes
  // to either are refused from here on.
  auto mayShare = [&](Handled results) {
    for (auto [i, ret] : llvm::enumerate(schema.returns()))
      if (ret.alias_info() && i < results->size())
        for (auto [k, arg] : llvm::enumerate(schema.arguments()))
          if (arg.alias_info() && *arg.alias_info() == *ret.alias_info())
            mayAlias((*results)[i], arguments[k]);
    if (results && isViewUnsaid(name))
      for (const Val &result : *results)
        for (const Val &argument : arguments)
          mayAlias(result, argument);
    return results;
  };
  if (takesQuantized(schema, arguments) && !(row && row->family == llvm::StringRef("Quantized")))
    if (auto handled = quantizedCall(schema, arguments, row))
      return mayShare(std::move(handled));
  bool complex = takesComplex(schema, arguments);
  if (complex && row && !row->complexDecomposition.empty() &&
      !llvm::all_of(arguments, [&](const Val &val) { return isKnown(val); })) {
    for (auto [argument, val] : llvm::zip(schema.arguments(), arguments))
      if (argument.real_type()->kind() == c10::TypeKind::NumberType)
        val = asTensor(val);
    return mayShare(decompose(row->complexDecomposition, schema, arguments));
  }
  if (row && row->values) {
    ValueCall call(*this, schema, arguments);
    if (auto handled = row->values(call)) {
      keepDeferred(schema, arguments, *handled);
      return handled;
    }
  }
  if (auto handled = mutation(schema, arguments))
    return handled;
  if (auto handled = runKnown(schema, arguments, row, /*force=*/false))
    return handled;
  std::optional<std::vector<Val>> results;
  // A decomposition passes selections on to what it is made of.
  bool isMade = row && !row->decomposition.empty() && row->selectedDecomposition.empty();
  if (!isMade &&
      llvm::any_of(arguments, [&](const Val &argument) { return hasSelection(argument); })) {
    results = selectedCall(schema, arguments, row);
  } else if (complex && row) {
    results = complexCall(schema, arguments, row);
  } else if (row && !row->decomposition.empty()) {
    // A decomposition solves in many steps. LibTorch solves for a known matrix, however large.
    if (llvm::StringRef(row->family) == "linalg")
      results = runKnown(schema, arguments, row, /*force=*/true);
    if (!results)
      results = decompose(row->decomposition, schema, arguments);
  } else if (row &&
             llvm::any_of(arguments, [&](const Val &argument) { return isOpaque(argument); })) {
    // It replaces the tensor that could not be made, since no lowering knows that one's type.
    results = unknownResults(schema, arguments);
  } else if (row && row->lower) {
    size_t before = problems_.size();
    refusing(name, [&] {
      Call call(*this, schema, arguments, own);
      row->lower(call);
      results = call.takeResults();
    });
    if (!results || problems_.size() > before)
      results = Results();
  } else {
    results = runKnown(schema, arguments, row, /*force=*/true);
  }
  if (!results) {
    if (row)
      fail(makeError(
          Code::NotKnown,
          "{0}: an argument of it must be known while compiling, and depends on the elements "
          "of an input",
          name));
    else
      unsupported(name);
    return std::nullopt;
  }
  keepDeferred(schema, arguments, *results);
  // How kernels lay out results of strided operands is theirs to know.
  bool contiguous = isLaidOutAnew(schema, arguments, *results) ||
                    llvm::all_of(arguments, [](const Val &argument) {
                      auto tensor = argument.tensor();
                      return !tensor || isContiguous(*tensor);
                    });
  if (!contiguous)
    for (Val &result : *results)
      if (auto tensor = result.tensor(); tensor && tensor->shape.size() > 1)
        tensor->strides.reset();
  return mayShare(std::move(results));
}

// ---- Attributes of objects ---------------------------------------------------------------------

const Val *Engine::slot(c10::ivalue::Object &object, size_t index) const {
  auto it = slots_.find({&object, index});
  return it == slots_.end() ? nullptr : &it->second;
}

void Engine::keepSlot(c10::ivalue::Object &object, size_t index, Val value) {
  slots_[{&object, index}] = std::move(value);
}

void Engine::writeSlot(c10::ivalue::Object &object, size_t index, Val value) {
  std::pair<c10::ivalue::Object *, size_t> key{&object, index};
  auto it = slots_.find(key);
  if (!journals_.empty())
    journals_.back()->slots.emplace_back(key, it == slots_.end() ? std::nullopt
                                                                 : std::optional(it->second));
  slots_[key] = std::move(value);
}

} // namespace plait::frontend
