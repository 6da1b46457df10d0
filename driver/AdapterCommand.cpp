// plait adapter pack: the arrays of an adapter for a function that takes adapters as inputs.
#include "driver/AdapterMap.h"
#include "driver/AdapterSyntax.h"
#include "driver/Commands.h"
#include "driver/JsonOutput.h"
#include "runtime/arrays/Npy.h"
#include "support/Folders.h"
#include "support/Temporary.h"

#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

namespace {

constexpr Option mapOption{"map", "FILE.adapter.json",
                           "what `plait compile --lora inputs` wrote beside the package"};
constexpr Option functionOption{"function", "NAME", "the function, where the package has several"};
constexpr Option folderOption{
    "output-dir", "FOLDER", "where INPUT.npy is written for every input; made where it is missing"};
constexpr Option alphaOption{"lora-alpha", "ALPHA", "the alpha, where the files do not say it"};
constexpr Option scaleOption{"lora-scale", "SCALE",
                             "the scale (alpha / rank), where the files do not say it"};
constexpr const Option *options[] = {&mapOption,   &functionOption, &folderOption,
                                     &alphaOption, &scaleOption,    &jsonOption};
constexpr Section sections[] = {{"Options", options}};

Expected<int> run(const Arguments &arguments) {
  std::vector<std::string> operands = arguments.operands();
  if (operands.empty() || operands[0] != "pack")
    return usageError(Code::OptionMissing,
                      "plait adapter has one form: plait adapter pack DIR --map FILE.adapter.json "
                      "--output-dir FOLDER");
  if (operands.size() != 2)
    return usageError(Code::OptionMissing, "one adapter folder is wanted; see: plait help adapter");
  auto mapPath = arguments.required(mapOption);
  if (!mapPath)
    return mapPath.takeError();
  auto folder = arguments.required(folderOption);
  if (!folder)
    return folder.takeError();
  adapters::AdapterSpec adapter{operands[1]};
  for (const Option *option : {&alphaOption, &scaleOption})
    if (auto value = arguments.value(*option)) {
      if (Error error = addScale(*option, option == &alphaOption, *value, adapter.scale))
        return error;
    }
  auto packed = packAdapter(adapter, *mapPath, arguments.value(functionOption));
  if (!packed)
    return packed.takeError();
  if (std::error_code code = makeFolders(*folder))
    return makeError(Code::FileUnwritable, "{0}: {1}", *folder, code.message());
  collectAbandoned(*folder);
  uint64_t bytes = 0;
  llvm::json::Array arrays;
  for (const adapters::PackedInput &input : *packed) {
    llvm::SmallString<256> path(*folder);
    llvm::sys::path::append(path, input.name + ".npy");
    if (Error error = runtime::writeNpy(path, input.value))
      return error;
    bytes += input.value.byteSize();
    arrays.push_back(llvm::json::Object{{"input", jsonString(input.name)},
                                        {"file", jsonString(path)},
                                        {"type", input.value.type().str()},
                                        {"bytes", input.value.byteSize()}});
  }
  arguments.reply()["arrays"] = std::move(arrays);
  if (!arguments.has(jsonOption))
    llvm::outs() << fmt::format("{0}: {1} arrays, {2} bytes\n", *folder, packed->size(), bytes);
  return 0;
}

constexpr const char *usage[] = {
    "pack DIR --map FILE.adapter.json [--function NAME] --output-dir FOLDER [--json]"};

} // namespace

const Command adapterCommand = {
    "adapter",
    "arrays of an adapter, for a function that takes adapters as inputs",
    usage,
    sections,
    "The arrays are fp16, named as the function's inputs are, and hold the adapter's scale "
    "(alpha / rank).\n",
    {},
    run};

} // namespace plait::driver
