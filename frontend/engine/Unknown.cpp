// Stand-ins for the results of operations that could not be lowered. The walk goes on with them, so
// that one message reports all problems:
//
//     y = torch.fft_rfft(x)     no lowering: reported. y is [3, 5], complex, of unknown elements
//     z = torch.det(y.real @ w) reported too
//
// For later operations such a tensor is computed at run time. Its MIL value is defined nowhere, so
// the verifier refuses a program with it, and takeError() deletes all lowered operations. If
// LibTorch knows the type and shape, later refusals have reasons of their own and are reported. If
// type or shape are guessed, refusals of operations that depend on them are not reported, but
// operators without a lowering are.
#include "frontend/engine/Engine.h"

#include "llvm/ADT/StringMap.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/runtime/operator.h>

namespace plait::frontend {

/// The most elements that an operator is run on to learn the shapes of its results, if LibTorch has
/// no other way to tell them.
constexpr int64_t kMostTrialElements = 1 << 16;

// ---- Values of unknown content -----------------------------------------------------------------

mil::Value *Engine::unknownValue(mil::Type type, bool isGuess) {
  if (!unknowns_)
    unknowns_ = std::make_unique<mil::Block>(&function_, nullptr);
  mil::Value *value = unknowns_->addArg(std::move(type), function_.uniqueName("unknown"));
  if (isGuess)
    guesses_.insert(value);
  return value;
}

Val Engine::unknownTensor(llvm::ArrayRef<Dim> shape, at::ScalarType dtype, bool isGuess) {
  if (at::isComplexType(dtype)) {
    at::ScalarType part = c10::toRealValueType(dtype);
    return makeComplex(unknownTensor(shape, part, isGuess), unknownTensor(shape, part, isGuess));
  }
  mil::Value *value = unknownValue(
      mil::Type::tensor(milTypeOf(dtype), mil::Shape(shape.begin(), shape.end())), isGuess);
  if (at::isQIntType(dtype)) {
    opaque_.insert(value);
    return makeQuantized(value, {1, 0}, dtype);
  }
  return makeTensor(value, dtype);
}

Val Engine::unknownNumber(c10::TypeKind kind, bool isGuess) {
  mil::DType dtype = kind == c10::TypeKind::IntType    ? mil::DType::I32
                     : kind == c10::TypeKind::BoolType ? mil::DType::Bool
                                                       : mil::DType::F32;
  return Val(Val::Number{unknownValue(mil::Type::tensor(dtype), isGuess), kind});
}

Val Engine::guessLike(const Val &val) {
  if (auto tensor = val.tensor())
    return unknownTensor(tensor->shape, tensor->dtype(), /*isGuess=*/true);
  if (val.dim())
    return unknownNumber(c10::TypeKind::IntType, /*isGuess=*/true);
  if (val.number())
    return unknownNumber(val.number()->kind, /*isGuess=*/true);
  if (auto known = val.known(); known && known->isScalar() && !known->isComplexDouble())
    return unknownNumber(known->isInt()    ? c10::TypeKind::IntType
                         : known->isBool() ? c10::TypeKind::BoolType
                                           : c10::TypeKind::FloatType,
                         /*isGuess=*/true);
  std::vector<Val> values;
  if (auto tuple = val.tuple()) {
    for (const Val &value : tuple->values)
      values.push_back(guessLike(value));
    return makeTuple(tuple->type, std::move(values));
  }
  if (auto list = val.list()) {
    for (const Val &value : list->values)
      values.push_back(guessLike(value));
    return makeList(list->elementType, std::move(values));
  }
  return val;
}

Engine::Results Engine::guessLike(llvm::ArrayRef<Val> values) {
  Results results;
  for (const Val &value : values)
    results.push_back(guessLike(value));
  return results;
}

void Engine::forget(const std::shared_ptr<Cell> &cell, bool isGuess) {
  Val unknown = unknownTensor(cell->shape, cell->dtype, isGuess);
  setContent(cell, unknown.tensor()->cell->content);
}

bool Engine::isOpaque(const Val &val) const {
  if (opaque_.empty())
    return false;
  if (auto list = val.list())
    return llvm::any_of(list->values, [&](const Val &value) { return isOpaque(value); });
  auto tensor = val.tensor();
  auto *value = tensor ? std::get_if<mil::Value *>(&tensor->cell->content) : nullptr;
  return value && opaque_.contains(*value);
}

// ---- What depends on a guess -------------------------------------------------------------------

/// Calls `fn` for the name of each symbol in the expression.
static void eachSymbol(const Dim &dim, llvm::function_ref<void(llvm::StringRef)> fn) {
  if (dim.isConst())
    return;
  for (const Dim::Term &term : dim.terms())
    for (const Dim::Factor &factor : term.factors) {
      if (factor.kind == Dim::Factor::Symbol) {
        fn(factor.name);
      } else {
        eachSymbol(factor.a, fn);
        eachSymbol(factor.b, fn);
      }
    }
}

bool Engine::dependsOnGuess(mil::Value *value, llvm::DenseSet<mil::Value *> &seen) const {
  if (!seen.insert(value).second)
    return false;
  if (guesses_.contains(value))
    return true;
  auto anyOperand = [&](mil::Op &op) {
    return llvm::any_of(op.operands(), [&](mil::Value *x) { return dependsOnGuess(x, seen); });
  };
  mil::Op *op = value->def();
  if (!op) {
    mil::Block *block = value->block();
    if (block == &function_.body() || block == unknowns_.get())
      return false;
    // A variable of a loop, whose initial value is only bound after the dry runs of the body.
    return !block->parentOp() || anyOperand(*block->parentOp());
  }
  bool depends = anyOperand(*op);
  for (const auto &block : op->blocks()) {
    mil::walk(*block, [&](mil::Op &inner) { depends = depends || anyOperand(inner); });
    depends = depends || anyOperand(*block->terminator());
  }
  return depends;
}

bool Engine::dependsOnGuess(const Dim &dim, llvm::DenseSet<mil::Value *> &seen) const {
  bool depends = false;
  eachSymbol(dim, [&](llvm::StringRef name) {
    auto sources = symbolSources_.find(name);
    if (depends || sources == symbolSources_.end())
      return;
    // The symbol was made for the first value of that size. Values of closed blocks may be gone.
    auto first = llvm::find_if(sources->second, [&](const SymbolSource &source) {
      return llvm::is_contained(scopes_, source.scope);
    });
    depends = first != sources->second.end() && dependsOnGuess(first->value, seen);
  });
  return depends;
}

bool Engine::dependsOnGuess(const Val &val, llvm::DenseSet<mil::Value *> &seen) const {
  auto any = [&](const auto &values) {
    return llvm::any_of(values, [&](const auto &value) { return dependsOnGuess(value, seen); });
  };
  if (auto dim = val.dim())
    return dependsOnGuess(*dim, seen);
  if (val.number())
    return dependsOnGuess(val.number()->value, seen);
  if (auto list = val.list())
    return any(list->values);
  if (auto tuple = val.tuple())
    return any(tuple->values);
  if (auto dict = val.dict())
    return any(llvm::make_second_range(dict->entries));
  auto tensor = val.tensor();
  if (!tensor)
    return false;
  const auto &content = tensor->cell->content;
  if (auto *value = std::get_if<mil::Value *>(&content); value && dependsOnGuess(*value, seen))
    return true;
  if (auto *parts = std::get_if<ComplexParts>(&content);
      parts && (dependsOnGuess(Val(parts->real), seen) || dependsOnGuess(Val(parts->imag), seen)))
    return true;
  if (auto *selection = std::get_if<Selection>(&content);
      selection &&
      (dependsOnGuess(Val(selection->source), seen) || dependsOnGuess(Val(selection->mask), seen)))
    return true;
  return any(tensor->shape) || llvm::any_of(tensor->view, [&](const ViewStep &step) {
           return (step.dynamicStart && dependsOnGuess(step.dynamicStart, seen)) ||
                  dependsOnGuess(step.start, seen);
         });
}

void Engine::dropConsequences(size_t from, llvm::ArrayRef<Val> arguments) {
  if (guesses_.empty())
    return;
  llvm::DenseSet<mil::Value *> seen;
  if (llvm::none_of(arguments, [&](const Val &val) { return dependsOnGuess(val, seen); }))
    return;
  problems_.erase(std::remove_if(problems_.begin() + from, problems_.end(),
                                 [](const Problem &problem) { return !problem.unsupported; }),
                  problems_.end());
}

// ---- Shapes from LibTorch ----------------------------------------------------------------------

namespace {

/// A call that LibTorch can run to tell the types and shapes of the results. Its tensors have no
/// elements (the device `meta`) or are zeros, and unknown sizes are replaced by numbers.
class Trial {
public:
  /// `round` chooses the sizes.
  Trial(Engine &engine, bool isMeta, bool keepsKnown, unsigned round)
      : engine_(engine), isMeta_(isMeta), keepsKnown_(keepsKnown), round_(round) {}

