// A model that torch.jit.save wrote becomes a package, and the package is run. Without LibTorch's
// headers.
//
//   from_file MODEL.pt OUT.mlpackage
#include <plait/plait.h>

#include <cstdio>

int main(int argc, char **argv) {
  if (argc != 3)
    return 2;
  try {
    plait::Compiler compiler;
    compiler.addFile("classify", argv[1], {.input = {"x=[1, 8]"}, .output = {"scores"}});
    plait::Report report = compiler.write(argv[2]);
    for (const std::string &warning : report.warnings)
      std::fprintf(stderr, "warning: %s\n", warning.c_str());

    plait::Session session = plait::Program(argv[2]).session("classify");
    plait::Array x = plait::Array::of("fp32", {1, 8}, std::vector<float>(8, 0.5f));
    plait::Array scores = session.run({{"x", x}}).at("scores");
    std::printf("scores are %s, %zu bytes\n", scores.type.c_str(), scores.data.size());
    return 0;
  } catch (const plait::Exception &error) {
    std::fprintf(stderr, "from_file: %s\n", error.what());
    return 1;
  }
}
