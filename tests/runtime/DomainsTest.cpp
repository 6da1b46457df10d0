// Every element type that Ops.def allows is one that evaluators take: operations of the shape
// table, and a few that it lacks, are run as they stand and with each operand in turn in every type
// of its domain, in each way of computing.
#include "runtime/Interpreter.h"
#include "runtime/RandomInputs.h"
#include "tests/ShapeTable.h"
#include "tests/SourceDir.h"

#include <gtest/gtest.h>
#include <set>

namespace plait::runtime {

using namespace mil;
using table::Line;

namespace {

/// Operations and operands that no line of the shape table has.
constexpr const char *kMore =
    R"(batch_to_space x=f32[4,2,3,3] block_shape=i32(2,2) crops=i32[2,2]! -> ?
space_to_batch x=f32[1,2,5,5] block_shape=i32(3,3) paddings=i32[2,2]! -> ?
batch_norm x=f32[1,3,4] mean=f32[3]! variance=f32[3]! gamma=f32[3]! beta=f32[3]! -> ?
instance_norm x=f32[1,3,4] gamma=f32[3]! beta=f32[3]! -> ?
layer_norm x=f32[2,3] axes=i32(1) gamma=f32[3]! beta=f32[3]! -> ?
l2_norm x=f32[2,3,4] epsilon=f32:0.5 -> ?
conv_quantized x=f32[1,2,5,5] weight=u8[3,2,3,3]! bias=u8[3]! quantization_type=str:linear quant_scale=f32[3]! quant_bias=f32[3]! -> ?
conv_transpose x=f32[1,2,5] weight=f32[2,3,3]! bias=f32[3]! -> ?
upsample_bilinear x=f32[1,2,3,4] scale_factor_height=i32:2 scale_factor_width=i32:2 align_corners=bool:0 half_pixel_centers=bool:1 -> ?
slice_update x=f32[4,5] update=f32[2,5] begin=i32(1,0) end=i32(3,5) stride=i32(1,1) begin_mask=bool(0,1) end_mask=bool(0,1) squeeze_mask=bool(0,0) -> ?
non_maximum_suppression boxes=f32[1,4,7] scores=f32[1,3,7] iou_threshold=f32:0.5 max_boxes=i32:2 per_class_suppression=bool:1 -> ?
lstm x=f32[7,2,3] initial_h=f32[2,5] initial_c=f32[2,5] weight_ih=f32[20,3]! weight_hh=f32[20,5]! bias=f32[20]! peephole=f32[15]! clip=f32:1 -> ?
lstm x=f32[7,2,3] initial_h=f32[2,10] initial_c=f32[2,10] weight_ih=f32[20,3]! weight_hh=f32[20,5]! bias=f32[20]! peephole=f32[15]! weight_ih_back=f32[20,3]! weight_hh_back=f32[20,5]! bias_back=f32[20]! peephole_back=f32[15]! direction=str:bidirectional -> ?
gru x=f32[7,2,3] initial_h=f32[2,5] weight_ih=f32[15,3]! weight_hh=f32[15,5]! bias=f32[15]! reset_after=bool:1 input_bias=f32[15]! -> ?
rnn x=f32[7,2,3] initial_h=f32[2,5] weight_ih=f32[5,3]! weight_hh=f32[5,5]! bias=f32[5]! -> ?
constexpr_affine_dequantize quantized_data=u8[2,3]! zero_point=u8:1 scale=f32:2 axis=i32:0 -> ?
constexpr_blockwise_shift_scale data=f16[4,6]! scale=f32[2,3]! offset=f16[2,3]! -> ?
constexpr_blockwise_shift_scale data=f32[4,6]! scale=f32[2,3]! offset=f32[2,3]! -> ?
constexpr_blockwise_shift_scale data=i4[4,6]! scale=f32[2,3]! offset=i4[2,3]! -> ?
constexpr_blockwise_shift_scale data=i8[4,6]! scale=f32[2,3]! offset=i8[2,3]! -> ?
constexpr_blockwise_shift_scale data=u4[4,6]! scale=f32[2,3]! offset=u4[2,3]! -> ?
constexpr_blockwise_shift_scale data=u8[4,6]! scale=f32[2,3]! offset=u8[2,3]! -> ?
constexpr_lut_to_dense indices=u1[2,3]! lut=f32[1,1,2,1]! -> ?
constexpr_lut_to_dense indices=u2[2,3]! lut=f32[1,1,4,1]! -> ?
constexpr_lut_to_dense indices=u2[2,3]! lut=f32[1,1,4,2]! vector_axis=i32:0 -> ?
constexpr_lut_to_dense indices=u3[2,3]! lut=f32[1,1,8,1]! -> ?
constexpr_lut_to_dense indices=u4[2,3]! lut=f32[1,1,16,1]! -> ?
constexpr_lut_to_dense indices=u6[2,3]! lut=f32[1,1,64,1]! -> ?
constexpr_lut_to_dense indices=u8[2,3]! lut=f32[1,1,256,1]! -> ?
constexpr_lut_to_sparse indices_mask=u1[2,3]! indices_nonzero_data=u1[6]! lut=f32[1,1,2,1]! -> ?
constexpr_lut_to_sparse indices_mask=u1[2,3]! indices_nonzero_data=u2[6]! lut=f32[1,1,4,1]! -> ?
constexpr_lut_to_sparse indices_mask=u1[2,3]! indices_nonzero_data=u2[6]! lut=f32[1,1,4,2]! vector_axis=i32:0 -> ?
constexpr_lut_to_sparse indices_mask=u1[2,3]! indices_nonzero_data=u3[6]! lut=f32[1,1,8,1]! -> ?
constexpr_lut_to_sparse indices_mask=u1[2,3]! indices_nonzero_data=u4[6]! lut=f32[1,1,16,1]! -> ?
constexpr_lut_to_sparse indices_mask=u1[2,3]! indices_nonzero_data=u6[6]! lut=f32[1,1,64,1]! -> ?
constexpr_lut_to_sparse indices_mask=u1[2,3]! indices_nonzero_data=u8[6]! lut=f32[1,1,256,1]! -> ?
constexpr_sparse_to_dense nonzero_data=f32[6]! mask=u1[2,3]! -> ?
constexpr_sparse_blockwise_shift_scale data_mask=u1[2,3]! nonzero_data=f16[6]! scale=f32[1,3]! offset=f16[1,3]! -> ?
constexpr_sparse_blockwise_shift_scale data_mask=u1[2,3]! nonzero_data=f32[6]! scale=f32[1,3]! offset=f32[1,3]! -> ?
constexpr_sparse_blockwise_shift_scale data_mask=u1[2,3]! nonzero_data=i4[6]! scale=f32[1,3]! offset=i4[1,3]! -> ?
constexpr_sparse_blockwise_shift_scale data_mask=u1[2,3]! nonzero_data=i8[6]! scale=f32[1,3]! offset=i8[1,3]! -> ?
constexpr_sparse_blockwise_shift_scale data_mask=u1[2,3]! nonzero_data=u4[6]! scale=f32[1,3]! offset=u4[1,3]! -> ?
constexpr_sparse_blockwise_shift_scale data_mask=u1[2,3]! nonzero_data=u8[6]! scale=f32[1,3]! offset=u8[1,3]! -> ?)";

/// Lines that coremltools types and nothing can run: they contain both texts.
struct Invalid {
  const char *operation, *text, *reason, *second = "";
};
constexpr Invalid kInvalid[] = {
    {"conv", "weight=f32[6,1,3]! groups=i32:4", "4 groups do not divide 6 channels"},
    {"squeeze", "x=f32[1,3,1] axes=i32(1)", "an axis of size 3 is squeezed"},
    {"squeeze", "x=f32[2,3]", "no axis has size 1"},
    {"reverse_sequence", "lengths=i32[2] -> ", "seq_axis and batch_axis are both 0"},
    {"reverse_sequence", "lengths=i32[2] batch_axis=i32:0 -> ", "as above"},
    {"slice_by_index", "x=f16[1,9]", "begins and ends beyond the axis"},
    {"non_maximum_suppression", "boxes=f32[1,7,4]", "boxes have 7 coordinates"},
    {"pad", "x=f32[2,3] pad=i32(1,2,3,4) mode=str:reflect", "no more than the axis is reflected"},
    {"gather", "indices=i32[2] ", "a batch of 5 and one of 2", "batch_dims=i32:1"},
    {"gather", "indices=u8[3,4] ", "a batch of 5 and one of 3", "batch_dims=i32:1"},
    {"gather", "indices=i16[5,2] batch_dims=i32:1", "the axis is one of the batch's"},
    {"gather_nd", "x=f32[5,6,7] indices=i32[3,2] batch_dims=i32:1", "a batch of 5 and one of 3"},
};

bool isInvalid(const Line &line) {
  return llvm::any_of(kInvalid, [&](const Invalid &invalid) {
    return line.operation() == invalid.operation && line.text.contains(invalid.text) &&
           line.text.contains(invalid.second);
  });
}

/// A function of the one operation of `line`. The operands of `retyped` (a parameter and all that
/// share its type variable) have element type `dtype`.
struct OneOp {
  OneOp(const Line &line, std::optional<unsigned> retyped = std::nullopt, DType dtype = {}) {
    kind = *parseOpKind(line.operation());
    std::vector<Arg> args;
    for (llvm::StringRef word : llvm::drop_begin(line.words)) {
      auto [name, text] = word.split('=');
      unsigned param = *info(kind).findParam(name);
      std::optional<DType> type;
      if (retyped && sharesType(*retyped, param))
        type = dtype;
      llvm::SmallVector<llvm::StringRef> parts;
      text.split(parts, '+');
      llvm::SmallVector<Value *, 3> values;
      for (llvm::StringRef part : parts)
        values.push_back(table::valueOf(builder, part, type));
      args.emplace_back(param, values);
    }
    op = builder.create(kind, args);
    refusal = llvm::toString(builder.takeError());
    if (!op)
      return;
    llvm::SmallVector<Value *, 2> outputs;
    for (const auto &result : op->results())
      outputs.push_back(result.get());
    function->body().setOutputs(outputs);
  }

