// Packages run through the public interface, without LibTorch in sight.
#include "plait/plait.h"

#include "backend/PackageWriter.h"
#include "mil/Builder.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "gmock/gmock.h"

using namespace plait;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

class PackageOnDisk : public testing::Test {
protected:
  /// Function `add`: sum += x; y = sum. Function `twice`: y = x + x.
  void SetUp() override {
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("plait-program", folder));
    path = (folder + "/p.mlpackage").str();
    mil::Program program;
    {
      mil::Function *f = program.addFunction("add");
      mil::Builder b(f->body());
      mil::Value *x = f->addInput(mil::Type::tensor(mil::DType::F16, {2}), "x");
      mil::Value *state =
          f->addInput(mil::Type::state(mil::Type::tensor(mil::DType::F16, {mil::Dim(2)})), "sum");
      mil::Value *old = b.emit(mil::OpKind::read_state, {{mil::read_state::input, state}});
      mil::Value *next = b.emit(mil::OpKind::add, {{mil::add::x, old}, {mil::add::y, x}});
      b.create(mil::OpKind::write_state,
               {{mil::write_state::input, state}, {mil::write_state::data, next}});
      mil::Value *now = b.emit(mil::OpKind::read_state, {{mil::read_state::input, state}});
      now->name = "y";
      f->body().setOutputs({now});
      ASSERT_FALSE(bool(b.takeError()));
    }
    {
      mil::Function *f = program.addFunction("twice");
      mil::Builder b(f->body());
      mil::Value *x =
          f->addInput(mil::Type::tensor(mil::DType::I32, {mil::Dim::symbol("n", 1, 4)}), "x");
      f->inputInfo.resize(1);
      f->inputInfo[0].defaultShape = {1};
      mil::Value *y = b.emit(mil::OpKind::add, {{mil::add::x, x}, {mil::add::y, x}});
      y->name = "y";
      f->body().setOutputs({y});
      ASSERT_FALSE(bool(b.takeError()));
    }
    program.defaultFunction = "add";
    llvm::cantFail(writePackage(program, path));
  }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }

  static Array floats(std::vector<float> values) {
    return Array::of("fp32", {int64_t(values.size())}, values);
  }
  template <typename Call> static std::string message(Call call) {
    try {
      call();
    } catch (const Exception &error) {
      return error.what();
    }
    return "(no exception)";
  }

  llvm::SmallString<128> folder;
  std::string path;
};

TEST_F(PackageOnDisk, WhatAProgramHasMayOutliveIt) {
  std::vector<std::string> names;
  for (const FunctionInfo &function : Program(path).functions()) // the program is gone in the loop
    names.push_back(function.name);
  EXPECT_EQ(names, (std::vector<std::string>{"add", "twice"}));
  const std::string &name = Program(path).defaultFunction();
  EXPECT_EQ(name, "add");
  const FunctionInfo &function = Program(path).session("twice").function();
  EXPECT_EQ(function.inputs[0].name, "x");
}

TEST_F(PackageOnDisk, ListsFunctions) {
  Program program(path);
  EXPECT_EQ(program.defaultFunction(), "add");
  ASSERT_EQ(program.functions().size(), 2u);
  const FunctionInfo &add = program.functions()[0], &twice = program.functions()[1];
  EXPECT_EQ(add.name, "add");
  ASSERT_EQ(add.states.size(), 1u);
  EXPECT_EQ(add.states[0].name, "sum");
  EXPECT_EQ(add.states[0].type, "fp16");
  ASSERT_EQ(add.inputs.size(), 1u);
  EXPECT_EQ(add.inputs[0].shape[0].upper, 2);
  EXPECT_EQ(twice.inputs[0].type, "int32");
  EXPECT_EQ(twice.inputs[0].shape[0].lower, 1);
  EXPECT_EQ(twice.inputs[0].shape[0].upper, 4);
}