  /// The argument for the trial; nullopt if nothing can replace it.
  std::optional<c10::IValue> argument(const Val &val) {
    if (val.dim())
      return sizeOf(*val.dim());
    if (auto number = val.number()) {
      isGuess = true;
      return number->kind == c10::TypeKind::IntType    ? c10::IValue(int64_t(1))
             : number->kind == c10::TypeKind::BoolType ? c10::IValue(true)
                                                       : c10::IValue(1.0);
    }
    if (auto tensor = val.tensor())
      return this->tensor(*tensor);
    if (auto list = val.list()) {
      c10::impl::GenericList values(list->elementType);
      for (const Val &element : list->values) {
        auto value = argument(element);
        if (!value)
          return std::nullopt;
        values.push_back(std::move(*value));
      }
      return c10::IValue(std::move(values));
    }
    if (val.known() && !val.known()->isObject())
      return *val.known();
    return std::nullopt;
  }

  /// The numbers that replace unknown sizes of arguments.
  const std::vector<std::pair<Dim, int64_t>> &sizes() const { return sizes_; }

  bool isGuess = false; ///< other arguments may give other types or shapes
  int64_t elements = 0; ///< of all tensors

private:
  int64_t sizeOf(const Dim &dim) {
    if (dim.isConst())
      return dim.value();
    isGuess = true;
    int64_t size = dim.evaluate([&](llvm::StringRef name) {
                        auto [it, fresh] = symbols_.try_emplace(name, 0);
                        if (fresh)
                          it->second = 8 + 5 * int64_t(symbols_.size()) + 3 * round_;
                        return std::optional(it->second);
                      })
                       .value_or(8);
    size = std::clamp<int64_t>(size, std::max<int64_t>(dim.lower(), 0),
                               std::max<int64_t>(dim.upper(), 0));
    sizes_.emplace_back(dim, size);
    return size;
  }

