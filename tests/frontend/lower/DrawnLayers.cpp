// Plans of layers' arguments (DrawnArguments.h): sizes, strides and paddings that fit each other.
#include "DrawnArguments.h"

#include <ATen/Functions.h>
#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringRef.h>

namespace plait::frontend {
namespace {

using Ints = std::vector<int64_t>;

class Planner {
public:
  Planner(const c10::FunctionSchema &schema, std::mt19937_64 &random)
      : schema_(schema), name_(llvm::StringRef(schema.name()).drop_front(6)), random_(random) {}

  std::optional<LayerPlan> plan() {
    if (name_ == "conv_tbc")
      convTbc();
    else if (name_.contains("conv") && spatial())
      convolution();
    else if (name_ == "convolution" || name_ == "mkldnn_convolution")
      n_ = 1 + draw(3), convolution();
    else if (name_.contains("adaptive"))
      image(4, 7), output();
    else if (name_.contains("pool") && spatial())
      pool();
    else if (name_.starts_with("upsample") || name_.starts_with("_upsample"))
      upsample();
    else if (name_.contains("pad") && spatial())
      pad();
    else if (name_ == "im2col" || name_ == "col2im")
      columns();
    else if (name_.starts_with("grid_sampler"))
      gridSampler();
    else if (name_.ends_with("_norm") && has("weight") && !has("v") && !name_.contains("linalg"))
      normalization();
    else if (!product() && !loss() && !statistic() && !cell())
      return std::nullopt;
    return std::move(plan_);
  }

private:
  unsigned draw(unsigned n) { return random_() % n; }
  int64_t between(int64_t low, int64_t high) { return low + draw(high - low + 1); }
  bool has(llvm::StringRef argument) const {
    return bool(schema_.argumentIndexWithName(argument.str()));
  }
  void give(llvm::StringRef argument, c10::IValue value) { plan_.values[argument] = value; }
  void shape(llvm::StringRef argument, Ints sizes) { plan_.shapes[argument] = std::move(sizes); }
  Ints list(int64_t low, int64_t high) {
    Ints result(n_);
    for (int64_t &x : result)
      x = between(low, high);
    return result;
  }
  /// The axes of space, from the name: conv2d, upsample_linear1d.
  bool spatial() {
    for (int64_t n : {1, 2, 3})
      if (name_.contains(std::to_string(n) + "d"))
        n_ = n;
    return n_ > 0;
  }
  llvm::StringRef input() const { return has("input") ? "input" : "self"; }

  /// An image of some channels, in a batch or alone.
  Ints image(int64_t least, int64_t most, int64_t channels = 0, bool batched = false) {
    spatial();
    Ints sizes = {channels ? channels : between(1, 3)};
    llvm::append_range(sizes, list(least, most));
    if (batched || draw(4) != 0)
      sizes.insert(sizes.begin(), between(1, 2));
    shape(input(), sizes);
    plan_.ranged = input();
    for (size_t axis = 0; axis < sizes.size(); ++axis)
      if (axis >= sizes.size() - n_ || (axis == 0 && sizes.size() == size_t(n_ + 2)))
        plan_.axes.push_back(axis);
    return sizes;
  }
  void output() { give("output_size", list(1, 6)); }

  void convolution() {
    bool transposed = name_.contains("transpose");
    if (has("transposed"))
      give("transposed", transposed = draw(2));
    bool depthwise = name_.contains("depthwise");
    int64_t groups = has("groups") || depthwise ? between(1, 2) : 1;
    int64_t in = groups * (depthwise ? 1 : between(1, 3)), out = groups * between(1, 2);
    image(4, 7, in, !draw(2) || name_.contains("slow") || name_.contains("mkldnn"));
    Ints kernel = list(1, 3), weight = transposed ? Ints{in, out / groups} : Ints{out, in / groups};
    llvm::append_range(weight, kernel);
    shape("weight", weight);
    if (draw(2))
      shape("bias", {out});
    else
      give("bias", c10::IValue());
    bool same = llvm::StringRef(schema_.overload_name()) == "padding";
    Ints stride = list(1, 3);
    if (same) {
      bool valid = draw(2);
      give("padding", valid ? "valid" : "same");
      if (!valid)
        stride = Ints(n_, 1);
    } else {
      give("padding", list(0, 2));
    }
    give("stride", stride);
    give("dilation", list(1, 2));
    give("groups", groups);
    give("kernel_size", kernel);
    Ints more(n_, 0);
    for (int64_t i = 0; i < n_; ++i)
      if (transposed && stride[i] > 1)
        more[i] = between(0, stride[i] - 1);
    give("output_padding", more);
  }
  void convTbc() {
    int64_t in = between(1, 3), out = between(1, 3);
    shape("self", {between(3, 6), between(1, 2), in});
    shape("weight", {between(1, 3), in, out});
    shape("bias", {out});
    give("pad", between(0, 2));
  }