TEST_F(PackageOnDisk, KeepsStatesBetweenRuns) {
  std::optional<Session> session, other;
  {
    Program program(path);
    session = program.session();
    other = program.session("add");
  } // sessions keep what they need
  EXPECT_THAT(session->states().at("sum").values<uint16_t>(), ElementsAre(0, 0));
  auto first = session->run({{"x", floats({1, 2})}});
  EXPECT_EQ(first.at("y").type, "fp16");
  auto second = session->run({{"x", floats({10, 20})}});
  // fp16 bits of 11 and 22.
  EXPECT_THAT(second.at("y").values<uint16_t>(), ElementsAre(0x4980, 0x4D80));
  EXPECT_THAT(session->states().at("sum").values<uint16_t>(), ElementsAre(0x4980, 0x4D80));
  auto fresh = other->run({{"x", floats({1, 2})}});
  EXPECT_THAT(fresh.at("y").values<uint16_t>(), ElementsAre(0x3C00, 0x4000));
  other->setStates(session->states());
  auto next = other->run({{"x", floats({1, 2})}});
  EXPECT_THAT(next.at("y").values<uint16_t>(), ElementsAre(0x4A00, 0x4E00)); // 12, 24
  EXPECT_THAT(message([&] { other->setStates({{"total", floats({1, 2})}}); }),
              HasSubstr("has no state 'total'"));
  EXPECT_THAT(message([&] { other->setStates({{"sum", floats({1})}}); }),
              HasSubstr("state 'sum' holds tensor<fp16, [2]>"));
  session->resetStates();
  auto again = session->run({{"x", floats({1, 2})}});
  EXPECT_THAT(again.at("y").values<uint16_t>(), ElementsAre(0x3C00, 0x4000));
}

TEST_F(PackageOnDisk, ConvertsAndChecksInputs) {
  Session session = Program(path).session("twice");
  auto result = session.run({{"x", Array::of("int64", {3}, std::vector<int64_t>{1, 2, 3})}});
  EXPECT_THAT(result.at("y").values<int32_t>(), ElementsAre(2, 4, 6));
  EXPECT_THAT(result.at("y").shape, ElementsAre(3));
  auto run = [&](const char *name, Array array) {
    return message([&] { session.run({{name, std::move(array)}}); });
  };
  EXPECT_THAT(run("x", Array::of("int64", {1}, std::vector<int64_t>{int64_t(1) << 40})),
              HasSubstr("does not fit"));
  EXPECT_THAT(run("x", floats({1})),
              HasSubstr("is int32 and the array fp32; give one of integers"));
  EXPECT_THAT(run("z", floats({1})), HasSubstr("has no input 'z'"));
  EXPECT_THAT(run("x", {"int32", {2}, {}}), HasSubstr("takes 8 bytes, and there are 0"));
  EXPECT_THAT(run("x", {"number", {}, {}}), HasSubstr("no element type 'number'"));
  EXPECT_THAT(run("x", Array::of("int32", {5}, std::vector<int32_t>(5))), HasSubstr("x"));
}

TEST_F(PackageOnDisk, SessionsAreCopiedWithTheirStates) {
  Session session = Program(path).session("add");
  session.run({{"x", floats({1, 2})}});
  Session copy = session;
  session.run({{"x", floats({1, 2})}});
  EXPECT_THAT(copy.states().at("sum").values<float>(), ElementsAre(1, 2));
  EXPECT_THAT(session.states().at("sum").values<float>(), ElementsAre(2, 4));
  EXPECT_THAT(copy.run({{"x", floats({5, 5})}}).at("y").values<float>(), ElementsAre(6, 7));
  copy.setState("sum", floats({-1, -2}));
  session = copy;
  EXPECT_THAT(session.states().at("sum").values<double>(), ElementsAre(-1, -2));
  EXPECT_THAT(message([&] { copy.setState("none", floats({1, 2})); }),
              HasSubstr("no state 'none'"));
  copy.resetStates();
  EXPECT_THAT(copy.states().at("sum").values<float>(), ElementsAre(0, 0));
  Session fresh = Program(path).session("add"), freshCopy = fresh; // no run yet
  EXPECT_THAT(freshCopy.states().at("sum").values<float>(), ElementsAre(0, 0));
}

