// Exports live models of few large, some middling and many small layers, and says how much the
// process's anonymous memory grew meanwhile, beyond what the model itself takes: of 1 GiB each, but
// for the small layers, which are a sixteenth of it. Linux tells that apart from mapped files
// (RssAnon); elsewhere the peak of all resident memory is shown.
//
//   export_memory OUT.mlpackage [MiB]     status 1 where it grew by 64 MiB or more
#include <plait/torch.h>

#include <torch/torch.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sys/resource.h>
#include <thread>

namespace {

/// In KiB.
long anonymousMemory() {
#ifdef __linux__
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("RssAnon:", 0) == 0)
      return std::stol(line.substr(8));
  return 0;
#else
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
#endif
}

/// Looks every millisecond.
class Watch {
public:
  Watch()
      : thread_([this] {
          while (!stop_) {
            peak_ = std::max(peak_, anonymousMemory());
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
        }) {}
  long stop() {
    stop_ = true;
    thread_.join();
    return std::max(peak_, anonymousMemory());
  }

private:
  long peak_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

struct Shape {
  const char *what;
  int64_t rows, columns;
  int layers;
};

/// KiB of anonymous memory that the export took; says it.
long measure(const std::string &path, const Shape &shape) {
  torch::nn::Sequential model;
  for (int i = 0; i < shape.layers; ++i)
    model->push_back(
        torch::nn::Linear(i % 2 ? shape.columns : shape.rows, i % 2 ? shape.rows : shape.columns));
  model->train();
  long before = anonymousMemory();
  Watch watch;
  auto start = std::chrono::steady_clock::now();
  plait::Compiler compiler;
  plait::add(compiler, "f", model, {torch::rand({1, shape.rows})});
  std::chrono::duration<double> tracing = std::chrono::steady_clock::now() - start;
  plait::Report report = compiler.write(path);
  std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  long grown = watch.stop() - before;
  double bytes = double(shape.rows) * double(shape.columns) * 4 * shape.layers;
  std::printf(
      "%-22s %3d layers of %5lld x %-6lld %6.0f MiB, package %6.0f MiB, %.2f s (%.2f of them "
      "add), anonymous memory grew by %.1f MiB\n",
      shape.what, shape.layers, (long long)shape.rows, (long long)shape.columns, bytes / (1 << 20),
      double(report.packageBytes) / (1 << 20), seconds.count(), tracing.count(),
      double(grown) / 1024);
  return grown;
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 2)
    return 2;
  int64_t mebibytes = argc > 2 ? std::atol(argv[2]) : 1024;
  const int64_t elements = mebibytes << 18;
  try {
    { // What LibTorch and plait allocate once in a process is not an export's.
      plait::Compiler compiler;
      torch::nn::Linear small(64, 64);
      plait::add(compiler, "f", small, {torch::rand({1, 64})});
      compiler.write(argv[1]);
    }
    bool passed = true;
    for (const Shape &shape : {Shape{"a few large layers", 4096, elements / 4 / 4096, 4},
                               Shape{"layers of 4 M elements", 2048, 2048, int(elements >> 22)},
                               Shape{"many small layers", 256, 256, int(elements >> 16) / 16}})
      passed &= shape.layers == 0 || measure(argv[1], shape) < 64 * 1024;
    return passed ? 0 : 1;
  } catch (const plait::Exception &error) {
    std::fprintf(stderr, "export_memory: %s\n", error.what());
    return 1;
  }
}
