// What plait does where LibTorch's internals are not built in: a switch leaves them out here.
#include "frontend/live/Tracer.h"
#include "frontend/script/NodeLocation.h"
#include "frontend/script/libtorch/Internals.h"
#include "frontend/script/libtorch/SourceLocation.h"
#include "tests/frontend/script/libtorch/ModelFiles.h"

#include <fstream>

using namespace plait;
using namespace plait::test;
using testing::HasSubstr;

namespace {

class Fallback : public TemporaryFolder {
protected:
  libtorch::WithoutInternals without;
};

TEST_F(Fallback, ModelsAreCopied) {
  torch::jit::Module module = smallModule();
  std::string path = pathOf("model.pt");
  module.save(path);
  LoadedModule loaded = load(path);
  EXPECT_EQ(loaded.file(), nullptr);
  at::Tensor x = at::rand({2, 4});
  EXPECT_TRUE(at::equal(loaded.module.forward({x}).toTensor(), module.forward({x}).toTensor()));
  at::Tensor bias = loaded.module.attr("bias").toTensor();
  EXPECT_FALSE(loaded.findOrigin(bias.storage().data()));
  EXPECT_FALSE(llvm::errorToBool(loaded.checkContent(bias.storage().data())));
}

TEST_F(Fallback, DamagedModelsAreErrors) {
  std::vector<TestRecord> records;
  smallModule().save(pathOf("model.pt"));
  records = recordsOf(pathOf("model.pt"));
  for (TestRecord &record : records)
    if (record.name == "m/data.pkl")
      record.data = std::string("\x80\x02X\xff\xff\xff\x7f.", 8); // a text of 2 GiB
  EXPECT_THAT(loadError(write("bad.pt", TestZip{records}.build())),
              HasSubstr("data.pkl: the pickle is damaged"));
  EXPECT_THAT(loadError(write("text.pt", "no archive")), HasSubstr("text.pt"));
}

TEST_F(Fallback, LocationsAreReadOffWhatLibTorchPrints) {
  auto found = locationsInAScriptedModel(pathOf("model.pt"));
  EXPECT_EQ(found["aten::relu"], "<string>:2: y = torch.relu(x)");
  EXPECT_EQ(found["aten::sigmoid"], "<string>:3: return torch.sigmoid(y)");
}

TEST_F(Fallback, PrintedRanges) {
  auto location = [](llvm::StringRef text) {
    auto found = libtorch::parsePrintedRange(text);
    return found ? found->str() : "";
  };
  EXPECT_EQ(location("  File \"/m/my model.py\", line 12\n    def f(self):\n        y = a + b\n"
                     "            ~~~~~ <--- HERE\nSerialized   File \"code/m.py\", line 3\n"
                     "    y = torch.add(a, b)\n        ~~~~~~~~~ <--- HERE\n"),
            "/m/my model.py:12: y = a + b");
  EXPECT_EQ(location("/env/site-packages/torch/nn/m.py(7): forward\n/me/train.py(80): main\n"),
            "/me/train.py:80 in main");
  EXPECT_EQ(location("a = b\n    ~ <--- HERE\n"), "");
  EXPECT_EQ(location(""), "");
  EXPECT_EQ(location("File \"cut"), "");
}

TEST_F(Fallback, LiveModulesAreRefused) {
  frontend::TraceRequest request;
  request.call = [](const std::vector<at::Tensor> &in) { return frontend::flatten(in[0].relu()); };
  request.examples = {at::ones({2})};
  auto traced = frontend::trace(request);
  ASSERT_FALSE(bool(traced));
  EXPECT_THAT(llvm::toString(traced.takeError()), HasSubstr("built without LibTorch's tracer"));
}

} // namespace
