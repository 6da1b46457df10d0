// Choosing a function of a package, and reading its arrays.
#include "driver/PackageFunctions.h"

#include "runtime/arrays/Npy.h"

#include "llvm/ADT/StringExtras.h"

namespace plait::driver {

Expected<mil::Function *> findFunction(const mil::Program &program, llvm::StringRef package,
                                       const std::optional<std::string> &name) {
  llvm::SmallVector<llvm::StringRef, 8> known;
  for (const auto &function : program.functions())
    known.push_back(function->name);
  if (name) {
    if (mil::Function *function = program.function(*name))
      return function;
    return makeError("{0}: there is no function '{1}'{2}; there are {3}", package, *name,
                     didYouMean(*name, known), llvm::join(known, ", "));
  }
  if (mil::Function *function = program.function(program.defaultFunction))
    return function;
  if (known.size() == 1)
    return program.functions()[0].get();
  return makeError("{0}: it names no default function; choose one with --function: {1}", package,
                   llvm::join(known, ", "));
}

Expected<const mil::Value *> findInput(const mil::Function &function, llvm::StringRef name) {
  llvm::SmallVector<llvm::StringRef, 8> known;
  for (const auto &input : function.inputs()) {
    if (input->type.isState()) {
      if (input->name == name)
        return makeError("'{0}' is a state of function '{1}': it is zero at first and kept from "
                         "call to call, and takes no array",
                         name, function.name);
      continue;
    }
    if (input->name == name)
      return input.get();
    known.push_back(input->name);
  }
  return makeError("function '{0}' has no input '{1}'{2}; it has {3}", function.name, name,
                   didYouMean(name, known), known.empty() ? "none" : llvm::join(known, ", "));
}

Expected<mil::TensorData> convertArray(mil::TensorData array, const mil::Value &input,
                                       llvm::StringRef file) {
  mil::DType from = array.dtype(), to = input.type.dtype();
  // What is declared bool is a number in Core ML; 0 and 1 are numbers of every type.
  if (from == to || from == mil::DType::Bool || (mil::isFloat(from) && mil::isFloat(to)))
    return array.cast(to);
  if (!mil::isInteger(from) || !mil::isInteger(to))
    return makeError("{0}: input '{1}' is {2} and the array {3}; convert it with numpy's astype",
                     file, input.name, name(to), name(from));
  auto values = array.intValues();
  if (!values)
    return values.takeError();
  // 64-bit inputs take every value; narrower ones are checked.
  if (unsigned bits = mil::bitWidth(to); bits < 64) {
    int64_t lower = mil::isUnsigned(to) ? 0 : -(int64_t(1) << (bits - 1));
    int64_t upper = lower + (int64_t(1) << bits) - 1;
    for (int64_t value : *values)
      if (value < lower || value > upper)
        return makeError("{0}: {1} does not fit the {2} of input '{3}'", file, value, name(to),
                         input.name);
  }
  return array.cast(to);
}

Expected<runtime::NamedTensor> readInput(const Option &option, llvm::StringRef given,
                                         const mil::Function &function) {
  auto pair = splitPair(option, given);
  if (!pair)
    return pair.takeError();
  auto &[name, file] = *pair;
  auto input = findInput(function, name);
  if (!input)
    return input.takeError();
  auto array = runtime::readNpy(file);
  if (!array)
    return array.takeError();
  auto converted = convertArray(*array, **input, file);
  if (!converted)
    return converted.takeError();
  return runtime::NamedTensor{name, *converted};
}

Expected<std::vector<runtime::NamedTensor>>
readInputs(const Arguments &arguments, const Option &option, const mil::Function &function) {
  std::vector<runtime::NamedTensor> inputs;
  for (const std::string &given : arguments.values(option)) {
    auto input = readInput(option, given, function);
    if (!input)
      return input.takeError();
    inputs.push_back(std::move(*input));
  }
  return inputs;
}

} // namespace plait::driver
