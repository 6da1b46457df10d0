// Each violation by its message: of well-formedness, and of every rule of the device profile.
#include "mil/Verifier.h"
#include "mil/Builder.h"
#include "mil/Parser.h"
#include "tests/GoldenRunner.h"
#include "tests/SourceDir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;
using testing::HasSubstr;

namespace {

std::unique_ptr<Program> parse(const std::string &text) {
  golden::Blobs blobs;
  auto program = blobs.parse(text, "<text>");
  if (!program) {
    ADD_FAILURE() << llvm::toString(program.takeError());
    return std::make_unique<Program>();
  }
  return std::move(*program);
}

/// Statements in a function of inputs x: fp32 [2, 3], h: fp16 [2, 3], i: int32 [2] and s: a state.
std::unique_ptr<Program> withInputs(const std::string &statements,
                                    const std::string &outputs = "y") {
  return parse("program(1.3)\n{\n    func main<ios18>(tensor<fp32, [2, 3]> x, tensor<fp16, [2, 3]> "
               "h, tensor<int32, [2]> i, state<tensor<fp16, [4]>> s) {\n" +
               statements + "    } -> (" + outputs + ");\n}\n");
}

std::string verifyError(const Program &program) { return llvm::toString(verify(program)); }
std::string statementError(const std::string &statements, const std::string &outputs = "y") {
  return verifyError(*withInputs(statements, outputs));
}

TEST(Verifier, AcceptsEveryGolden) {
  for (const char *folder : {"text", "passes"})
    for (const std::string &file : golden::filesIn(sourcePath("tests/golden/") + folder))
      for (const golden::Case &c : golden::readCases(file))
        EXPECT_EQ(verifyError(*parse(c.input)), "") << file << ":" << c.line;
}

TEST(Verifier, OperandsAgainstTheTable) {
  EXPECT_THAT(statementError("fp32 y = relu()[name = string(\"y\")];"),
              HasSubstr("function 'main': operation 'y' (relu): relu: x is missing"));
  EXPECT_THAT(statementError("tensor<int32, [2]> y = relu(x = i)[name = string(\"y\")];"),
              HasSubstr("relu: x is int32; allowed: fp16, fp32"));
  EXPECT_THAT(statementError("tensor<fp32, [2, 3]> y = add(x = x, y = h)[name = string(\"y\")];"),
              HasSubstr("add: y is fp16 where another operand of the same type is fp32"));
  EXPECT_THAT(statementError("tensor<fp32, [2, 3]> y = transpose(x = x, perm = i)[name = "
                             "string(\"y\")];"),
              HasSubstr("transpose: perm must be a constant, but 'i' is computed"));
  EXPECT_THAT(statementError("tensor<fp32, [2, 3]> y = relu(x = (x, x))[name = string(\"y\")];"),
              HasSubstr("relu: x takes one value, not 2"));
  EXPECT_THAT(statementError("int32 y = list_length(ls = x)[name = string(\"y\")];"),
              HasSubstr("list_length: ls must be a list, not tensor<fp32, [2, 3]>"));
  EXPECT_THAT(
      statementError("tensor<fp32, [2, 3]> y = read_state(input = x)[name = string(\"y\")];"),
      HasSubstr("read_state: input must be a state"));
  EXPECT_THAT(statementError("tensor<fp32, [2]> y = reduce_sum(x = x, axes = int32(1), keep_dims = "
                             "bool(false))[name = string(\"y\")];"),
              HasSubstr("reduce_sum: axes must be a vector, not int32"));
}

TEST(Verifier, Attributes) {
  auto program =
      withInputs("tensor<fp32, [2, 3]> y = relu(x = x)[name = string(\"y\"), more = int32(1)];");
  EXPECT_EQ(verifyError(*program), "");
  Function &main = *program->functions()[0];
  main.body().front().attributes.emplace_back("a b", Attr::integer(1));
  main.attributes.emplace_back("twice", Attr::integer(1));
  main.attributes.emplace_back("twice", Attr::integer(2));
  program->attributes.emplace_back("", Attr::integer(1));
  std::string error = verifyError(*program);
  EXPECT_THAT(error, HasSubstr("operation 'y' (relu): the attribute name 'a b' is no identifier"));
  EXPECT_THAT(error, HasSubstr("function 'main': the attribute 'twice' is there twice"));
  EXPECT_THAT(error, HasSubstr("program: the attribute name '' is no identifier"));
}

TEST(Verifier, TypesAgainstTheShapeFunctions) {
  EXPECT_THAT(statementError("tensor<fp32, [3, 3]> y = relu(x = x)[name = string(\"y\")];"),
              HasSubstr("result 'y' is tensor<fp32, [3, 3]>; the operands make it tensor<fp32, [2, "
                        "3]>"));
  EXPECT_THAT(statementError("(fp32 y, fp32 z) = relu(x = x)[name = string(\"y\")];"),
              HasSubstr("has 2 results, 1 are needed"));
  EXPECT_THAT(
      statementError("tensor<fp32, [2, 2]> y = matmul(x = x, y = x)[name = string(\"y\")];"),
      HasSubstr("matmul: inner dimensions 3 and 2 differ"));
}

TEST(Verifier, NamesAndOutputs) {
  std::string relu = "tensor<fp32, [2, 3]> y = relu(x = x)[name = string(\"y\")];\n";
  EXPECT_THAT(statementError(relu + "tensor<fp32, [2, 3]> z = relu(x = x)[name = string(\"y\")];"),
              HasSubstr("operation 'y' (relu): the operation name is not unique"));
  EXPECT_THAT(statementError("", ""), HasSubstr("function 'main': has no outputs"));
  auto program = withInputs(relu);
  Value *y = program->function("main")->outputs()[0];
  y->name = "tensor";
  EXPECT_THAT(verifyError(*program),
              HasSubstr("the value name 'tensor' is no identifier, or a word"));
  y->name = "x";
  EXPECT_THAT(verifyError(*program), HasSubstr("the value name 'x' is not unique"));
  y->name = "y";
  program->defaultFunction = "gone";
  EXPECT_THAT(verifyError(*program), HasSubstr("the default function 'gone' does not exist"));
  program->defaultFunction = "";
  program->addFunction("other", Opset::iOS17);
  EXPECT_THAT(verifyError(*program), HasSubstr("has opset ios17 where 'main' has ios18"));
  program->functions()[1]->name = "main";
  EXPECT_THAT(verifyError(*program), HasSubstr("the function 'main' is there twice"));
  EXPECT_THAT(verifyError(Program()), HasSubstr("the program has no functions"));
}

TEST(Verifier, DefinitionsComeBeforeUses) {
  auto program = withInputs("tensor<fp32, [2, 3]> a = relu(x = x)[name = string(\"a\")];\n"
                            "tensor<fp32, [2, 3]> y = relu(x = a)[name = string(\"y\")];");
  Block &body = program->function("main")->body();
  body.back().moveBefore(&body.front());
  EXPECT_THAT(verifyError(*program),
              HasSubstr("operation 'y' (relu): uses 'a', which is not defined before it"));
}

TEST(Verifier, ControlFlow) {
  auto cond = [](const std::string &blocks, const std::string &pred = "p") {
    return statementError("bool p = const()[name = string(\"p\"), val = bool(true)];\n"
                          "tensor<fp32, [2, 3]> y = cond(pred = " +
                          pred + ")[name = string(\"y\")] {" + blocks + "};");
  };
  EXPECT_THAT(cond("block0() {} -> (x);"), HasSubstr("cond: 1 blocks; one for true"));
  EXPECT_THAT(cond("block0() {} -> (x); block1() {} -> (h);"),
              HasSubstr("output 0 is tensor<fp32, [2, 3]> when true, tensor<fp16, [2, 3]> when "
                        "false"));
  EXPECT_THAT(cond("block0() {} -> (x); block1() {} -> ();"),
              HasSubstr("1 outputs when true, 0 when false"));
  EXPECT_THAT(cond("block0(fp32 a) {} -> (x); block1() {} -> (x);"),
              HasSubstr("its blocks take no arguments"));
  EXPECT_THAT(cond("block0() {} -> (x); block1() {} -> (x);", "i"), HasSubstr("pred is int32"));
  auto loop = [](const std::string &blocks) {
    return statementError("tensor<fp32, [2, 3]> y = while_loop(loop_vars = (x))[name = "
                          "string(\"y\")] {" +
                          blocks + "};");
  };
  EXPECT_THAT(loop("block0(tensor<fp32, [2, 3]> a) {} -> (a); block1(tensor<fp32, [2, 3]> a) {} -> "
                   "(a);"),
              HasSubstr("the condition must give one bool"));
  EXPECT_THAT(loop("block0() {} -> (x); block1(tensor<fp32, [2, 3]> a) {} -> (a);"),
              HasSubstr("0 arguments of the condition for 1 loop variables"));
  EXPECT_THAT(
      statementError("tensor<fp32, [2, 3]> y = relu(x = x)[name = string(\"y\")] { block0() "
                     "{} -> (x); };"),
      HasSubstr("has 1 nested blocks"));
}

TEST(Verifier, States) {
  EXPECT_THAT(statementError("tensor<fp16, [2, 3]> y = relu(x = h)[name = string(\"y\")];", "y, s"),
              HasSubstr("state 's' is used by an output; only read_state and write_state"));
  EXPECT_THAT(statementError("write_state(input = s, data = h)[name = string(\"w\")];", "h"),
              HasSubstr("write_state: data is tensor<fp16, [2, 3]>, the state holds tensor<fp16, "
                        "[4]>"));
}

TEST(Verifier, Images) {
  auto program = parse("program(1.3)\n{\nfunc main<ios18>(tensor<fp32, [1, 3, 2, 2]> "
                       "x) { tensor<fp32, [1, 3, 2, 2]> y = relu(x = x); } -> "
                       "(y);\n}\n");
  Function &main = *program->functions()[0];
  main.inputInfo.resize(1);
  main.outputInfo.resize(1);
  main.inputInfo[0].image = main.outputInfo[0].image = PixelFormat::BGR;
  EXPECT_EQ(verifyError(*program), "");
  main.outputInfo[0].image = PixelFormat::Gray;
  EXPECT_THAT(verifyError(*program),
              HasSubstr("output 'y' is tensor<fp32, [1, 3, 2, 2]>; a gray image is fp32 of the "
                        "shape [1, 1, height, width]"));
  main.outputInfo.resize(2);
  EXPECT_THAT(verifyError(*program), HasSubstr("describes 2 outputs of 1"));
}

TEST(Verifier, TenErrorsAtMost) {
  std::string statements;
  for (int n = 0; n < 50; ++n)
    statements += "fp32 y" + std::to_string(n) + " = relu(x = i);\n";
  std::string text = statementError(statements, "y0");
  EXPECT_EQ(llvm::StringRef(text).count('\n'), 9u) << text;
}

// ---- the device profile
// --------------------------------------------------------------------------

/// The rules broken, each once, in order.
std::string broken(const Program &program) {
  EXPECT_EQ(verifyError(program), "");
  std::string ids;
  for (const Violation &violation : checkDeviceProfile(program)) {
    EXPECT_THAT(violation.message, HasSubstr(std::string("[") + violation.rule->id + "]"));
    if (!llvm::StringRef(ids).contains(violation.rule->id))
      ids += (ids.empty() ? "" : " ") + std::string(violation.rule->id);
  }
  return ids;
}

/// One function made by `make` from inputs x, h and i as above; what it returns is the output.
struct DeviceProfile : testing::Test {
  std::string check(llvm::function_ref<Value *(Builder &, Value *x, Value *h, Value *i)> make,
                    bool twice = false) {
    Program program;
    for (const char *name : {"main", "second"}) {
      Function *f = program.addFunction(name);
      Value *x = f->addInput(Type::tensor(DType::F32, {2, 3}), "x");
      Value *h = f->addInput(Type::tensor(DType::F16, {2, 3, 4, 5, 6}), "h");
      Value *i = f->addInput(Type::tensor(DType::I32, {2}), "i");
      Builder b(f->body());
      for (Value *input : {x, h, i})
        b.emit(OpKind::identity, {{identity::x, input}});
      f->body().setOutputs(make(b, x, h, i));
      EXPECT_FALSE(b.failed()) << llvm::toString(b.takeError());
      if (!twice)
        break;
      program.defaultFunction = "main";
    }
    return broken(program);
  }
};

TEST_F(DeviceProfile, CleanProgram) {
  EXPECT_EQ(check([](Builder &b, Value *x, Value *, Value *) {
              return b.emit(OpKind::relu, {{relu::x, x}});
            }),
            "");
}

TEST_F(DeviceProfile, Interface) {
  auto text = [](const std::string &function) {
    return broken(*parse("program(1.3)\n{\n" + function + "}\n"));
  };
  EXPECT_EQ(text("func f<ios18>(tensor<fp32, [1]> x) { tensor<fp32, [1]> y = relu(x = x); } -> "
                 "(y);"),
            "plain-main");
  EXPECT_EQ(text("func main<ios18>(fp32 x) { fp32 y = relu(x = x); } -> (y);"), "interface-rank");
  EXPECT_EQ(text("func main<ios18>(tensor<bool, [1]> x) { tensor<bool, [1]> y = logical_not(x = "
                 "x); } -> (y);"),
            "interface-type");
  EXPECT_EQ(text("func main<ios18>(tensor<fp32, [1]> x, tensor<fp32, [1]> z) { tensor<fp32, [1]> "
                 "y = relu(x = x); } -> (y);"),
            "unused-input");
  EXPECT_EQ(text("func main<ios18>(tensor<fp32, [1]> x) { tensor<fp32, [1]> y = relu(x = x); } -> "
                 "(y, y);"),
            "output-computed");
  EXPECT_EQ(text("func main<ios18>(tensor<fp32, [1]> x) { tensor<fp32, [1]> y = relu(x = x); } -> "
                 "(x);"),
            "output-computed");
  EXPECT_EQ(text("func main<ios18>(tensor<fp32, [n]> x) { tensor<fp32, [n]> y = relu(x = x); } -> "
                 "(y);"),
            "flexible-inputs");
  EXPECT_EQ(
      text("func main<ios18>(tensor<fp16, [4]> x, state<tensor<fp32, [32]>> s) { tensor<fp16, "
           "[4]> y = relu(x = x); } -> (y);"),
      "state-type");
  EXPECT_EQ(text("func main<ios18>(tensor<fp16, [4]> x, state<tensor<fp16, [32, 33]>> s) { "
                 "tensor<fp16, [4]> y = relu(x = x); } -> (y);"),
            "state-width");
  EXPECT_EQ(text("func main<ios18>(tensor<fp16, [4]> x, state<tensor<fp16, [32]>> s) { "
                 "tensor<fp16, [4]> y = relu(x = x); } -> (y);\n"
                 "func next<ios18>(tensor<fp16, [4]> x, state<tensor<fp16, [64]>> s) { "
                 "tensor<fp16, [4]> y = relu(x = x); } -> (y);"),
            "plain-main state-agreement");
  std::string ones = "1";
  for (int i = 1; i < 32; ++i)
    ones += ", 1";
  EXPECT_EQ(text("func main<ios18>(tensor<fp16, [4]> x, state<tensor<fp16, [32]>> s) { "
                 "write_state(input = s, data = tensor<fp16, [32]>([" +
                 ones +
                 "])); tensor<fp16, [4]> y = "
                 "relu(x = x); } -> (y);"),
            "state-write");
  EXPECT_EQ(text("func main<ios18>(tensor<fp32, [2]> x) { (string l, dict<string, fp64> p) = "
                 "classify(probabilities = x, classes = list<string, 2>([\"a\", \"b\"])); "
                 "tensor<fp32, [2]> y = relu(x = x); } -> (l, p);"),
            "classifier");
}

TEST_F(DeviceProfile, Inputs) {
  auto text = [](const std::string &inputs, const std::string &attributes = "") {
    return broken(
        *parse("program(1.3)\n{\nfunc main<ios18>(" + inputs + ") " + attributes +
               " { bool no = const()[val = bool(false)]; tensor<fp32, [4]> y = reduce_sum("
               "x = x, axes = tensor<int32, [1]>([0]), keep_dims = no); tensor<fp32, [4]> "
               "z = identity(x = w); } -> (y, z);\n}\n"));
  };
  std::string w = ", tensor<fp32, [4]> w";
  EXPECT_EQ(text("tensor<fp32, [2, 4]> x" + w), "");
  EXPECT_EQ(text("tensor<fp32, [0, 4]> x" + w), "no-empty-tensor");
  EXPECT_EQ(text("tensor<fp32, [536870912, 4]> x" + w), "tensor-size");
  EXPECT_EQ(broken(*parse("program(1.3)\n{\nfunc main<ios18>(tensor<fp32, [1, 1, 1, 1, 1, 4]> x) { "
                          "tensor<fp32, [4]> y = reshape(x = x, shape = tensor<int32, [1]>([4])); "
                          "} -> (y);\n}\n")),
            "interface-rank");
  auto flexible = [](const std::string &kind, const std::string &type, const std::string &defaults,
                     const std::string &entries) {
    return "[FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, "
           "tuple<string, dict<string, " +
           type + ">>>(((\"DefaultShapes\", {" + defaults + "}), (\"" + kind + "\", {" + entries +
           "})))]";
  };
  auto ranges = [&](const std::string &defaults) {
    return flexible("RangeDims", "list<tensor<int32, [2]>, ?>", defaults,
                    "{\"x\", [[1, 8], [4, 4]]}");
  };
  EXPECT_EQ(text("tensor<fp32, [?, 4]> x" + w, ranges("{\"x\", [2, 4]}")), "");
  EXPECT_EQ(text("tensor<fp32, [?, 4]> x" + w, ranges("{\"x\", [9, 4]}")), "flexible-inputs");
  auto shapes = [&](const std::string &defaults, const std::string &last) {
    return flexible("EnumeratedShapes", "dict<string, tensor<int32, [?]>>", defaults,
                    "{\"a\", {{\"x\", [2, 4]}, {\"w\", [1]}}}, {\"b\", {{\"x\", [3, 4]}" + last +
                        "}}");
  };
  std::string both = "tensor<fp32, [?, 4]> x, tensor<fp32, [?]> w";
  EXPECT_EQ(text(both, shapes("{\"x\", [3, 4]}, {\"w\", [1]}", ", {\"w\", [4]}")), "");
  EXPECT_EQ(text(both, shapes("{\"x\", [4, 4]}, {\"w\", [1]}", ", {\"w\", [4]}")),
            "flexible-inputs");
  EXPECT_EQ(text(both, shapes("{\"x\", [3, 4]}, {\"w\", [1]}", "")), "flexible-inputs");
}

TEST_F(DeviceProfile, Values) {
  EXPECT_EQ(check([](Builder &b, Value *, Value *h, Value *) {
              Value *six =
                  b.emit(OpKind::expand_dims, {{expand_dims::x, h}, {expand_dims::axes, {0}}});
              return b.emit(OpKind::squeeze, {{squeeze::x, six}, {squeeze::axes, {0}}});
            }),
            "rank-limit");
  EXPECT_EQ(check([](Builder &b, Value *x, Value *, Value *) {
              Value *none = b.emit(OpKind::slice_by_size, {{slice_by_size::x, x},
                                                           {slice_by_size::begin, {0, 0}},
                                                           {slice_by_size::size, {0, 3}}});
              return b.emit(OpKind::concat, {{concat::values, llvm::ArrayRef<Value *>{x, none}},
                                             {concat::axis, 0}});
            }),
            "no-empty-tensor");
  EXPECT_EQ(check([](Builder &b, Value *x, Value *, Value *) {
              b.constant(TensorData::splat(DType::I64, {2}, 1));
              return b.emit(OpKind::relu, {{relu::x, x}});
            }),
            "runtime-type");
  EXPECT_EQ(check([](Builder &b, Value *x, Value *, Value *) {
              Value *big = b.emit(OpKind::fill, {{fill::shape, {1 << 15, 1 << 14}}});
              b.emit(OpKind::relu, {{relu::x, big}});
              return b.emit(OpKind::relu, {{relu::x, x}});
            }),
            "tensor-size");
  EXPECT_EQ(check([](Builder &b, Value *x, Value *, Value *) {
              Op *op = b.create(OpKind::softmax, {{softmax::x, x}});
              op->set(softmax::axis, nullptr);
              return op->result();
            }),
            "defaults-written");
  EXPECT_EQ(check([](Builder &b, Value *, Value *, Value *i) {
              return b.emit(OpKind::transpose, {{transpose::x, i}, {transpose::perm, {0}}});
            }),
            "scalar-data");
  EXPECT_EQ(check([](Builder &b, Value *x, Value *, Value *) {
              return b.emit(OpKind::reduce_sum,
                            {{reduce_sum::x, x}, {reduce_sum::axes, llvm::ArrayRef<int64_t>()}});
            }),
            "empty-axes");
  EXPECT_EQ(check([](Builder &b, Value *, Value *h, Value *) {
              return b.emit(OpKind::add, {{add::x, h}, {add::y, -HUGE_VAL}});
            }),
            "finite-fp16");
  EXPECT_EQ(check([](Builder &b, Value *x, Value *, Value *) {
              b.emit(OpKind::non_zero, {{non_zero::x, x}});
              return b.emit(OpKind::relu, {{relu::x, x}});
            }),
            "data-dependent-size");
}

TEST_F(DeviceProfile, SlicesSqueezeFromIos18On) {
  for (auto [opset, ids] : {std::pair(Opset::iOS17, "slice-masks"), std::pair(Opset::iOS18, "")}) {
    Program program;
    Function *f = program.addFunction("main", opset);
    Builder b(f->body());
    Value *x = f->addInput(Type::tensor(DType::F32, {2, 3}), "x");
    f->body().setOutputs(b.emit(OpKind::slice_by_index, {{slice_by_index::x, x},
                                                         {slice_by_index::begin, {0, 0}},
                                                         {slice_by_index::end, {1, 3}},
                                                         {slice_by_index::squeeze_mask,
                                                          llvm::ArrayRef<bool>{true, false}}}));
    EXPECT_EQ(broken(program), ids);
  }
}

TEST_F(DeviceProfile, Operations) {
  auto one = [&](OpKind kind, llvm::ArrayRef<Arg> args, unsigned input = 0) {
    return check([&](Builder &b, Value *x, Value *h, Value *i) {
      llvm::SmallVector<Arg, 8> all(args.begin(), args.end());
      Value *inputs[] = {x, h, i};
      all.insert(all.begin(), Arg(0, inputs[input]));
      return b.emit(kind, all);
    });
  };
  auto floats = [](llvm::ArrayRef<int64_t> shape, double value = 1) {
    return Attr(TensorData::splat(DType::F32, shape, value));
  };
  EXPECT_EQ(
      one(OpKind::linear, {{linear::weight, Attr(TensorData::splat(DType::I32, {4, 2}, 1))}}, 2),
      "linear-x");
  EXPECT_EQ(one(OpKind::matmul, {{matmul::y, Attr(TensorData::splat(DType::I32, {2, 2}, 1))}}, 2),
            "matmul-vector");
  EXPECT_EQ(one(OpKind::gather, {{gather::indices, 1}, {gather::axis, 1}}), "gather-scalar");
  EXPECT_EQ(one(OpKind::gather, {{gather::indices, {-1}}}), "indices-valid");
  EXPECT_EQ(one(OpKind::squeeze, {{squeeze::axes, {0}}}), "squeeze-ones");
  EXPECT_EQ(one(OpKind::layer_norm, {{layer_norm::axes, {1, 0}}}), "layer-norm-axes");
  EXPECT_EQ(one(OpKind::batch_norm,
                {{batch_norm::mean, floats({3})}, {batch_norm::variance, floats({3})}}, 1),
            "batch-norm-rank");
  EXPECT_EQ(one(OpKind::pad, {{pad::pad, {0, 3}}, {pad::mode, "reflect"}}), "pad-mode");
  EXPECT_EQ(one(OpKind::pad, {{pad::pad, {1, 0, 0, 0, 0, 0}}, {pad::mode, "replicate"}}, 1),
            "pad-mode");
  EXPECT_EQ(one(OpKind::slice_update, {{slice_update::update, floats({1, 3})},
                                       {slice_update::begin, {-1, 0}},
                                       {slice_update::end, {2, 3}}}),
            "slice-masks");
  EXPECT_EQ(one(OpKind::split, {{split::num_splits, 1}, {split::axis, 0}}), "split-one");
  EXPECT_EQ(check([&](Builder &b, Value *x, Value *, Value *) {
              Value *q = b.emit(OpKind::quantize, {{quantize::input, x},
                                                   {quantize::scale, floats({}, -1)},
                                                   {quantize::output_dtype, "int8"}});
              return b.emit(OpKind::cast, {{cast::x, q}, {cast::dtype, "fp32"}});
            }),
            "quantize-scale");
  EXPECT_EQ(check([&](Builder &b, Value *x, Value *, Value *) {
              return b.emit(OpKind::pow, {{pow::x, b.scalar(DType::F32, 2)}, {pow::y, x}});
            }),
            "pow-of-two");
  EXPECT_EQ(check(
                [&](Builder &b, Value *x, Value *, Value *) {
                  Value *c = b.emit(OpKind::greater, {{greater::x, x}, {greater::y, 0}});
                  return b.emit(
                      OpKind::select,
                      {{select::cond, c},
                       {select::a, x},
                       {select::b, b.constant(TensorData::splat(DType::F32, {1, 3}, 0))}});
                },
                /*twice=*/true),
            "select-broadcast");
  EXPECT_EQ(check([&](Builder &b, Value *x, Value *, Value *) {
              Value *v = b.emit(OpKind::constexpr_blockwise_shift_scale,
                                {{constexpr_blockwise_shift_scale::data,
                                  Attr(TensorData::splat(DType::I4, {3}, 1))},
                                 {constexpr_blockwise_shift_scale::scale, floats({1})}});
              return b.emit(OpKind::add, {{add::x, x}, {add::y, v}});
            }),
            "compressed-vector");
  EXPECT_EQ(check([&](Builder &b, Value *x, Value *, Value *) {
              Value *list =
                  b.emit(OpKind::make_list,
                         {{make_list::elem_shape, llvm::ArrayRef<Value *>(std::vector<Value *>(
                                                      5, b.constant(TensorData::scalar(2))))}});
              b.emit(OpKind::list_length, {{list_length::ls, list}});
              return b.emit(OpKind::relu, {{relu::x, x}});
            }),
            "list-rank");
  EXPECT_EQ(check([&](Builder &b, Value *, Value *h, Value *) {
              Value *x = b.emit(OpKind::reshape, {{reshape::x, h}, {reshape::shape, {2, 3, 120}}});
              return b.emit(
                  OpKind::conv_transpose,
                  {{conv_transpose::x, x},
                   {conv_transpose::weight, Attr(TensorData::splat(DType::F16, {3, 2, 3}, 1))},
                   {conv_transpose::pad_type, "custom"},
                   {conv_transpose::pad, {0, 1}}});
            }),
            "conv-transpose-pad");
  auto convolve = [&](bool computed) {
    return check([&](Builder &b, Value *x, Value *, Value *) {
      Value *image = b.emit(OpKind::reshape, {{reshape::x, x}, {reshape::shape, {1, 1, 6}}});
      Value *bias = b.constant(TensorData::splat(DType::F32, {2}, 1));
      if (computed)
        bias = b.emit(
            OpKind::slice_by_size,
            {{slice_by_size::x, b.emit(OpKind::reshape, {{reshape::x, x}, {reshape::shape, {6}}})},
             {slice_by_size::begin, {0}},
             {slice_by_size::size, {2}}});
      return b.emit(OpKind::conv,
                    {{conv::x, image}, {conv::weight, floats({2, 1, 3})}, {conv::bias, bias}});
    });
  };
  EXPECT_EQ(convolve(false), "");
  EXPECT_EQ(convolve(true), "constant-bias");
  auto pool = [&](llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<int64_t> kernel, const char *pad) {
    return check([&](Builder &b, Value *x, Value *, Value *) {
      Value *image = b.emit(OpKind::reshape, {{reshape::x, x}, {reshape::shape, shape}});
      return b.emit(
          OpKind::max_pool,
          {{max_pool::x, image}, {max_pool::kernel_sizes, kernel}, {max_pool::pad_type, pad}});
    });
  };
  EXPECT_EQ(pool({1, 1, 6}, {2}, "same"), "");
  EXPECT_EQ(pool({1, 1, 6}, {2}, "same_lower"), "pool-same-lower");
  EXPECT_EQ(pool({1, 1, 2, 3}, {2, 2}, "same_lower"), "");
  auto pads = [&](unsigned input) {
    return check([&](Builder &b, Value *x, Value *, Value *i) {
      Value *flat = b.emit(OpKind::reshape, {{reshape::x, x}, {reshape::shape, {6}}});
      Value *amounts =
          input ? b.emit(OpKind::concat,
                         {{concat::values, llvm::ArrayRef<Value *>{i, i}}, {concat::axis, 0}})
                : i;
      return b.emit(OpKind::pad, {{pad::x, input ? x : flat}, {pad::pad, amounts}});
    });
  };
  EXPECT_EQ(pads(0), "");
  EXPECT_EQ(pads(1), "pad-mode");
  auto blocks = [&](llvm::ArrayRef<int64_t> scales) {
    return check([&](Builder &b, Value *x, Value *, Value *) {
      Value *w = b.emit(OpKind::constexpr_blockwise_shift_scale,
                        {{constexpr_blockwise_shift_scale::data,
                          Attr(TensorData::splat(DType::I4, {4, 2, 1, 1}, 1))},
                         {constexpr_blockwise_shift_scale::scale, floats(scales)}});
      Value *image = b.emit(OpKind::reshape, {{reshape::x, x}, {reshape::shape, {1, 2, 3, 1}}});
      return b.emit(OpKind::conv, {{conv::x, image}, {conv::weight, w}});
    });
  };
  EXPECT_EQ(blocks({4, 1, 1, 1}), "");
  EXPECT_EQ(blocks({4, 2, 1, 1}), "int4-blocks");
  EXPECT_EQ(blocks({2, 2, 1, 1}), "int4-blocks");
  auto inMain = [](const std::string &inputs, const std::string &operation) {
    return broken(*parse("program(1.3)\n{\nfunc main<ios18>(" + inputs + ") { " + operation +
                         " } -> (y);\n}\n"));
  };
  EXPECT_EQ(inMain("tensor<fp32, [1, 3, 4]> x, tensor<fp32, [?, 3]> mask",
                   "tensor<fp32, [1, 3, 4]> y = scaled_dot_product_attention(query = x, key = x, "
                   "value = x, attn_mask = mask);"),
            "flexible-inputs attention-mask");
  EXPECT_EQ(
      inMain("tensor<fp32, [1, 1, ?, 4]> x",
             "tensor<fp32, [?, 1, 2, 2]> y = crop_resize(x = x, boxes = tensor<fp32, [1, "
             "4]>([[0, 0, 1, 1]]), box_indices = tensor<int32, [1]>([0]), target_height = "
             "int32(2), target_width = int32(2), normalized_coordinates = bool(false), "
             "spatial_scale = fp32(1), box_coordinate_mode = string(\"CORNERS_HEIGHT_FIRST\"), "
             "sampling_mode = string(\"DEFAULT\"), pad_value = fp32(0));"),
      "flexible-inputs crop-resize-shape");
  EXPECT_EQ(one(OpKind::upsample_bilinear, {{upsample_bilinear::scale_factor_height, 2}}, 1),
            "upsample-rank");
}

TEST_F(DeviceProfile, RulesAreDescribed) {
  llvm::StringSet<> ids;
  for (const Rule &rule : listRules()) {
    EXPECT_TRUE(ids.insert(rule.id).second) << rule.id;
    EXPECT_FALSE(llvm::StringRef(rule.text).empty() || llvm::StringRef(rule.source).empty());
  }
  EXPECT_GE(ids.size(), 30u);
}

// ---- opsets
// --------------------------------------------------------------------------------------

/// One statement in a function of the opset.
std::string errorIn(const char *opset, const std::string &inputs, const std::string &statement) {
  return verifyError(*parse(fmt::format("program(1.3)\n{{\n    func main<{}>({}) {{\n{}\n    }} -> "
                                        "(y);\n}}\n",
                                        opset, inputs, statement)));
}

TEST(Verifier, OperationsAndParametersBelongToOpsets) {
  const char *fill = "tensor<fp32, [2]> y = fill_like(ref_tensor = x, value = fp32(0.0));";
  EXPECT_THAT(errorIn("ios15", "tensor<fp32, [2]> x", fill),
              HasSubstr("ios15 has no such operation; ios16 brought it"));
  EXPECT_EQ(errorIn("ios16", "tensor<fp32, [2]> x", fill), "");
  EXPECT_EQ(errorIn("ios26", "tensor<fp32, [2]> x", fill), "");
  const char *gather = "tensor<fp32, [1]> y = gather(x = x, indices = i, axis = int32(0), "
                       "batch_dims = int32(0), validate_indices = bool(false));";
  const char *inputs = "tensor<fp32, [2]> x, tensor<int32, [1]> i";
  EXPECT_THAT(errorIn("ios16", inputs, gather),
              HasSubstr("has the parameter validate_indices, which ios16 does not have"));
  EXPECT_EQ(errorIn("ios17", inputs, gather), "");
  const char *crop = "tensor<fp32, [1, 1, 1, 1, 1]> y = crop_resize(x = x, roi = r);";
  const char *images = "tensor<fp32, [1, 1, 2, 2]> x, tensor<fp32, [1, 1, 4, 1, 1]> r";
  EXPECT_EQ(errorIn("ios16", images, crop), "");
  EXPECT_THAT(errorIn("ios18", images, crop),
              HasSubstr("has the parameter roi, which is in older opsets than ios18 only"));
  EXPECT_THAT(errorIn("ios17", "tensor<fp32, [2]> x, state<tensor<fp16, [2]>> s",
                      "tensor<fp32, [2]> y = relu(x = x);"),
              HasSubstr("input 's' is a state, which ios17 does not have"));
}

TEST(Verifier, ElementTypesBelongToOpsets) {
  auto program = parse("program(1.3)\n{\n    func main<ios17>(tensor<fp16, [2]> x) {\n"
                       "tensor<fp16, [2]> y = elu(x = x, alpha = fp32(0.5));\n    } -> (y);\n}\n");
  EXPECT_EQ(verifyError(*program), "");
  program->functions()[0]->opset = Opset::iOS16;
  EXPECT_THAT(verifyError(*program), HasSubstr("elu: alpha is fp32 where another operand"));
  program = parse("program(1.3)\n{\n    func main<ios17>(tensor<fp32, [2]> x) {\n"
                  "tensor<int8, [2]> y = cast(x = x, dtype = string(\"int8\"));\n"
                  "    } -> (y);\n}\n");
  EXPECT_EQ(verifyError(*program), "");
  program->functions()[0]->opset = Opset::iOS16;
  EXPECT_THAT(verifyError(*program), HasSubstr("\"int8\" is no element type to cast to"));
}

TEST_F(DeviceProfile, TheInterfaceIsTheOpsets) {
  auto text = [](const char *opset, const char *type) {
    std::string messages;
    for (const Violation &violation : checkDeviceProfile(
             *parse(fmt::format("program(1.3)\n{{\n    func main<{0}>(tensor<{1}, [2]> x) {{\n"
                                "tensor<{1}, [2]> y = identity(x = x);\n    }} -> (y);\n}}\n",
                                opset, type))))
      messages += violation.message + "\n";
    return messages;
  };
  EXPECT_THAT(text("ios15", "fp16"), HasSubstr("input 'x' is tensor<fp16, [2]>; ios15 takes"));
  EXPECT_EQ(text("ios16", "fp16"), "");
  EXPECT_THAT(text("ios18", "int8"), HasSubstr("ios18 gives fp16, fp32, int32: cast it"));
  EXPECT_EQ(text("ios26", "int8"), "");
}

} // namespace
