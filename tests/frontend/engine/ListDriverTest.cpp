// The engine under a walk of its own: values, views, writes, branches and loops, against LibTorch.
#include "tests/frontend/engine/ListDriver.h"

#include "runtime/Interpreter.h"
#include "tests/frontend/lower/LowerCheck.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <gmock/gmock.h>

namespace plait::frontend {

static c10::OperatorHandle operatorOf(const std::string &name) {
  size_t dot = name.find('.');
  std::string overload = dot == std::string::npos ? "" : name.substr(dot + 1);
  return c10::Dispatcher::singleton().findSchemaOrThrow(name.substr(0, dot).c_str(),
                                                        overload.c_str());
}

// ---- LibTorch ----------------------------------------------------------------------------------

namespace {
using Values = std::map<std::string, c10::IValue>;

std::vector<c10::IValue> evaluate(const ListBlock &block, std::vector<c10::IValue> inputs,
                                  Values &values) {
  for (auto [name, input] : llvm::zip(block.inputs, inputs))
    values[name] = input;
  auto valueOf = [&](const Argument &argument) {
    return argument.name().empty() ? argument.literal() : values.at(argument.name());
  };
  for (const Step &step : block.steps) {
    std::vector<c10::IValue> stack;
    for (const Argument &argument : step.arguments)
      stack.push_back(valueOf(argument));
    if (step.op == "if") {
      bool condition = stack[0].isBool() ? stack[0].toBool() : stack[0].toScalar().toBool();
      stack = evaluate(step.blocks[condition ? 0 : 1], {}, values);
    } else if (step.op == "loop") {
      int64_t trips = stack[0].toInt();
      bool go = stack[1].toBool();
      std::vector<c10::IValue> carried(stack.begin() + 2, stack.end());
      for (int64_t i = 0; i < trips && go; ++i) {
        std::vector<c10::IValue> given{c10::IValue(i)};
        given.insert(given.end(), carried.begin(), carried.end());
        std::vector<c10::IValue> after = evaluate(step.blocks[0], given, values);
        go = after[0].toBool();
        carried.assign(after.begin() + 1, after.end());
      }
      stack = carried;
    } else {
      c10::OperatorHandle handle = operatorOf(step.op);
      for (size_t i = stack.size(); i < handle.schema().arguments().size(); ++i)
        stack.push_back(handle.schema().arguments()[i].default_value().value_or(c10::IValue()));
      handle.callBoxed(&stack);
    }
    for (auto [name, result] : llvm::zip(step.results, stack))
      values[name] = result;
  }
  std::vector<c10::IValue> outputs;
  for (const std::string &name : block.outputs)
    outputs.push_back(values.at(name));
  return outputs;
}
} // namespace

std::vector<c10::IValue> runList(const ListBlock &function, std::vector<c10::IValue> inputs) {
  Values values;
  return evaluate(function, std::move(inputs), values);
}

// ---- The driver --------------------------------------------------------------------------------

Val ListDriver::value(const Argument &argument) {
  return argument.name().empty() ? engine_.fromIValue(argument.literal())
                                 : values_.at(argument.name());
}

std::vector<Val> ListDriver::run(const ListBlock &block, llvm::ArrayRef<Val> inputs) {
  for (auto [name, input] : llvm::zip(block.inputs, inputs))
    values_[name] = input;
  for (const Step &step : block.steps)
    for (const Argument &argument : step.arguments)
      ++uses_[argument.name()];
  for (const std::string &name : block.outputs)
    ++uses_[name];
  for (const Step &step : block.steps)
    run(step);
  std::vector<Val> outputs;
  for (const std::string &name : block.outputs)
    outputs.push_back(values_.at(name));
  return outputs;
}

void ListDriver::run(const Step &step) {
  std::vector<Val> arguments;
  for (const Argument &argument : step.arguments)
    arguments.push_back(value(argument));
  Site site{.location = mil::Location("list", step.results.empty() ? "" : step.results[0], step.op),
            .used = 0};
  for (auto [i, name] : llvm::enumerate(step.results))
    site.used |= uint64_t(uses_.count(name)) << i;
  auto lowering = [this](const ListBlock &block) {
    return [this, &block](llvm::ArrayRef<Val> inputs) { return run(block, inputs); };
  };
  std::vector<Val> results;
  if (step.op == "if") {
    auto then = lowering(step.blocks[0]), otherwise = lowering(step.blocks[1]);
    results = engine_.within(
        site, [&] { return engine_.branch(arguments[0], Body{then}, Body{otherwise}); });
  } else if (step.op == "loop") {
    auto body = lowering(step.blocks[0]);
    std::vector<Val> carried(arguments.begin() + 2, arguments.end());
    results = engine_.within(site, [&] {
      return engine_.loop(arguments[0], arguments[1], carried,
                          Body{.lower = body, .operations = step.blocks[0].steps.size()});
    });
  } else {
    results = engine_.lower(site, operatorOf(step.op).schema(), std::move(arguments));
  }
  results.resize(step.results.size());
  for (auto [name, result] : llvm::zip(step.results, results))
    values_[name] = result;
}

// ---- Tests -------------------------------------------------------------------------------------

namespace {
struct Lowered {
  mil::Program program;
  mil::Function *function = program.addFunction("main");
  std::vector<mil::Value *> outputs;
  std::string error; ///< "" where there is none

