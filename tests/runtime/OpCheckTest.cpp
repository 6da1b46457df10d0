// What OpCheck.h declares, and tests that hold for the whole table of evaluators.
#include "OpCheck.h"

#include <ATen/CPUGeneratorImpl.h>

namespace plait::runtime {

using namespace mil;

static DType milType(const at::Tensor &tensor) {
  switch (tensor.scalar_type()) {
  case at::kHalf:
    return DType::F16;
  case at::kFloat:
    return DType::F32;
  case at::kInt:
    return DType::I32;
  case at::kBool:
    return DType::Bool;
  case at::kByte:
    return DType::U8;
  case at::kChar:
    return DType::I8;
  case at::kShort:
    return DType::I16;
  default:
    ADD_FAILURE() << "no MIL type for " << c10::toString(tensor.scalar_type());
    return DType::F32;
  }
}

Bind flags(unsigned param, std::initializer_list<bool> values) {
  return Bind(Arg(param, Attr(TensorData::bools(llvm::ArrayRef<bool>(values)))));
}

/// A function of one operation. Operands are inputs unless they must be constants or `fold` asks
/// for constants alone.
static Expected<std::vector<at::Tensor>> runOnce(OpKind kind, const Binds &binds, Compute compute) {
  Program program;
  Function *function = program.addFunction("main");
  Builder builder(function->body());
  std::vector<Arg> args;
  Interpreter::Inputs inputs;
  for (const Bind &bind : binds) {
    if (bind.literal) {
      args.push_back(*bind.literal);
      continue;
    }
    llvm::SmallVector<Value *, 2> values;
    for (const at::Tensor &tensor : bind.tensors) {
      DType dtype = bind.dtype.value_or(milType(tensor));
      if (bind.fixed || info(kind).params[bind.param].isConst()) {
        values.push_back(builder.constant(toTensorData(tensor, dtype)));
        continue;
      }
      llvm::SmallVector<int64_t, 5> shape(tensor.sizes().begin(), tensor.sizes().end());
      Value *input =
          function->addInput(Type::tensor(dtype, shape), "input" + std::to_string(inputs.size()));
      inputs[input->name.str()] = tensor.to(heldType(dtype));
      values.push_back(input);
    }
    args.emplace_back(bind.param, llvm::ArrayRef<Value *>(values));
  }
  Op *op = builder.create(kind, args);
  if (Error error = builder.takeError())
    return error;
  llvm::SmallVector<Value *, 2> outputs;
  for (const auto &result : op->results())
    outputs.push_back(result.get());
  function->body().setOutputs(outputs);
  Interpreter::Options options;
  options.compute = compute;
  auto interpreter = Interpreter::create(*function, options);
  if (!interpreter)
    return interpreter.takeError();
  auto results = (*interpreter)->run(inputs);
  if (!results)
    return results.takeError();
  std::vector<at::Tensor> tensors;
  for (const Datum &datum : *results)
    tensors.push_back(datum.tensor);
  return tensors;
}

std::vector<at::Tensor> runOp(OpKind kind, const Binds &binds, Compute compute) {
  auto results = runOnce(kind, binds, compute);
  if (!results) {
    ADD_FAILURE() << llvm::toString(results.takeError());
    return {};
  }
  return *results;
}

std::string failureOf(OpKind kind, const Binds &binds) {
  auto results = runOnce(kind, binds, Compute::Float32);
  if (results) {
    ADD_FAILURE() << name(kind).str() << " was expected to fail";
    return "";
  }
  return llvm::toString(results.takeError());
}

static std::vector<at::Tensor> foldOp(OpKind kind, const Binds &binds) {
  std::vector<std::vector<Attr>> operands(info(kind).params.size());
  for (const Bind &bind : binds) {
    if (!bind.literal) {
      for (const at::Tensor &tensor : bind.tensors)
        operands[bind.param].push_back(toTensorData(tensor, bind.dtype.value_or(milType(tensor))));
      continue;
    }
    // A literal takes the element type of its parameter: let the builder make the constant.
    const Arg::Literal &value = bind.literal->literal;
    if (auto *attr = std::get_if<Attr>(&value))
      operands[bind.param] = {*attr};
    else if (auto *text = std::get_if<std::string>(&value))
      operands[bind.param] = {Attr::string(*text)};
    else if (auto *flag = std::get_if<bool>(&value))
      operands[bind.param] = {Attr::boolean(*flag)};
    else if (auto *number = std::get_if<double>(&value))
      operands[bind.param] = {TensorData::from<float>(DType::F32, {}, float(*number))};
    else if (contains(info(kind).params[bind.param].domain, DType::I32))
      operands[bind.param] = {Attr::integer(int32_t(std::get<int64_t>(value)))};
    else
      operands[bind.param] = {
          TensorData::from<uint32_t>(DType::U32, {}, uint32_t(std::get<int64_t>(value)))};
  }
  RuntimeEvaluator evaluator;
  auto results = evaluator.evaluate(kind, operands, {});
  if (!results) {
    ADD_FAILURE() << "folding: " << llvm::toString(results.takeError());
    return {};
  }
  std::vector<at::Tensor> tensors;
  for (const TensorData &data : *results) {
    auto tensor = toTensor(data, Compute::Float32, nullptr);
    if (!tensor) {
      ADD_FAILURE() << llvm::toString(tensor.takeError());
      return {};
    }
    tensors.push_back(*tensor);
  }
  return tensors;
}

void expectClose(const at::Tensor &actual, const at::Tensor &expected, double tolerance,
                 const char *what) {
  ASSERT_TRUE(actual.defined()) << what;
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  at::Tensor a = actual.to(at::kDouble), e = expected.to(at::kDouble);
  EXPECT_TRUE(at::allclose(a, e, tolerance, tolerance, /*equal_nan=*/true)) << what << "\nactual:\n"
                                                                            << a << "\nexpected:\n"
                                                                            << e;
}

static void expectAll(const std::vector<at::Tensor> &actual,
                      const std::vector<at::Tensor> &expected, double tolerance,
                      const std::string &what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i)
    expectClose(actual[i], expected[i], tolerance, what.c_str());
}

