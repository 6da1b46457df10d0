// Trains in one thread and exports in another: a package at the end of every epoch, while training
// goes on.
//
//   each_epoch OUT.mlpackage [SECONDS]
//
// Afterwards it checks what it claims. Every package computes what the model computed at the end of
// its epoch: weights of two steps in one package would show. And a second training without exports
// ends with the same weights, bit by bit: the exports were not seen. Status 1 if not.
#include <plait/torch.h>

#include <torch/torch.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>

namespace {

struct NetImpl : torch::nn::Module {
  NetImpl() {
    body = register_module(
        "body", torch::nn::Sequential(torch::nn::Linear(32, 256), torch::nn::BatchNorm1d(256),
                                      torch::nn::ReLU(), torch::nn::Dropout(0.2),
                                      torch::nn::Linear(256, 256), torch::nn::ReLU()));
    head = register_module("head", torch::nn::Linear(256, 10));
  }
  torch::Tensor forward(torch::Tensor x) { return head(body->forward(x)); }
  torch::nn::Sequential body{nullptr};
  torch::nn::Linear head{nullptr};
};
TORCH_MODULE(Net);

/// Parameters and buffers of one into those of the other.
void copyWeights(const Net &from, const Net &to) {
  torch::NoGradGuard noGrad;
  auto copy = [](const std::vector<torch::Tensor> &from, const std::vector<torch::Tensor> &to) {
    for (size_t i = 0; i < from.size(); ++i)
      to[i].copy_(from[i]);
  };
  copy(from->parameters(), to->parameters());
  copy(from->buffers(), to->buffers());
}

/// Runs in a thread of its own. Nobody else touches `snapshot` until it has returned.
plait::Report exportTo(const std::string &path, Net snapshot, const torch::Tensor &example) {
  plait::PackageOptions options;
  options.precision = plait::Precision::fp32;
  plait::Compiler compiler(options);
  plait::add(compiler, "classify", snapshot, {example},
             {.input = {"x=[1..64, 32]"}, .output = {"scores"}});
  return compiler.write(path);
}

/// How far the package is from the snapshot.
double difference(const std::string &path, Net snapshot) {
  torch::NoGradGuard noGrad;
  snapshot->eval();
  torch::Tensor x = torch::linspace(-1, 1, 8 * 32).view({8, 32});
  plait::Session session = plait::Program(path).session();
  torch::Tensor scores = plait::run(session, {{"x", x}}).at("scores");
  return (scores - snapshot(x)).abs().max().item<double>();
}

struct Training {
  /// `atEpochEnd` is called between two steps; false ends the training.
  template <typename AtEpochEnd> void run(AtEpochEnd atEpochEnd) {
    torch::manual_seed(7);
    model = Net();
    torch::optim::Adam optimizer(model->parameters(), torch::optim::AdamOptions(1e-3));
    do {
      for (int step = 0; step < 40; ++step) {
        torch::Tensor x = torch::randn({64, 32}); // of the process's generator, as dropout's are
        optimizer.zero_grad();
        torch::nn::functional::cross_entropy(model(x), x.slice(1, 0, 10).argmax(1)).backward();
        optimizer.step();
      }
      ++epochs;
    } while (atEpochEnd());
  }
  Net model{nullptr};
  int epochs = 0;
};

int run(const std::string &path, double seconds) {
  torch::set_num_threads(1);
  using Clock = std::chrono::steady_clock;
  auto end = Clock::now() + std::chrono::duration<double>(seconds);
  const torch::Tensor example = torch::zeros({2, 32});
  Net snapshot;
  std::future<plait::Report> running;
  int packages = 0, wrong = 0;
  auto finish = [&] {
    plait::Report report = running.get(); // throws what the export threw
    ++packages;
    for (const std::string &warning : report.warnings)
      std::fprintf(stderr, "warning: %s\n", warning.c_str());
    double error = difference(path, snapshot);
    wrong += error > 1e-5 || !report.warnings.empty();
  };

  Training training;
  training.run([&] {
    bool stop = Clock::now() >= end;
    if (running.valid()) {
      if (!stop && running.wait_for(std::chrono::seconds(0)) != std::future_status::ready)
        return true; // still exporting an earlier epoch: this one is not exported
      finish();
    }
    if (stop)
      return false;
    copyWeights(training.model, snapshot); // between two steps: no weight is half written
    running = std::async(std::launch::async, exportTo, path, snapshot, example);
    return true;
  });

  Training alone;
  alone.run([&] { return alone.epochs < training.epochs; });
  auto with = training.model->parameters(), without = alone.model->parameters();
  bool same = true;
  for (size_t i = 0; i < with.size(); ++i)
    same &= torch::equal(with[i], without[i]);
  std::printf("%d epochs, %d packages, %d of them wrong; training %s\n", training.epochs, packages,
              wrong, same ? "went on as without exports" : "was DISTURBED");
  return packages > 0 && wrong == 0 && same ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3) {
    std::fputs("usage: each_epoch OUT.mlpackage [SECONDS]\n", stderr);
    return 2;
  }
  try {
    return run(argv[1], argc == 3 ? std::atof(argv[2]) : 60);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "each_epoch: %s\n", error.what());
    return 1;
  }
}