TEST(Arrays, SayWhatTheyHold) {
  Array half = Array::of("fp16", {4}, std::vector<uint16_t>{0x3C00, 0xC000, 0x0001, 0x7C00});
  EXPECT_EQ(half.elementType(), ElementType::fp16);
  EXPECT_THAT(half.values<float>(), ElementsAre(1, -2, 0x1p-24f, INFINITY));
  EXPECT_THAT(half.values<double>(), ElementsAre(1, -2, 0x1p-24, INFINITY));
  EXPECT_EQ(half.values<uint16_t>()[1], 0xC000);
  EXPECT_TRUE(std::isnan(Array::of("fp16", {1}, std::vector<uint16_t>{0x7E00}).values<float>()[0]));
  EXPECT_THAT(Array::of("bf16", {1}, std::vector<uint16_t>{0xC040}).values<float>(),
              ElementsAre(-3));
  Array flags = Array::of({3}, std::vector<bool>{true, false, true});
  EXPECT_EQ(flags.type, "bool");
  EXPECT_THAT(flags.values<bool>(), ElementsAre(true, false, true));
  EXPECT_THAT(flags.values<uint8_t>(), ElementsAre(1, 0, 1));
  Array whole = Array::of(ElementType::int32, {2}, std::vector<int32_t>{-7, 9});
  EXPECT_THAT(whole.values<int64_t>(), ElementsAre(-7, 9));
  auto refused = [](auto values) {
    try {
      values();
    } catch (const Exception &error) {
      EXPECT_EQ(error.reason(), Exception::Reason::Input);
      return std::string(error.what());
    }
    return std::string("(no exception)");
  };
  EXPECT_THAT(refused([&] { whole.values<float>(); }),
              HasSubstr("the array holds int32, and values of fp32 are asked for"));
  EXPECT_THAT(refused([&] { half.values<int32_t>(); }), HasSubstr("fp16"));
  EXPECT_THAT(
      refused([] { Array::of("fp16", {2}, std::vector<float>{1, 2}); }),
      HasSubstr("an array of fp16 is made of values of fp16 or of their bits (2 bytes each), "
                "and these are fp32 of 4 bytes"));
  EXPECT_THAT(refused([] { Array::of("fp32", {2}, std::vector<double>{1}); }), HasSubstr("fp64"));
  EXPECT_THAT(refused([] { Array::of("fp32", {2}, std::vector<int32_t>{1, 2}); }),
              HasSubstr("int32"));
  EXPECT_THAT(refused([] { Array::of("int32", {1}, std::vector<float>{1}); }), HasSubstr("fp32"));
  EXPECT_EQ(Array::of("fp32", {1}, std::vector<uint32_t>{0x40400000}).values<float>()[0], 3);
  EXPECT_TRUE(Array::of("bool", {1}, std::vector<uint8_t>{1}).values<bool>()[0]);
  EXPECT_THAT(refused([&] { half.values<bool>(); }), HasSubstr("fp16"));
  EXPECT_THAT(refused([&] { whole.values<uint64_t>(); }), HasSubstr("int32"));
  EXPECT_THAT(refused([&] { Array{"fp32", {1}, std::vector<std::byte>(3)}.values<float>(); }),
              HasSubstr("3 bytes"));
  EXPECT_THAT(refused([&] { Array{"number", {1}, std::vector<std::byte>(4)}.values<float>(); }),
              HasSubstr("number"));
  for (ElementType type : {ElementType::fp16, ElementType::uint64, ElementType::boolean})
    EXPECT_EQ(elementType(name(type)), type);
  EXPECT_EQ(elementType("number"), ElementType::other);
}

TEST_F(PackageOnDisk, Refusals) {
  EXPECT_THAT(message([&] { Program(path + "x"); }), HasSubstr("p.mlpackagex"));
  EXPECT_THAT(message([&] { Program(path).session("ad"); }), HasSubstr("did you mean 'add'"));
  Compiler compiler;
  EXPECT_THAT(message([&] { compiler.write(path); }), HasSubstr("at least one function"));
  EXPECT_THAT(message([&] { compiler.addFile("f", "none.pt", {.input = {"x=[1]"}}); }),
              HasSubstr("none.pt: no such file"));
  compiler.options().multifunction = false;
  EXPECT_THAT(message([&] { compiler.write(path); }), HasSubstr("it is called 'main'"));
  EXPECT_EQ(Program(path).functions().size(), 2u) << "what was there is untouched";
}

} // namespace
