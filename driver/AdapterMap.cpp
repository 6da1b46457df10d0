// JSON in; SideFile.cpp has the way out.
#include "driver/AdapterMap.h"

#include "adapters/Pack.h"
#include "driver/Unreadable.h"
#include "frontend/archive/TensorFile.h"
#include "support/Json.h"

#include "support/DidYouMean.h"
#include "support/Format.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

namespace fs = llvm::sys::fs;
namespace json = llvm::json;
namespace path = llvm::sys::path;

namespace plait::driver {

std::string adapterMapPath(llvm::StringRef package) {
  while (package.consume_back("/") || (package.ends_with("/.") && package.consume_back(".")))
    ;
  // Beside the package itself, under its own name, where this one is a link's.
  llvm::SmallString<256> real;
  if (fs::is_symlink_file(package) || path::filename(package) == "." ||
      path::filename(package) == "..")
    if (!fs::real_path(package, real))
      package = real;
  package.consume_back(".mlpackage");
  return (package + ".adapter.json").str();
}

Error checkAdapterMap(llvm::StringRef package) {
  std::string path = adapterMapPath(package);
  if (!fs::exists(path))
    return Error::success();
  if (auto map = readAdapterMap(path); !map)
    return joinErrors(map.takeError(),
                      makeError(Code::SideFile,
                                "{0}: the side file of the package would take its place; move it "
                                "away",
                                path));
  return Error::success();
}

bool fits(llvm::ArrayRef<adapters::AdapterInput> inputs, const mil::Function &function,
          llvm::StringRef package, Warn warn) {
  for (const adapters::AdapterInput &input : inputs)
    if (llvm::none_of(function.inputs(),
                      [&](const auto &own) { return own->name == input.name; })) {
      warn({Code::SideFile,
            fmt::format("{0}: what it says of function '{1}' is not of this package, which has no "
                        "input '{2}' there; it is ignored",
                        adapterMapPath(package), function.name, input.name)});
      return false;
    }
  return true;
}

static Expected<adapters::AdapterInput> readInput(const json::Value &value) {
  const json::Object *object = value.getAsObject();
  auto name = object ? object->getString("input") : std::nullopt;
  auto key = object ? object->getString("key") : std::nullopt;
  const json::Array *shape = object ? object->getArray("shape") : nullptr;
  if (!name || !key || !shape)
    return makeError(Code::SideFile, "an input has no 'input', 'key' or 'shape'");
  // The name becomes that of a file.
  if (mil::legalName(*name) != *name)
    return makeError(Code::SideFile, "'{0}' is no name of an input", *name);
  adapters::AdapterInput input{
      name->str(), key->str(), object->getString("kind").value_or("").str(), {}};
  int64_t elements = 1;
  for (const json::Value &size : *shape) {
    auto number = jsonInteger(size);
    if (!number || *number < 1 || *number > (int64_t(1) << 40) / elements)
      return makeError(Code::SideFile, "the shape of '{0}' holds something other than sizes",
                       *name);
    input.shape.push_back(*number);
    elements *= *number;
  }
  return input;
}

Expected<AdapterMap> readAdapterMap(llvm::StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer)
    return unreadable(path, buffer.getError());
  auto value = parseJson((*buffer)->getBuffer());
  if (!value)
    return addContext(value.takeError(), path);
  const json::Object *object = value->getAsObject();
  const json::Object *functions = object ? object->getObject("functions") : nullptr;
  if (!functions)
    return makeError(Code::SideFile, "{0}: this is no side file of `plait compile --lora inputs`",
                     path);
  AdapterMap map;
  for (const auto &[name, entry] : *functions) {
    auto &function = map.functions[name.str()];
    const json::Array *inputs = entry.getAsArray();
    for (const json::Value &element : inputs ? *inputs : json::Array()) {
      auto input = readInput(element);
      if (!input)
        return addContext(input.takeError(), path);
      function.push_back(std::move(*input));
    }
  }
  return map;
}

Expected<AdapterMap> adapterMapOf(llvm::StringRef package) {
  std::string path = adapterMapPath(package);
  return llvm::sys::fs::exists(path) ? readAdapterMap(path) : AdapterMap();
}

static Expected<std::vector<adapters::AdapterInput>>
inputsOf(const AdapterMap &map, llvm::StringRef path, const std::optional<std::string> &wanted) {
  std::vector<llvm::StringRef> names;
  for (const auto &[name, inputs] : map.functions) {
    if (wanted ? name == *wanted : map.functions.size() == 1)
      return inputs;
    names.push_back(name);
  }
  llvm::sort(names);
  return makeError(Code::NoSuchFunction, "{0}: {1}; it has {2}", path,
                   wanted ? "it has no function '" + *wanted + "'" + didYouMean(*wanted, names)
                          : std::string("say which function with --function"),
                   llvm::join(names, ", "));
}

Expected<std::vector<adapters::PackedInput>>
packAdapter(const adapters::AdapterSpec &adapter, llvm::StringRef path,
            const std::optional<std::string> &function) {
  auto map = readAdapterMap(path);
  if (!map)
    return map.takeError();
  auto inputs = inputsOf(*map, path, function);
  if (!inputs)
    return inputs.takeError();
  return adapters::packAdapter(adapter, *inputs, readTensorFile);
}

} // namespace plait::driver
