// Low-rank adapters for layers that are already trained: y = base(x) + scale · B(A(x)). The base
// layer is shared with the model it comes from, not copied; only A and B are trained.
#pragma once

#include <torch/torch.h>

struct LoraLinearImpl : torch::nn::Module {
  LoraLinearImpl(torch::nn::Linear base, int64_t rank, double alpha) : scale(alpha / double(rank)) {
    const auto &options = base->options;
    this->base = register_module("base", base);
    a = register_module(
        "lora_A",
        torch::nn::Linear(torch::nn::LinearOptions(options.in_features(), rank).bias(false)));
    b = register_module(
        "lora_B",
        torch::nn::Linear(torch::nn::LinearOptions(rank, options.out_features()).bias(false)));
    torch::nn::init::zeros_(b->weight); // so that training starts from the base's results
  }
  torch::Tensor forward(torch::Tensor x) { return base(x) + scale * b(a(x)); }

  torch::nn::Linear base{nullptr}, a{nullptr}, b{nullptr};
  double scale;
};
TORCH_MODULE(LoraLinear);

/// A is a convolution of the base's form to `rank` channels, B one of 1x1 from them.
struct LoraConv2dImpl : torch::nn::Module {
  LoraConv2dImpl(torch::nn::Conv2d base, int64_t rank, double alpha) : scale(alpha / double(rank)) {
    const auto &options = base->options;
    this->base = register_module("base", base);
    torch::nn::Conv2dOptions down(options.in_channels(), rank, options.kernel_size());
    down.stride(options.stride()).padding(options.padding()).dilation(options.dilation());
    a = register_module("lora_A", torch::nn::Conv2d(down.bias(false)));
    torch::nn::Conv2dOptions up(rank, options.out_channels(), /*kernel_size=*/1);
    b = register_module("lora_B", torch::nn::Conv2d(up.bias(false)));
    torch::nn::init::zeros_(b->weight);
  }
  torch::Tensor forward(torch::Tensor x) { return base(x) + scale * b(a(x)); }

  torch::nn::Conv2d base{nullptr}, a{nullptr}, b{nullptr};
  double scale;
};
TORCH_MODULE(LoraConv2d);
