// Trains a small convolutional network on images of digits and three adapters of it, exports all
// four as one Core ML package from this very process, and runs the package again: the accuracy is
// LibTorch's. README.md says what to expect.
//
//   train_and_export DIGITS.bin OUT.mlpackage [--fp16]
#include "Digits.h"
#include "Lora.h"

#include <plait/torch.h>

#include <cstdio>
#include <unistd.h>

namespace {

struct NetImpl : torch::nn::Module {
  NetImpl() {
    conv1 =
        register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 16, 3).padding(1)));
    conv2 =
        register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(16, 32, 3).padding(1)));
    dropout = register_module("dropout", torch::nn::Dropout(0.2));
    hidden = register_module("hidden", torch::nn::Linear(32 * 4 * 4, 64));
    scores = register_module("scores", torch::nn::Linear(64, 10));
  }
  torch::Tensor forward(torch::Tensor image) {
    torch::Tensor x = torch::relu(conv2(torch::relu(conv1(image))));
    x = dropout(torch::max_pool2d(x, 2).flatten(1));
    return scores(torch::relu(hidden(x)));
  }

  torch::nn::Conv2d conv1{nullptr}, conv2{nullptr};
  torch::nn::Dropout dropout{nullptr};
  torch::nn::Linear hidden{nullptr}, scores{nullptr};
};
TORCH_MODULE(Net);

/// The base's layers, each with an adapter.
struct AdaptedNetImpl : torch::nn::Module {
  explicit AdaptedNetImpl(Net base, int64_t rank = 8) {
    conv1 = register_module("conv1", LoraConv2d(base->conv1, rank, /*alpha=*/8));
    conv2 = register_module("conv2", LoraConv2d(base->conv2, rank, /*alpha=*/8));
    dropout = register_module("dropout", torch::nn::Dropout(0.2));
    hidden = register_module("hidden", LoraLinear(base->hidden, rank, /*alpha=*/8));
    scores = register_module("scores", LoraLinear(base->scores, rank, /*alpha=*/8));
  }
  torch::Tensor forward(torch::Tensor image) {
    torch::Tensor x = torch::relu(conv2(torch::relu(conv1(image))));
    x = dropout(torch::max_pool2d(x, 2).flatten(1));
    return scores(torch::relu(hidden(x)));
  }

  LoraConv2d conv1{nullptr}, conv2{nullptr};
  torch::nn::Dropout dropout{nullptr};
  LoraLinear hidden{nullptr}, scores{nullptr};
};
TORCH_MODULE(AdaptedNet);

/// A line that is drawn over itself; nothing where nobody watches.
class Bar {
public:
  explicit Bar(std::string what) : what_(std::move(what)), shown_(isatty(STDERR_FILENO)) {}
  ~Bar() {
    if (shown_)
      std::fputs("\r\033[K", stderr);
  }
  void show(double done, const std::string &detail) {
    if (!shown_)
      return;
    constexpr int width = 30;
    int full = int(done * width);
    std::fprintf(stderr, "\r\033[K%-10s [%s%s] %3d%%  %s", what_.c_str(),
                 std::string(size_t(full), '#').c_str(),
                 std::string(size_t(width - full), ' ').c_str(), int(done * 100), detail.c_str());
    std::fflush(stderr);
  }

private:
  std::string what_;
  bool shown_;
};

template <typename Model>
void train(const std::string &name, Model &model, const Digits &data,
           std::vector<torch::Tensor> parameters, int epochs) {
  constexpr int64_t batch = 64;
  Bar bar(name);
  model->train();
  torch::optim::Adam optimizer(std::move(parameters), torch::optim::AdamOptions(4e-3));
  for (int epoch = 0; epoch < epochs; ++epoch) {
    torch::Tensor order = torch::randperm(data.labels.size(0));
    double loss = 0;
    for (int64_t begin = 0; begin < order.size(0); begin += batch) {
      torch::Tensor part = order.slice(0, begin, begin + batch);
      optimizer.zero_grad();
      torch::Tensor error = torch::nn::functional::cross_entropy(model(data.images.index({part})),
                                                                 data.labels.index({part}));
      error.backward();
      optimizer.step();
      loss = error.template item<double>();
    }
    bar.show(double(epoch + 1) / epochs, "loss " + std::to_string(loss));
  }
}

double accuracy(const torch::Tensor &scores, const Digits &data) {
  return scores.argmax(1).eq(data.labels).to(torch::kDouble).mean().item<double>();
}

