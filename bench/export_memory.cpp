// Exports a live model of 1 GiB and says how much the process's anonymous memory grew meanwhile,
// beyond what the model itself takes. Linux tells that apart from mapped files (RssAnon); elsewhere
// the peak of all resident memory is shown.
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

} // namespace

int main(int argc, char **argv) {
  if (argc < 2)
    return 2;
  int64_t mebibytes = argc > 2 ? std::atol(argv[2]) : 1024;
  // Four layers of 4096 rows.
  int64_t rows = 4096, columns = mebibytes * (1 << 20) / 4 / 4 / rows;
  torch::nn::Sequential model;
  for (int i = 0; i < 4; ++i)
    model->push_back(torch::nn::Linear(i % 2 ? columns : rows, i % 2 ? rows : columns));
  model->train();

  try {
    { // What LibTorch and plait allocate once in a process is not an export's.
      plait::Compiler compiler;
      torch::nn::Linear small(64, 64);
      plait::add(compiler, "f", small, {torch::rand({1, 64})});
      compiler.write(argv[1]);
    }
    long before = anonymousMemory();
    Watch watch;
    auto start = std::chrono::steady_clock::now();
    plait::Compiler compiler;
    plait::add(compiler, "f", model, {torch::rand({1, rows})});
    plait::Report report = compiler.write(argv[1]);
    std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    long grown = watch.stop() - before;
    std::printf("model %.0f MiB, package %.0f MiB, %.2f s, anonymous memory grew by %.1f MiB\n",
                double(mebibytes), double(report.packageBytes) / (1 << 20), seconds.count(),
                double(grown) / 1024);
    return grown < 64 * 1024 ? 0 : 1;
  } catch (const plait::Exception &error) {
    std::fprintf(stderr, "export_memory: %s\n", error.what());
    return 1;
  }
}
