// The mapped loader against torch::jit::load: equal attributes (values, dtypes, sizes, strides),
// code and results; storages that lie in the file; and what may and may not be written.
#include "ATen/core/dispatch/Dispatcher.h"
#include "tests/frontend/script/libtorch/ModelFiles.h"

using namespace plait;
using namespace plait::test;
using c10::IValue;

namespace {

/// A module whose __setstate__ makes `weight` of its state.
torch::jit::Module stateful(const std::string &weight) {
  torch::jit::Module module("Stateful");
  module.register_attribute("weight", c10::TensorType::get(), at::arange(4, at::kFloat));
  module.register_attribute("training", c10::BoolType::get(), false);
  module.define(R"(
def __getstate__(self):
    return (self.weight, self.training)

def __setstate__(self, state: Tuple[Tensor, bool]):
    self.weight = )" +
                weight + R"(
    self.training = state[1]

def forward(self, x):
    return x + self.weight
)");
  return module;
}

/// Compares recursively: types, tensors with their layout, containers, objects.
void expectSame(const IValue &mine, const IValue &theirs, const std::string &where) {
  SCOPED_TRACE(where);
  ASSERT_EQ(mine.tagKind(), theirs.tagKind());
  if (mine.isTensor()) {
    at::Tensor a = mine.toTensor(), b = theirs.toTensor();
    ASSERT_EQ(a.defined(), b.defined());
    ASSERT_EQ(a.scalar_type(), b.scalar_type());
    EXPECT_EQ(a.sizes(), b.sizes());
    EXPECT_EQ(a.strides(), b.strides());
    EXPECT_EQ(a.storage_offset(), b.storage_offset());
    EXPECT_EQ(a.requires_grad(), b.requires_grad());
    EXPECT_EQ(a.storage().nbytes(), b.storage().nbytes());
    EXPECT_TRUE(at::equal(a, b));
  } else if (mine.isTuple()) {
    auto a = mine.toTupleRef().elements().vec(), b = theirs.toTupleRef().elements().vec();
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i != a.size(); ++i)
      expectSame(a[i], b[i], where + "." + std::to_string(i));
  } else if (mine.isList()) {
    auto a = mine.toList(), b = theirs.toList();
    EXPECT_EQ(*a.elementType(), *b.elementType());
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i != a.size(); ++i)
      expectSame(a.get(i), b.get(i), where + "[" + std::to_string(i) + "]");
  } else if (mine.isGenericDict()) {
    auto a = mine.toGenericDict(), b = theirs.toGenericDict();
    ASSERT_EQ(a.size(), b.size());
    for (const auto &entry : a) {
      ASSERT_TRUE(b.contains(entry.key()));
      expectSame(entry.value(), b.at(entry.key()), where + "{}");
    }
  } else if (mine.isCustomClass()) {
    EXPECT_EQ(mine.type()->str(), theirs.type()->str());
  } else if (mine.isObject()) {
    const auto &a = mine.toObjectRef(), &b = theirs.toObjectRef();
    ASSERT_EQ(a.name(), b.name());
    ASSERT_EQ(a.slots().size(), b.slots().size());
    for (size_t i = 0; i != a.slots().size(); ++i)
      expectSame(a.getSlot(i), b.getSlot(i), where + "." + a.type()->getAttributeName(i));
    ASSERT_EQ(a.type()->methods().size(), b.type()->methods().size());
    for (torch::jit::Function *method : a.type()->methods()) {
      if (!method->isGraphFunction())
        continue;
      auto &other = b.type()->getMethod(method->name());
      EXPECT_EQ(torch::jit::toGraphFunction(*method).graph()->toString(false),
                torch::jit::toGraphFunction(other).graph()->toString(false));
    }
  } else {
    EXPECT_EQ(mine, theirs);
  }
}

class TorchArchive : public TemporaryFolder {
protected:
  std::string save(const torch::jit::Module &module, llvm::StringRef name = "model.pt") {
    std::string path = pathOf(name);
    module.save(path);
    return path;
  }

