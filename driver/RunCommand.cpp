// plait run: one function of a package, on arrays from .npy files, in the reference interpreter,
// once or in several steps that share its states.
#include "driver/Commands.h"
#include "driver/JsonOutput.h"
#include "driver/LibTorch.h"
#include "driver/PackageFunctions.h"
#include "driver/ProgressLine.h"
#include "driver/RunOutputs.h"
#include "driver/RunPlan.h"
#include "mil/MappedStorage.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

#include <chrono>

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option functionOption{"function", "NAME", "the function to run (the default function)"};
constexpr Option inputOption{
    "input", "NAME=FILE",
    "an input's array in a .npy file; a floating-point, integer or bool type is converted to "
    "the input's own. Of an image, a PNG or JPEG",
    0, Scope::Many};
constexpr Option resizeOption{"resize", nullptr,
                              "images of another size are made the default size of their input"};
constexpr Option outputDirOption{"output-dir", "FOLDER",
                                 "where OUTPUT.npy is written for every output; made where it does "
                                 "not exist"};
constexpr Option stepsOption{"steps", "FOLDER|PLAN.json|N",
                             "a call, or several, on the same states: a folder with INPUT.npy for "
                             "each input, a plan (see below), or N calls on the arrays of --input; "
                             "repeatable. Call N writes to the folder N of the output folder",
                             0, Scope::Many};
constexpr Option traceOption{"trace", "VALUE|all",
                             "also writes VALUE.npy for a value inside the function, or for every "
                             "one; repeatable",
                             0, Scope::Many};
constexpr Option statesOption{"states", nullptr,
                              "also writes STATE.npy for every state, as it is after the call"};
constexpr Option seedOption{"seed", "S",
                            "what random operations draw follows from it; without it they draw "
                            "other numbers in every run"};
constexpr Option timeOption{"time", nullptr, "says how long loading and each call took"};
constexpr Option profileOption{"profile", nullptr,
                               "says for each kind of operation how often it ran and how long"};

constexpr const Option *inputOptions[] = {&functionOption, &inputOption, &resizeOption,
                                          &stepsOption};
constexpr const Option *outputOptions[] = {&outputDirOption, &traceOption, &statesOption};
constexpr const Option *runningOptions[] = {&computeOption, &seedOption, &timeOption,
                                            &profileOption, &jsonOption};
constexpr Section sections[] = {
    {"What to run", inputOptions}, {"What to write", outputOptions}, {"How", runningOptions}};

class Stopwatch {
public:
  double milliseconds() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_)
        .count();
  }

private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

Expected<std::vector<RunStep>> allSteps(const Arguments &arguments, const mil::Function &function) {
  std::vector<RunStep> steps;
  for (const std::string &source : arguments.values(stepsOption)) {
    auto read = readSteps(source, function);
    if (!read)
      return read.takeError();
    llvm::append_range(steps, *read);
  }
  if (!arguments.has(stepsOption))
    steps.emplace_back();
  return steps;
}

/// The functions that steps call, each made ready when it is first called. They share states by
/// name.
class Runners {
public:
  Runners(const mil::Program &package, StringRef path, const LibTorchPart &part,
          const runtime::RunOptions &options)
      : package_(package), path_(path), part_(part), options_(options) {}

  struct Ready {
    mil::Function *function;
    runtime::Runner runner;
  };

  /// The function of that name, with the states as the last call left them.
  Expected<Ready *> get(const std::optional<std::string> &name) {
    auto function = findFunction(package_, path_, name);
    if (!function)
      return function.takeError();
    auto it = llvm::find_if(ready_, [&](const auto &r) { return r->function == *function; });
    if (it == ready_.end()) {
      auto runner = part_.makeRunner(**function, options_);
      if (!runner)
        return runner.takeError();
      ready_.push_back(std::make_unique<Ready>(Ready{*function, std::move(*runner)}));
      it = std::prev(ready_.end());
    }
    Ready *next = it->get();
    if (last_ && last_ != next)
      for (const runtime::NamedTensor &state : last_->runner.states())
        if (llvm::any_of((*function)->inputs(), [&](const auto &input) {
              return input->type.isState() && input->name == state.name;
            }))
          if (Error error = next->runner.setState(state))
            return addContext(std::move(error),
                              fmt::format("after function '{0}'", last_->function->name));
    last_ = next;
    return next;
  }

  std::vector<runtime::ProfileRow> profile() const {
    std::vector<runtime::ProfileRow> rows;
    for (const auto &ready : ready_)
      llvm::append_range(rows, ready->runner.profile());
    return rows;
  }

private:
  const mil::Program &package_;
  StringRef path_;
  const LibTorchPart &part_;
  const runtime::RunOptions &options_;
  std::vector<std::unique_ptr<Ready>> ready_;
  Ready *last_ = nullptr;
};

/// What the command says: lines, or members of its reply.
class Said {
public:
  Said(const Arguments &arguments, double loading)
      : reply_(arguments.reply()), json_(arguments.has(jsonOption)),
        timed_(arguments.has(timeOption)) {
    reply_["load_milliseconds"] = loading;
    reply_["calls"] = llvm::json::Array();
    if (timed_ && !json_)
      llvm::outs() << fmt::format("loaded in {0:.1f} ms\n", loading);
  }

  void call(uint64_t number, StringRef function, double milliseconds,
            std::vector<WrittenFile> files) {
    ProgressLine::Pause pause; // both may be on one terminal
    llvm::json::Array entries;
    if (timed_ && !json_)
      llvm::outs() << fmt::format("call {0} ran in {1:.1f} ms\n", number, milliseconds);
    for (WrittenFile &file : files) {
      if (!json_)
        llvm::outs() << file.line << '\n';
      entries.push_back(std::move(file.json));
    }
    llvm::outs().flush();
    reply_.getArray("calls")->push_back(llvm::json::Object{{"number", number},
                                                           {"function", jsonString(function)},
                                                           {"milliseconds", milliseconds},
                                                           {"files", std::move(entries)}});
  }