  void pool() {
    image(4, 7);
    Ints kernel = list(1, 3), padding = kernel;
    for (int64_t &x : padding)
      x = between(0, x / 2);
    give("kernel_size", kernel);
    give("stride", draw(4) ? list(1, 3) : Ints());
    give("padding", padding);
    give("dilation", list(1, 2));
    give("divisor_override", draw(2) ? c10::IValue() : c10::IValue(between(1, 5)));
  }

  void upsample() {
    image(2, 6, 0, true);
    bool byFactor = llvm::StringRef(schema_.overload_name()) == "vec" && draw(2);
    std::vector<double> factors(n_);
    for (double &factor : factors)
      factor = std::array{0.5, 1.0, 1.5, 2.0, 3.0, 0.7}[draw(6)];
    give("output_size", byFactor ? c10::IValue() : c10::IValue(list(1, 9)));
    give("scale_factors", byFactor ? c10::IValue(factors) : c10::IValue());
    for (const char *scale : {"scales", "scales_d", "scales_h", "scales_w"})
      give(scale, draw(3) ? c10::IValue() : c10::IValue(factors[0]));
  }

  void pad() {
    Ints sizes = image(3, 6), amounts(2 * n_);
    for (int64_t &amount : amounts)
      amount = between(-1, 2);
    give(has("pad") ? "pad" : "padding", amounts);
  }

