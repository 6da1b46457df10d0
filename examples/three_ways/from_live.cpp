// A live torch::nn::Module, in training mode and with gradients, becomes a package in the middle of
// its training; the batch stays open between 1 and 64.
//
//   from_live OUT.mlpackage
#include <plait/torch.h>

#include <torch/torch.h>

#include <cstdio>

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  torch::nn::Sequential model(torch::nn::Linear(8, 16), torch::nn::ReLU(), torch::nn::Dropout(0.5),
                              torch::nn::Linear(16, 4));
  model->train();
  model->forward(torch::rand({2, 8})).sum().backward();
  try {
    plait::Compiler compiler;
    compiler.onProgress([](const plait::Progress &progress) {
      std::printf("%3d%% %s\n", int(100 * progress.done), progress.what.c_str());
    });
    plait::add(compiler, "classify", model, {torch::rand({2, 8})},
               {.input = {"x=[1..64, 8]"}, .output = {"scores"}});
    compiler.write(argv[1]);

    plait::Session session = plait::Program(argv[1]).session();
    at::Tensor x = torch::rand({5, 8});
    at::Tensor scores = plait::run(session, {{"x", x}}).at("scores");
    bool training = model->is_training(); // still
    model->eval();
    torch::NoGradGuard noGrad;
    bool close = torch::allclose(scores.to(at::kFloat), model->forward(x), 1e-2, 1e-2);
    std::puts(close ? "as LibTorch computes it" : "different from LibTorch");
    return close && training ? 0 : 1;
  } catch (const plait::Exception &error) {
    std::fprintf(stderr, "from_live: %s\n", error.what());
    return 1;
  }
}
