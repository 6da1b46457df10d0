// Archives of torch.export, the JSON in them, and the expressions of sizes in that.
#include "tests/fuzz/Harness.h"
#include "tests/fuzz/TempFolder.h"

#include "frontend/archive/ExportArchive.h"
#include "mil/SizeExpression.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::fuzz {

/// A symbol of any name.
static std::optional<mil::Dim> anySymbol(llvm::StringRef name) {
  return mil::Dim::symbol(name, 1, 1000);
}

static void checkSize(llvm::StringRef text) {
  auto size = mil::parseSize(text, anySymbol);
  if (!size) {
    require(!llvm::toString(size.takeError()).empty(), "a refusal says nothing");
    return;
  }
  require(size->lower() <= size->upper(), "a size has no value");
  // What is printed reads as the same.
  auto again = mil::parseSize(size->str(), anySymbol);
  if (again)
    require(*again == *size, "a size does not read as it is printed");
  else
    llvm::consumeError(again.takeError());
}

static void checkGraph(const exported::Graph &graph, unsigned depth) {
  require(depth < 16, "graphs without end");
  for (const exported::Node &node : graph.nodes)
    for (const exported::NamedArgument &input : node.inputs)
      if (input.value.kind == exported::Argument::Kind::Graph)
        checkGraph(*input.value.graph, depth + 1);
  for (const auto &tensor : graph.tensors) {
    const exported::TensorMeta &meta = tensor.second;
    require(meta.sizes.size() == meta.strides.size(), "more sizes than strides, or fewer");
    for (const exported::Size &size : meta.sizes)
      if (!size.number)
        checkSize(size.expression);
  }
}

static void checkProgram(const exported::Program &program) {
  require(program.inputs.size() == program.graph.inputs.size(), "an input without its kind");
  require(program.outputs.size() == program.graph.outputs.size(), "an output without its kind");
  checkGraph(program.graph, 0);
}

static void checkTensors(const std::map<std::string, ExportedTensor> &tensors) {
  for (const auto &[name, tensor] : tensors) {
    if (!tensor.problem.empty())
      continue;
    unsigned __int128 last = uint64_t(tensor.offset);
    bool isEmpty = llvm::is_contained(tensor.sizes, 0);
    for (auto [size, stride] : llvm::zip_equal(tensor.sizes, tensor.strides)) {
      require(size >= 0 && stride >= 0, "a size or a stride is negative");
      last += (unsigned __int128)(uint64_t(std::max<int64_t>(size, 1)) - 1) * uint64_t(stride);
      require(last <= INT64_MAX, "strides overflow");
    }
    require(isEmpty || last < tensor.storage->bytes.size(), "a tensor reaches out of its storage");
  }
}

static void checkArchive(llvm::ArrayRef<uint8_t> input) {
  static const TempFolder folder;
  folder.write("model.pt2", input);
  auto file = MappedFile::open(folder.at("model.pt2"));
  if (!file)
    return llvm::consumeError(file.takeError());
  auto archive = ExportArchive::open(*file);
  if (!archive)
    return require(!llvm::toString(archive.takeError()).empty(), "a refusal says nothing");
  require(!archive->models().empty(), "an archive of no models");
  for (const std::string &model : archive->models()) {
    auto data = archive->read(model);
    if (!data) {
      require(!llvm::toString(data.takeError()).empty(), "a refusal says nothing");
      continue;
    }
    checkProgram(data->program);
    checkTensors(data->weights);
    checkTensors(data->constants);
  }
}

void exportedProgram(llvm::ArrayRef<uint8_t> input) {
  llvm::StringRef text = llvm::toStringRef(input);
  if (ZipDirectory::looksLikeZip(text))
    return checkArchive(input);
  checkSize(text.take_front(10000));
  if (auto program = exported::readProgram(text))
    checkProgram(*program);
  else
    require(!llvm::toString(program.takeError()).empty(), "a refusal says nothing");
  if (auto payloads = exported::readPayloads(text); !payloads)
    llvm::consumeError(payloads.takeError());
}

} // namespace plait::fuzz
