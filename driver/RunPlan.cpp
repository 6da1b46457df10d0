// Reading plans; the grammar is in the header.
#include "driver/RunPlan.h"

#include "driver/PackageFunctions.h"
#include "driver/Unreadable.h"
#include "support/DidYouMean.h"
#include "support/Json.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

namespace plait::driver {

using llvm::StringRef;
namespace json = llvm::json;
namespace path = llvm::sys::path;

static Error checkKeys(const json::Object &object, llvm::ArrayRef<StringRef> known,
                       const std::string &where) {
  for (const auto &entry : object)
    if (!llvm::is_contained(known, StringRef(entry.first)))
      return makeError(Code::PlanOfSteps, "{0}: '{1}' is not known{2}", where,
                       StringRef(entry.first), didYouMean(entry.first, known));
  return Error::success();
}

static Expected<StepInput> parseSource(const json::Value &value, StringRef folder,
                                       const std::string &where) {
  if (auto file = value.getAsString()) {
    llvm::SmallString<256> full;
    if (!path::is_absolute(*file))
      full = folder;
    path::append(full, *file);
    return StepInput{false, full.str().str()};
  }
  if (const json::Object *object = value.getAsObject())
    if (auto output = object->getString("output"); output && object->size() == 1)
      return StepInput{true, output->str()};
  return makeError(Code::PlanOfSteps, "{0}: \"FILE.npy\" or {{\"output\": NAME}} is wanted", where);
}

static Expected<RunStep> parseStep(const json::Value &value, StringRef folder,
                                   const std::string &where) {
  const json::Object *object = value.getAsObject();
  if (!object)
    return makeError(Code::PlanOfSteps, "{0}: an object with inputs is wanted", where);
  if (Error error = checkKeys(*object, {"function", "inputs", "repeat"}, where))
    return error;
  RunStep step;
  if (const json::Value *repeat = object->get("repeat")) {
    auto number = jsonInteger(*repeat);
    if (!number || *number < 1 || *number > 1000000)
      return makeError(Code::PlanOfSteps, "{0}: repeat is a number from 1 to 1000000", where);
    step.repeat = uint64_t(*number);
  }
  if (const json::Value *function = object->get("function")) {
    auto name = function->getAsString();
    if (!name)
      return makeError(Code::PlanOfSteps, "{0}: function is the name of one", where);
    step.function = name->str();
  }
  const json::Value *inputs = object->get("inputs");
  if (!inputs)
    return step;
  if (!inputs->getAsObject())
    return makeError(Code::PlanOfSteps, "{0}: inputs is an object, a source for each name", where);
  for (const auto &entry : *inputs->getAsObject()) {
    StringRef name = entry.first;
    auto source = parseSource(entry.second, folder, where + ", input '" + name.str() + "'");
    if (!source)
      return source.takeError();
    step.inputs[name.str()] = *source;
  }
  return step;
}

static Expected<std::vector<RunStep>> readPlan(StringRef file) {
  auto buffer = llvm::MemoryBuffer::getFile(file);
  if (!buffer)
    return unreadable(file, buffer.getError());
  auto document = parseJson((*buffer)->getBuffer());
  if (!document)
    return addContext(document.takeError(), file);
  const json::Object *top = document->getAsObject();
  const json::Array *list = top ? top->getArray("steps") : nullptr;
  if (!list || list->empty())
    return makeError(Code::PlanOfSteps,
                     "{0}: an object is wanted whose \"steps\" is a list of at least one step",
                     file);
  if (Error error = checkKeys(*top, {"steps"}, file.str()))
    return error;
  std::vector<RunStep> steps;
  for (const json::Value &value : *list) {
    auto step = parseStep(value, path::parent_path(file),
                          fmt::format("{0}: step {1}", file, steps.size() + 1));
    if (!step)
      return step.takeError();
    steps.push_back(std::move(*step));
  }
  return steps;
}

Expected<std::vector<RunStep>> readSteps(StringRef source, const mil::Function &function) {
  RunStep step;
  if (!source.getAsInteger(10, step.repeat) && step.repeat >= 1 && step.repeat <= 1000000)
    return std::vector<RunStep>{std::move(step)};
  if (!llvm::sys::fs::is_directory(source))
    return readPlan(source);
  for (auto [i, input] : llvm::enumerate(function.inputs()))
    for (const char *ending : {".npy", ".png", ".jpg", ".jpeg"}) {
      llvm::SmallString<256> file(source);
      path::append(file, input->name + ending);
      bool isArray = StringRef(ending) == ".npy";
      if (!input->type.isState() && (isArray || function.infoOfInput(i).image) &&
          llvm::sys::fs::exists(file))
        step.inputs.try_emplace(input->name.str(), StepInput{false, file.str().str()});
    }
  if (step.inputs.empty() &&
      llvm::any_of(function.inputs(), [](const auto &input) { return !input->type.isState(); }))
    return makeError(Code::ArrayMismatch,
                     "{0}: the folder holds no NAME.npy for an input of function '{1}'", source,
                     function.name);
  return std::vector<RunStep>{std::move(step)};
}

static Expected<mil::TensorData> fromOutput(const StepInput &source,
                                            llvm::ArrayRef<runtime::NamedResult> previous) {
  for (const runtime::NamedResult &output : previous)
    if (output.name == source.name) {
      if (const mil::TensorData *tensor = output.value.tensor())
        return *tensor;
      return makeError(Code::PlanOfSteps, "output '{0}' is no tensor", source.name);
    }
  return makeError(Code::PlanOfSteps, "{0}",
                   previous.empty() ? "the first step has no step before it"
                                    : "the step before has no output '" + source.name + "'");
}

Expected<std::vector<runtime::NamedTensor>>
stepInputs(const RunStep &step, const mil::Function &function,
           llvm::ArrayRef<runtime::NamedTensor> common,
           llvm::ArrayRef<runtime::NamedResult> previous, bool resize) {
  std::vector<runtime::NamedTensor> inputs;
  for (const runtime::NamedTensor &input : common)
    if (!step.inputs.count(input.name))
      inputs.push_back(input);
  for (const auto &[name, source] : step.inputs) {
    auto input = findInput(function, name);
    if (!input)
      return input.takeError();
    if (!source.fromOutput) {
      auto array = readArray(**input, source.name, resize);
      if (!array)
        return array.takeError();
      inputs.push_back({name, std::move(*array)});
      continue;
    }
    auto array = fromOutput(source, previous);
    if (!array)
      return addContext(array.takeError(), "input '" + name + "'");
    auto converted = convertArray(*array, **input, source.name);
    if (!converted)
      return converted.takeError();
    inputs.push_back({name, *converted});
  }
  return inputs;
}

} // namespace plait::driver
