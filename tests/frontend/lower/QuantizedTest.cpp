// Quantised tensors and layers against LibTorch, to the last step: scales of activations are such
// that no result lies between two steps.
#include "tests/frontend/lower/LowerCheck.h"

#include "frontend/script/libtorch/QuantizedOperators.h"

#include <gmock/gmock.h>

namespace plait::frontend {

namespace {
// Element types by their numbers: scripts that LibTorch compiles here have no names for them.
const std::string kInt8 = "12", kUInt8 = "13";

/// `body` on a quantised q of x.
std::string onQuantised(const std::string &body, const std::string &type = kUInt8) {
  std::string zero = type == kUInt8 ? "60" : "-7";
  return "def forward(self, x: Tensor):\n"
         "  q = torch.quantize_per_tensor(x, 0.05, " +
         zero + ", " + type + ")\n  return (" + body + ").dequantize()\n";
}

void checkOnQuantised(const std::vector<std::string> &bodies, const at::Tensor &x) {
  for (const std::string &body : bodies)
    for (const std::string &type : {kUInt8, kInt8})
      check(onQuantised(body, type), {x});
}

/// A layer of packed weights that the script makes: `weight` is quantised by channel.
std::string layer(const std::string &prepack, const std::string &call) {
  return "def forward(self, x: Tensor):\n"
         "  q = torch.quantize_per_tensor(x, 0.05, 60, 13)\n" +
         prepack + "  return (" + call + ").dequantize()\n";
}

std::string weights(const std::string &shape, int64_t channels, const std::string &axis = "0") {
  std::string count = std::to_string(channels);
  return "  n = 1\n"
         "  for s in " +
         shape +
         ":\n    n = n * s\n"
         "  w = torch.sin(torch.arange(n) * 1.7).reshape(" +
         shape +
         ")\n"
         "  scales = (torch.arange(" +
         count +
         ") + 5).to(7) / 1000\n"
         "  zeros = torch.zeros([" +
         count +
         "], dtype=4)\n"
         "  b = torch.cos(torch.arange(" +
         count +
         ") * 0.9)\n"
         "  w = torch.quantize_per_channel(w, scales, zeros, " +
         axis + ", 12)\n";
}
} // namespace

TEST(Quantized, TensorsAreRounded) {
  at::Tensor x = floats({-9, -0.34, 0.0249, 0.0251, 0.17, 3, 99});
  for (const std::string &type : {kUInt8, kInt8})
    check("torch.quantize_per_tensor(x, 0.05, 17, " + type + ").dequantize()", {x});
  check("torch.quantize_per_tensor(x, torch.tensor(0.05), torch.tensor(3), 13).dequantize()", {x});
  check("torch.quantize_per_tensor(x, 0.05, 3, 13).int_repr()", {x});
  check("torch.quantize_per_tensor(x, 0.05, -3, 12).int_repr()", {x});
  check("torch.quantize_per_tensor(x, 0.05, 3, 13).dequantize()", {at::scalar_tensor(0.42)});
  check("torch.dequantize([torch.quantize_per_tensor(x, 0.05, 3, 13)])", {x});
  check(forward("  q = torch.quantize_per_tensor(x, 0.05, 3, 13)\n"
                "  return x * q.q_scale() + q.q_zero_point() + int(q.is_quantized)\n"),
        {x});
}

TEST(Quantized, OfUnknownSizes) {
  checkDynamic("torch.relu(torch.quantize_per_tensor(x, 0.05, 3, 13)).dequantize()",
               {randn({3, 4})}, {0});
}

TEST(Quantized, WhatMovesNumbersKeepsThem) {
  at::Tensor x = randn({2, 4, 6, 6});
  checkOnQuantised({"q.view([2, 4, 36])",
                    "q.reshape([8, 36])",
                    "q.flatten(1)",
                    "q.permute([0, 2, 3, 1])",
                    "q.transpose(1, 2)",
                    "q.unsqueeze(0).squeeze(0)",
                    "q[:, 1:3]",
                    "q.select(1, 2)",
                    "q.narrow(1, 1, 2)",
                    "q.contiguous()",
                    "q.clone()",
                    "q.detach()",
                    "q.chunk(2, 1)[1]",
                    "q.split(3, 1)[0]",
                    "q.unbind(1)[2]",
                    "torch.relu(q)",
                    "torch.relu_(q)",
                    "q.flip([1])",
                    "torch.max_pool2d(q, [2, 2])",
                    "torch.pixel_shuffle(q, 2)",
                    "torch.pixel_unshuffle(q, 2)",
                    "torch.upsample_nearest2d(q, [12, 12], None)",
                    "torch.reflection_pad2d(q, [1, 2, 1, 0])"},
                   x);
  checkOnQuantised({"torch.max_pool1d(q, [2])", "torch.reflection_pad1d(q, [1, 2])", "q.t()"},
                   randn({4, 6}));
  check(onQuantised("torch.channel_shuffle(q, 2)"), {x});
  check(onQuantised("q.view([q.size(0), q.shape[1] * 2, -1])"), {x});
}

TEST(Quantized, WhatComputesIsRounded) {
  // Means of three by three numbers lie on no half of a step.
  at::Tensor x = randn({2, 4, 9, 9});
  checkOnQuantised({"torch.avg_pool2d(q, [3, 3])", "torch.adaptive_avg_pool2d(q, [3, 3])",
                    "q.mean([2, 3])", "torch.hardtanh(q, -0.31, 0.47)", "torch.relu6(q)",
                    "torch.clamp(q, -0.31, 0.48)", "torch.leaky_relu(q, 0.13)",
                    "torch.threshold(q, 0.11, 0.21)", "torch.constant_pad_nd(q, [1, 1], 0.0)",
                    "torch.cat([q, torch.relu(q)], 1)", "torch.hardtanh_(q, -0.3, 0.4)",
                    "torch.sigmoid(q)", "torch.tanh(q)", "torch.hardsigmoid(q)"},
                   x);
}

TEST(Quantized, OperatorsForQuantisedTensors) {
  at::Tensor x = randn({2, 4, 3, 3});
  const std::string steps = ", 0.071, 31)";
  std::vector<std::string> bodies;
  for (const char *call :
       {"add(q, torch.relu(q)", "add_relu(q, q", "mul(q, torch.relu(q)", "mul_relu(q, q",
        "cat([q, torch.relu(q)], 1", "cat_relu([q, q], 1", "leaky_relu(q, 0.13, False",
        "hardswish(q", "sigmoid(q", "softmax(q, 1", "elu(q"})
    bodies.push_back("ops.quantized." + std::string(call) + steps);
  for (const char *call : {"add(q, 0.31)", "add(q, 40.0)", "add(q, -40.0)", "add_relu(q, -0.3)",
                           "mul(q, 0.3)", "mul(q, -0.3)", "mul_relu(q, -0.3)", "mul(q, 0.0)",
                           "add_scalar(q, 0.3)", "add_scalar_relu(q, -0.3)", "mul_scalar(q, 0.3)",
                           "mul_scalar_relu(q, 0.3)", "clamp(q, -0.31, 0.48)", "relu6(q)",
                           "threshold(q, 0.11, 0.21)", "cat([q, torch.relu(q)], 1, None, None)",
                           "max_pool2d(q, [2, 2], [1, 1], [0, 0], [1, 1], False)"})
    bodies.push_back("ops.quantized." + std::string(call));
  bodies.push_back("ops.quantized.matmul(q, q, 0.0713, 31)");
  bodies.push_back("ops.quantized.celu(q, 0.071, 31, 1.3)");
  bodies.push_back("ops.quantized.prelu(q, torch.quantize_per_tensor(torch.full([4], 0.2), 0.01, "
                   "0, 13), 0.071, 31)");
  for (const std::string &body : bodies)
    check(onQuantised(body), {x});
  check(onQuantised("ops.quantized.max_pool1d(q, [2], [1], [0], [1], False)"), {randn({4, 6})});
}

TEST(Quantized, Norms) {
  const std::string given = "torch.arange(4.0) + 0.5, torch.arange(4.0), ";
  const std::string moments = given + "torch.arange(4.0) / 9, torch.arange(4.0) + 1, 1e-5, 0.1, 9)";
  at::Tensor x = randn({2, 4, 3, 3});
  for (const char *name : {"batch_norm", "batch_norm_relu", "batch_norm2d", "batch_norm2d_relu"})
    check(onQuantised("ops.quantized." + std::string(name) + "(q, " + moments), {x});
  for (const char *name : {"batch_norm1d", "batch_norm1d_relu"})
    check(onQuantised("ops.quantized." + std::string(name) + "(q, " + moments), {randn({2, 4, 5})});
  for (const char *name : {"batch_norm3d", "batch_norm3d_relu"})
    check(onQuantised("ops.quantized." + std::string(name) + "(q, " + moments),
          {randn({2, 4, 2, 2, 2})});
  check(onQuantised("ops.quantized.group_norm(q, 2, " + given + "1e-5, 0.051, 70)"), {x});
  check(onQuantised("ops.quantized.instance_norm(q, " + given + "1e-5, 0.051, 70)"), {x});
  check(onQuantised("ops.quantized.layer_norm(q, [4], " + given + "1e-5, 0.051, 70)"),
        {randn({3, 4})});
}

TEST(Quantized, LinearLayers) {
  at::Tensor x = randn({3, 8});
  std::string pack = weights("[6, 8]", 6) + "  p = ops.quantized.linear_prepack(w, b)\n";
  for (const char *name : {"linear", "linear_relu"})
    check(layer(pack, "ops.quantized." + std::string(name) + "(q, p, 0.0431, 50)"), {x});
  std::string plain =
      "  w = torch.quantize_per_tensor(torch.sin(torch.arange(48.0)).reshape([6, 8]), "
      "0.0079, 0, 12)\n  p = ops.quantized.linear_prepack(w, None)\n";
  check(layer(plain, "ops.quantized.linear(q, p, 0.0431, 50)"), {x});
  EXPECT_THAT(operations(layer(pack, "ops.quantized.linear(q, p, 0.0431, 50)"), {x}),
              testing::ElementsAre("quantize", "dequantize", "constexpr_blockwise_shift_scale",
                                   "linear", "quantize", "dequantize"));
}

TEST(Quantized, DynamicLayers) {
  std::string pack = "def forward(self, x: Tensor):\n" + weights("[6, 8]", 6);
  for (at::Tensor x : {randn({3, 8}), rand({3, 8}, 1, 2), at::zeros({3, 8})}) {
    for (const char *name : {"linear_dynamic", "linear_relu_dynamic"})
      for (const char *range : {"False", "True"})
        check(pack + "  p = ops.quantized.linear_prepack(w, b)\n  return ops.quantized." + name +
                  "(x, p, " + range + ")\n",
              {x}, {.rtol = 1e-3, .atol = 1e-4});
    for (const char *name : {"linear_dynamic_fp16", "linear_relu_dynamic_fp16"})
      check(pack +
                "  p = ops.quantized.linear_prepack_fp16(w.dequantize(), b)\n  return "
                "ops.quantized." +
                name + "(x, p)\n",
            {x}, {.rtol = 1e-3, .atol = 1e-4});
  }
}

TEST(Quantized, Convolutions) {
  auto pack = [](const std::string &kind, const std::string &shape, int64_t channels,
                 const std::string &geometry) {
    return weights(shape, channels) + "  p = ops.quantized." + kind + "_prepack(w, b, " + geometry +
           ")\n";
  };
  std::string two = pack("conv2d", "[6, 2, 3, 3]", 6, "[2, 1], [1, 0], [1, 2], 2");
  for (const char *name : {"conv2d", "conv2d_relu"})
    check(layer(two, "ops.quantized." + std::string(name) + "(q, p, 0.0731, 50)"),
          {randn({2, 4, 9, 9})});
  std::string one = pack("conv1d", "[6, 4, 3]", 6, "[2], [1], [1], 1");
  for (const char *name : {"conv1d", "conv1d_relu"})
    check(layer(one, "ops.quantized." + std::string(name) + "(q, p, 0.0731, 50)"),
          {randn({2, 4, 9})});
  std::string three = pack("conv3d", "[6, 4, 2, 3, 3]", 6, "[1, 2, 1], [1, 0, 1], [1, 1, 1], 1");
  for (const char *name : {"conv3d", "conv3d_relu"})
    check(layer(three, "ops.quantized." + std::string(name) + "(q, p, 0.1731, 50)"),
          {randn({1, 4, 5, 6, 6})});
}

TEST(Quantized, TransposedConvolutions) {
  auto pack = [](const std::string &kind, const std::string &shape, const std::string &geometry) {
    return "  n = 1\n  for s in " + shape + ":\n    n = n * s\n" +
           "  w = torch.quantize_per_tensor(torch.sin(torch.arange(n) * 1.7).reshape(" + shape +
           "), 0.0079, 0, 12)\n  p = ops.quantized." + kind + "_prepack(w, None, " + geometry +
           ")\n";
  };
  check(layer(pack("conv_transpose1d", "[4, 6, 3]", "[2], [1], [1], [1], 1"),
              "ops.quantized.conv_transpose1d(q, p, 0.0731, 50)"),
        {randn({2, 4, 9})});
  check(layer(pack("conv_transpose2d", "[4, 6, 3, 3]", "[2, 1], [1, 0], [1, 0], [1, 1], 1"),
              "ops.quantized.conv_transpose2d(q, p, 0.0731, 50)"),
        {randn({2, 4, 5, 5})});
  check(layer(pack("conv_transpose3d", "[4, 6, 2, 3, 3]",
                   "[1, 2, 1], [0, 1, 0], [0, 1, 0], [1, 1, 1], 1"),
              "ops.quantized.conv_transpose3d(q, p, 0.0731, 50)"),
        {randn({1, 4, 3, 5, 5})});
}

TEST(Quantized, Embeddings) {
  auto pack = [](const std::string &type) {
    return "def forward(self, x: Tensor):\n"
           "  w = torch.sin(torch.arange(60.0)).reshape([10, 6])\n"
           "  scales = (torch.arange(10.0) + 30) / 300\n"
           "  zeros = torch.arange(10.0) / 3 + 7\n"
           "  q = torch.quantize_per_channel(w, scales, zeros, 0, " +
           type + ")\n  p = ops.quantized.embedding_bag_prepack(q)\n";
  };
  at::Tensor ids = ints({0, 3, 9, 3});
  check(pack("13") + "  return ops.quantized.embedding_byte(p, x)\n", {ids});
  // Of 4 bits LibTorch packs scales in half precision.
  CheckOptions halves{.rtol = 1e-3, .atol = 1e-3};
  check(pack("16") + "  return ops.quantized.embedding_4bit(p, x)\n", {ids}, halves);
  for (auto [type, name] : {std::pair("13", "byte"), std::pair("16", "4bit")})
    check(pack(type) + "  return ops.quantized.embedding_bag_" + name +
              "(p, x, torch.tensor([0, 1]))\n",
          {ids}, halves);
}

TEST(Quantized, RefusesWhatItCannotRound) {
  at::Tensor x = randn({2, 3});
  EXPECT_THAT(refusal(onQuantised("torch.sort(q)[0]"), {x}), testing::HasSubstr("dequantize()"));
  EXPECT_THAT(refusal("torch.quantize_per_tensor(x, 0.1, 0, 14).dequantize()", {x}),
              testing::HasSubstr("int8 and uint8"));
  EXPECT_THAT(refusal("torch.quantize_per_tensor(x, x.sum().item(), 0, 13).dequantize()", {x}),
              testing::HasSubstr("must be known"));
  EXPECT_THAT(refusal(onQuantised("q[0].relu_()"), {x}), testing::HasSubstr("share memory"));
}

// ---- Integers of other libraries --------------------------------------------------------------

/// Weights are what LibTorch gives for the same integers, whatever their form; inputs are rounded
/// as its pretended quantisation rounds them.
TEST(StoredIntegers, WeightsKeepThem) {
  declareQuantizedOperators();
  at::Tensor x = randn({3, 64});
  const std::string weight =
      "  w = (torch.sin(torch.arange(512) * 1.7) * 7).to(1).reshape([8, 64])\n"
      "  s = (torch.arange(8) + 3) / 100.0\n  g = (torch.arange(16) + 3) / 100.0\n"
      "  z = torch.arange(8) - 4\n  y = (torch.arange(16) - 8).to(1)\n";
  for (const char *call :
       {"quantized_decomposed.dequantize_per_channel(w, s, z, 0, -128, 127, 1)",
        "quantized_decomposed.dequantize_per_channel(w, s, None, 0, -128, 127, 1)",
        "quantized_decomposed.dequantize_per_channel_group(w, g, y, -8, 7, 1, 32, 6)",
        "quantized_decomposed.dequantize_per_tensor(w, 0.03, 2, -128, 127, 1)",
        "quantized_decomposed.dequantize_per_tensor(w, torch.tensor(0.03), torch.tensor(2), -128, "
        "127, 1)",
        "torchao.dequantize_affine(w, [1, 32], g.reshape([8, 2]), y.reshape([8, 2]), 1, -8, 7)",
        "torchao.dequantize_affine(w, [1, 64], s, None, 1, -8, 7)"}) {
    std::string source = forward(weight + "  return torch.linear(x, ops." + call + ")\n");
    check(source, {x});
    EXPECT_THAT(operations(source, {x}),
                testing::ElementsAre("constexpr_blockwise_shift_scale", "linear"));
  }
  std::string product = forward(weight + "  return torch._weight_int8pack_mm(x, w, s)\n");
  check(product, {x});
  EXPECT_THAT(operations(product, {x}),
              testing::ElementsAre("constexpr_blockwise_shift_scale", "linear"));
}

TEST(StoredIntegers, InputsAreRounded) {
  declareQuantizedOperators();
  at::Tensor x = randn({3, 8});
  auto both = [](const std::string &arguments, const std::string &type) {
    return forward("  q = ops.quantized_decomposed.quantize_per_tensor(x, " + arguments + ", " +
                   type + ")\n  return ops.quantized_decomposed.dequantize_per_tensor(q, " +
                   arguments + ", " + type + ")\n");
  };
  for (auto [arguments, type] :
       {std::pair("0.05, 3, -128, 127", "1"), std::pair("0.05, 3, -20, 11", "1"),
        std::pair("0.05, 60, 0, 255", "0"),
        std::pair("torch.tensor(0.05), torch.tensor(3), -128, 127", "1")})
    check(both(arguments, type), {x});
  EXPECT_THAT(operations(both("0.05, 3, -128, 127", "1"), {x}),
              testing::IsSupersetOf({"quantize", "dequantize"}));
  check(forward("  return ops.quantized_decomposed.quantize_per_tensor(x, 0.05, 3, -20, 11, 1)\n"),
        {x});
  check(
      forward("  s = (torch.arange(8) + 3) / 100.0\n  z = torch.arange(8) - 4\n"
              "  q = ops.quantized_decomposed.quantize_per_channel(x, s, z, 1, -20, 20, 1)\n"
              "  return ops.quantized_decomposed.dequantize_per_channel(q, s, z, 1, -20, 20, 1)\n"),
      {x});
  check(
      forward("  g = (torch.arange(6) + 3) / 100.0\n  z = torch.arange(6) - 3\n"
              "  q = ops.quantized_decomposed.quantize_per_tensor(x, 0.05, 3, -128, 127, 1)\n"
              "  return ops.quantized_decomposed.dequantize_per_channel_group(q, g, z, -128, 127, "
              "1, 4, 6)\n"),
      {x});
}

TEST(StoredIntegers, InputsAreRoundedByWhatTheyAre) {
  declareQuantizedOperators();
  for (const at::Tensor &x : {randn({3, 64}), rand({3, 64}, 1, 2)}) {
    check(forward(
              "  s, z = ops.quantized_decomposed.choose_qparams_per_token_asymmetric(x, 1)\n"
              "  q = ops.quantized_decomposed.quantize_per_token(x, s, z, -128, 127, 1)\n"
              "  return ops.quantized_decomposed.dequantize_per_token(q, s, z, -128, 127, 1, 6)\n"),
          {x});
    for (const char *kind : {"SYMMETRIC", "ASYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR"})
      for (const char *block : {"1, 64", "1, 32"})
        check(forward(
                  "  s, z = ops.torchao.choose_qparams_affine(x, \"" + std::string(kind) + "\", [" +
                  block + "], 1, -128, 127, 1e-6, 6, 3)\n  q = ops.torchao.quantize_affine(x, [" +
                  block + "], s, z, 1, -128, 127)\n  return ops.torchao.dequantize_affine(q, [" +
                  block + "], s, z, 1, -128, 127)\n"),
              {x});
  }
}

} // namespace plait::frontend