  std::optional<c10::IValue> tensor(const TensorObj &tensor) {
    std::vector<int64_t> shape;
    for (const Dim &dim : tensor.shape)
      shape.push_back(sizeOf(dim));
    if (isMeta_)
      return at::empty(shape, at::TensorOptions(tensor.dtype()).device(at::kMeta));
    elements += c10::multiply_integers(shape);
    if (elements > kMostTrialElements)
      return std::nullopt;
    at::Tensor known = keepsKnown_ ? engine_.readKnown(tensor) : at::Tensor();
    return known.defined() ? known : at::zeros(shape, tensor.dtype());
  }

  Engine &engine_;
  bool isMeta_, keepsKnown_;
  unsigned round_;
  llvm::StringMap<int64_t> symbols_;
  std::vector<std::pair<Dim, int64_t>> sizes_;
};

/// Combines the results of two trials with different sizes. Types and sizes that are the same in
/// both are known. A size that changed like an argument's size is that size.
class Outcome {
public:
  Outcome(Engine &engine, const Trial &first, const Trial &second, bool knowsSizes, bool isGuess)
      : engine_(engine), first_(first), second_(second), knowsSizes_(knowsSizes),
        isGuess_(isGuess) {}

  Val value(const c10::IValue &a, const c10::IValue &b) {
    if (a.isTensor() && b.isTensor() && a.toTensor().defined() && b.toTensor().defined() &&
        a.toTensor().dim() == b.toTensor().dim()) {
      Shape shape;
      for (auto [x, y] : llvm::zip(a.toTensor().sizes(), b.toTensor().sizes()))
        shape.push_back(size(x, y));
      return engine_.unknownTensor(shape, a.toTensor().scalar_type(), isGuess_);
    }
    if (a.isInt() || a.isDouble() || a.isBool())
      return engine_.unknownNumber(a.isInt()      ? c10::TypeKind::IntType
                                   : a.isDouble() ? c10::TypeKind::FloatType
                                                  : c10::TypeKind::BoolType,
                                   isGuess_);
    std::vector<Val> values;
    if (a.isList() && b.isList() && a.toListRef().size() == b.toListRef().size()) {
      for (auto [x, y] : llvm::zip(a.toListRef(), b.toListRef()))
        values.push_back(value(x, y));
      return engine_.makeList(a.toList().elementType(), std::move(values));
    }
    return a.isNone() ? Val(a) : Val();
  }

private:
  Dim size(int64_t x, int64_t y) const {
    if (!knowsSizes_)
      return Dim::unknown();
    if (x == y)
      return x;
    for (auto [p, q] : llvm::zip(first_.sizes(), second_.sizes()))
      if (p.second == x && q.second == y)
        return p.first;
    return Dim::unknown();
  }

