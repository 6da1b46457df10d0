// The harness of the lowerings' tests, and tests of itself.
#include "tests/frontend/lower/LowerCheck.h"

#include "frontend/engine/Table.h"
#include "frontend/lower/Decompositions.h"
#include "frontend/script/GraphWalk.h"
#include "frontend/script/libtorch/QuantizedOperators.h"
#include "frontend/script/libtorch/VisionOperators.h"
#include "runtime/Interpreter.h"

#include "llvm/ADT/DenseSet.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/frontend/error_report.h>
#include <torch/csrc/jit/frontend/resolver.h>
#include <torch/csrc/jit/frontend/sugared_value.h>
#include <torch/csrc/jit/passes/inliner.h>

#include <map>
#include <set>

namespace plait::frontend {

namespace {
using mil::DType;

/// Operators outside of aten: ops.quantized.linear(…).
struct Namespaces : torch::jit::SugaredValue {
  std::string kind() const override { return "ops"; }
  std::shared_ptr<SugaredValue> attr(const torch::jit::SourceRange &, torch::jit::GraphFunction &,
                                     const std::string &name) override {
    return std::make_shared<torch::jit::BuiltinModule>(name);
  }
};
struct Resolver : torch::jit::NativeResolver {
  std::shared_ptr<torch::jit::SugaredValue>
  resolveValue(const std::string &name, torch::jit::GraphFunction &function,
               const torch::jit::SourceRange &place) override {
    return name == "ops" ? std::make_shared<Namespaces>()
                         : NativeResolver::resolveValue(name, function, place);
  }
};

torch::jit::Module compile(const std::string &source, size_t inputs) {
  torch::jit::Module module("Case");
  std::string text = source;
  if (source.rfind("def ", 0) != 0) {
    text = "def forward(self";
    for (size_t i = 0; i < inputs; ++i)
      text += std::string(", ") + "xyzwuv"[i];
    text += "):\n  return " + source + "\n";
  }
  module.define(text + "\n", std::make_shared<Resolver>());
  module.eval();
  return module;
}

/// Tensors in a result, in order; of a complex one its real and its imaginary part.
void flatten(const c10::IValue &value, std::vector<at::Tensor> &out) {
  if (value.isTensor() && value.toTensor().is_complex())
    for (const at::Tensor &part : {at::real(value.toTensor()), at::imag(value.toTensor())})
      out.push_back(part);
  else if (value.isTensor())
    out.push_back(value.toTensor());
  else if (value.isTuple())
    for (const auto &element : value.toTupleRef().elements())
      flatten(element, out);
  else if (value.isList())
    for (const c10::IValue &element : value.toListRef())
      flatten(element, out);
  else if (value.isScalar())
    out.push_back(at::scalar_tensor(value.toScalar(), value.isDouble() ? at::kFloat
                                                      : value.isBool() ? at::kBool
                                                                       : at::kLong));
}

using Result = std::pair<mil::Value *, at::ScalarType>;

bool flatten(Engine &engine, const Val &value, std::vector<Result> &out) {
  if (auto tensor = value.tensor(); tensor && tensor->isComplex())
    return flatten(engine, engine.part(tensor, 0), out) &&
           flatten(engine, engine.part(tensor, 1), out);
  if (auto tensor = value.tensor()) {
    out.emplace_back(engine.read(*tensor), tensor->dtype());
    return true;
  }
  if (value.isPoison())
    return false;
  auto all = [&](const std::vector<Val> &values) {
    return llvm::all_of(values, [&](const Val &v) { return flatten(engine, v, out); });
  };
  if (auto tuple = value.tuple())
    return all(tuple->values);
  if (auto list = value.list())
    return all(list->values);
  at::ScalarType dtype = at::kLong;
  if (value.number())
    dtype = value.number()->kind == c10::TypeKind::FloatType  ? at::kFloat
            : value.number()->kind == c10::TypeKind::BoolType ? at::kBool
                                                              : at::kLong;
  else if (value.known())
    dtype = value.known()->isDouble() ? at::kFloat
            : value.known()->isBool() ? at::kBool
                                      : at::kLong;
  out.emplace_back(engine.scalar(value, milTypeOf(dtype)), dtype);
  return true;
}

struct Lowered {
  mil::Program program;
  mil::Function *function = nullptr;
  std::vector<Result> results;
  std::vector<std::string> inputs;
};

Error lower(Lowered &out, torch::jit::Module &module, const std::vector<at::Tensor> &inputs,
            const std::vector<int64_t> &dynamic) {
  out.function = out.program.addFunction("main");
  Engine engine(*out.function, {});
  std::vector<Val> arguments;
  for (auto [i, input] : llvm::enumerate(inputs)) {
    mil::Shape shape;
    for (auto [axis, size] : llvm::enumerate(input.sizes()))
      shape.push_back(i == 0 && llvm::is_contained(dynamic, int64_t(axis))
                          ? mil::Dim::symbol("s" + std::to_string(axis))
                          : mil::Dim(size));
    std::string name = std::string("in_") + "xyzwuv"[i];
    mil::Value *value = out.function->addInput(
        mil::Type::tensor(milTypeOf(input.scalar_type()), llvm::ArrayRef<mil::Dim>(shape)), name);
    out.inputs.push_back(value->name.str());
    arguments.push_back(engine.makeTensor(value, input.scalar_type()));
  }
  Val result = GraphWalk(engine, {})
                   .run(module._ivalue(), module.get_method("forward").function(), arguments);
  if (Error error = engine.takeError())
    return error;
  if (!flatten(engine, result, out.results))
    return makeError(Code::Internal, "the result is poison, but no error was reported");
  if (Error error = engine.builder().takeError())
    return error;
  if (Error error = engine.takeError())
    return error;
  llvm::SmallVector<mil::Value *, 4> values;
  for (auto &[value, dtype] : out.results)
    values.push_back(value);
  out.function->body().setOutputs(values);
  return Error::success();
}
} // namespace

// ---- which lowerings the tests reach ----

namespace {
std::set<std::string> &reached() {
  static std::set<std::string> names;
  return names;
}
/// Those of known values too.
std::set<std::string> &seen() {
  static std::set<std::string> names;
  return names;
}

/// Notes the operations of a block that depend on `live` values: the others may be computed while
/// compiling.
void note(const torch::jit::Block &block, llvm::DenseSet<const torch::jit::Value *> &live) {
  for (const torch::jit::Node *node : block.nodes()) {
    auto depends = [&](const torch::jit::Value *value) { return live.contains(value); };
    if (const c10::FunctionSchema *schema = node->maybeSchema()) {
      std::string base = schema->name(), overload = schema->operator_name().overload_name;
      seen().insert(overload.empty() ? base : base + "." + overload);
    }
    bool isLive = llvm::any_of(node->inputs(), depends);
    for (const torch::jit::Block *inner : node->blocks()) {
      for (const torch::jit::Value *input : inner->inputs())
        live.insert(input);
      note(*inner, live);
      isLive |= llvm::any_of(inner->outputs(), depends);
    }
    if (!isLive && !node->isNondeterministic())
      continue;
    for (const torch::jit::Value *output : node->outputs())
      live.insert(output);
    const c10::FunctionSchema *schema = node->maybeSchema();
    if (!schema)
      continue;
    std::string base = schema->name(), overload = schema->operator_name().overload_name;
    // In-place and out= forms are lowered as their functional twins.
    if (!llvm::StringRef(base).ends_with("__") && llvm::StringRef(base).ends_with("_"))
      base.pop_back();
    reached().insert(overload.empty() ? base : base + "." + overload);
    // Constant inputs of a list make no other operation of it.
    for (const torch::jit::Value *input : node->inputs())
      if (input->node()->kind() == c10::prim::ListConstruct)
        live.insert(input);
  }
}

void note(const torch::jit::Module &module) {
  auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  llvm::DenseSet<const torch::jit::Value *> live;
  for (const torch::jit::Value *input : graph->inputs().slice(1))
    live.insert(input);
  note(*graph->block(), live);
}

/// torchvision's operators have no name in a test's script: tests/python/test_detection.py.
bool isVision(llvm::StringRef name) { return name.starts_with("torchvision::"); }

/// After a run of all tests.
class EveryLoweringIsTested : public testing::Environment {
public:
  void TearDown() override {
    const auto &run = *testing::UnitTest::GetInstance();
    if (run.test_to_run_count() != run.total_test_count())
      return;
    // Aliases are spelled alike by the time a graph is lowered: one name of each function is
    // enough.
    std::map<const void *, std::string> untested;
    std::set<const void *> tested;
    auto look = [&](const void *fn, const std::string &name, const std::set<std::string> &where) {
      if (fn && where.count(name))
        tested.insert(fn);
      else if (fn)
        untested[fn] += " " + name;
    };
    for (const std::string &name : Table::get().names()) {
      if (isVision(name))
        continue;
      const Row &row = *Table::get().find(name);
      look(reinterpret_cast<const void *>(row.lower), name, reached());
      look(reinterpret_cast<const void *>(row.values), name, seen());
    }
    std::set<std::string> lines;
    for (const DecompositionText &text : decompositionTexts()) {
      std::vector<std::string> names = text.operators;
      names.insert(names.end(), text.complex.begin(), text.complex.end());
      names.insert(names.end(), text.selected.begin(), text.selected.end());
      if (!names.empty() && !isVision(names.front()) &&
          llvm::none_of(names, [](const std::string &name) { return reached().count(name); }))
        lines.insert(text.function);
    }
    for (const auto &[fn, names] : untested)
      if (!tested.count(fn))
        lines.insert(names);
    std::string missing;
    for (const std::string &line : lines)
      missing += "\n " + line;
    EXPECT_EQ(missing, "") << "these lowerings have no test";
  }
};
const testing::Environment *everyLoweringIsTested =
    testing::AddGlobalTestEnvironment(new EveryLoweringIsTested);
} // namespace

/// Runs LibTorch and the lowered program. False after a failure, which is reported.
static bool run(const std::string &source, const std::vector<at::Tensor> &inputs,
                const std::vector<int64_t> &dynamic, Lowered &lowered,
                std::vector<at::Tensor> &expected, std::vector<at::Tensor> &actual) {
  torch::jit::Module module = compile(source, inputs.size());
  note(module);
  {
    at::NoGradGuard guard;
    std::vector<c10::IValue> arguments;
    for (const at::Tensor &input : inputs)
      arguments.emplace_back(input.clone());
    flatten(module.forward(arguments), expected);
  }
  auto failed = [](Error error) {
    ADD_FAILURE() << llvm::toString(std::move(error));
    return false;
  };
  if (Error error = lower(lowered, module, inputs, dynamic))
    return failed(std::move(error));
  auto interpreter = runtime::Interpreter::create(*lowered.function, {});
  if (!interpreter)
    return failed(interpreter.takeError());
  runtime::Interpreter::Inputs tensors;
  for (auto [name, input] : llvm::zip(lowered.inputs, inputs))
    tensors[name] = input.to(input.is_floating_point()          ? at::kFloat
                             : input.scalar_type() == at::kBool ? at::kBool
                                                                : at::kInt);
  auto outputs = (*interpreter)->run(tensors);
  if (!outputs)
    return failed(outputs.takeError());
  for (const auto &output : *outputs)
    actual.push_back(output.tensor);
  EXPECT_EQ(actual.size(), expected.size());
  return actual.size() == expected.size();
}

void check(const std::string &source, std::vector<at::Tensor> inputs, CheckOptions options) {
  SCOPED_TRACE(source);
  try {
    Lowered lowered;
    std::vector<at::Tensor> expected, outputs;
    if (!run(source, inputs, options.dynamic, lowered, expected, outputs))
      return;
    for (size_t i = 0; i < expected.size(); ++i) {
      at::Tensor actual = outputs[i];
      EXPECT_EQ(toString(lowered.results[i].second), toString(expected[i].scalar_type()))
          << "result " << i;
      if (actual.sizes() != expected[i].sizes()) {
        ADD_FAILURE() << "result " << i << ": shape " << actual.sizes() << " where LibTorch has "
                      << expected[i].sizes();
        continue;
      }
      // What was declared must be what comes out.
      EXPECT_EQ(lowered.results[i].first->type.rank(), expected[i].dim());
      for (auto [axis, dim] : llvm::enumerate(lowered.results[i].first->type.shape()))
        if (auto size = dim.tryValue()) {
          EXPECT_EQ(*size, expected[i].size(axis)) << "result " << i << ", axis " << axis;
        }
      if (!at::allclose(actual.to(at::kDouble), expected[i].to(at::kDouble), options.rtol,
                        options.atol, /*equal_nan=*/true))
        ADD_FAILURE() << "result " << i << ": got\n"
                      << actual.flatten().slice(0, 0, 12) << "\nwhere LibTorch has\n"
                      << expected[i].flatten().slice(0, 0, 12);
    }
  } catch (const std::exception &error) {
    ADD_FAILURE() << std::string(error.what()).substr(0, 400);
  }
}

std::pair<at::Tensor, at::Tensor> outputs(const std::string &source,
                                          std::vector<at::Tensor> inputs) {
  SCOPED_TRACE(source);
  try {
    Lowered lowered;
    std::vector<at::Tensor> expected, actual;
    if (run(source, inputs, {}, lowered, expected, actual) && expected.size() == 1)
      return {actual[0], expected[0]};
  } catch (const std::exception &error) {
    ADD_FAILURE() << std::string(error.what()).substr(0, 400);
  }
  return {};
}

void checkAll(const std::vector<std::string> &sources, const std::vector<at::Tensor> &inputs,
              CheckOptions options) {
  for (const std::string &source : sources)
    check(source, inputs, options);
}

std::vector<std::string> operations(const std::string &source, std::vector<at::Tensor> inputs) {
  torch::jit::Module module = compile(source, inputs.size());
  Lowered lowered;
  if (Error error = lower(lowered, module, inputs, {}))
    return {llvm::toString(std::move(error))};
  std::vector<std::string> kinds;
  for (const mil::Op &op : lowered.function->body())
    if (!op.is(mil::OpKind::const_) && !op.isTerminator())
      kinds.push_back(op.info().name);
  return kinds;
}

std::string refusal(const std::string &source, std::vector<at::Tensor> inputs,
                    CheckOptions options) {
  try {
    torch::jit::Module module = compile(source, inputs.size());
    note(module);
    Lowered lowered;
    if (Error error = lower(lowered, module, inputs, options.dynamic))
      return llvm::toString(std::move(error));
  } catch (const std::exception &error) {
    return "LibTorch: " + std::string(error.what());
  }
  return "";
}

static at::Generator &generator() {
  static at::Generator instance = at::detail::createCPUGenerator(7);
  return instance;
}
at::Tensor randn(at::IntArrayRef shape) { return at::randn(shape, generator()); }
at::Tensor rand(at::IntArrayRef shape, double low, double high) {
  return at::rand(shape, generator()) * (high - low) + low;
}
at::Tensor randint(int64_t low, int64_t high, at::IntArrayRef shape) {
  return at::randint(low, high, shape, generator(), at::kLong);
}
at::Tensor randbool(at::IntArrayRef shape) { return randint(0, 2, shape).to(at::kBool); }
at::Tensor floats(std::initializer_list<double> values) {
  return at::tensor(std::vector<double>(values), at::kDouble).to(at::kFloat);
}
at::Tensor ints(std::initializer_list<int64_t> values) {
  return at::tensor(std::vector<int64_t>(values), at::kLong);
}
at::Tensor bools(std::initializer_list<bool> values) {
  std::vector<int64_t> numbers(values.begin(), values.end());
  return at::tensor(numbers, at::kLong).to(at::kBool);
}

TEST(LowerCheck, SaysWhatFails) {
  EXPECT_EQ(refusal("x + 1", {randn({2})}), "");
  EXPECT_THAT(refusal("torch.one_hot(torch.argmax(x, 0))", {randn({2, 3})}),
              testing::HasSubstr("must be given"));
}

TEST(LowerCheck, EveryLoweringNamesAnOperator) {
  declareVisionOperators();
  declareQuantizedOperators();
  for (const std::string &name : Table::get().names()) {
    auto [base, overload] = llvm::StringRef(name).split('.');
    bool found = name == "prim::is_ort"; // of LibTorch 2.4; newer ones call it is_maia
    for (const auto &op : torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(base.str()))) {
      found |= op->schema().overload_name() == overload.str();
      // In-place forms are looked up as their functional twins, which need not exist themselves.
    }
    for (const auto &op :
         torch::jit::getAllOperatorsFor(c10::Symbol::fromQualString(base.str() + "_")))
      found |= op->schema().overload_name() == overload.str();
    EXPECT_TRUE(found) << name;
  }
}

} // namespace plait::frontend
