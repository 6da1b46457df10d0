// constexpr_*: the examples of Core ML's documentation, and block-wise loops.
#include "OpCheck.h"

namespace plait::runtime {

using namespace mil;

static at::Tensor bytes(std::initializer_list<int64_t> values) {
  return ints(values).to(at::kByte);
}

/// Folds one constexpr operation: its results are constants.
static std::vector<at::Tensor> fold(OpKind kind, std::vector<std::pair<unsigned, Attr>> operands) {
  std::vector<std::vector<Attr>> all(info(kind).params.size());
  for (auto &[param, attr] : operands)
    all[param] = {attr};
  RuntimeEvaluator evaluator;
  auto results = evaluator.evaluate(kind, all, {});
  std::vector<at::Tensor> tensors;
  if (!results) {
    ADD_FAILURE() << llvm::toString(results.takeError());
    return {at::Tensor(), at::Tensor()};
  }
  for (const TensorData &data : *results)
    tensors.push_back(llvm::cantFail(toTensor(data, Compute::Float32, nullptr)));
  return tensors;
}

TEST(Constexpr, AffineDequantize) {
  namespace p = constexpr_affine_dequantize;
  at::Tensor q = bytes({1, 2, 3, 4, 5, 6}).reshape({2, 3});
  at::Tensor scale = floats({0.5, 2});
  auto y = fold(OpKind::constexpr_affine_dequantize,
                {{p::quantized_data, toTensorData(q, DType::U8)},
                 {p::zero_point, toTensorData(bytes({1, 4}), DType::U8)},
                 {p::scale, toTensorData(scale, DType::F32)},
                 {p::axis, Attr::integer(0)}});
  expectClose(y[0], floats({0, 0.5, 1, 0, 2, 4}).reshape({2, 3}), 0, "affine");
}

TEST(Constexpr, BlockwiseShiftScale) {
  namespace p = constexpr_blockwise_shift_scale;
  at::Tensor data = ints({-8, -1, 0, 7, 3, 2, 1, -4}).to(at::kChar).reshape({2, 4});
  at::Tensor scale = floats({0.5, 2, 1, 0.25}).reshape({2, 2});
  at::Tensor offset = ints({1, 0, -1, 2}).to(at::kChar).reshape({2, 2});
  at::Tensor expected = at::zeros({2, 4});
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 4; ++j)
      expected[i][j] =
          (data[i][j].to(at::kFloat) - offset[i][j / 2].to(at::kFloat)) * scale[i][j / 2];
  for (DType type : {DType::I8, DType::I4})
    expectClose(
        fold(OpKind::constexpr_blockwise_shift_scale, {{p::data, toTensorData(data, type)},
                                                       {p::scale, toTensorData(scale, DType::F32)},
                                                       {p::offset, toTensorData(offset, type)}})[0],
        expected, 0, "blockwise");
}

TEST(Constexpr, LutToDense) {
  namespace p = constexpr_lut_to_dense;
  at::Tensor indices = bytes({2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3}).reshape({6, 2});
  at::Tensor lut = floats({1, 5, 9, 13, 2, 10, 18, 26}).reshape({2, 1, 4, 1}).to(at::kHalf);
  auto y = fold(OpKind::constexpr_lut_to_dense, {{p::indices, toTensorData(indices, DType::U2)},
                                                 {p::lut, toTensorData(lut, DType::F16)}});
  expectClose(y[0], floats({9, 13, 13, 1, 5, 1, 26, 2, 18, 10, 2, 26}).reshape({6, 2}), 0, "lut");
}

TEST(Constexpr, LutVectorsLieAlongTheirAxis) {
  namespace p = constexpr_lut_to_dense;
  at::Tensor indices = bytes({0, 0, 1, 0, 1, 1, 0, 0}).reshape({2, 2, 2});
  at::Tensor lut = floats({1, 2, 3, 4, 5, 6}).reshape({1, 1, 1, 2, 3});
  auto run = [&](int32_t axis) {
    return fold(OpKind::constexpr_lut_to_dense, {{p::indices, toTensorData(indices, DType::U1)},
                                                 {p::lut, toTensorData(lut, DType::F32)},
                                                 {p::vector_axis, Attr::integer(axis)}})[0];
  };
  expectClose(run(1),
              floats({1, 1, 2, 2, 3, 3, 4, 1, 5, 2, 6, 3, 4, 4, 5, 5, 6, 6, 1, 1, 2, 2, 3, 3})
                  .reshape({2, 6, 2}),
              0, "axis 1");
  expectClose(run(-1),
              floats({1, 2, 3, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 4, 5, 6, 1, 2, 3, 1, 2, 3})
                  .reshape({2, 2, 6}),
              0, "axis 2");
}