  /// Loads `path` both ways and compares.
  LoadedModule expectSameAsLibTorch(const std::string &path) {
    LoadedModule loaded = load(path);
    expectSame(loaded.module._ivalue(), torch::jit::load(path)._ivalue(), "module");
    return loaded;
  }
};

at::Tensor attribute(const LoadedModule &loaded, const char *name) {
  return loaded.module.attr(name).toTensor();
}

TEST_F(TorchArchive, LoadsWhatLibTorchLoads) {
  LoadedModule loaded = expectSameAsLibTorch(save(smallModule()));
  at::Tensor input = at::linspace(-1, 1, 8).view({2, 4});
  at::Tensor expected = smallModule().forward({input}).toTensor();
  EXPECT_TRUE(at::equal(loaded.module.forward({input}).toTensor(), expected));
}

TEST_F(TorchArchive, KeepsDtypesViewsAndContainers) {
  torch::jit::Module module("Mixed");
  at::Tensor base = at::arange(24, at::kFloat);
  for (auto type : {at::kHalf, at::kBFloat16, at::kDouble, at::kChar, at::kByte, at::kShort,
                    at::kInt, at::kLong, at::kBool, at::kComplexFloat})
    module.register_buffer(std::string("as_") + c10::toString(type), base.to(type));
  module.register_buffer("transposed", base.view({4, 6}).t());
  module.register_buffer("slice", base.slice(0, 5, 20, 3));
  module.register_buffer("expanded", at::ones({1, 3}).expand({5, 3}));
  module.register_buffer("empty", at::empty({0, 7}));
  module.register_buffer("scalar", at::scalar_tensor(2.5));
  module.register_parameter("tied", base, false);
  module.register_parameter("tiedAgain", base, false);
  module.register_parameter("tiedView", base.view({2, 12}), false);
  module.register_parameter("trained", at::ones({3}).set_requires_grad(true), false);
  c10::List<at::Tensor> list({base, at::ones({2})});
  module.register_attribute("list", c10::ListType::ofTensors(), list);
  c10::Dict<std::string, at::Tensor> dict;
  dict.insert("weight", at::rand({3, 3}));
  dict.insert("shared", base);
  module.register_attribute(
      "dict", c10::DictType::create(c10::StringType::get(), c10::TensorType::get()), dict);
  module.register_attribute("optional", c10::OptionalType::create(c10::TensorType::get()),
                            IValue());
  module.register_attribute("scale", c10::FloatType::get(), 0.125);
  module.register_attribute("ints", c10::ListType::ofInts(), std::vector<int64_t>{1, 2, 1ll << 40});
  module.register_attribute("text", c10::StringType::get(), std::string("a \"quoted\" text"));
  auto pair = c10::TupleType::create({c10::TensorType::get(), c10::IntType::get()});
  module.register_attribute("pair", pair, c10::ivalue::Tuple::create({base + 1, 3}));
  torch::jit::Module child = smallModule();
  module.register_module("child", child);
  module.define("def forward(self, x):\n    return self.child.forward(x) * self.scale\n");
  expectSameAsLibTorch(save(module));
}

TEST_F(TorchArchive, StoragesLieInTheFile) {
  std::string path = save(smallModule());
  LoadedModule loaded = load(path), again = load(pathOf("./model.pt"));
  for (const char *name : {"first", "second", "bias"}) {
    SCOPED_TRACE(name);
    at::Tensor tensor = attribute(loaded, name);
    const auto *data = static_cast<const uint8_t *>(tensor.storage().data());
    EXPECT_TRUE(loaded.file()->contains({data, tensor.storage().nbytes()}));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
    auto origin = loaded.findOrigin(data);
    ASSERT_TRUE(origin.has_value());
    EXPECT_EQ(origin->size, tensor.storage().nbytes());
    EXPECT_EQ(origin->crc32, llvm::crc32({data, origin->size}));
    EXPECT_THAT(origin->record, ::testing::StartsWith("model/data/"));
    // The same file by another path: the same origin.
    auto other = again.findOrigin(attribute(again, name).storage().data());
    EXPECT_EQ(origin->file, other->file);
    EXPECT_EQ(origin->offset, other->offset);
    // Any byte of the record will do.
    EXPECT_EQ(loaded.findOrigin(data + origin->size - 1)->offset, origin->offset);
  }
  EXPECT_NE(loaded.findOrigin(attribute(loaded, "first").storage().data())->record,
            loaded.findOrigin(attribute(loaded, "second").storage().data())->record);
  EXPECT_FALSE(loaded.findOrigin(at::ones({1}).storage().data()).has_value());
  EXPECT_FALSE(loaded.findOrigin(nullptr).has_value());
  EXPECT_FALSE(loaded.findOrigin(loaded.file()->bytes().data()).has_value()) << "a header";
}

