// The loop over operations, values' lives, states and control flow.
#include "runtime/Interpreter.h"

#include "mil/DefaultValues.h"
#include "mil/InputSizes.h"
#include "runtime/RuntimeEvaluator.h"
#include "runtime/WeightPages.h"
#include "support/TorchMessage.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/ScopeExit.h"
#include <ATen/CPUGeneratorImpl.h>
#include <chrono>

namespace plait::runtime {

using mil::Block;
using mil::Op;
using mil::OpKind;
using mil::Type;
using mil::Value;

std::string describe(const Op &op, bool withLocation) {
  std::string text = fmt::format("{0} '{1}'", op.info().name,
                                 op.name.empty() && op.numResults() ? op.result()->name : op.name);
  if (withLocation && op.location)
    text += " (" + op.location.str() + ")";
  return text;
}

void Interpreter::seedRandom(uint64_t seed) { random_ = at::detail::createCPUGenerator(seed); }

/// Constants live where they lie and have no place among the values.
static bool isKept(const Value *value) { return !mil::isCompileTime(value); }

Expected<std::unique_ptr<Interpreter>> Interpreter::create(const mil::Function &function,
                                                           Options options) {
  std::map<std::string, unsigned> missing;
  // walk() wants to be able to erase operations; nothing here does.
  mil::walk(const_cast<Block &>(function.body()), [&](Op &op) {
    if (!isEvaluated(op.kind()))
      ++missing[op.info().name];
  });
  if (!missing.empty()) {
    std::string list;
    for (const auto &[name, count] : missing)
      list += fmt::format("{0}{1} ({2}x)", list.empty() ? "" : ", ", name, count);
    return makeError(Code::NotComputed, "function '{0}' cannot be run: no evaluator for {1}",
                     function.name, list);
  }
  auto interpreter = std::unique_ptr<Interpreter>(new Interpreter(function, std::move(options)));
  interpreter->findLastUses(function.body());
  interpreter->findReusedWeights();
  return interpreter;
}

/// All values that an operation reads, in its nested blocks too.
static void collectUses(const Op &op, llvm::SmallVectorImpl<const Value *> &values) {
  for (const mil::Operand &operand : op.operands())
    values.push_back(operand.get());
  for (const auto &block : op.blocks()) {
    for (const Op &inner : *block)
      collectUses(inner, values);
    for (const mil::Operand &output : block->outputs())
      values.push_back(output.get());
  }
}

void Interpreter::findLastUses(const Block &block) {
  llvm::DenseMap<const Value *, const Op *> last;
  for (const Op &op : block) {
    for (const auto &result : op.results())
      last[result.get()] = &op; // dies at once unless something reads it
    llvm::SmallVector<const Value *, 8> used;
    collectUses(op, used);
    for (const Value *value : used)
      if (value->block() == &block && isKept(value))
        last[value] = &op;
    for (const auto &nested : op.blocks())
      findLastUses(*nested);
  }
  for (const mil::Operand &output : block.outputs())
    last.erase(output.get());
  for (const auto &[value, op] : last)
    lastUses_[op].push_back(value);
}

void Interpreter::findReusedWeights() {
  struct Uses {
    unsigned count = 0;
    const Op *last = nullptr; ///< in the function's body
  };
  llvm::MapVector<const Value *, Uses> uses;
  // A use in a loop is many. What only a decompressed weight is made of is needed once.
  auto use = [&](auto &self, const Value *value, const Op *top, unsigned times) -> void {
    if (!mil::isCompileTime(value) || value->def()->is(OpKind::const_))
      return;
    Uses &known = uses[value];
    bool isFirst = known.count == 0;
    known.count += times;
    known.last = top;
    if (isFirst)
      for (const mil::Operand &operand : value->def()->operands())
        self(self, operand.get(), top, 1);
  };
  auto visit = [&](auto &self, const Op &op, const Op *top, unsigned times) -> void {
    if (op.info().traits & mil::Constexpr)
      return;
    for (const mil::Operand &operand : op.operands())
      use(use, operand.get(), top, times);
    unsigned inside = op.is(OpKind::while_loop) ? 2 : times;
    for (const auto &block : op.blocks()) {
      for (const Op &inner : *block)
        self(self, inner, top, inside);
      for (const mil::Operand &output : block->outputs())
        use(use, output.get(), top, inside);
    }
  };
  for (const Op &op : function_.body())
    visit(visit, op, &op, 1);
  for (const mil::Operand &output : function_.outputs())
    use(use, output.get(), nullptr, 1);
  for (const auto &[value, known] : uses) {
    if (known.count < 2)
      continue;
    reused_.insert(value);
    if (known.last)
      lastUses_[known.last].push_back(value);
  }
}

void Interpreter::release(const Op &op) {
  if (auto it = lastUses_.find(&op); it != lastUses_.end())
    for (const Value *value : it->second)
      values_.erase(value);
}

Error Interpreter::bindInput(const Value &input, const mil::InputInfo *info,
                             const at::Tensor &tensor) {
  const Type &type = input.type;
  if (tensor.scalar_type() != heldType(type.dtype()) &&
      tensor.scalar_type() != heldType(type.dtype(), options_.compute))
    return makeError(Code::ArrayMismatch, "input '{0}' is {1} where the function takes {2}",
                     input.name, c10::toString(tensor.scalar_type()), type.str());
  llvm::SmallVector<int64_t, 5> given(tensor.sizes().begin(), tensor.sizes().end());
  auto wrongShape = [&](const std::string &why) {
    llvm::SmallVector<mil::Dim, 5> dims(given.begin(), given.end());
    return makeError(Code::ArrayMismatch,
                     "input '{0}' has shape {1} where the function takes {2}{3}", input.name,
                     mil::str(dims), type.str(), why);
  };
  if (given.size() != type.rank())
    return wrongShape("");
  if (info && !info->enumeratedShapes.empty() && !llvm::is_contained(info->enumeratedShapes, given))
    return wrongShape(": it is none of the enumerated shapes");
  for (auto [size, dim] : llvm::zip(given, type.shape())) {
    if (dim.isConst() && dim.value() != size)
      return wrongShape("");
    if (size < dim.lower() || size > dim.upper())
      return wrongShape(
          fmt::format(": {0} is allowed from {1} to {2}", size, dim.lower(), dim.upper()));
  }
  at::Tensor held = tensor.to(heldType(type.dtype(), options_.compute));
  if (options_.disturb)
    held = options_.disturb(input, held);
  values_[&input] = Datum(held);
  return Error::success();
}

/// The array that Core ML makes of a default value: of the input's default shape.
static at::Tensor filled(const mil::Value &input, const mil::InputInfo *info, double value) {
  std::vector<int64_t> shape;
  for (const mil::Dim &dim : input.type.shape())
    shape.push_back(dim.tryValue().value_or(dim.lower()));
  if (info && !info->defaultShape.empty())
    shape.assign(info->defaultShape.begin(), info->defaultShape.end());
  return at::full(shape, value, heldType(input.type.dtype()));
}

Error Interpreter::start(const Inputs &inputs) {
  values_.clear();
  std::map<const Value *, llvm::SmallVector<int64_t, 5>> shapes;
  size_t used = 0;
  for (auto [index, input] : llvm::enumerate(function_.inputs())) {
    if (input->type.isState()) {
      if (!states.count(input->name.str())) {
        auto shape = mil::constShape(input->type.shape());
        if (!shape)
          return makeError(Code::IllFormedProgram, "state '{0}' has the dynamic type {1}",
                           input->name, input->type.str());
        states[input->name.str()] = at::zeros(at::IntArrayRef(shape->data(), shape->size()),
                                              heldType(input->type.dtype(), options_.compute));
      }
      continue;
    }
    const mil::InputInfo *info =
        index < function_.inputInfo.size() ? &function_.inputInfo[index] : nullptr;
    auto it = inputs.find(input->name.str());
    auto defaultValue = mil::defaultValueOf(function_, input->name);
    if (it == inputs.end() && !defaultValue)
      return makeError(Code::ArrayMismatch, "input '{0}' of type {1} is missing", input->name,
                       input->type.str());
    used += it != inputs.end();
    at::Tensor tensor = it != inputs.end() ? it->second : filled(*input, info, *defaultValue);
    if (Error error = bindInput(*input, info, tensor))
      return error;
    shapes[input.get()].assign(tensor.sizes().begin(), tensor.sizes().end());
  }
  if (used != inputs.size())
    for (const auto &[name, tensor] : inputs)
      if (llvm::none_of(function_.inputs(), [&, &wanted = name](const auto &input) {
            return input->name == wanted && !input->type.isState();
          }))
        return makeError(Code::ArrayMismatch, "function '{0}' has no input '{1}'", function_.name,
                         name);
  if (Error error = mil::checkInputSizes(function_, shapes))
    return error;
  position_ = function_.body().begin();
  end_ = function_.body().end();
  return Error::success();
}

Expected<Data> Interpreter::step() {
  const Op &op = *position_++;
  auto results = runOp(op);
  if (options_.givesBack)
    releasePages(op);
  return results;
}

Expected<std::vector<Datum>> Interpreter::finish() {
  std::vector<Datum> outputs;
  std::string failure;
  try {
    for (const mil::Operand &output : function_.outputs())
      outputs.push_back(lookup(*output.get()));
  } catch (const c10::Error &error) {
    failure = torchMessage(error.what_without_backtrace());
  }
  values_.clear();
  if (!failure.empty())
    return makeError(Code::NotComputed, "function '{0}': {1}", function_.name, failure);
  return outputs;
}

Expected<std::vector<Datum>> Interpreter::run(const Inputs &inputs) {
  c10::InferenceMode guard;
  if (Error error = start(inputs))
    return error;
  while (next())
    if (auto results = step(); !results)
      return results.takeError();
  return finish();
}

Datum Interpreter::lookup(const Value &value) {
  if (!mil::isCompileTime(&value)) {
    auto it = values_.find(&value);
    TORCH_CHECK(it != values_.end(), "'", value.name.str(), "' has no value here");
    return it->second;
  }
  const Op &op = *value.def();
  if (!op.is(OpKind::const_))
    return decompressed(value);
  const mil::TensorData *data = op.val().tensor();
  if (!data)
    return Datum::ofLiteral(op.val());
  if (options_.constant) {
    auto replaced = options_.constant(value);
    TORCH_CHECK(replaced, llvm::toString(replaced.takeError()));
    if (*replaced)
      return Datum(std::move(**replaced));
  }
  RuntimeEvaluator evaluator;
  auto tensor = toTensor(*data, options_.compute, &evaluator);
  TORCH_CHECK(tensor, llvm::toString(tensor.takeError()));
  return Datum(*tensor);
}

Datum Interpreter::decompressed(const Value &value) {
  if (auto it = values_.find(&value); it != values_.end()) {
    Datum datum = it->second;
    if (!reused_.contains(&value))
      values_.erase(it);
    return datum;
  }
  auto results = evaluate(*value.def());
  TORCH_CHECK(results, llvm::toString(results.takeError()));
  // The other results too: a mask and what is not zero are asked for one after the other.
  for (auto [result, datum] : llvm::zip(value.def()->results(), *results))
    if (reused_.contains(result.get()) || (result.get() != &value && result->hasUses()))
      values_[result.get()] = datum;
  return (*results)[value.index()];
}

Expected<Datum> Interpreter::settle(const Value &result, Datum datum) const {
  const Type &type = result.type;
  if (!type.isTensor() || !datum.tensor.defined())
    return datum;
  bool isBetweenSteps = options_.compute == Compute::Smooth && mil::bitWidth(type.dtype()) == 8 &&
                        datum.tensor.is_floating_point();
  if (!isBetweenSteps)
    datum.tensor = datum.tensor.to(heldType(type.dtype(), options_.compute));
  bool fits = datum.tensor.dim() == int64_t(type.rank());
  for (size_t i = 0; fits && i < type.rank(); ++i)
    fits = !type.shape()[i].isConst() || type.shape()[i].value() == datum.tensor.size(int64_t(i));
  if (!fits) {
    llvm::SmallVector<mil::Dim, 5> dims(datum.tensor.sizes().begin(), datum.tensor.sizes().end());
    return makeError(Code::NotComputed, "{0}: '{1}' came out with shape {2} where its type is {3}",
                     describe(*result.def()), result.name, mil::str(dims), type.str());
  }
  return datum;
}

/// LibTorch computes some operations in fp16 on other devices only.
static bool lacksHalfKernel(const c10::Error &error) {
  return llvm::StringRef(error.what_without_backtrace()).contains("not implemented for 'Half'");
}

Expected<Data> Interpreter::evaluate(const Op &op) {
  EvalFn fn = evaluators()[unsigned(op.kind())];
  assert(fn && "checked when the interpreter was made");
  Data results;
  // Named, because contexts refer to it for as long as they live.
  auto valueOf = [&](const Value &value) { return lookup(value); };
  auto compute = [&](Compute mode) {
    EvalContext context(op, mode, valueOf, random_);
    results = fn(context);
  };
  try {
    try {
      compute(options_.compute);
    } catch (const c10::Error &error) {
      if (options_.compute != Compute::Native || !lacksHalfKernel(error))
        throw;
      compute(Compute::Float32);
    }
  } catch (const c10::Error &error) {
    return makeError(Code::NotComputed, "{0}: {1}", describe(op),
                     torchMessage(error.what_without_backtrace()));
  } catch (const std::exception &error) {
    return makeError(Code::NotComputed, "{0}: {1}", describe(op), error.what());
  }
  if (results.size() != op.numResults())
    return makeError(Code::NotComputed, "{0}: {1} results came out where {2} are declared",
                     describe(op), results.size(), op.numResults());
  for (auto [result, datum] : llvm::zip(op.results(), results)) {
    auto settled = settle(*result, std::move(datum));
    if (!settled)
      return settled.takeError();
    datum = std::move(*settled);
    if (options_.disturb && datum.tensor.defined())
      datum.tensor = options_.disturb(*result, datum.tensor);
  }
  return results;
}

Expected<Data> Interpreter::runBlock(const Block &block, llvm::ArrayRef<Datum> args) {
  for (auto [arg, datum] : llvm::zip(block.args(), args))
    values_[arg.get()] = datum;
  for (const Op &op : block)
    if (auto results = runOp(op); !results)
      return results.takeError();
  Data outputs;
  try {
    for (const mil::Operand &output : block.outputs())
      outputs.push_back(lookup(*output.get()));
  } catch (const c10::Error &error) {
    return makeError(Code::NotComputed, "{0}: {1}", describe(*block.parentOp()),
                     torchMessage(error.what_without_backtrace()));
  }
  // What the block returned has no last use in it.
  for (const mil::Operand &output : block.outputs())
    if (output->block() == &block)
      values_.erase(output.get());
  for (const auto &arg : block.args())
    values_.erase(arg.get());
  return outputs;
}

static bool truth(const Datum &datum) { return datum.tensor.to(at::kBool).item<bool>(); }

Expected<Data> Interpreter::runCond(const Op &op) {
  if (op.blocks().size() != 2)
    return makeError(Code::NotComputed, "{0}: it has {1} blocks where two are needed", describe(op),
                     op.blocks().size());
  return runBlock(*op.blocks()[truth(lookup(*op[mil::cond::pred])) ? 0 : 1], {});
}

Expected<Data> Interpreter::runWhile(const Op &op) {
  if (op.blocks().size() != 2)
    return makeError(Code::NotComputed, "{0}: it has {1} blocks where two are needed", describe(op),
                     op.blocks().size());
  Data variables;
  for (const mil::Operand &operand : op.operands(mil::while_loop::loop_vars))
    variables.push_back(lookup(*operand.get()));
  for (int64_t iteration = 0;; ++iteration) {
    auto more = runBlock(*op.blocks()[0], variables);
    if (!more)
      return more.takeError();
    if (!truth(more->front()))
      return variables;
    if (iteration == options_.maxIterations)
      return makeError(Code::NotComputed, "{0}: it has not ended after {1} iterations",
                       describe(op), iteration);
    auto next = runBlock(*op.blocks()[1], variables);
    if (!next)
      return next.takeError();
    if (next->size() != variables.size())
      return makeError(Code::NotComputed, "{0}: the body returns {1} values for {2} loop variables",
                       describe(op), next->size(), variables.size());
    variables = std::move(*next);
  }
}

Expected<Data> Interpreter::runOp(const Op &op) {
  if (op.is(OpKind::const_) || (op.info().traits & mil::Constexpr))
    return Data();
  c10::InferenceMode guard;
  auto begin = std::chrono::steady_clock::now();
  Expected<Data> results = Data();
  try {
    switch (op.kind()) {
    case OpKind::cond:
      results = runCond(op);
      break;
    case OpKind::while_loop:
      results = runWhile(op);
      break;
    case OpKind::read_state:
      results = Data{Datum(states[op[mil::read_state::input]->name.str()])};
      break;
    case OpKind::write_state: {
      const Value &state = *op[mil::write_state::input];
      at::Tensor data = lookup(*op[mil::write_state::data]).tensor;
      at::Tensor &held = states[state.name.str()];
      if (data.sizes() != held.sizes())
        return makeError(Code::NotComputed,
                         "{0}: data of shape {1} does not fit the state '{2}' of type {3}",
                         describe(op), c10::str(data.sizes()), state.name, state.type.str());
      held = data.to(held.scalar_type());
      break;
    }
    default:
      results = evaluate(op);
    }
  } catch (const c10::Error &error) {
    return makeError(Code::NotComputed, "{0}: {1}", describe(op),
                     torchMessage(error.what_without_backtrace()));
  }
  if (!results)
    return results;
  if (options_.profile) {
    Timing &timing = timings_[op.kind()];
    ++timing.calls;
    timing.nanoseconds += uint64_t(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                       std::chrono::steady_clock::now() - begin)
                                       .count());
  }
  for (auto [result, datum] : llvm::zip(op.results(), *results)) {
    if (options_.observer)
      options_.observer(*result, datum);
    values_[result.get()] = datum;
  }
  release(op);
  return results;
}

} // namespace plait::runtime