template <typename Model> double accuracyInTorch(Model &model, const Digits &data) {
  torch::NoGradGuard noGrad;
  bool training = model->is_training();
  model->eval();
  double result = accuracy(model(data.images), data);
  model->train(training);
  return result;
}

std::vector<torch::Tensor> adapterParameters(const torch::nn::Module &model) {
  std::vector<torch::Tensor> result;
  for (const auto &parameter : model.named_parameters())
    if (parameter.key().find("lora_") != std::string::npos)
      result.push_back(parameter.value());
  return result;
}

struct Task {
  std::string name;
  torch::Tensor (*change)(const torch::Tensor &);
};
const Task tasks[] = {
    {"rotated", [](const torch::Tensor &x) { return torch::rot90(x, 1, {2, 3}); }},
    {"noisy", [](const torch::Tensor &x) { return x + 0.3 * torch::randn_like(x); }},
    {"inverted", [](const torch::Tensor &x) { return 1 - x; }},
};

int run(const std::string &digitsPath, const std::string &package, plait::Precision precision) {
  torch::set_num_threads(1); // faster than several on so small a model
  torch::manual_seed(7);
  Digits all = Digits::read(digitsPath);
  int64_t split = all.labels.size(0) - 500;
  Digits training = all.slice(0, split), test = all.slice(split, all.labels.size(0));

  Net base;
  train("base", base, training, base->parameters(), 12);
  for (torch::Tensor &parameter : base->parameters())
    parameter.requires_grad_(false);

  struct Row {
    std::string name;
    Digits test;
    double before, inTorch;
  };
  std::vector<Row> rows{{"base", test, 0, accuracyInTorch(base, test)}};
  rows[0].before = rows[0].inTorch;
  std::vector<AdaptedNet> adapted;
  for (const Task &task : tasks) {
    AdaptedNet model(base);
    train(task.name, model, {task.change(training.images), training.labels},
          adapterParameters(*model), 25);
    Digits changed{task.change(test.images), test.labels};
    rows.push_back(
        {task.name, changed, accuracyInTorch(base, changed), accuracyInTorch(model, changed)});
    adapted.push_back(model);
  }

  // The models are in training mode, with gradients and optimiser state around: it does not matter.
  plait::PackageOptions options;
  options.precision = precision;
  options.description = "Digits of 8x8 pixels; adapters for rotated, noisy and inverted ones.";
  plait::Compiler compiler(options);
  plait::FunctionOptions interface{.input = {"image=[1..512, 1, 8, 8]"}, .output = {"scores"}};
  torch::Tensor example = test.images.slice(0, 0, 2);
  plait::add(compiler, "base", base, {example}, interface);
  for (size_t i = 0; i < adapted.size(); ++i)
    plait::add(compiler, tasks[i].name, adapted[i], {example}, interface);
  plait::Report report;
  {
    Bar bar("export");
    compiler.onProgress([&](const plait::Progress &p) { bar.show(p.done, p.what); });
    compiler.onLog([](plait::Severity severity, std::string_view text) {
      if (severity == plait::Severity::warning)
        std::fprintf(stderr, "warning: %.*s\n", int(text.size()), text.data());
    });
    report = compiler.write(package);
  }

  plait::Program program(package);
  std::printf("%-10s %10s %10s %10s %14s %14s\n", "function", "base alone", "LibTorch", "plait",
              "own weights", "shared");
  bool equal = true;
  for (size_t i = 0; i < rows.size(); ++i) {
    plait::Session session = program.session(rows[i].name);
    auto results = plait::run(session, {{"image", rows[i].test.images}});
    double inPlait = accuracy(results.at("scores"), rows[i].test);
    equal &= inPlait == rows[i].inTorch;
    std::printf("%-10s %9.1f%% %9.1f%% %9.1f%% %8zu bytes %8zu bytes\n", rows[i].name.c_str(),
                100 * rows[i].before, 100 * rows[i].inTorch, 100 * inPlait,
                size_t(report.functions[i].ownBytes), size_t(report.functions[i].sharedBytes));
  }
  std::printf("%s: %zu bytes\n", package.c_str(), size_t(report.packageBytes));
  std::puts(equal ? "equal accuracy in LibTorch and plait" : "accuracy DIFFERS");
  return equal ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
  bool fp16 = argc == 4 && std::string(argv[3]) == "--fp16";
  if (argc != 3 && !fp16) {
    std::fputs("usage: train_and_export DIGITS.bin OUT.mlpackage [--fp16]\n", stderr);
    return 2;
  }
  try {
    return run(argv[1], argv[2], fp16 ? plait::Precision::fp16 : plait::Precision::fp32);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "train_and_export: %s\n", error.what());
    return 1;
  }
}