TEST_F(TorchArchive, TensorsKeepTheMappingAlive) {
  std::string path = save(smallModule());
  at::Tensor tensor = attribute(load(path), "first");
  llvm::sys::fs::remove(path);
  EXPECT_TRUE(at::equal(tensor, smallModule().attr("first").toTensor()));
}

TEST_F(TorchArchive, ReadOnlyTensorsCannotBeWritten) {
  LoadedModule loaded = load(save(smallModule()));
  at::Tensor tensor = attribute(loaded, "first");
  EXPECT_DEATH(tensor.data_ptr<float>()[0] = 1, "");
  EXPECT_TRUE(at::equal(tensor.clone().add_(1), smallModule().attr("first").toTensor() + 1));
}

TEST_F(TorchArchive, CopyOnWriteStaysInTheProcess) {
  std::string path = save(smallModule());
  std::string before = bytesOf(path);
  LoadedModule loaded = load(path, MappedFile::Access::CopyOnWrite);
  at::Tensor tensor = attribute(loaded, "first");
  tensor.fill_(7);
  loaded.file()->release(loaded.file()->bytes());
  EXPECT_TRUE(at::equal(tensor, at::full({4, 4}, 7)));
  EXPECT_EQ(bytesOf(path), before);
}

TEST_F(TorchArchive, RunsSetStateOnCopiesWhenItWrites) {
  LoadedModule loaded = expectSameAsLibTorch(save(stateful("state[0].mul_(2)")));
  EXPECT_TRUE(at::equal(attribute(loaded, "weight"), at::arange(4, at::kFloat) * 2));
}

TEST_F(TorchArchive, MapsTheTensorsOfAReadingSetState) {
  LoadedModule loaded = expectSameAsLibTorch(save(stateful("state[0]")));
  EXPECT_TRUE(loaded.findOrigin(attribute(loaded, "weight").storage().data()).has_value());
}

TEST_F(TorchArchive, MapsTheConstantsOfAFrozenModel) {
  torch::jit::Module module = smallModule();
  module.eval();
  LoadedModule loaded = expectSameAsLibTorch(save(torch::jit::freeze(module)));
  unsigned mapped = 0;
  auto graph = loaded.module.get_method("forward").graph();
  for (torch::jit::Node *node : graph->nodes())
    if (node->kind() == c10::prim::Constant && node->hasAttribute(c10::attr::value) &&
        node->kindOf(c10::attr::value) == torch::jit::AttributeKind::t) {
      auto origin = loaded.findOrigin(node->t(c10::attr::value).storage().data());
      ASSERT_TRUE(origin.has_value());
      EXPECT_THAT(origin->record, ::testing::HasSubstr("/constants/"));
      ++mapped;
    }
  EXPECT_GE(mapped, 2u);
}