  Lowered(const ListBlock &list, const std::vector<at::Tensor> &inputs) {
    Engine engine(*function, {});
    std::vector<Val> arguments;
    for (auto [name, input] : llvm::zip(list.inputs, inputs)) {
      mil::Value *value = function->addInput(
          mil::Type::tensor(milTypeOf(input.scalar_type()), input.sizes().vec()), "in_" + name);
      arguments.push_back(engine.makeTensor(value, input.scalar_type()));
    }
    for (const Val &result : ListDriver(engine).run(list, arguments))
      if (auto tensor = result.tensor())
        outputs.push_back(engine.read(*tensor));
    function->body().setOutputs(outputs);
    error = llvm::toString(engine.takeError());
  }
  bool has(mil::OpKind kind) const {
    return llvm::any_of(function->body(), [&](const mil::Op &op) { return op.is(kind); });
  }
};

void checkList(const ListBlock &list, const std::vector<at::Tensor> &inputs,
               std::optional<mil::OpKind> expected = std::nullopt) {
  std::vector<c10::IValue> copies;
  for (const at::Tensor &input : inputs)
    copies.emplace_back(input.clone());
  std::vector<c10::IValue> wanted = runList(list, copies);
  Lowered lowered(list, inputs);
  ASSERT_EQ(lowered.error, "");
  ASSERT_EQ(lowered.outputs.size(), wanted.size());
  if (expected) {
    EXPECT_TRUE(lowered.has(*expected));
  }
  auto interpreter = runtime::Interpreter::create(*lowered.function, {});
  ASSERT_TRUE(bool(interpreter)) << llvm::toString(interpreter.takeError());
  runtime::Interpreter::Inputs given;
  for (auto [name, input] : llvm::zip(list.inputs, inputs))
    given["in_" + name] = input.to(input.is_floating_point() ? at::kFloat : at::kInt);
  auto outputs = (*interpreter)->run(given);
  ASSERT_TRUE(bool(outputs)) << llvm::toString(outputs.takeError());
  for (auto [output, value] : llvm::zip(*outputs, wanted)) {
    at::Tensor tensor = value.toTensor();
    ASSERT_EQ(output.tensor.sizes(), tensor.sizes());
    EXPECT_TRUE(at::allclose(output.tensor.to(at::kDouble), tensor.to(at::kDouble), 1e-4, 1e-5))
        << output.tensor << "\nwhere LibTorch has\n"
        << tensor;
  }
}

TEST(ListDriver, Operations) {
  checkList({{"x", "w"},
             {{{"h"}, "aten::linear", {"x", "w"}},
              {{"r"}, "aten::relu", {"h"}},
              {{"y"}, "aten::softmax.int", {"r", -1}}},
             {"y"}},
            {randn({2, 3}), randn({4, 3})});
}

TEST(ListDriver, KnownValuesAreNotLowered) {
  ListBlock list{{"x"},
                 {{{"t"}, "aten::arange", {4}},
                  {{"u"}, "aten::mul.Scalar", {"t", 3}},
                  {{"y"}, "aten::add.Tensor", {"x", "u", 2}}},
                 {"y"}};
  checkList(list, {randn({2, 4})});
  EXPECT_FALSE(Lowered(list, {randn({2, 4})}).has(mil::OpKind::range_1d));
}

TEST(ListDriver, WritesGoThroughViews) {
  checkList({{"x"},
             {{{"y"}, "aten::clone", {"x"}},
              {{"t"}, "aten::t", {"y"}},
              {{"row"}, "aten::select.int", {"t", 0, 1}},
              {{}, "aten::mul_.Scalar", {"row", 3.0}},
              {{"part"}, "aten::slice.Tensor", {"t", 1, 1, 3, 1}},
              {{"from"}, "aten::slice.Tensor", {"x", 1, 0, 2, 1}},
              {{}, "aten::copy_", {"part", "from"}}},
             {"y", "row"}},
            {randn({3, 3})});
}

TEST(ListDriver, OutForms) {
  checkList({{"x"},
             {{{"y"}, "aten::zeros_like", {"x"}}, {{"z"}, "aten::add.out", {"x", "x", 2, "y"}}},
             {"y", "z"}},
            {randn({3})});
}

TEST(ListDriver, OnlyUsedResults) {
  checkList({{"x"}, {{{"values", "indices"}, "aten::max.dim", {"x", 1}}}, {"values"}},
            {randn({3, 4})});
}

/// x where its sum is positive, else 2 x; either way `seen` is written.
ListBlock branches() {
  return {{"x"},
          {{{"seen"}, "aten::zeros_like", {"x"}},
           {{"sum"}, "aten::sum", {"x"}},
           {{"positive"}, "aten::gt.Scalar", {"sum", 0}},
           {{"p"}, "aten::item", {"positive"}},
           {{"y"},
            "if",
            {"p"},
            {ListBlock{{}, {{{}, "aten::add_.Scalar", {"seen", 1, 1}}}, {"x"}},
             ListBlock{{},
                       {{{"first"}, "aten::select.int", {"seen", 0, 0}},
                        {{}, "aten::sub_.Scalar", {"first", 2, 1}},
                        {{"twice"}, "aten::mul.Scalar", {"x", 2}}},
                       {"twice"}}}}},
          {"y", "seen"}};
}
TEST(ListDriver, Branches) {
  at::Tensor x = rand({3}, 0.5, 1);
  checkList(branches(), {x}, mil::OpKind::cond);
  checkList(branches(), {-x}, mil::OpKind::cond);
}

/// trips times: y = y * 1.5 + i, each written to a place of `log`.
ListBlock turns() {
  return {{"x", "n"},
          {{{"log"}, "aten::zeros", {at::IntArrayRef({8})}},
           {{"trips"}, "aten::item", {"n"}},
           {{"y"},
            "loop",
            {"trips", true, "x"},
            {ListBlock{{"i", "a"},
                       {{{"b"}, "aten::mul.Scalar", {"a", 1.5}},
                        {{"c"}, "aten::add.Scalar", {"b", "i", 1}},
                        {{"place"}, "aten::select.int", {"log", 0, "i"}},
                        {{"sum"}, "aten::sum", {"c"}},
                        {{}, "aten::copy_", {"place", "sum"}},
                        {{"stay"}, "aten::is_floating_point", {"a"}}},
                       {"stay", "c"}}}}},
          {"y", "log"}};
}
TEST(ListDriver, Loops) {
  for (int64_t n : {0, 1, 5})
    checkList(turns(), {randn({3}), ints({n}).squeeze(0)}, mil::OpKind::while_loop);
}

TEST(ListDriver, KnownLoopsAreUnrolled) {
  ListBlock list = turns();
  list.steps[2].arguments[0] = 4;
  checkList(list, {randn({3}), ints({4}).squeeze(0)});
  EXPECT_FALSE(Lowered(list, {randn({3}), ints({4}).squeeze(0)}).has(mil::OpKind::while_loop));
}

TEST(ListDriver, ProblemsSayWhere) {
  // UnknownTest has that operator.
  Lowered lowered(
      {{"x"}, {{{"y"}, "aten::unsqueeze", {"x", 7}}, {{"z"}, "aten::plait_a", {"x"}}}, {"y"}},
      {randn({2, 2})});
  EXPECT_THAT(
      lowered.error,
      testing::AllOf(testing::HasSubstr("aten::plait_a (1 use), first in module 'list' at z"),
                     testing::HasSubstr("in module 'list' at y")));
}
} // namespace

} // namespace plait::frontend