  bool sharesType(unsigned a, unsigned b) const {
    auto params = info(kind).params;
    return a == b || (params[a].var != '_' && params[a].var == params[b].var);
  }

  /// The results as fp64, or the interpreter's error. Inputs hold what those of `source` hold.
  Expected<std::vector<at::Tensor>> run(Compute compute, const OneOp &source) {
    Interpreter::Options options;
    options.compute = compute;
    auto interpreter = Interpreter::create(*function, options);
    if (!interpreter)
      return interpreter.takeError();
    Interpreter::Inputs inputs;
    // Integers that are no indices are ones, so that nothing is divided by zero.
    llvm::StringMap<Range> ranges;
    for (const auto &input : source.function->inputs())
      if (isInteger(input->type.dtype()) && !indexBounds(*input))
        ranges[input->name.str()] = {1, 1};
    auto drawn = llvm::cantFail(randomInputs(*source.function, 1, ranges));
    for (auto [input, own] : llvm::zip(drawn, function->inputs()))
      inputs[own->name.str()] = llvm::cantFail(toTensor(input.value, Compute::Float32, nullptr))
                                    .to(heldType(own->type.dtype()));
    auto results = (*interpreter)->run(inputs);
    if (!results)
      return results.takeError();
    std::vector<at::Tensor> tensors;
    for (const Datum &datum : *results)
      tensors.push_back(datum.tensor.to(at::kDouble));
    return tensors;
  }

