// plait run: one function of a package, on arrays from .npy files, in the reference interpreter.
#include "driver/Commands.h"
#include "driver/Diagnostics.h"
#include "driver/PackageFunctions.h"
#include "runtime/Npy.h"
#include "runtime/Runner.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option functionOption{"function", "NAME", "the function to run (the default function)"};
constexpr Option inputOption{"input", "NAME=FILE.npy",
                             "an input's array; a floating-point or integer type is converted to "
                             "the input's own",
                             0, Scope::Many};
constexpr Option outputDirOption{"output-dir", "FOLDER",
                                 "where OUTPUT.npy is written for every output; made where it does "
                                 "not exist"};
constexpr Option traceOption{"trace", "VALUE",
                             "also writes VALUE.npy for a value inside the function; repeatable", 0,
                             Scope::Many};
constexpr Option profileOption{"profile", nullptr, "says how long each kind of operation took"};

constexpr const Option *options[] = {&functionOption, &inputOption, &outputDirOption, &traceOption,
                                     &profileOption};
constexpr Section sections[] = {{"Options", options}};

Expected<int> run(const Arguments &arguments) {
  auto path = arguments.operand("PKG.mlpackage");
  if (!path)
    return path.takeError();
  auto folder = arguments.required(outputDirOption);
  if (!folder)
    return folder.takeError();
  auto package = readPackage(*path);
  if (!package)
    return package.takeError();
  auto function = findFunction(**package, *path, arguments.value(functionOption));
  if (!function)
    return function.takeError();
  auto inputs = readInputs(arguments, inputOption, **function);
  if (!inputs)
    return inputs.takeError();
  runtime::RunOptions runOptions;
  runOptions.trace = arguments.values(traceOption);
  runOptions.profile = arguments.has(profileOption);
  auto runner = runtime::Runner::create(**function, runOptions);
  if (!runner)
    return runner.takeError();
  auto outputs = runner->run(*inputs);
  if (!outputs)
    return outputs.takeError();

  if (std::error_code ec = llvm::sys::fs::create_directories(*folder))
    return makeError("cannot make the folder '{0}': {1}", *folder, ec.message());
  auto write = [&](StringRef name, const mil::TensorData &value) -> Error {
    llvm::SmallString<256> file(*folder);
    llvm::sys::path::append(file, name + ".npy");
    if (Error error = runtime::writeNpy(file, value))
      return error;
    llvm::outs() << file << ": " << value.type().str() << '\n';
    return Error::success();
  };
  for (const runtime::NamedResult &output : *outputs) {
    const mil::TensorData *value = output.value.tensor();
    if (!value)
      return makeError("output '{0}' is {1}; only tensors can be written as .npy", output.name,
                       output.value.type().str());
    if (Error error = write(output.name, *value))
      return error;
  }
  for (const runtime::NamedTensor &value : runner->traced())
    if (Error error = write(value.name, value.value))
      return error;
  for (const runtime::ProfileRow &row : runner->profile())
    llvm::outs() << llvm::formatv("{0,9:F2} ms {1,6} x {2}\n", row.milliseconds, row.calls,
                                  name(row.kind));
  return 0;
}

constexpr const char *usage[] = {
    "PKG.mlpackage [--function NAME] --input NAME=FILE.npy ... --output-dir FOLDER"};

} // namespace

const Command runCommand = {
    "run",    "a function of a package on .npy arrays, in the reference interpreter", usage,
    sections, "fp16 values are computed in fp32 and rounded after each operation.\n", {},
    run};

} // namespace plait::driver
