// Operators with arguments drawn from their schemas, which LibTorch accepts: what plait lowers
// agrees with it, or is refused. Each schema's calls run in a process of their own, since some
// arguments that a schema allows end LibTorch itself. One call in four has an axis of ranged size:
// its program runs at several sizes. Programs run as they are lowered, and after all passes in fp32
// and in fp16. PLAIT_RANDOM_CALLS=N draws N calls of each
// schema and says which schemas were never right; PLAIT_RANDOM_SEED begins elsewhere;
// PLAIT_RANDOM_ONLY is a part of the names of schemas to draw.
#include "DrawnArguments.h"
#include "frontend/engine/Engine.h"
#include "frontend/engine/Table.h"
#include "mil/Verifier.h"
#include "passes/Pipeline.h"
#include "runtime/Interpreter.h"
#include "runtime/RuntimeEvaluator.h"
#include "runtime/Tensors.h"
#include "support/Format.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>

namespace plait::frontend {
namespace {

void tensorsOf(const c10::IValue &value, std::vector<at::Tensor> &out) {
  if (value.isTensor() && value.toTensor().defined() && value.toTensor().is_complex()) {
    out.push_back(at::real(value.toTensor()));
    out.push_back(at::imag(value.toTensor()));
  } else if (value.isTensor()) {
    out.push_back(value.toTensor());
  } else if (value.isList()) {
    for (const c10::IValue &element : value.toListRef())
      tensorsOf(element, out);
  } else if (value.isScalar()) {
    out.push_back(at::scalar_tensor(value.toScalar(), value.isDouble() ? at::kFloat
                                                      : value.isBool() ? at::kBool
                                                                       : at::kLong));
  }
}

bool valuesOf(Engine &engine, const Val &value, std::vector<mil::Value *> &out) {
  if (auto tensor = value.tensor(); tensor && tensor->isComplex())
    return valuesOf(engine, engine.part(tensor, 0), out) &&
           valuesOf(engine, engine.part(tensor, 1), out);
  if (auto list = value.list())
    return llvm::all_of(list->values, [&](const Val &v) { return valuesOf(engine, v, out); });
  mil::Value *read = nullptr;
  if (auto tensor = value.tensor())
    read = engine.read(*tensor);
  else if (value.number() || value.dim() || (value.known() && value.known()->isScalar()))
    read = engine.scalar(value, value.number()            ? value.number()->value->type.dtype()
                                : value.asDim()           ? mil::DType::I32
                                : value.known()->isBool() ? mil::DType::Bool
                                                          : mil::DType::F32);
  if (!read || mil::Builder::isPoison(read))
    return false;
  out.push_back(read);
  return true;
}

enum class Outcome { Skipped, Refused, Right, Wrong };

/// What LibTorch computes; nothing where it refuses, or where the answer cannot be compared.
std::optional<std::vector<at::Tensor>> libTorchs(const torch::jit::Operator &operation,
                                                 llvm::ArrayRef<c10::IValue> values) {
  std::vector<at::Tensor> expected;
  try {
    std::vector<c10::IValue> stack;
    for (const c10::IValue &value : values)
      stack.push_back(value.deepcopy());
    operation.getOperation()(stack);
    for (const c10::IValue &value : stack)
      tensorsOf(value, expected);
  } catch (const std::exception &) {
    return std::nullopt;
  }
  for (const at::Tensor &tensor : expected)
    if (!tensor.defined() || tensor.numel() == 0 || tensor.numel() > 100000 || tensor.dim() > 5)
      return std::nullopt;
  if (expected.empty())
    return std::nullopt;
  // What is beside a report of failure has no meaning.
  if (llvm::StringRef(operation.schema().name()).ends_with("_ex") &&
      expected.back().any().item<bool>())
    return std::nullopt;
  return expected;
}

/// Whether a small change of an argument may change the result by a step.
bool isStep(llvm::StringRef name) {
  static const char *parts[] = {"round",     "floor", "ceil",    "trunc",     "frac",
                                "remainder", "fmod",  "sign",    "heaviside", "quantize",
                                "mod",       "hist",  "nearest", "div"};
  return llvm::any_of(parts, [&](const char *part) { return name.contains(part); });
}

/// How the program's results differ from LibTorch's; empty where they do not.
std::string difference(llvm::StringRef name, std::vector<runtime::Datum> got,
                       std::vector<at::Tensor> expected, bool half) {
  if (got.size() != expected.size())
    return fmt::format("{0} results where LibTorch has {1}", got.size(), expected.size());
  // Where values tie, any of their positions is a right one.
  if (name.contains("kthvalue") || name.contains("median") || name == "aten::mode")
    expected.resize(1);
  for (auto [datum, want] : llvm::zip(got, expected)) {
    if (want.dim() == 0 && datum.tensor.numel() == 1) // there is no rank 0 in an interface
      datum.tensor = datum.tensor.reshape({});
    if (datum.tensor.sizes() != want.sizes())
      return fmt::format("shape {0} where LibTorch has {1}", c10::str(datum.tensor.sizes()),
                         c10::str(want.sizes()));
    at::Tensor wide = want.to(at::kDouble), have = datum.tensor.to(at::kDouble);
    // Whole numbers are int32 in MIL, half is computed in fp32.
    if (want.is_floating_point() ? want.scalar_type() != at::kFloat &&
                                       !at::isfinite(want.to(at::kFloat)).all().item<bool>()
                                 : wide.abs().max().item<double>() > 2147483647.0)
      continue;
    // At a pole LibTorch may give what sin(pi x) rounds to.
    have = at::where(have.isinf() & (wide.abs() > 1e12), wide, have);
    // Sums of powers that overflow in LibTorch and not in plait.
    if (name.contains("softplus") || name.contains("norm"))
      have = at::where(wide.isinf(), wide, have);
    if (half) { // what rounding to fp16 may do is told from what a mistake does by a wide margin
      double largest = wide.abs().max().item<double>();
      // The slope of a tangent is the square of its value.
      double most = name.contains("tan") ? 100 : 1000;
      if (!want.is_floating_point() || !(largest < most) || isStep(name))
        continue;
      have = at::where((have - wide).abs() <= 0.1 * largest + 0.05, wide, have);
    }
    bool narrow = want.is_floating_point() && want.element_size() == 2;
    at::Tensor differ = at::isclose(have, wide, narrow ? 2e-2 : 2e-3, narrow ? 2e-3 : 2e-4,
                                    /*equal_nan=*/true)
                            .logical_not()
                            .flatten()
                            .nonzero();
    if (differ.numel()) {
      int64_t first = differ[0].item<int64_t>();
      return fmt::format("got {0} where LibTorch has {1}, at {2} of {3}",
                         have.flatten()[first].item<double>(), wide.flatten()[first].item<double>(),
                         first, c10::str(want.sizes()));
    }
  }
  return {};
}

/// Whether it is a list with a tensor in it; others may be None.
bool hasTensors(const c10::IValue &value) {
  return value.isList() && llvm::any_of(value.toListRef(), [](const c10::IValue &element) {
           return element.isTensor();
         });
}

/// The function of one call: tensors are its inputs or constants of it. False where it is refused.
bool lowered(const c10::FunctionSchema &schema, Drawer &drawn, mil::Function &function,
             std::vector<bool> &isInput) {
  Engine engine(function, {});
  std::vector<Val> arguments;
  auto input = [&](const at::Tensor &tensor) {
    mil::Shape shape;
    for (int64_t size : tensor.sizes())
      shape.push_back(size);
    if (auto at = drawn.rangedAxes.find(tensor.unsafeGetTensorImpl()); at != drawn.rangedAxes.end())
      shape[at->second] = mil::Dim::symbol("n", 1, 8);
    std::string name = "x" + std::to_string(isInput.size());
    isInput.push_back(true);
    return engine.makeTensor(
        function.addInput(mil::Type::tensor(milTypeOf(tensor.scalar_type()), shape), name),
        tensor.scalar_type());
  };
  for (const c10::IValue &value : drawn.values) {
    if (value.isTensor() && !isInput.empty() && drawn.axis < 0 && drawn.isConstant()) {
      isInput.push_back(false);
      arguments.push_back(engine.fromIValue(value));
    } else if (value.isTensor()) {
      arguments.push_back(input(value.toTensor()));
    } else if (hasTensors(value)) {
      std::vector<Val> elements;
      for (const c10::IValue &element : value.toListRef())
        elements.push_back(element.isTensor() ? input(element.toTensor()) : Val(element));
      arguments.push_back(engine.makeList(value.toList().elementType(), std::move(elements)));
    } else {
      arguments.push_back(engine.fromIValue(value));
    }
  }
  if (isInput.empty())
    return false;
  std::vector<mil::Value *> outputs;
  bool complete = false;
  engine.at(Site{.location = {}}, schema.name(), [&] {
    auto results = engine.lower(Site{.location = {}}, schema, arguments);
    complete = !results.empty() && llvm::all_of(results, [&](const Val &result) {
      return valuesOf(engine, result, outputs);
    });
    return Engine::Results();
  });
  if (Error error = engine.takeError()) {
    llvm::consumeError(std::move(error));
    return false;
  }
  function.body().setOutputs(outputs);
  return complete;
}

/// The drawn tensors, as inputs of the function.
runtime::Interpreter::Inputs inputsOf(const Drawer &drawn, const mil::Function &function,
                                      const std::vector<bool> &isInput) {
  llvm::StringMap<mil::Type> types;
  for (const auto &input : function.inputs())
    types[input->name.str()] = input->type;
  runtime::Interpreter::Inputs inputs;
  size_t number = 0;
  auto take = [&](const at::Tensor &tensor) {
    std::string name = "x" + std::to_string(number);
    if (isInput[number]) {
      const mil::Type &type = types.find(name)->second;
      at::Tensor given = tensor.to(runtime::heldType(type.dtype()));
      // Core ML's interface has no tensor of rank 0.
      inputs[name] = tensor.dim() == 0 && type.rank() == 1 ? given.reshape({1}) : given;
    }
    ++number;
  };
  for (const c10::IValue &value : drawn.values)
    if (value.isTensor())
      take(value.toTensor());
    else if (hasTensors(value))
      for (const c10::IValue &element : value.toListRef())
        if (element.isTensor())
          take(element.toTensor());
  return inputs;
}

std::string written(const c10::FunctionSchema &schema, const Drawer &drawn) {
  std::string call = schema.name() + "." + schema.overload_name() + "(";
  for (const c10::IValue &value : drawn.values)
    call +=
        (value.isTensor() ? fmt::format("{0} of {1}", c10::toString(value.toTensor().scalar_type()),
                                        c10::str(value.toTensor().sizes()))
         : value.isTensorList() ? "[…]"
                                : c10::str(value)) +
        ", ";
  return call + fmt::format(") with axis {0} ranged", drawn.axis);
}

enum class Form { Lowered, Single, Half };

/// What passes make of the program; an error where they break it.
Error optimised(mil::Program &program, passes::Precision precision) {
  static runtime::RuntimeEvaluator evaluator;
  passes::PassContext context;
  context.evaluator = &evaluator;
  context.options.precision = precision;
  passes::PipelineHooks hooks;
  hooks.verify = [](const mil::Program &p) { return mil::verify(p); };
  return passes::runPipeline(program, context, hooks);
}

/// The same program in one form, at all sizes.
Outcome tryForm(const c10::FunctionSchema &schema, llvm::ArrayRef<Drawer> draws,
                llvm::ArrayRef<std::vector<at::Tensor>> expected, Form form, std::string &what) {
  mil::Program program;
  mil::Function &function = *program.addFunction("main");
  std::vector<bool> isInput;
  Drawer first = draws[0];
  if (!lowered(schema, first, function, isInput))
    return Outcome::Refused;
  if (form != Form::Lowered)
    if (Error error = optimised(program, form == Form::Half ? passes::Precision::F16
                                                            : passes::Precision::F32)) {
      what = written(schema, first) + ": " + llvm::toString(std::move(error));
      return Outcome::Wrong;
    }
  auto interpreter = runtime::Interpreter::create(function, {});
  for (auto [drawn, answer] : llvm::zip(draws, expected)) {
    auto run = interpreter ? (*interpreter)->run(inputsOf(drawn, function, isInput))
                           : Expected<std::vector<runtime::Datum>>(interpreter.takeError());
    std::string wrong = run ? difference(schema.name(), std::move(*run), answer, form == Form::Half)
                            : llvm::toString(run.takeError());
    // An index that the program reads at run time, and that only some of LibTorch's kernels check.
    if (llvm::StringRef(wrong).contains("Core ML leaves the result undefined"))
      return Outcome::Refused;
    if (wrong.empty())
      continue;
    what = written(schema, drawn) + ": " + wrong;
    return Outcome::Wrong;
  }
  return Outcome::Right;
}

/// One call; `what` says what is wrong.
Outcome tryCall(const torch::jit::Operator &operation, uint64_t seed, std::string &what,
                llvm::function_ref<void()> libTorchIsDone) {
  const c10::FunctionSchema &schema = operation.schema();
  // The drawn sizes, then others of the ranged axis.
  std::vector<Drawer> draws = {Drawer(schema, seed)};
  std::vector<std::vector<at::Tensor>> expected;
  if (auto answer = libTorchs(operation, draws[0].values))
    expected.push_back(std::move(*answer));
  else
    return Outcome::Skipped;
  if (draws[0].axis >= 0)
    for (int64_t size : {1, 2, 3, 5, 8}) {
      Drawer other(schema, seed, size);
      auto answer = libTorchs(operation, other.values);
      if (answer) {
        draws.push_back(std::move(other));
        expected.push_back(std::move(*answer));
      }
    }
  libTorchIsDone();
  for (Form form : {Form::Lowered, Form::Single, Form::Half}) {
    if (form == Form::Half && !draws[0].isModerate())
      break;
    Outcome outcome = tryForm(schema, draws, expected, form, what);
    if (outcome != Outcome::Right) {
      static const char *forms[] = {"", " after the passes", " after the passes in fp16"};
      if (outcome == Outcome::Wrong)
        what = fmt::format("{0} with seed {1}{2}", what, seed, forms[int(form)]);
      return outcome;
    }
  }
  return Outcome::Right;
}

/// What became of the calls of one schema.
struct Tally {
  unsigned found[4] = {};
  std::vector<std::string> wrong;
};

/// Draws calls `turn`, `turn + 1`, … in a child process, which writes a line for each step:
/// "begin", "LibTorch is done", and the outcome with what is wrong. Returns the call after the last
/// one tried.
unsigned callsOfAChild(const torch::jit::Operator &operation, uint64_t seed, unsigned turn,
                       unsigned count, Tally &tally) {
  int ends[2];
  if (pipe(ends))
    return count;
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    FILE *out = fdopen(ends[1], "w");
    for (; turn < count; ++turn) {
      std::fputs("begin\n", out);
      std::fflush(out);
      std::string what;
      Outcome outcome = tryCall(operation, seed * 1000003 + turn * 7919, what, [&] {
        std::fputs("LibTorch is done\n", out);
        std::fflush(out);
      });
      std::replace(what.begin(), what.end(), '\n', ' ');
      std::fprintf(out, "%u%s\n", unsigned(outcome), what.c_str());
    }
    std::fclose(out);
    _exit(0);
  }
  close(ends[1]);
  FILE *in = fdopen(ends[0], "r");
  std::string line, last;
  auto take = [&] {
    if (line.empty())
      return;
    if (std::isdigit(static_cast<unsigned char>(line[0]))) {
      ++tally.found[line[0] - '0'];
      if (line.size() > 1)
        tally.wrong.push_back(line.substr(1));
      ++turn;
    }
    last = std::exchange(line, {});
  };
  for (int c; (c = std::fgetc(in)) != EOF;)
    if (c == '\n')
      take();
    else
      line += char(c);
  std::fclose(in);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return count;
  ++tally.found[unsigned(last == "LibTorch is done" ? Outcome::Wrong : Outcome::Skipped)];
  if (last == "LibTorch is done")
    tally.wrong.push_back(fmt::format("{0}: plait ends, with seed {1}", operation.schema().name(),
                                      seed * 1000003 + turn * 7919));
  return turn + 1;
}

TEST(RandomCalls, AgreeOrAreRefused) {
  at::NoGradGuard noGrad;
  at::set_num_threads(1); // threads do not survive a fork
  const char *calls = std::getenv("PLAIT_RANDOM_CALLS"), *first = std::getenv("PLAIT_RANDOM_SEED"),
             *only = std::getenv("PLAIT_RANDOM_ONLY");
  unsigned count = calls ? std::atoi(calls) : 2;
  uint64_t seed = first ? std::atoll(first) : 1;
  unsigned totals[4] = {};
  std::string never;
  for (const std::string &name : Table::get().names()) {
    llvm::StringRef base = llvm::StringRef(name).split('.').first;
    if (only && name.find(only) == std::string::npos)
      continue;
    // Kernels that trust sizes and positions, and results that nothing defines, ties or sizes
    // decide.
    if (!base.starts_with("aten::") || base.starts_with("aten::_") || base.contains("native") ||
        base.contains("empty") || base.contains("sort") || base.contains("topk") ||
        base.contains("as_strided") || base == "aten::isin" || base.contains("fill_") ||
        base.contains("dropout") || base.ends_with("_"))
      continue;
    auto operation = torch::jit::findOperatorFor(
        c10::OperatorName(base.str(), llvm::StringRef(name).split('.').second.str()));
    if (!operation || operation->schema().is_mutable())
      continue;
    // TorchScript's own forms of `to` follow the number of an element type without a look at it.
    if (base == "aten::to" && llvm::StringRef(name).contains(".prim_"))
      continue;
    // TorchScript's own arithmetic of numbers divides by zero as C does.
    if (llvm::none_of(operation->schema().arguments(), [](const c10::Argument &argument) {
          return c10::toString(argument.type()).find("Tensor") != std::string::npos;
        }))
      continue;
    auto handle = c10::Dispatcher::singleton().findSchema(operation->schema().operator_name());
    if (handle && handle->hasTag(at::Tag::nondeterministic_seeded))
      continue;
    Tally tally;
    for (unsigned turn = 0; turn < count;)
      turn = callsOfAChild(*operation, seed, turn, count, tally);
    for (const std::string &what : tally.wrong)
      ADD_FAILURE() << what;
    for (unsigned i = 0; i < 4; ++i)
      totals[i] += tally.found[i];
    if (calls && tally.found[unsigned(Outcome::Right)] == 0)
      never += fmt::format(" {0} ({1} refused, {2} skipped)", name,
                           tally.found[unsigned(Outcome::Refused)],
                           tally.found[unsigned(Outcome::Skipped)]);
  }
  if (calls)
    std::puts(fmt::format("{0} skipped, {1} refused, {2} right, {3} wrong\nnever right:{4}",
                          totals[0], totals[1], totals[2], totals[3], never)
                  .c_str());
}

} // namespace
} // namespace plait::frontend