  void columns() {
    n_ = 2;
    Ints kernel = list(1, 3), out = list(4, 6), dilation = list(1, 2), padding = list(0, 1),
         stride = list(1, 2);
    int64_t blocks = 1;
    for (int64_t i = 0; i < n_; ++i)
      blocks *= (out[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1;
    if (name_ == "col2im")
      shape("self", {between(1, 2), between(1, 2) * kernel[0] * kernel[1], blocks});
    else
      shape("self", {between(1, 2), between(1, 2), out[0], out[1]});
    give("output_size", out);
    give("kernel_size", kernel);
    give("dilation", dilation);
    give("padding", padding);
    give("stride", stride);
  }

  void gridSampler() {
    n_ = name_.ends_with("3d") ? 3 : name_.ends_with("2d") ? 2 : between(2, 3);
    Ints sizes = image(2, 5, 0, true), grid = {sizes[0]};
    llvm::append_range(grid, list(1, 4));
    grid.push_back(n_);
    plan_.axes.clear();
    shape("grid", grid);
    give("interpolation_mode", between(0, n_ == 2 ? 2 : 1));
    give("padding_mode", between(0, 2));
  }

  void normalization() {
    int64_t channels = between(1, 2) * 2;
    n_ = between(1, 2);
    Ints sizes = image(2, 4, channels, true), last(sizes.end() - n_, sizes.end());
    bool trailing = has("normalized_shape");
    for (const char *name : {"weight", "bias"})
      if (draw(3))
        shape(name, trailing ? last : Ints{channels});
      else
        give(name, c10::IValue());
    if (trailing) {
      give("normalized_shape", last);
      plan_.axes = {0};
    }
    give("num_groups", draw(2) ? int64_t(2) : channels);
    give("running_mean", at::randn({channels}));
    give("running_var", at::rand({channels}) + 0.1);
    if (draw(3) == 0) {
      give("running_mean", c10::IValue());
      give("running_var", c10::IValue());
      for (const char *name : {"training", "use_input_stats"})
        give(name, true);
    }
  }

  bool product() {
    int64_t b = between(1, 3), m = between(1, 4), k = between(1, 4), n = between(1, 4);
    auto operands = [&](const char *left, Ints a, const char *right, Ints c, Ints self) {
      shape(left, std::move(a));
      shape(right, std::move(c));
      if (llvm::StringRef(left) != "self") { // what is added broadcasts
        for (int64_t &size : self)
          if (draw(4) == 0)
            size = 1;
        if (draw(3) == 0 && self.size() > 1)
          self.erase(self.begin());
        shape("self", std::move(self));
      }
      give("out_dtype", int64_t(at::kFloat));
      return true;
    };
    if (name_ == "bmm")
      return operands("self", {b, m, k}, "mat2", {b, k, n}, {});
    if (name_ == "mm")
      return operands("self", {m, k}, "mat2", {k, n}, {});
    if (name_ == "baddbmm")
      return operands("batch1", {b, m, k}, "batch2", {b, k, n}, {b, m, n});
    if (name_ == "addbmm")
      return operands("batch1", {b, m, k}, "batch2", {b, k, n}, {m, n});
    if (name_ == "addmm")
      return operands("mat1", {m, k}, "mat2", {k, n}, {m, n});
    if (name_ == "addmv")
      return operands("mat", {m, k}, "vec", {k}, {m});
    if (name_ == "matmul") {
      Ints left = {b, m, k}, right = {b, k, n};
      if (draw(3) == 0)
        left[0] = 1;
      left.erase(left.begin(), left.begin() + draw(3));
      right.erase(right.begin(), right.begin() + draw(2));
      if (draw(4) == 0)
        right = {k};
      return operands("self", left, "other", right, {});
    }
    if (name_ == "bilinear") {
      shape("input1", {b, m});
      shape("input2", {b, k});
      shape("weight", {n, m, k});
      shape("bias", {n});
      return true;
    }
    return false;
  }

  bool loss() {
    int64_t rows = between(1, 4), classes = between(2, 4);
    if (name_.starts_with("binary_cross_entropy")) {
      give("self", at::rand({rows, classes}));
      give("target", at::rand({rows, classes}));
      shape("weight", {classes});
      shape("pos_weight", {classes});
      return true;
    }
    if (name_ == "kl_div") {
      give("self", at::log_softmax(at::randn({rows, classes}), -1));
      give("target", at::softmax(at::randn({rows, classes}), -1));
      return true;
    }
    if (name_.starts_with("nll_loss") || name_ == "cross_entropy_loss") {
      bool map =
          name_.contains("2d") || (name_ != "nll_loss" && !name_.contains("forward") && draw(2));
      Ints sizes = {rows, classes}, targets = {rows};
      if (map)
        for (Ints *to : {&sizes, &targets})
          to->insert(to->end(), {2, 3});
      give("self", at::randn(sizes));
      give("target", at::randint(0, classes, targets, at::kLong));
      give("weight", draw(2) ? c10::IValue(at::rand({classes}) + 0.1) : c10::IValue());
      give("ignore_index", draw(2) ? int64_t(-100) : int64_t(0));
      give("label_smoothing", draw(2) ? 0.0 : 0.1);
      return true;
    }
    return false;
  }

  bool statistic() {
    if (name_.ends_with("quantile")) {
      if (has("q") && schema_.arguments()[1].real_type()->kind() == c10::TypeKind::TensorType)
        give("q", at::rand({between(1, 3)}));
      else
        give("q", double(between(0, 4)) / 4);
      give("interpolation",
           std::array{"linear", "lower", "higher", "midpoint", "nearest"}[draw(5)]);
      return true;
    }
    if (name_ == "one_hot") {
      give("self", at::randint(0, 4, {between(1, 3), between(1, 3)}, at::kLong));
      give("num_classes", between(4, 6));
      return true;
    }
    if (name_ == "index_reduce") {
      int64_t dim = between(0, 1), count = between(1, 4);
      Ints source = {3, 4};
      source[dim] = count;
      shape("self", {3, 4});
      shape("source", source);
      give("dim", dim);
      give("index", at::randint(0, 3, {count}, at::kLong));
      give("reduce", std::array{"prod", "mean", "amax", "amin"}[draw(4)]);
      return true;
    }
    if (name_.starts_with("scatter") && has("reduce")) {
      give("dim", int64_t(1));
      shape("self", {3, 4});
      shape("src", {3, 5});
      give("index", at::randint(0, 4, {2, between(1, 5)}, at::kLong));
      bool old = name_ == "scatter";
      give("reduce", old ? std::array{"add", "multiply"}[draw(2)]
                         : std::array{"sum", "prod", "mean", "amax", "amin"}[draw(5)]);
      return true;
    }
    return false;
  }

  bool cell() {
    int64_t gates = name_ == "lstm_cell"                                   ? 4
                    : name_ == "gru_cell"                                  ? 3
                    : name_ == "rnn_tanh_cell" || name_ == "rnn_relu_cell" ? 1
                                                                           : 0;
    if (!gates)
      return false;
    int64_t rows = between(1, 2), in = between(1, 4), hidden = between(1, 3);
    shape("input", {rows, in});
    if (gates == 4)
      give("hx", std::vector<at::Tensor>{at::randn({rows, hidden}), at::randn({rows, hidden})});
    else
      shape("hx", {rows, hidden});
    shape("w_ih", {gates * hidden, in});
    shape("w_hh", {gates * hidden, hidden});
    for (const char *bias : {"b_ih", "b_hh"})
      if (draw(4))
        shape(bias, {gates * hidden});
      else
        give(bias, c10::IValue());
    return true;
  }

  const c10::FunctionSchema &schema_;
  llvm::StringRef name_;
  std::mt19937_64 &random_;
  int64_t n_ = 0;
  LayerPlan plan_;
};

} // namespace

std::optional<LayerPlan> planLayer(const c10::FunctionSchema &schema, std::mt19937_64 &random) {
  return llvm::StringRef(schema.name()).starts_with("aten::") ? Planner(schema, random).plan()
                                                              : std::nullopt;
}

} // namespace plait::frontend
