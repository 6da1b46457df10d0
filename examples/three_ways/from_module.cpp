// Two methods of a TorchScript module in memory become two functions of one package; they share
// the weights, which are read where they are.
//
//   from_module OUT.mlpackage
#include <plait/torch.h>

#include <torch/script.h>

#include <cstdio>

int main(int argc, char **argv) {
  if (argc != 2)
    return 2;
  // Loaded, traced, or, as here, made in the program.
  torch::jit::Module module("Classifier");
  module.register_parameter("weight", torch::randn({4, 8}), /*is_buffer=*/false);
  module.define(R"(
    def logits(self, x):
        return torch.matmul(x, self.weight.t())
    def forward(self, x):
        return torch.softmax(self.logits(x), dim=-1)
  )");
  try {
    plait::Compiler compiler;
    plait::add(compiler, "classify", module, {.input = {"x=[1, 8]"}, .output = {"scores"}});
    plait::add(compiler, "logits", module,
               {.input = {"x=[1, 8]"}, .output = {"y"}, .method = "logits"});
    plait::Report report = compiler.write(argv[1]);
    std::printf("%llu bytes of weights are shared\n",
                (unsigned long long)report.functions[0].sharedBytes);

    plait::Session session = plait::Program(argv[1]).session("classify");
    at::Tensor x = torch::rand({1, 8});
    at::Tensor scores = plait::run(session, {{"x", x}}).at("scores");
    bool close = torch::allclose(scores.to(at::kFloat), module.forward({x}).toTensor(), 1e-2, 1e-2);
    std::puts(close ? "as LibTorch computes it" : "different from LibTorch");
    return close ? 0 : 1;
  } catch (const plait::Exception &error) {
    std::fprintf(stderr, "from_module: %s\n", error.what());
    return 1;
  }
}