  OpKind kind;
  Program program;
  Function *function = program.addFunction("main");
  Builder builder{function->body()};
  Op *op = nullptr;
  std::string refusal;
};

/// The element types are known before it runs, and so are the shapes.
bool isStatic(const Line &line) { return !line.text.contains("?") || line.results == "?"; }

/// Results depend on contents that no line says: a shape, a number of copies, a range.
bool takesShapes(const Op &op) {
  return llvm::any_of(op.results(), [](const auto &result) {
    return result->type.isTensor() && !mil::constShape(result->type.shape());
  });
}

class Domains : public testing::Test {
protected:
  void SetUp() override {
    buffer = std::move(*llvm::MemoryBuffer::getFile(sourcePath("tests/mil/data/shapes.txt"), true));
    more = llvm::MemoryBuffer::getMemBuffer(kMore);
    lines = table::readLines(*buffer);
    llvm::append_range(lines, table::readLines(*more));
    llvm::erase_if(lines, [](const Line &line) {
      return line.results == "error" || !isStatic(line) || isInvalid(line);
    });
  }
  std::unique_ptr<llvm::MemoryBuffer> buffer, more;
  std::vector<Line> lines;
};

TEST_F(Domains, OperationsOfTheShapeTableRun) {
  unsigned ran = 0;
  for (const Line &line : lines) {
    OneOp one(line);
    if (!one.op || takesShapes(*one.op))
      continue;
    auto results = one.run(Compute::Float32, one);
    EXPECT_TRUE(bool(results)) << line.text.str() << "\n    "
                               << llvm::toString(results.takeError());
    ++ran;
  }
  EXPECT_GT(ran, 900u);
}

TEST_F(Domains, EveryTypeOfEveryDomainIsEvaluated) {
  constexpr DType types[] = {DType::F16, DType::F32, DType::I4,  DType::I8,  DType::I16,
                             DType::I32, DType::U1,  DType::U2,  DType::U3,  DType::U4,
                             DType::U6,  DType::U8,  DType::U16, DType::U32, DType::Bool};
  std::set<std::tuple<OpKind, unsigned, DType>> covered;
  std::set<std::string> missing;
  std::set<OpKind> operations;
  auto wanted = [&](const ParamInfo &param, DType type) {
    // Any stands for whatever a value may hold at run time.
    return (param.domain & setOf(type)) != 0 && !(param.domain == ~DTypeSet(0) && isSubByte(type));
  };
  for (const Line &line : lines) {
    OneOp plain(line);
    if (!plain.op || takesShapes(*plain.op))
      continue;
    operations.insert(plain.kind);
    for (auto [index, param] : llvm::enumerate(plain.op->info().params)) {
      if (!(*plain.op)[index] || !(*plain.op)[index]->type.isTensor())
        continue;
      for (DType type : types) {
        if (!wanted(param, type) || covered.count({plain.kind, unsigned(index), type}))
          continue;
        OneOp one(line, unsigned(index), type);
        if (!one.op || (*one.op)[index]->type.dtype() != type)
          continue;
        covered.insert({plain.kind, unsigned(index), type});
        for (Compute compute : {Compute::Float32, Compute::Native, Compute::Exact}) {
          auto results = one.run(compute, one);
          EXPECT_TRUE(bool(results))
              << line.text.str() << "\n    " << param.name << " as " << name(type).str()
              << ", mode " << int(compute) << ": " << llvm::toString(results.takeError());
        }
      }
    }
  }
  for (OpKind kind : operations)
    for (auto [index, param] : llvm::enumerate(info(kind).form(kDefaultOpset)))
      for (DType type : types)
        if (param && wanted(*param, type) && !covered.count({kind, unsigned(index), type}))
          missing.insert(
              (info(kind).name + ("." + llvm::StringRef(param->name)) + "=" + name(type)).str());
  std::string list;
  for (const std::string &entry : missing)
    list += entry + "\n";
  EXPECT_EQ(list, "");
  EXPECT_GT(operations.size(), 140u);
}

/// fp16 holds what fp32 computes, to its precision; native fp16 comes near it.
TEST_F(Domains, HalfPrecisionFollowsSingle) {
  unsigned compared = 0;
  std::map<OpKind, unsigned> tried; // a few lines of each operation say it all
  for (const Line &line : lines) {
    OneOp single(line);
    if (tried[single.kind]++ >= 20 || !single.op || takesShapes(*single.op) ||
        line.operation().starts_with("random_") || !single.op->info().findParam("x") ||
        !(info(single.kind).params[*info(single.kind).findParam("x")].domain & setOf(DType::F16)))
      continue;
    unsigned x = *single.op->info().findParam("x");
    OneOp wide(line, x, DType::F32), half(line, x, DType::F16);
    if (!wide.op || !half.op || half.function->inputs().empty())
      continue;
    auto expected = wide.run(Compute::Float32, half);
    for (Compute compute : {Compute::Float32, Compute::Native}) {
      auto actual = half.run(compute, half);
      ASSERT_TRUE(bool(expected)) << line.text.str() << llvm::toString(expected.takeError());
      ASSERT_TRUE(bool(actual)) << line.text.str() << llvm::toString(actual.takeError());
      for (auto [a, e] : llvm::zip(*actual, *expected))
        EXPECT_TRUE(at::allclose(a, e, 2e-2, 2e-2, /*equal_nan=*/true)) << line.text.str();
    }
    ++compared;
  }
  EXPECT_GT(compared, 300u);
}

} // namespace
} // namespace plait::runtime
