// Every row of the table of operators, called with arguments that nobody would write: sizes that
// are ranged or only known at run time, empty tensors and lists, zero pieces, dimensions that do
// not exist, None. A call gives its results or a refusal; it neither ends the process nor passes on
// what LibTorch or plait say about their own insides.
#include "frontend/engine/Engine.h"
#include "frontend/engine/Table.h"

#include <ATen/Functions.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/runtime/operator.h>

#include <random>

namespace plait::frontend {
namespace {

using mil::Dim;
using testing::HasSubstr;
using testing::Not;

/// Draws arguments for a schema.
class Arguments {
public:
  Arguments(Engine &engine, llvm::StringRef name, unsigned seed)
      : engine_(engine), random_(seed),
        // LibTorch's own kernels read past statistics and indices of the wrong size.
        drawsKnownTensors_(!name.contains("batch_norm") && !name.contains("native")) {}

  Val of(const c10::TypePtr &type) {
    switch (type->kind()) {
    case c10::TypeKind::TensorType:
      return tensor();
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
      return integer();
    case c10::TypeKind::NumberType:
      return draw(2) ? integer() : real();
    case c10::TypeKind::FloatType:
      return real();
    case c10::TypeKind::BoolType:
      return draw(4) ? Val(c10::IValue(draw(2) == 1)) : number(c10::TypeKind::BoolType);
    case c10::TypeKind::StringType:
      return Val(
          c10::IValue(pick<const char *>({"floor", "reflect", "same", "linear", "none", ""})));
    case c10::TypeKind::OptionalType:
      return draw(3) ? of(type->expect<c10::OptionalType>()->getElementType()) : Val(c10::IValue());
    case c10::TypeKind::ListType: {
      c10::TypePtr element = type->expect<c10::ListType>()->getElementType();
      std::vector<Val> values;
      for (unsigned n = pick<unsigned>({0, 1, 2, 2, 3, 4}); n > 0; --n)
        values.push_back(of(element));
      return engine_.makeList(element->hasFreeVariables() ? c10::IntType::get() : element, values);
    }
    case c10::TypeKind::DictType: {
      auto dict = type->expect<c10::DictType>();
      return engine_.makeDict(dict->getKeyType(), c10::IntType::get(),
                              {{c10::IValue("a"), integer()}, {c10::IValue("b"), integer()}});
    }
    case c10::TypeKind::VarType:
      return integer();
    default:
      return Val(c10::IValue());
    }
  }

private:
  unsigned draw(unsigned n) { return random_() % n; }
  template <typename T> T pick(std::initializer_list<T> values) {
    return values.begin()[draw(values.size())];
  }
  mil::Value *input(at::ScalarType dtype, llvm::ArrayRef<Dim> shape) {
    return engine_.function().addInput(mil::Type::tensor(milTypeOf(dtype), shape),
                                       engine_.function().uniqueName("x"));
  }
  Val number(c10::TypeKind kind) {
    at::ScalarType dtype = kind == c10::TypeKind::IntType    ? at::kLong
                           : kind == c10::TypeKind::BoolType ? at::kBool
                                                             : at::kFloat;
    return Val(Val::Number{input(dtype, {}), kind});
  }
  Val integer() {
    switch (draw(6)) {
    case 0:
      return number(c10::TypeKind::IntType);
    case 1:
      return Val(Dim::symbol("s", 1, 8));
    default:
      return Val(c10::IValue(pick<int64_t>({0, 1, 1, 2, 3, -1, -2, -100, 7})));
    }
  }
  Val real() {
    return draw(4) ? Val(c10::IValue(pick<double>({0, 1, -1, 0.5, 2})))
                   : number(c10::TypeKind::FloatType);
  }
  Val tensor() {
    at::ScalarType dtype = pick({at::kFloat, at::kFloat, at::kFloat, at::kLong, at::kBool});
    static const mil::Shape shapes[] = {{},
                                        {3},
                                        {2, 3},
                                        {0, 3},
                                        {2, 3, 4},
                                        {2, 3, 0},
                                        {1, 2, 5, 5},
                                        {1, 2, 4, 5, 5},
                                        {2, 2, 2, 2, 2, 2}};
    mil::Shape shape = shapes[draw(std::size(shapes))];
    if (!shape.empty() && draw(4) == 0)
      shape[draw(shape.size())] = Dim::symbol("s", 1, 8);
    auto sizes = mil::constShape(shape);
    if (sizes && drawsKnownTensors_ && draw(5) == 0)
      return engine_.makeKnown({at::ones(at::IntArrayRef(sizes->data(), sizes->size()), dtype)});
    return engine_.makeTensor(input(dtype, shape), dtype);
  }

  Engine &engine_;
  std::mt19937 random_;
  bool drawsKnownTensors_;
};

/// What one call says; "" where it is lowered.
std::string call(const c10::FunctionSchema &schema, unsigned seed) {
  mil::Program program;
  Engine engine(*program.addFunction("main"), {});
  Arguments draw(engine, schema.name(), seed);
  std::vector<Val> arguments;
  for (const c10::Argument &argument : schema.arguments())
    arguments.push_back(draw.of(argument.type()));
  auto results = engine.lower(Site{.location = {}}, schema, std::move(arguments));
  for (const Val &result : results)
    if (auto tensor = result.tensor())
      engine.at(Site{.location = {}}, schema.name(), [&] {
        engine.read(*tensor);
        return Engine::Results();
      });
  return llvm::toString(engine.takeError());
}

TEST(AnyArguments, GiveResultsOrARefusal) {
  at::NoGradGuard noGrad;
  unsigned seed = 0;
  for (const std::string &name : Table::get().names()) {
    auto [base, overload] = llvm::StringRef(name).split('.');
    auto op = torch::jit::findOperatorFor(c10::OperatorName(base.str(), overload.str()));
    if (!op)
      continue; // of a newer LibTorch
    for (unsigned turn = 0; turn < 60; ++turn) {
      std::string text = call(op->schema(), seed++);
      EXPECT_THAT(text, Not(testing::AnyOf(HasSubstr("INTERNAL ASSERT"), HasSubstr("report"),
                                           HasSubstr("has no argument"))))
          << name << " with seed " << seed - 1;
    }
  }
}

} // namespace
} // namespace plait::frontend
