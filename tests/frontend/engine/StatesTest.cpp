// Tensors of a model that live from call to call: several calls in the interpreter and in LibTorch,
// outputs and contents compared after each. Inputs are whole numbers, so that fp16 holds them all.
#include "frontend/Frontend.h"
#include "mil/Verifier.h"
#include "runtime/Interpreter.h"
#include "tests/frontend/lower/LowerCheck.h"

#include <gmock/gmock.h>
#include <torch/script.h>

using namespace plait;
using namespace plait::frontend;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

namespace {

using Buffers = std::vector<std::pair<std::string, at::Tensor>>;
using Inputs = std::vector<at::Tensor>;

at::Tensor numbers(at::IntArrayRef shape) { return randint(-6, 7, shape).to(at::kFloat); }
at::Tensor zeros(at::IntArrayRef shape) { return at::zeros(shape); }

torch::jit::Module makeModule(const Buffers &buffers, const std::string &source) {
  torch::jit::Module module("Stateful");
  for (const auto &[name, tensor] : buffers)
    module.register_buffer(name, tensor);
  module.define(source);
  module.eval();
  return module;
}

StatesRequest automatic() { return {.others = StatesRequest::Others::Keep}; }

struct Lowering {
  mil::Program program;
  std::vector<Warning> warnings;
  std::string error;