TEST(Constexpr, SparseToDense) {
  namespace p = constexpr_sparse_to_dense;
  auto y = fold(OpKind::constexpr_sparse_to_dense,
                {{p::nonzero_data, toTensorData(floats({3, 5, 4}), DType::F32)},
                 {p::mask, toTensorData(bytes({1, 0, 1, 1, 0, 0}).reshape({2, 3}), DType::U1)}});
  expectClose(y[0], floats({3, 0, 5, 4, 0, 0}).reshape({2, 3}), 0, "sparse");
}

TEST(Constexpr, LutToSparse) {
  namespace p = constexpr_lut_to_sparse;
  at::Tensor mask = bytes({1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0})
                        .reshape({4, 6});
  at::Tensor indices = bytes({0, 1, 1, 0, 1, 1, 0, 0, 1});
  auto scalar = fold(OpKind::constexpr_lut_to_sparse,
                     {{p::indices_mask, toTensorData(mask, DType::U1)},
                      {p::indices_nonzero_data, toTensorData(indices, DType::U1)},
                      {p::lut, toTensorData(floats({2, 3}).reshape({1, 1, 2, 1}), DType::F32)}});
  expectClose(scalar[0], mask, 0, "mask");
  expectClose(scalar[1], floats({2, 3, 3, 2, 3, 3, 2, 2, 3}), 0, "values");
  auto vector =
      fold(OpKind::constexpr_lut_to_sparse,
           {{p::indices_mask, toTensorData(mask, DType::U1)},
            {p::indices_nonzero_data, toTensorData(indices, DType::U1)},
            {p::lut, toTensorData(floats({2, 2, 3, 3}).reshape({1, 1, 2, 2}), DType::F32)},
            {p::vector_axis, Attr::integer(0)}});
  expectClose(vector[0], mask.repeat_interleave(2, 0), 0, "wider mask");
  expectClose(vector[1], floats({2, 3, 2, 3, 3, 2, 3, 3, 2, 3, 3, 2, 2, 3, 2, 2, 3, 3}), 0,
              "vectors");
}

TEST(Constexpr, SparseBlockwiseShiftScale) {
  namespace p = constexpr_sparse_blockwise_shift_scale;
  at::Tensor mask = bytes({1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0}).reshape({4, 4});
  at::Tensor data = ints({10, 11, 3, 4, 5, 6, 7, 8, 9}).to(at::kChar);
  at::Tensor scale = floats({0.5, 0.25, 2, 4}).reshape({1, 4});
  at::Tensor offset = ints({1, 2, 3, 4}).to(at::kChar).reshape({1, 4});
  auto y = fold(OpKind::constexpr_sparse_blockwise_shift_scale,
                {{p::data_mask, toTensorData(mask, DType::U1)},
                 {p::nonzero_data, toTensorData(data, DType::I8)},
                 {p::scale, toTensorData(scale, DType::F32)},
                 {p::offset, toTensorData(offset, DType::I8)}});
  expectClose(y[0], mask, 0, "mask");
  expectClose(y[1], floats({4.5, 2.25, 1, 0.5, 4, 6, 12, 3.5, 1.75}), 0, "values");
}

TEST(Constexpr, CastWidens) {
  at::Tensor x = floats({1.5, -2}).to(at::kHalf);
  auto y = fold(OpKind::constexpr_cast, {{constexpr_cast::source_val, toTensorData(x, DType::F16)},
                                         {constexpr_cast::output_dtype, Attr::string("fp32")}});
  EXPECT_EQ(y[0].scalar_type(), at::kFloat);
  expectClose(y[0], floats({1.5, -2}), 0, "cast");
}

TEST(Constexpr, OlderFormsUnpackBits) {
  namespace l = constexpr_lut_to_dense;
  // Indices 2, 3, 1, 0, 1 of two bits each, from the low bits.
  auto dense = fold(OpKind::constexpr_lut_to_dense,
                    {{l::indices, toTensorData(bytes({0b00011110, 0b01}), DType::U8)},
                     {l::lut, toTensorData(floats({10, 11, 12, 13}), DType::F32)},
                     {l::shape, TensorData::from<uint32_t>(DType::U32, {2}, {5, 1})}});
  expectClose(dense[0], floats({12, 13, 11, 10, 11}).reshape({5, 1}), 0, "lut");
  namespace s = constexpr_sparse_to_dense;
  auto sparse = fold(OpKind::constexpr_sparse_to_dense,
                     {{s::nonzero_data, toTensorData(floats({1, 2, 3}), DType::F32)},
                      {s::mask, toTensorData(bytes({0b00010101}), DType::U8)},
                      {s::shape, TensorData::from<uint32_t>(DType::U32, {2}, {2, 3})}});
  expectClose(sparse[0], floats({1, 0, 2, 0, 3, 0}).reshape({2, 3}), 0, "sparse");
}

} // namespace plait::runtime
