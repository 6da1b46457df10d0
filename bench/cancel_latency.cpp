// How soon an export ends that is cancelled: live models of few large, some middling and many small
// layers, cancelled at moments spread over the whole export, from another thread. Prints the
// longest wait by phase.
//
//   cancel_latency OUT.mlpackage [MiB [MOMENTS]]     status 1 where one took 50 ms or more
//
// A phase is what Progress::what says at the moment, or "tracing": add() runs the model.
#include <plait/torch.h>

#include <torch/torch.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Shape {
  const char *what;
  int64_t rows, columns;
  int layers;
};

/// One export, ended after `seconds`; where the process stands, and when.
class Export {
public:
  Export(torch::nn::Sequential model, at::Tensor example) : model_(model), example_(example) {}

  /// The duration where it ended by itself.
  std::optional<double> run(const std::string &path, double cancelAfter) {
    plait::Compiler compiler;
    compiler.onProgress([&](const plait::Progress &progress) {
      std::scoped_lock lock(mutex_);
      phase_ = progress.what.substr(0, progress.what.find(' '));
    });
    phase_ = "tracing";
    auto start = Clock::now();
    std::atomic<bool> ended = false;
    std::thread other([&] {
      while (secondsSince(start) < cancelAfter && !ended)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      std::scoped_lock lock(mutex_);
      cancelledIn_ = phase_;
      cancelledAt_ = Clock::now();
      compiler.cancel();
    });
    bool cancelled = false;
    std::exception_ptr failed;
    try {
      plait::add(compiler, "f", model_, {example_});
      compiler.write(path);
    } catch (const plait::Exception &error) {
      cancelled = error.reason() == plait::Exception::Reason::Cancelled;
      if (!cancelled)
        failed = std::current_exception();
    }
    auto end = Clock::now();
    ended = true;
    other.join();
    if (failed)
      std::rethrow_exception(failed);
    if (!cancelled)
      return std::chrono::duration<double>(end - start).count();
    double &longest = longest_[cancelledIn_];
    longest = std::max(longest, std::chrono::duration<double>(end - cancelledAt_).count());
    ++times_[cancelledIn_];
    return std::nullopt;
  }

  /// The longest wait of all; says those of each phase.
  double report() const {
    double longest = 0;
    for (const auto &[phase, seconds] : longest_) {
      std::printf("  %-12s %6.1f ms, the longest of %d\n", phase.c_str(), seconds * 1e3,
                  times_.at(phase));
      longest = std::max(longest, seconds);
    }
    return longest;
  }

private:
  torch::nn::Sequential model_;
  at::Tensor example_;
  std::mutex mutex_;
  std::string phase_, cancelledIn_;
  Clock::time_point cancelledAt_;
  std::map<std::string, double> longest_;
  std::map<std::string, int> times_;
};

double measure(const std::string &path, const Shape &shape, int moments) {
  torch::nn::Sequential model;
  for (int i = 0; i < shape.layers; ++i)
    model->push_back(
        torch::nn::Linear(i % 2 ? shape.columns : shape.rows, i % 2 ? shape.rows : shape.columns));
  Export one(model, torch::rand({1, shape.rows}));
  double whole = *one.run(path, 1e9);
  std::printf("%s: %d layers of %lld x %lld, %.2f s when it is not cancelled\n", shape.what,
              shape.layers, (long long)shape.rows, (long long)shape.columns, whole);
  for (int i = 0; i < moments; ++i)
    one.run(path,
            whole * (i + 0.5) / moments); // what is cancelled before add() is the next write()
  return one.report();
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 2 || argc > 4)
    return 2;
  const int64_t elements = int64_t(argc > 2 ? std::atol(argv[2]) : 512) << 18;
  const int moments = argc > 3 ? std::atoi(argv[3]) : 60;
  try {
    double longest = 0;
    for (const Shape &shape :
         {Shape{"a few large layers", 4096, elements / 4 / 4096, 4},
          Shape{"layers of 4 M elements", 2048, 2048, int(elements >> 22)},
          Shape{"many small layers", 64, 64, int(std::min<int64_t>(elements >> 12, 4000))}})
      if (shape.layers)
        longest = std::max(longest, measure(argv[1], shape, moments));
    return longest < 0.05 ? 0 : 1;
  } catch (const std::exception &error) {
    std::fprintf(stderr, "cancel_latency: %s\n", error.what());
    return 1;
  }
}