  Lowering(const torch::jit::Module &module, const Inputs &inputs, StatesRequest states,
           mil::DType floatType = mil::DType::F16) {
    ModelFunction function{"main", "the model"};
    function.module = std::make_shared<const torch::jit::Module>(module);
    function.states = std::move(states);
    for (auto [i, input] : llvm::enumerate(inputs)) {
      InputSpec spec;
      spec.name = std::string("in_") + "xyzw"[i];
      if (input.scalar_type() == at::kLong)
        spec.dtype = mil::DType::I32;
      if (input.scalar_type() == at::kBool)
        spec.dtype = mil::DType::Bool;
      for (int64_t size : input.sizes())
        spec.shape.push_back({size, size});
      function.inputs.push_back(std::move(spec));
    }
    Models models;
    LoweringOptions options;
    options.floatType = floatType;
    if (Error failure = models.lower(program, function, options, warnings))
      error = llvm::toString(std::move(failure));
    else if (Error invalid = mil::verify(program))
      error = llvm::toString(std::move(invalid));
    else
      removeUnused(program.functions()[0]->body());
  }
  /// As the pass dce does.
  static void removeUnused(mil::Block &block) {
    for (auto it = block.end(); it != block.begin();) {
      mil::Op &op = *--it;
      if (op.isUnused() && !(mil::traitsOf(op) & mil::Effect)) {
        ++it;
        op.erase();
      }
    }
  }
  mil::Function &function() const { return *program.functions()[0]; }
  unsigned count(mil::OpKind kind) const {
    unsigned found = 0;
    mil::walk(function().body(), [&](mil::Op &op) { found += op.is(kind); });
    return found;
  }
  std::vector<std::string> states() const {
    std::vector<std::string> names;
    for (const auto &input : function().inputs())
      if (input->type.isState())
        names.push_back(input->name.str());
    return names;
  }
};

std::vector<at::Tensor> tensorsOf(const c10::IValue &value) {
  if (value.isTensor())
    return {value.toTensor()};
  std::vector<at::Tensor> all;
  for (const c10::IValue &element : value.toTupleRef().elements())
    all.push_back(element.toTensor());
  return all;
}

/// Each state after each step is the buffer of that name. Gives what was lowered.
std::unique_ptr<Lowering> checkSteps(const torch::jit::Module &model,
                                     const std::vector<Inputs> &steps,
                                     StatesRequest states = automatic()) {
  auto lowering = std::make_unique<Lowering>(model, steps[0], std::move(states));
  EXPECT_EQ(lowering->error, "");
  if (!lowering->error.empty())
    return lowering;
  auto created = runtime::Interpreter::create(lowering->function(), {});
  if (!created) {
    ADD_FAILURE() << llvm::toString(created.takeError());
    return lowering;
  }
  torch::jit::Module reference = model.deepcopy();
  for (auto [number, step] : llvm::enumerate(steps)) {
    SCOPED_TRACE("step " + std::to_string(number + 1));
    runtime::Interpreter::Inputs inputs;
    std::vector<c10::IValue> arguments;
    for (auto [i, input] : llvm::enumerate(step)) {
      arguments.emplace_back(input.clone());
      inputs[std::string("in_") + "xyzw"[i]] = input.scalar_type() == at::kLong ? input.to(at::kInt)
                                               : input.scalar_type() == at::kBool
                                                   ? input
                                                   : input.to(at::kHalf);
    }
    std::vector<at::Tensor> expected = tensorsOf(reference.forward(std::move(arguments)));
    auto outputs = (*created)->run(inputs);
    if (!outputs) {
      ADD_FAILURE() << llvm::toString(outputs.takeError());
      return lowering;
    }
    EXPECT_EQ(outputs->size(), expected.size());
    for (auto [mine, theirs] : llvm::zip(*outputs, expected))
      EXPECT_TRUE(at::equal(mine.tensor.to(at::kDouble), theirs.to(at::kDouble)))
          << mine.tensor << "\nis in LibTorch\n"
          << theirs;
    for (const auto &[name, content] : (*created)->states) {
      at::Tensor theirs;
      for (const auto &buffer : reference.named_buffers())
        if (mil::legalName(buffer.name) == name)
          theirs = buffer.value;
      EXPECT_TRUE(theirs.defined()) << name;
      if (theirs.defined()) {
        EXPECT_TRUE(
            at::equal(content.to(at::kDouble).reshape(theirs.sizes()), theirs.to(at::kDouble)))
            << name << " is\n"
            << content << "\nand in LibTorch\n"
            << theirs;
      }
    }
  }
  return lowering;
}

std::unique_ptr<Lowering> checkSteps(const Buffers &buffers, const std::string &source,
                                     const std::vector<Inputs> &steps,
                                     StatesRequest states = automatic()) {
  return checkSteps(makeModule(buffers, source), steps, std::move(states));
}

/// Several steps of fresh numbers.
std::vector<Inputs> floatSteps(at::IntArrayRef shape) {
  return {{numbers(shape)}, {numbers(shape)}, {numbers(shape)}};
}
/// The same with a position each.
std::vector<Inputs> positionSteps(at::IntArrayRef shape, std::vector<int64_t> positions) {
  std::vector<Inputs> steps;
  for (int64_t position : positions)
    steps.push_back({numbers(shape), ints({position})});
  return steps;
}

std::string refusal(const Buffers &buffers, const std::string &source, const Inputs &inputs,
                    StatesRequest states = {}, mil::DType floatType = mil::DType::F16) {
  return Lowering(makeModule(buffers, source), inputs, std::move(states), floatType).error;
}

const std::string kAdds = "def forward(self, x):\n  self.k.add_(x)\n  return self.k * 2\n";

// ---- Ways of writing ---------------------------------------------------------------------------

TEST(States, CopiesAndArithmeticInPlace) {
  checkSteps({{"k", zeros({2, 3})}}, kAdds, floatSteps({2, 3}));
  checkSteps({{"k", zeros({2, 3})}},
             "def forward(self, x):\n  y = self.k + x\n  self.k.copy_(x)\n  return y\n",
             floatSteps({2, 3}));
  checkSteps({{"k", zeros({2, 3})}},
             "def forward(self, x):\n  old = self.k.clone()\n  self.k += x\n  self.k *= 2\n"
             "  return old, self.k\n",
             floatSteps({2, 3}));
  checkSteps({{"k", zeros({4})}},
             "def forward(self, x):\n  torch.add(self.k, x, out=self.k)\n  return self.k + x\n",
             floatSteps({4}));
}

TEST(States, Slices) {
  const std::string source = "def forward(self, x):\n  self.k[2:4] = x\n  return self.k * 2\n";
  auto lowering = checkSteps({{"k", zeros({8, 3})}}, source, floatSteps({2, 3}));
  EXPECT_EQ(lowering->count(mil::OpKind::slice_update), 1u);
  EXPECT_EQ(lowering->count(mil::OpKind::read_state), 2u);
  EXPECT_EQ(lowering->count(mil::OpKind::write_state), 1u);
  checkSteps({{"k", zeros({8, 6})}},
             "def forward(self, x):\n  self.k[1:7:2, 3:] = x\n  self.k[:, 0] = x[0, 0]\n"
             "  self.k[-1].fill_(7)\n  return self.k.sum(0)\n",
             floatSteps({3, 3}));
}

TEST(States, AtAPositionThatIsAnInput) {
  checkSteps({{"k", zeros({1, 2, 8, 3})}},
             "def forward(self, x, p):\n  i = int(p[0])\n  self.k[:, :, i:i + 1] = x\n"
             "  return self.k * 2\n",
             positionSteps({1, 2, 1, 3}, {0, 1, 2, 7}));
  checkSteps({{"k", zeros({1, 2, 8, 3})}},
             "def forward(self, x, p):\n  self.k.index_copy_(2, p, x)\n  return self.k * 2\n",
             positionSteps({1, 2, 1, 3}, {0, 5, 2}));
  checkSteps({{"k", zeros({8, 3})}},
             "def forward(self, x, p):\n  self.k.index_put_((p,), x)\n  return self.k * 2\n",
             positionSteps({1, 3}, {0, 5, 2}));
  checkSteps({{"k", zeros({8, 3})}},
             "def forward(self, x, p):\n  self.k[p] = x\n  return self.k.sum(1)\n",
             positionSteps({1, 3}, {3, 3, 7}));
  checkSteps({{"k", zeros({8, 3})}},
             "def forward(self, x, p):\n  self.k.index_add_(0, p, x)\n  return self.k + 1\n",
             positionSteps({1, 3}, {3, 3, 7}));
  checkSteps({{"k", zeros({4, 3})}},
             "def forward(self, x, p):\n  self.k.scatter_(0, p.view(1, 1).expand(1, 3), x)\n"
             "  return self.k + 1\n",
             positionSteps({1, 3}, {3, 0, 2}));
}

TEST(States, FunctionalFormsThatAreAssigned) {
  for (const char *update :
       {"torch.slice_scatter(self.k, x, 0, 2, 4)", "torch.roll(self.k, 1, 0)",
        "torch.cat([self.k[2:], x], 0)", "torch.where(self.k > 0, self.k, self.k - x[0])",
        "self.k.clone()", "self.k + x.sum()", "self.k.t().clone().t()"}) {
    SCOPED_TRACE(update);
    std::string text = update;
    checkSteps({{"k", zeros({6, 3})}},
               "def forward(self, x):\n  self.k.copy_(" + text + ")\n  self.k[0] += x[0]\n" +
                   "  return self.k * 2\n",
               floatSteps({2, 3}));
    checkSteps({{"k", zeros({6, 3})}},
               "def forward(self, x):\n  self.k = " + text + "\n  self.k[0] += x[0]\n" +
                   "  return self.k * 2\n",
               floatSteps({2, 3}));
  }
}

TEST(States, ThroughViewsOfViews) {
  checkSteps({{"k", zeros({4, 6})}},
             "def forward(self, x):\n  self.k.t()[1:3].view(2, 2, 2).permute(1, 0, 2)[0] = x\n"
             "  return self.k + 1\n",
             floatSteps({2, 2}));
  checkSteps({{"k", zeros({4, 6})}},
             "def forward(self, x):\n  v = self.k.view(2, 2, 6)\n  a, b = v.unbind(0)\n"
             "  a[:, 1:3].add_(x)\n  b.copy_(a)\n  return v, self.k\n",
             floatSteps({2, 2}));
  checkSteps({{"k", zeros({4, 4})}},
             "def forward(self, x):\n  self.k.diagonal().add_(x)\n  return self.k * 1\n",
             floatSteps({4}));
}

TEST(States, ReadsBetweenWritesSeeWhatWasThen) {
  auto lowering = checkSteps(
      {{"k", zeros({8, 3})}},
      "def forward(self, x):\n  a = self.k + 1\n  self.k[2:4] = x\n  b = self.k + 2\n"
      "  self.k[4:6] = x + 1\n  self.k[0:2] = x + 2\n  c = self.k + 3\n  return a, b, c\n",
      floatSteps({2, 3}));
  // Two groups of writes with a read behind each.
  EXPECT_EQ(lowering->count(mil::OpKind::write_state), 2u);
  EXPECT_EQ(lowering->count(mil::OpKind::read_state), 3u);
  EXPECT_EQ(lowering->count(mil::OpKind::slice_update), 3u);
}

TEST(States, WritesAfterTheLastReadAreStored) {
  auto lowering = checkSteps({{"k", zeros({2, 3})}},
                             "def forward(self, x):\n  y = self.k + x\n  self.k[1] = x[0]\n"
                             "  return y\n",
                             floatSteps({2, 3}));
  EXPECT_EQ(lowering->count(mil::OpKind::read_state), 1u);
  EXPECT_EQ(lowering->count(mil::OpKind::write_state), 1u);
}

TEST(States, ConstantsAreWritten) {
  checkSteps({{"k", zeros({2, 3})}},
             "def forward(self, x):\n  y = self.k + x\n  self.k.add_(x)\n  if x.size(0) == 2:\n"
             "    self.k.zero_()\n  self.k[0] = 3\n  return y\n",
             floatSteps({2, 3}));
  checkSteps({{"k", zeros({3})}},
             "def forward(self, x):\n  y = self.k + x\n  self.k.copy_(torch.tensor([1, 2, 3]))\n"
             "  return y\n",
             floatSteps({3}));
}

TEST(States, CountersAndRingBuffers) {
  auto lowering = checkSteps({{"n", zeros({})}, {"ring", zeros({4, 3})}},
                             "def forward(self, x):\n  at = self.n.long() % 4\n"
                             "  self.ring.index_copy_(0, at.view(1), x)\n  self.n += 1\n"
                             "  return self.ring * self.n\n",
                             {{numbers({1, 3})},
                              {numbers({1, 3})},
                              {numbers({1, 3})},
                              {numbers({1, 3})},
                              {numbers({1, 3})}});
  EXPECT_THAT(lowering->states(), testing::UnorderedElementsAre("n", "ring"));
}

// ---- Which tensor it is ------------------------------------------------------------------------

TEST(States, OneBufferUnderTwoNamesIsOneState) {
  at::Tensor shared = zeros({3});
  auto lowering = checkSteps({{"a", shared}, {"b", shared}},
                             "def forward(self, x):\n  self.a.add_(x)\n  y = self.b + 0\n"
                             "  self.b.mul_(2)\n  return y, self.a + 1\n",
                             floatSteps({3}));
  EXPECT_THAT(lowering->states(), ElementsAre("a"));
}

TEST(States, SubmodulesAndLists) {
  torch::jit::Module outer("Outer");
  for (const char *name : {"first", "second"})
    outer.register_module(name, makeModule({{"k", zeros({3})}}, kAdds));
  outer.define("def forward(self, x):\n  y = self.first.forward(x)\n"
               "  return self.second.forward(y), self.first.k + 1\n");
  auto lowering = checkSteps(outer, floatSteps({3}));
  EXPECT_THAT(lowering->states(), ElementsAre("first_k", "second_k"));

  torch::jit::Module lists("Lists");
  lists.register_attribute("caches", c10::ListType::ofTensors(),
                           c10::List<at::Tensor>({zeros({3}), zeros({3})}));
  lists.define("def forward(self, x):\n  for i in range(len(self.caches)):\n"
               "    self.caches[i].add_(x + i)\n  return self.caches[0] * self.caches[1]\n");
  Lowering of(lists, {numbers({3})}, automatic());
  EXPECT_EQ(of.error, "");
  EXPECT_THAT(of.states(), ElementsAre("caches_0", "caches_1"));
  EXPECT_EQ(of.count(mil::OpKind::write_state), 2u);
}

TEST(States, AssignmentsExchangeAndReplace) {
  auto swapped = checkSteps({{"a", zeros({3})}, {"b", zeros({3})}},
                            "def forward(self, x):\n  self.a.add_(x)\n  t = self.a\n"
                            "  self.a = self.b\n  self.b = t\n  return self.a - self.b\n",
                            floatSteps({3}));
  EXPECT_EQ(swapped->count(mil::OpKind::write_state), 3u); // one before the exchange
  checkSteps({{"k", zeros({3})}},
             "def forward(self, x):\n  old = self.k\n  self.k = x * 2\n  old.add_(1)\n"
             "  self.k.add_(old)\n  return old + 0, self.k + 0\n",
             floatSteps({3}));
  checkSteps({{"k", zeros({3})}}, "def forward(self, x):\n  self.k = x\n  return self.k + 1\n",
             floatSteps({3}));
  checkSteps({{"k", zeros({2, 3})}},
             "def forward(self, x):\n  y = self.k + 0\n  self.k = torch.ones(2, 3)\n  return y\n",
             floatSteps({3}));
  auto kept = checkSteps({{"k", zeros({6, 3})}},
                         "def forward(self, x):\n  self.k = torch.cat([self.k[2:], x])\n"
                         "  return self.k * 2\n",
                         floatSteps({2, 3}));
  EXPECT_EQ(kept->count(mil::OpKind::write_state), 1u);
  EXPECT_EQ(kept->count(mil::OpKind::read_state), 2u);
}

// ---- Control flow ------------------------------------------------------------------------------

TEST(States, Branches) {
  for (const char *update : {"self.k.add_(x)", "self.k[1:] = x[1:]", "self.k = x + self.k"}) {
    SCOPED_TRACE(update);
    checkSteps({{"k", zeros({3})}},
               std::string("def forward(self, x):\n  self.k += 1\n  if bool(x.sum() > 0):\n    ") +
                   update + "\n  return self.k * 2\n",
               {{floats({1, 2, 3})}, {floats({-1, -2, -3})}, {floats({5, 2, 3})}});
    checkSteps({{"k", zeros({3})}},
               std::string("def forward(self, x):\n  if bool(x.sum() > 0):\n    ") + update +
                   "\n  else:\n    self.k.mul_(2)\n    self.k[0] = 9\n  return self.k * 2\n",
               {{floats({1, 2, 3})}, {floats({-1, -2, -3})}, {floats({5, 2, 3})}});
  }
}

TEST(States, Loops) {
  for (const char *turns : {"3", "int(p[0])"}) {
    SCOPED_TRACE(turns);
    checkSteps({{"k", zeros({4, 3})}},
               std::string("def forward(self, x, p):\n  self.k += 1\n  for i in range(") + turns +
                   "):\n    self.k[1:3].add_(x)\n  return self.k * 2\n",
               positionSteps({2, 3}, {2, 0, 3}));
    checkSteps({{"k", zeros({4, 3})}},
               std::string("def forward(self, x, p):\n  for i in range(") + turns +
                   "):\n    self.k = self.k + x[0]\n  return self.k * 2\n",
               positionSteps({2, 3}, {2, 0, 3}));
  }
}

TEST(States, AssignmentsInNestedControlFlow) {
  auto check = [](const std::string &body) {
    SCOPED_TRACE(body);
    std::vector<Inputs> steps;
    for (int64_t turns : {2, 0, 3, 1})
      for (float sign : {1.f, -1.f})
        steps.push_back({floats({sign, 2, 3}), ints({turns})});
    checkSteps({{"k", zeros({3})}, {"v", zeros({3})}},
               "def forward(self, x, p):\n" + body + "  return self.k + self.v, self.k * 2\n",
               steps);
  };
  const std::string choice = "if bool(x[0] > 0):\n", turns = "for i in range(int(p[0])):\n",
                    assign = "self.k = x - self.k\n", other = "self.v = self.k + self.v + 1\n";
  check("  " + turns + "    " + choice + "      " + assign + "    else:\n      " + other);
  check("  " + choice + "    if bool(p[0] > 1):\n      " + assign + "    " + other);
  check("  " + choice + "    " + turns + "      " + assign + "  else:\n    " + other);
  check("  " + turns + "    for j in range(int(p[0])):\n      " + assign + "    " + other);
  check("  " + turns + "    " + choice + "      if bool(p[0] > 2):\n        " + assign +
        "      else:\n        t = self.k\n        self.k = self.v\n        self.v = t\n");
  // What one branch replaced is written to.
  const std::string write = "self.k[0] = self.k[0] + x[1]\n";
  check("  " + choice + "    " + assign + "  " + write);
  check("  " + choice + "    " + assign + "  " + turns + "    " + write);
  check("  " + turns + "    " + choice + "      " + assign + "    else:\n      " + write);
  check("  " + turns + "    " + write + "    " + choice + "      " + assign);
  check("  y = self.k\n  " + choice + "    " + assign + "  " + write + "  self.v = y + self.v\n");
  check("  " + choice + "    t = x * 2\n    self.k = t\n    self.v = t * 2\n  " + write);
}

/// LibTorch would write to both in the next call.
TEST(States, TwoOfOneMemory) {
  auto message = [](const std::string &body) {
    torch::jit::Module module("Shared");
    module.register_buffer("k", zeros({3}));
    module.register_buffer("v", zeros({3}));
    module.define("def forward(self, x):\n" + body + "  return self.k + self.v\n");
    return Lowering(module, {floats({1, 2, 3})}, automatic()).error;
  };
  const std::string share = "  t = x * 2\n  self.k = t\n  self.v = t\n";
  EXPECT_THAT(message("  self.k[0] = x[1]\n" + share), HasSubstr("each state has its own memory"));
  EXPECT_THAT(message("  if bool(x[0] > 0):\n    t = x * 2\n    self.k = t\n    self.v = t\n"
                      "  self.k[0] = x[1]\n"),
              HasSubstr("each state has its own memory"));
  EXPECT_THAT(message("  self.v.add_(x)\n  self.k = self.v\n"),
              HasSubstr("each state has its own memory"));
  EXPECT_EQ(message(share), ""); // nothing of an earlier call is written to
}

TEST(States, ReadUnderAnotherNameThanALoopAssigns) {
  auto message = [](const std::string &body) {
    torch::jit::Module module("Names");
    module.register_buffer("k", zeros({3}));
    module.define("def forward(self, x, p):\n  y = self.k\n  for i in range(int(p[0])):\n" + body +
                  "  return self.k + y\n");
    return Lowering(module, {floats({1, 2, 3}), ints({2})}, automatic()).error;
  };
  EXPECT_THAT(message("    self.k[0] = x[1]\n    if i > 0:\n      self.k = x * 2\n"),
              HasSubstr("which the loop also assigns"));
  EXPECT_THAT(message("    y[0] = x[1]\n    if i > 0:\n      self.k = x * 2\n"),
              HasSubstr("under another name"));
}

/// What a region writes to an attribute that it reads first is undone with the region.
TEST(Attributes, FirstReadInARegion) {
  torch::jit::Module module("Region");
  module.register_buffer("k", zeros({3}));
  module.define(
      "def forward(self, x, p):\n  for i in range(int(p[0])):\n    if bool(x.sum() > 0):\n"
      "      self.k = x + self.k\n    else:\n      self.k[1] = x[0]\n"
      "  return self.k * 2\n");
  EXPECT_THAT(Lowering(module, {floats({1, 2, 3}), ints({2})}, {}).error,
              HasSubstr("the model writes to its own 'k'"));
}

// ---- What is no state --------------------------------------------------------------------------

TEST(States, WritesAreRefusedWithTheOptionsThatAcceptThem) {
  std::string message = refusal({{"k", zeros({2, 3})}}, kAdds, {numbers({2, 3})});
  EXPECT_THAT(message, HasSubstr("the model writes to its own 'k'"));
  EXPECT_THAT(message, HasSubstr("--states 'k=fp16[2, 3]'"));
  EXPECT_THAT(message, HasSubstr("--states auto"));
  EXPECT_THAT(message, HasSubstr("--states none"));
  message = refusal({{"a", zeros({3})}, {"b", zeros({3})}},
                    "def forward(self, x):\n  self.a += x\n  self.b = x\n  return x + 1\n",
                    {numbers({3})});
  EXPECT_THAT(message, HasSubstr("'a', 'b'"));
  EXPECT_THAT(message, HasSubstr("--states 'a=fp16[3]' --states 'b=fp16[3]'"));
}

/// A list and a dictionary of a model are the same in every call: whatever changes them is refused,
/// never left out.
TEST(Attributes, ChangesOfListsAndDictionaries) {
  using Ints = c10::List<int64_t>;
  auto error = [](const std::string &statement, StatesRequest states) {
    torch::jit::Module module("Changes");
    module.register_attribute("list", c10::ListType::ofInts(), Ints({3, 1, 2, 2}));
    module.register_attribute("lists", c10::ListType::create(c10::ListType::ofInts()),
                              c10::List<Ints>({Ints({1, 2}), Ints({3})}));
    module.register_attribute("tensors", c10::ListType::ofTensors(),
                              c10::List<at::Tensor>({zeros({3}), at::ones({3})}));
    c10::Dict<std::string, int64_t> dict;
    dict.insert("a", 1);
    dict.insert("b", 2);
    module.register_attribute(
        "dict", c10::DictType::create(c10::StringType::get(), c10::IntType::get()), dict);
    try {
      module.define("def forward(self, x):\n  " + statement + "\n  return x + 1\n");
    } catch (const std::exception &) {
      return std::string("no TorchScript");
    }
    return Lowering(module, {numbers({3})}, std::move(states)).error;
  };
  for (const char *statement :
       {"self.list.remove(2)",
        "self.list.append(4)",
        "self.list.pop()",
        "n = self.list.pop(0)",
        "self.list.insert(1, 5)",
        "self.list.clear()",
        "self.list.extend([1, 2])",
        "self.list.sort()",
        "self.list.sort(reverse=True)",
        "self.list.reverse()",
        "self.list[0] = 7",
        "self.list += [5]",
        "del self.list[1]",
        "self.list[1:3] = [0]",
        "l = self.list\n  l.remove(2)",
        "self.lists[0].remove(2)",
        "self.lists.append([2])",
        "for l in self.lists:\n    l.append(2)",
        "self.tensors.append(x)",
        "self.tensors[0] = x",
        "self.tensors.pop()",
        "self.dict['a'] = 3",
        "self.dict['c'] = 3",
        "self.dict.pop('a')",
        "self.dict.popitem()",
        "self.dict.clear()",
        "self.dict.setdefault('c', 4)",
        "self.dict.update({'a': 5})",
        "del self.dict['a']",
        "(self.list, 1)[0].remove(2)",
        "l = self.list if bool(x.sum() > 0) else [1, 2, 3, 4]\n  l.remove(2)",
        "l = [1, 2, 3, 4]\n  for i in range(int(x.sum())):\n    l = self.list\n  l.remove(2)"})
    for (bool automatically : {false, true})
      EXPECT_NE(error(statement, automatically ? automatic() : StatesRequest()), "") << statement;
  // A copy is the call's own.
  EXPECT_EQ(error("l = self.list.copy()\n  l.remove(2)", automatic()), "");
  EXPECT_EQ(error("l = list(self.list)\n  l.append(2)", automatic()), "");
}

TEST(States, WhatCanBeNoStateSaysWhy) {
  const std::string counts = "def forward(self, x):\n  self.n += 1\n  return x + self.n\n";
  const Inputs x{numbers({3})};
  std::string message = refusal({{"n", at::zeros({1}, at::kLong)}}, counts, x, automatic());
  EXPECT_THAT(message, HasSubstr("'n' can be no state: it holds Long"));
  EXPECT_THAT(message, HasSubstr("--states 'n=input'"));
  message = refusal({{"n", at::ones({1})}}, counts, x, automatic());
  EXPECT_THAT(message, HasSubstr("it begins with other numbers than zeros"));
  EXPECT_THAT(message, HasSubstr("--states 'n=input'"));
  EXPECT_THAT(refusal({{"n", at::ones({1})}}, counts, x, {.named = {{"n"}}}),
              HasSubstr("--states n=input"));
  message = refusal({{"n", zeros({1})}}, counts, x, automatic(), mil::DType::F32);
  EXPECT_THAT(message, HasSubstr("would be rounded"));
  EXPECT_THAT(message, HasSubstr("--states 'n=fp16[1]'"));
  EXPECT_EQ(refusal({{"n", zeros({1})}}, counts, x, {.named = {{"n"}}}, mil::DType::F32), "");

  at::Tensor all = zeros({2, 3});
  message = refusal({{"all", all}, {"n", all[0]}}, counts, x, automatic());
  EXPECT_THAT(message, HasSubstr("it shares memory with 'all'"));
  EXPECT_THAT(message, Not(HasSubstr("--states 'n")));
  EXPECT_THAT(refusal({{"n", zeros({1, 1, 1, 1, 1, 3})}}, counts, x, automatic()),
              HasSubstr("6 dimensions"));
  EXPECT_THAT(refusal({{"n", zeros({3})}},
                      "def forward(self, x):\n  self.n = torch.cat([self.n, x])\n  return x + 1\n",
                      x, automatic()),
              HasSubstr("is assigned a tensor of shape [6] and begins with [3]"));
  at::Tensor shared = zeros({3});
  EXPECT_THAT(refusal({{"a", shared}, {"b", shared}},
                      "def forward(self, x):\n  self.a = self.b + x\n  return self.b + self.a\n", x,
                      automatic()),
              HasSubstr("has two names in the model"));

  torch::jit::Module plain("Plain");
  plain.register_attribute("turns", c10::IntType::get(), 0);
  plain.define("def forward(self, x):\n  self.turns += 1\n  return x + self.turns\n");
  EXPECT_THAT(Lowering(plain, x, automatic()).error, HasSubstr("register_buffer"));
}

TEST(States, NamedOnes) {
  const Buffers two{{"a", zeros({3})}, {"b", zeros({3})}};
  const std::string source =
      "def forward(self, x):\n  self.a += x\n  self.b += self.a\n  return self.b * 1\n";
  StatesRequest both{.named = {{"a", llvm::SmallVector<int64_t, 5>{3}}, {"b"}}};
  EXPECT_THAT(checkSteps(two, source, floatSteps({3}), both)->states(), ElementsAre("a", "b"));
  const Inputs x{numbers({3})};
  std::string message = refusal(two, source, x, {.named = {{"a"}}});
  EXPECT_THAT(message, HasSubstr("writes to its own 'b'"));
  EXPECT_THAT(refusal(two, source, x, {.named = {{"c"}}}),
              HasSubstr("no tensor of that name; it has a, b"));
  EXPECT_THAT(refusal(two, source, x, {.named = {{"a", llvm::SmallVector<int64_t, 5>{4}}}}),
              HasSubstr("in the model it is [3]"));
  // A function that only reads it has it too, so that it can share it with one that writes.
  Lowering reads(makeModule(two, "def forward(self, x):\n  return x + self.a\n"), x,
                 {.named = {{"a"}, {"b"}}});
  EXPECT_EQ(reads.error, "");
  EXPECT_THAT(reads.states(), ElementsAre("a", "b"));
  EXPECT_EQ(reads.count(mil::OpKind::read_state), 1u);
  EXPECT_EQ(reads.count(mil::OpKind::write_state), 0u);
}

TEST(States, NoneBeginsEachCallWithWhatTheModelHolds) {
  Lowering lowering(makeModule({{"k", at::ones({3})}}, kAdds), {numbers({3})},
                    {.others = StatesRequest::Others::Forget});
  ASSERT_EQ(lowering.error, "");
  EXPECT_TRUE(lowering.states().empty());
  auto interpreter = runtime::Interpreter::create(lowering.function(), {});
  ASSERT_TRUE(bool(interpreter));
  for (int step = 0; step < 2; ++step) {
    auto outputs = (*interpreter)->run({{"in_x", floats({1, 2, 3}).to(at::kHalf)}});
    ASSERT_TRUE(bool(outputs));
    EXPECT_TRUE(at::equal((*outputs)[0].tensor.to(at::kFloat), floats({4, 6, 8})));
  }
}

TEST(States, OneIsForgottenAndOneIsKept) {
  StatesRequest request = automatic();
  request.named = {{.attribute = "scratch", .kind = StateSpec::Kind::Forget}};
  Lowering lowering(makeModule({{"scratch", at::ones({3})}, {"k", zeros({3})}},
                               "def forward(self, x):\n  self.scratch.add_(x)\n"
                               "  self.k += self.scratch\n  return self.k * 1\n"),
                    {numbers({3})}, request);
  ASSERT_EQ(lowering.error, "");
  EXPECT_THAT(lowering.states(), ElementsAre("k"));
  auto interpreter = runtime::Interpreter::create(lowering.function(), {});
  ASSERT_TRUE(bool(interpreter));
  for (int step = 1; step < 4; ++step) {
    auto outputs = (*interpreter)->run({{"in_x", floats({1, 2, 3}).to(at::kHalf)}});
    ASSERT_TRUE(bool(outputs));
    EXPECT_TRUE(at::equal((*outputs)[0].tensor.to(at::kFloat), floats({2, 3, 4}) * step));
  }
}

TEST(States, InputsThatAreHandedOn) {
  StatesRequest request = automatic();
  request.inputs = true;
  torch::jit::Module model = makeModule(
      {{"n", at::zeros({1}, at::kLong)}, {"k", zeros({3})}},
      "def forward(self, x):\n  self.n += 2\n  self.k += x * self.n\n  return self.k + self.n\n");
  Lowering lowering(model, {numbers({3})}, request);
  ASSERT_EQ(lowering.error, "");
  EXPECT_THAT(lowering.states(), ElementsAre("k"));
  ASSERT_EQ(lowering.function().outputs().size(), 2u);
  EXPECT_EQ(lowering.function().outputs()[1]->name, "n_out");
  auto interpreter = runtime::Interpreter::create(lowering.function(), {});
  ASSERT_TRUE(bool(interpreter));
  at::Tensor n = at::zeros({1}, at::kInt);
  for (int step = 0; step < 3; ++step) {
    at::Tensor x = numbers({3});
    auto outputs = (*interpreter)->run({{"in_x", x.to(at::kHalf)}, {"n", n}});
    ASSERT_TRUE(bool(outputs));
    at::Tensor expected = model.forward({x}).toTensor();
    EXPECT_TRUE(at::equal((*outputs)[0].tensor.to(at::kFloat), expected));
    n = (*outputs)[1].tensor;
    EXPECT_EQ(n.item<int64_t>(), 2 * (step + 1));
  }
}

} // namespace