  Engine &engine_;
  const Trial &first_, &second_;
  bool knowsSizes_, isGuess_;
};

} // namespace

static std::optional<std::vector<c10::IValue>>
runTrial(const c10::FunctionSchema &schema, llvm::ArrayRef<Val> arguments, Trial &trial) {
  auto operation = torch::jit::findOperatorFor(schema.operator_name());
  if (!operation || schema.is_vararg())
    return std::nullopt;
  try {
    std::vector<c10::IValue> stack;
    for (const Val &argument : arguments) {
      auto value = trial.argument(argument);
      if (!value)
        return std::nullopt;
      stack.push_back(std::move(*value));
    }
    operation->getOperation()(stack);
    return stack;
  } catch (const std::exception &) { // c10::Error is one: these arguments are none for it
    return std::nullopt;
  }
}

Engine::Results Engine::unknownResults(const c10::FunctionSchema &schema,
                                       llvm::ArrayRef<Val> arguments) {
  if (llvm::any_of(arguments, hasPoison))
    return {};
  auto handle = c10::Dispatcher::singleton().findSchema(schema.operator_name());
  bool isRandom = handle && handle->hasTag(at::Tag::nondeterministic_seeded);
  bool dependsOnElements = handle && (handle->hasTag(at::Tag::dynamic_output_shape) ||
                                      handle->hasTag(at::Tag::data_dependent_output));
  Results results;
  // Without elements first. The operator may not take zeros, and one that draws numbers would take
  // them from the process's generator.
  for (bool isMeta : {true, false}) {
    if (!isMeta && isRandom)
      break;
    bool keepsKnown = !schema.is_mutable();
    Trial first(*this, isMeta, keepsKnown, 0), second(*this, isMeta, keepsKnown, 1);
    auto a = runTrial(schema, arguments, first);
    auto b = a ? runTrial(schema, arguments, second) : std::nullopt;
    if (!b || a->size() != b->size())
      continue;
    Outcome outcome(*this, first, second, !dependsOnElements, dependsOnElements || first.isGuess);
    for (auto [x, y] : llvm::zip(*a, *b))
      results.push_back(outcome.value(x, y));
    break;
  }
  // The tensor that is written to has a new content, which is the result too.
  results.resize(schema.returns().size());
  for (auto [argument, val] : llvm::zip(schema.arguments(), arguments)) {
    auto tensor = val.tensor();
    if (!tensor || !argument.alias_info() || !argument.alias_info()->isWrite())
      continue;
    forget(tensor->cell, /*isGuess=*/false);
    for (auto [result, ret] : llvm::zip(results, schema.returns()))
      if (ret.alias_info() && *ret.alias_info() == *argument.alias_info())
        result = val;
  }
  return results;
}

void Engine::discard() {
  mil::Block &body = function_.body();
  body.setOutputs({});
  while (!body.empty())
    body.back().erase();
  builder_.setInsertionPointToEnd(body);
}

Engine::~Engine() {
  // If the function was deleted already, nothing uses them.
  if (unknowns_ && llvm::any_of(unknowns_->args(), [](const auto &arg) { return arg->hasUses(); }))
    discard();
}

} // namespace plait::frontend