void check(OpKind kind, const Binds &binds, const std::vector<at::Tensor> &expected,
           double tolerance) {
  std::string label = name(kind).str();
  expectAll(runOp(kind, binds), expected, tolerance, label);
  if (!(info(kind).traits & (Effect | ReadsMemory | NonDeterministic)))
    expectAll(foldOp(kind, binds), expected, tolerance, label + " of constants");
  Binds halves = binds;
  bool any = false;
  for (Bind &bind : halves)
    for (at::Tensor &tensor : bind.tensors)
      if (tensor.scalar_type() == at::kFloat && !bind.dtype &&
          contains(info(kind).params[bind.param].domain, DType::F16)) {
        tensor = tensor.to(at::kHalf);
        any = true;
      }
  if (any)
    expectAll(runOp(kind, halves), expected, std::max(tolerance, 2e-3), label + " in fp16");
}

at::Tensor randn(at::IntArrayRef shape, uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randn(shape, generator).to(at::kHalf).to(at::kFloat);
}

at::Tensor randint(int64_t low, int64_t high, at::IntArrayRef shape, uint64_t seed) {
  auto generator = at::detail::createCPUGenerator(seed);
  return at::randint(low, high, shape, generator).to(at::kInt);
}

at::Tensor ints(std::initializer_list<int64_t> values) {
  return at::tensor(std::vector<int64_t>(values), at::kLong).to(at::kInt);
}

at::Tensor floats(std::initializer_list<double> values) {
  return at::tensor(std::vector<double>(values), at::kDouble).to(at::kFloat);
}

TEST(Evaluators, EveryOperationHasOne) {
  std::string missing;
  for (unsigned i = 0; i < kNumOps; ++i)
    if (!isEvaluated(OpKind(i)))
      missing += " " + name(OpKind(i)).str();
  EXPECT_EQ(missing, "");
}

} // namespace plait::runtime
