// Archives for the loader's tests: modules made in C++, and archives put together record by record.
#pragma once

#include "ATen/ATen.h"
#include "caffe2/serialize/inline_container.h"
#include "frontend/script/NodeLocation.h"
#include "frontend/script/libtorch/TorchArchive.h"
#include "tests/frontend/archive/TestZip.h"
#include "torch/csrc/jit/serialization/import.h"
#include "gmock/gmock.h"
#include <map>

namespace plait::test {

/// The records of the archive at `path`, decompressed.
inline std::vector<TestRecord> recordsOf(const std::string &path) {
  caffe2::serialize::PyTorchStreamReader reader(path);
  std::vector<TestRecord> records;
  for (const std::string &name : reader.getAllRecords()) {
    auto [data, size] = reader.getRecord(name);
    records.push_back(
        {.name = "m/" + name, .data = std::string(static_cast<const char *>(data.get()), size)});
  }
  return records;
}

/// Two linear layers of 4, the second with weights that are a view, and a branch.
inline torch::jit::Module smallModule() {
  torch::jit::Module module("Small");
  at::Tensor weight = at::arange(16, at::kFloat).view({4, 4});
  module.register_parameter("first", weight / 16, /*is_buffer=*/false);
  module.register_parameter("second", (weight / 8).t(), false);
  module.register_buffer("bias", at::ones({4}));
  module.define(R"(
def forward(self, x):
    y = torch.matmul(x, self.first) + self.bias
    if bool(torch.gt(torch.sum(y), 0)):
        y = torch.relu(y)
    return torch.matmul(y, self.second)
)");
  return module;
}

/// Loads `path`; a failure is the test's.
inline LoadedModule load(const std::string &path,
                         MappedFile::Access access = MappedFile::Access::ReadOnly) {
  auto loaded = loadTorchScript(path, access);
  if (loaded)
    return std::move(*loaded);
  ADD_FAILURE() << llvm::toString(loaded.takeError());
  return LoadedModule();
}

/// Saves a scripted model of two operations to `path`, and loads it: the location of each node of
/// its graph, by kind.
inline std::map<std::string, std::string> locationsInAScriptedModel(const std::string &path) {
  torch::jit::Module module("M");
  module.define("def forward(self, x):\n    y = torch.relu(x)\n    return torch.sigmoid(y)\n");
  module.save(path);
  LoadedModule loaded = load(path);
  std::map<std::string, std::string> found;
  auto graph = loaded.module.get_method("forward").graph();
  for (torch::jit::Node *node : graph->nodes())
    found[node->kind().toQualString()] = describeLocation(*node);
  return found;
}

/// The message of loading `path`, "" if it loads.
inline std::string loadError(const std::string &path) {
  auto loaded = loadTorchScript(path);
  return loaded ? "" : llvm::toString(loaded.takeError());
}

} // namespace plait::test
