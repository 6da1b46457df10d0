// Parameters that are not on the host: a make-believe device, whose memory only its copy function
// may read, stands in for a GPU.
#include "ApiTestUtils.h"

#include <ATen/ATen.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/library.h>

using namespace plait;
using plait::test::close;

namespace {

constexpr at::DeviceType device = at::kPrivateUse1;
size_t copies = 0, largestCopy = 0;

/// Same sizes and strides, over the same bytes, on the host.
at::Tensor seenByHost(const at::Tensor &tensor) {
  return at::from_blob(static_cast<char *>(tensor.storage().mutable_data()) +
                           tensor.storage_offset() * tensor.element_size(),
                       tensor.sizes(), tensor.strides(), at::TensorOptions(tensor.scalar_type()));
}

at::Tensor make(const at::Tensor &content) {
  at::Tensor host = content.contiguous();
  size_t bytes = host.nbytes();
  void *memory = std::malloc(bytes ? bytes : 1);
  std::memcpy(memory, host.const_data_ptr(), bytes);
  c10::Storage storage(c10::Storage::use_byte_size_t(), bytes,
                       at::DataPtr(memory, memory, std::free, at::Device(device, 0)));
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), host.dtype());
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(host.sizes());
  return tensor;
}

at::Tensor asStrided(const at::Tensor &self, at::IntArrayRef sizes, at::IntArrayRef strides,
                     std::optional<int64_t> offset) {
  auto result = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(self.storage()), self.key_set(), self.dtype());
  result.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides,
                                                      offset.value_or(self.storage_offset()));
  return result;
}

at::Tensor copyFrom(const at::Tensor &self, const at::Tensor &target, bool) {
  ++copies;
  largestCopy = std::max(largestCopy, self.nbytes());
  at::Tensor destination = target.is_cpu() ? target : seenByHost(target);
  destination.copy_(self.is_cpu() ? self : seenByHost(self));
  return target;
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("as_strided", asStrided);
  m.impl("_copy_from", copyFrom);
}

C10_REGISTER_GUARD_IMPL(PrivateUse1, c10::impl::NoOpDeviceGuardImpl<device>)

using OnADevice = plait::test::ApiTest;

TEST_F(OnADevice, ParametersAreCopiedPieceByPiece) {
  at::Tensor weight = at::randn({1024, 3000}), tail = weight.slice(0, 1000);
  at::Tensor onDevice = make(weight);
  at::Tensor bias = at::randn({1024}).to(at::kBFloat16);
  torch::jit::Module module("OnDevice");
  module.register_parameter("weight", onDevice, /*is_buffer=*/false);
  module.register_parameter("tail", onDevice.slice(0, 1000), /*is_buffer=*/false);
  module.register_parameter("bias", make(bias), /*is_buffer=*/false);
  module.define(R"(
    def forward(self, x):
        return torch.matmul(x, self.weight.t()) + self.bias
    def last(self, x):
        return torch.matmul(x, self.tail.t())
  )");
  copies = largestCopy = 0;
  Compiler compiler = inFp32();
  add(compiler, "all", module, {.input = {"x=[1, 3000]"}});
  add(compiler, "last", module, {.input = {"x=[1, 3000]"}, .method = "last"});
  compiler.write(at("m.mlpackage"));
  EXPECT_EQ(copies, 3u + 1u) << "12 MB in pieces of 4 MiB, and the bias; tail is a view";
  EXPECT_LE(largestCopy, 4u << 20);
  EXPECT_TRUE(module.attr("weight").toTensor().is_same(onDevice));
  at::Tensor x = at::randn({1, 3000});
  EXPECT_TRUE(close(result(at("m.mlpackage"), "all", {{"x", x}}),
                    x.matmul(weight.t()) + bias.to(at::kFloat), 1e-3));
  EXPECT_TRUE(close(result(at("m.mlpackage"), "last", {{"x", x}}), x.matmul(tail.t()), 1e-3));
}

} // namespace