TEST_F(TorchArchive, LoadsPackedQuantizedWeights) {
  auto pack = c10::Dispatcher::singleton().findSchema({"quantized::linear_prepack", ""});
  auto engines = at::globalContext().supportedQEngines();
  if (!pack || engines.empty())
    GTEST_SKIP() << "this LibTorch has no quantized kernels";
  at::Tensor weight = at::quantize_per_tensor(at::rand({8, 8}) - 0.5, 0.01, 0, at::kQInt8);
  torch::jit::Stack stack{weight, IValue()};
  pack->callBoxed(&stack);
  torch::jit::Module module("Quantized");
  module.register_attribute("packed", stack[0].type(), stack[0]);
  module.register_buffer("weight", weight);
  module.define("def forward(self, x):\n    return torch.dequantize(self.weight) + x\n");
  LoadedModule loaded = expectSameAsLibTorch(save(module));
  auto unpack = c10::Dispatcher::singleton().findSchemaOrThrow("quantized::linear_unpack", "");
  torch::jit::Stack unpacked{loaded.module.attr("packed")};
  unpack.callBoxed(&unpacked);
  EXPECT_TRUE(at::equal(unpacked[0].toTensor().dequantize(), weight.dequantize()));
}

TEST_F(TorchArchive, ReadsCompressedRecordsIntoMemory) {
  std::string path = save(smallModule());
  {
    caffe2::serialize::PyTorchStreamWriter writer(pathOf("packed.pt"));
    for (const TestRecord &record : recordsOf(path))
      if (llvm::StringRef(record.name) != "m/version" &&
          !llvm::StringRef(record.name).contains(".data/"))
        writer.writeRecord(record.name.substr(2), record.data.data(), record.data.size(),
                           /*compress=*/true);
    writer.writeEndOfFile();
  }
  LoadedModule loaded = expectSameAsLibTorch(pathOf("packed.pt"));
  EXPECT_FALSE(loaded.findOrigin(attribute(loaded, "first").storage().data()).has_value());
}

TEST_F(TorchArchive, ReadsUnalignedRecordsIntoMemory) {
  TestZip zip{.records = recordsOf(save(smallModule())), .alignment = 1};
  zip.records[0].name += std::string(3, 'x'); // Shifts all that follows.
  std::string path = write("unaligned.pt", zip.build());
  zip.records[0].name.resize(zip.records[0].name.size() - 3);
  path = write("unaligned.pt", zip.build());
  expectSameAsLibTorch(path);
}

TEST_F(TorchArchive, UpgradesOldOperators) {
  torch::jit::Module module("Old");
  module.define("def forward(self, x):\n    return torch.gelu(torch.div(x, 2))\n");
  std::vector<TestRecord> records = recordsOf(save(module));
  for (TestRecord &record : records) {
    if (record.name == "m/version" || record.name == "m/.data/version")
      record.data = "3\n";
    // As PyTorch 1.5 wrote it: without the arguments that came later.
    if (llvm::StringRef(record.name).ends_with(".py"))
      record.data = "class Old(Module):\n  __parameters__ = []\n  __buffers__ = []\n"
                    "  def forward(self: __torch__.Old,\n    x: Tensor) -> Tensor:\n"
                    "    return torch.gelu(torch.div(x, 2))\n";
  }
  LoadedModule loaded = expectSameAsLibTorch(write("old.pt", TestZip{records}.build()));
  std::string graph = loaded.module.get_method("forward").graph()->toString(false);
  EXPECT_THAT(graph, ::testing::HasSubstr("\"trunc\"")) << "version 3 truncated integer division";
}

TEST_F(TorchArchive, ContentCheckFindsADamagedWeight) {
  std::string path = save(smallModule());
  LoadedModule good = load(path);
  const void *data = attribute(good, "bias").storage().data();
  EXPECT_FALSE(llvm::errorToBool(good.checkContent(data)));
  std::string bytes = bytesOf(path);
  bytes[good.findOrigin(data)->offset + 5] ^= 4;
  LoadedModule bad = load(write("bad.pt", bytes));
  EXPECT_FALSE(llvm::errorToBool(bad.checkContent(attribute(bad, "first").storage().data())));
  EXPECT_THAT(llvm::toString(bad.checkContent(attribute(bad, "bias").storage().data())),
              ::testing::HasSubstr("is damaged"));
}

} // namespace