  /// Nothing where no profile was asked for.
  void profile(llvm::ArrayRef<runtime::ProfileRow> rows) {
    llvm::json::Array entries;
    for (const runtime::ProfileRow &row : rows) {
      if (!json_)
        llvm::outs() << fmt::format("{0:>9.2f} ms {1:>6} x {2}\n", row.milliseconds, row.calls,
                                    name(row.kind));
      entries.push_back(llvm::json::Object{
          {"operation", name(row.kind)}, {"calls", row.calls}, {"milliseconds", row.milliseconds}});
    }
    if (!entries.empty())
      reply_["profile"] = std::move(entries);
  }

private:
  llvm::json::Object &reply_;
  bool json_, timed_;
};

Expected<int> run(const Arguments &arguments) {
  auto path = arguments.operand("PKG.mlpackage");
  if (!path)
    return path.takeError();
  auto folder = arguments.required(outputDirOption);
  if (!folder)
    return folder.takeError();
  auto compute = computeOf(arguments);
  if (!compute)
    return compute.takeError();
  runtime::RunOptions runOptions;
  runOptions.compute = *compute;
  runOptions.profile = arguments.has(profileOption);
  if (arguments.has(seedOption)) {
    auto seed = arguments.number(seedOption, 0, UINT32_MAX);
    if (!seed)
      return seed.takeError();
    runOptions.seed = *seed;
  }
  for (const std::string &name : arguments.values(traceOption))
    if (name == "all")
      runOptions.traceAll = true;
    else
      runOptions.trace.push_back(name);

  Stopwatch loading;
  auto package = readPackage(*path);
  if (!package)
    return package.takeError();
  auto function = findFunction(**package, *path, arguments.value(functionOption));
  if (!function)
    return function.takeError();
  auto common = readInputs(arguments, inputOption, **function, arguments.has(resizeOption));
  if (!common)
    return common.takeError();
  auto steps = allSteps(arguments, **function);
  if (!steps)
    return steps.takeError();
  auto part = libTorch();
  if (!part)
    return part.takeError();
  // What the steps call has to be there before the first of them runs.
  uint64_t calls = 0;
  for (const RunStep &step : *steps) {
    calls += step.repeat;
    if (!step.function.empty())
      if (auto called = findFunction(**package, *path, step.function); !called)
        return called.takeError();
  }
  std::optional<ProgressLine> line(std::in_place, /*quiet=*/false);
  uint64_t number = 0;
  runOptions.progress = [&](double done) {
    line->reach((double(number) - 1 + done) / double(calls));
  };
  bool inSteps = arguments.has(stepsOption);
  Runners runners(**package, *path, **part, runOptions);
  if (auto first = runners.get((*function)->name); !first)
    return first.takeError();
  Said said(arguments, loading.milliseconds());

  std::vector<runtime::NamedResult> outputs;
  auto call = [&](const RunStep &step) -> Error {
    auto ready = runners.get(step.function.empty() ? (*function)->name : step.function);
    if (!ready)
      return ready.takeError();
    auto &[called, runner] = **ready;
    auto inputs = stepInputs(step, *called, *common, outputs, arguments.has(resizeOption));
    if (!inputs)
      return inputs.takeError();
    line->show("running " + called->name +
               (calls > 1 ? fmt::format(", call {0} of {1}", number, calls) : ""));
    Stopwatch running;
    auto results = runner.run(*inputs);
    if (!results)
      return results.takeError();
    double milliseconds = running.milliseconds();
    if (Error error = mil::checkUnchanged(**package))
      return error;
    outputs = std::move(*results);
    llvm::SmallString<256> target(*folder);
    if (inSteps)
      llvm::sys::path::append(target, std::to_string(number));
    std::vector<WrittenFile> files;
    if (Error error = writeResults(*called, target, outputs, runner.traced(), files))
      return error;
    if (arguments.has(statesOption))
      for (const runtime::NamedTensor &state : runner.states())
        if (Error error = writeArray(target, state.name, state.value, files))
          return error;
    said.call(number, called->name, milliseconds, std::move(files));
    return Error::success();
  };
  for (const RunStep &step : *steps)
    for (uint64_t i = 0; i < step.repeat; ++i) {
      ++number;
      if (Error error = call(step))
        return inSteps ? addContext(std::move(error), "step " + std::to_string(number))
                       : std::move(error);
    }
  line.reset();
  said.profile(runners.profile());
  return 0;
}

constexpr const char *usage[] = {
    "PKG.mlpackage [--function NAME] --input NAME=FILE.npy ... --output-dir FOLDER",
    "PKG.mlpackage [--function NAME] --steps FOLDER|PLAN.json|N ... --output-dir FOLDER"};

} // namespace

const Command runCommand = {
    "run",
    "a function of a package on .npy arrays, in the reference interpreter",
    usage,
    sections,
    "Arrays are little-endian float16, float32, float64, bool and integers of 8 to 64 bits.\n"
    "States are zero before the first step and kept from step to step. A plan is\n"
    "  {\"steps\": [{\"inputs\": {\"ids\": \"first.npy\"}},\n"
    "             {\"inputs\": {\"ids\": {\"output\": \"next\"}}, \"repeat\": 7}]}\n"
    "where files are relative to the plan and {\"output\": NAME} is what the call before gave. "
    "Inputs\nof --input hold for every step that has none of its own. A step with \"function\": "
    "NAME calls that\nfunction; states of one name are one.\n",
    {},
    run};

} // namespace plait::driver
