// Holds methods of TorchScript archives against LibTorch, one request a line of the standard input:
//
//   ARCHIVE <tab> METHOD <tab> INPUT;INPUT …          <tab> SIZES|SIZES …
//   gen.pt        m3           x=[2, 1..4];y=int32[3]       2x1;3|2x4;3
//
// METHOD may be one of a submodule (m4.forward). INPUT is what `plait compile --input` takes, SIZES
// is one shape for each of them. Each request is answered by a line: a word, a tab, and what there
// is to say.
//
//   ok        the function computes what LibTorch does, as lowered and after all passes
//   refused   plait says why it does not compile it
//   invalid   LibTorch itself does not run it at any of the sizes
//   wrong     another value, shape or number of results
//   broken    what was lowered or rewritten is not well-formed, or does not run
//
// One process for many programs, for programs.py. A crash is seen by the missing answer.
#include "driver/InputSyntax.h"
#include "frontend/Frontend.h"
#include "mil/Verifier.h"
#include "passes/Pipeline.h"
#include "runtime/Interpreter.h"
#include "runtime/RuntimeEvaluator.h"

#include "llvm/ADT/StringExtras.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <iostream>
#include <optional>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

namespace plait {
namespace {

using llvm::StringRef;
using Tensors = std::vector<at::Tensor>;

struct Answer {
  const char *word;
  std::string text;
};

struct Request {
  std::string archive, submodule, method;
  std::vector<frontend::InputSpec> inputs;
  std::vector<std::vector<std::vector<int64_t>>> runs; ///< the shape of each input
};

std::vector<StringRef> parts(StringRef text, char separator) {
  llvm::SmallVector<StringRef> found;
  text.split(found, separator);
  return {found.begin(), found.end()};
}

Expected<Request> parse(StringRef line) {
  std::vector<StringRef> fields = parts(line, '\t');
  if (fields.size() != 4)
    return makeError(Code::Internal, "a request has four fields");
  auto [submodule, method] = fields[1].rsplit('.');
  if (method.empty())
    std::swap(submodule, method);
  Request request{fields[0].str(), submodule.str(), method.str(), {}, {}};
  for (StringRef input : parts(fields[2], ';')) {
    auto spec = driver::parseInput(input);
    if (!spec)
      return spec.takeError();
    request.inputs.push_back(std::move(*spec));
  }
  for (StringRef run : parts(fields[3], '|')) {
    auto &shapes = request.runs.emplace_back();
    for (StringRef text : parts(run, ';')) {
      auto &shape = shapes.emplace_back();
      for (StringRef size : parts(text, 'x'))
        if (size.getAsInteger(10, shape.emplace_back()))
          return makeError(Code::Internal, "'{0}' is no size", size);
    }
    if (shapes.size() != request.inputs.size())
      return makeError(Code::Internal, "{0} shapes for {1} inputs", shapes.size(),
                       request.inputs.size());
  }
  return request;
}

/// Floats are eighths, so that most arithmetic on them is exact, and all differ where there are
/// few, so that an order of them is the only one. Integers are 0 to 3.
at::Tensor randomInput(const frontend::InputSpec &spec, const std::vector<int64_t> &shape,
                       at::Generator &generator) {
  switch (spec.dtype.value_or(mil::DType::F32)) {
  case mil::DType::I32:
    return at::randint(0, 4, shape, generator, at::kLong);
  case mil::DType::Bool:
    return at::randint(0, 2, shape, generator, at::kLong).to(at::kBool);
  default: {
    int64_t count = c10::multiply_integers(shape);
    return ((at::randperm(count, generator, at::kFloat) - double(count / 2)) / 8.0).reshape(shape);
  }
  }
}

void flatten(const c10::IValue &value, Tensors &out) {
  if (value.isTensor())
    out.push_back(value.toTensor().clone()); // a later run may write to it
  else if (value.isTuple())
    for (const auto &element : value.toTupleRef().elements())
      flatten(element, out);
  else if (value.isList())
    for (const c10::IValue &element : value.toListRef())
      flatten(element, out);
  else if (value.isGenericDict())
    for (const auto &entry : value.toGenericDict())
      flatten(entry.value(), out);
  else if (value.isScalar())
    out.push_back(at::scalar_tensor(value.toScalar(), at::kDouble));
}

/// What was given, and what LibTorch makes of it.
struct Sample {
  Tensors inputs, expected;
};

/// Two samples a size, without those that LibTorch refuses.
std::vector<Sample> sample(const Request &request, torch::jit::Module &module, std::string &error) {
  std::vector<Sample> samples;
  at::Generator generator = at::detail::createCPUGenerator(request.runs.size());
  for (const auto &shapes : request.runs)
    for (int draw = 0; draw < 2; ++draw) {
      Sample sample;
      std::vector<c10::IValue> arguments;
      for (auto [spec, shape] : llvm::zip(request.inputs, shapes)) {
        sample.inputs.push_back(randomInput(spec, shape, generator));
        arguments.emplace_back(sample.inputs.back().clone());
      }
      try {
        flatten(module.get_method(request.method)(arguments), sample.expected);
        samples.push_back(std::move(sample));
      } catch (const std::exception &exception) {
        error = exception.what();
      }
    }
  return samples;
}

std::string textOf(const at::Tensor &tensor) {
  std::ostringstream text;
  text << tensor.sizes() << " " << tensor.scalar_type();
  for (const at::Tensor &element : tensor.flatten().slice(0, 0, 12).unbind())
    text << " " << element.item<double>();
  return text.str();
}

/// What an interface of MIL makes of a result: no rank 0, no 64 bits.
at::Tensor asOutput(const at::Tensor &tensor) {
  return (tensor.dim() ? tensor : tensor.reshape({1})).to(at::kDouble);
}

std::optional<Answer> run(const mil::Function &function, const std::vector<Sample> &samples,
                          const char *when) {
  auto interpreter = runtime::Interpreter::create(function, {});
  if (!interpreter)
    return Answer{"broken", llvm::toString(interpreter.takeError()) + when};
  for (const Sample &sample : samples) {
    runtime::Interpreter::Inputs inputs;
    std::string sizes;
    for (auto [input, tensor] : llvm::zip(function.inputs(), sample.inputs)) {
      at::ScalarType held = runtime::heldType(input->type.dtype());
      inputs[input->name.str()] = tensor.to(held);
      std::ostringstream text;
      text << tensor.sizes();
      sizes += text.str();
    }
    auto outputs = (*interpreter)->run(inputs);
    if (!outputs)
      return Answer{"broken", llvm::toString(outputs.takeError()) + when + ", at " + sizes};
    if (outputs->size() != sample.expected.size())
      return Answer{"wrong", fmt::format("{0} results where LibTorch has {1}{2}", outputs->size(),
                                         sample.expected.size(), when)};
    for (size_t i = 0; i < outputs->size(); ++i) {
      at::Tensor actual = asOutput((*outputs)[i].tensor), expected = asOutput(sample.expected[i]);
      if (actual.sizes() != expected.sizes() ||
          !at::allclose(actual, expected, 1e-4, 1e-5, /*equal_nan=*/true))
        return Answer{"wrong", fmt::format("result {0}{1}, at {2}: {3} where LibTorch has {4}", i,
                                           when, sizes, textOf(actual), textOf(expected))};
    }
  }
  return std::nullopt;
}

Answer check(StringRef line) {
  auto request = parse(line);
  if (!request)
    return {"unreadable", llvm::toString(request.takeError())};
  static std::string path;
  static std::optional<torch::jit::Module> archive;
  if (path != request->archive) {
    archive = torch::jit::load(request->archive);
    path = request->archive;
  }
  torch::jit::Module module = *archive;
  if (!request->submodule.empty())
    module = module.attr(request->submodule).toModule();
  module.eval();
  at::NoGradGuard guard;
  std::string message;
  std::vector<Sample> samples = sample(*request, module, message);
  if (samples.empty())
    return {"invalid", message};

  mil::Program program;
  frontend::ModelFunction declared{"main", request->submodule + "." + request->method};
  declared.inputs = request->inputs;
  declared.method = request->method;
  declared.module = std::make_shared<const torch::jit::Module>(module);
  frontend::LoweringOptions options;
  options.floatType = mil::DType::F32;
  std::vector<Warning> warnings;
  frontend::Models models;
  if (Error error = models.lower(program, declared, options, warnings))
    return {"refused", llvm::toString(std::move(error))};
  auto legal = [&]() -> std::string {
    Error error = mil::verify(program);
    return error ? llvm::toString(std::move(error)) : "";
  };
  if (std::string error = legal(); !error.empty())
    return {"broken", error + " (as lowered)"};
  if (auto answer = run(*program.functions()[0], samples, " (as lowered)"))
    return *answer;

  runtime::RuntimeEvaluator evaluator;
  passes::PassContext context;
  context.evaluator = &evaluator;
  context.options.precision = passes::Precision::F32;
  passes::PipelineHooks hooks;
  hooks.verify = [](const mil::Program &p) { return mil::verify(p); };
  if (Error error = passes::runPipeline(program, context, hooks))
    return {"broken", llvm::toString(std::move(error))};
  if (std::string error = legal(); !error.empty())
    return {"broken", error + " (after the passes)"};
  if (auto answer = run(*program.functions()[0], samples, " (after the passes)"))
    return *answer;
  return {"ok", ""};
}

std::string oneLine(StringRef text) {
  std::string line;
  for (StringRef part : parts(text.trim(), '\n'))
    line += (line.empty() ? "" : " / ") + part.trim().str();
  return line;
}

} // namespace
} // namespace plait

int main() {
  torch::jit::setGraphExecutorOptimize(false);
  at::set_num_threads(1);
  std::string line;
  while (std::getline(std::cin, line)) {
    plait::Answer answer{"broken", ""};
    try {
      answer = plait::check(line);
    } catch (const std::exception &exception) {
      answer.text = std::string("an exception: ") + exception.what();
    }
    std::cout << answer.word << '\t' << plait::oneLine(answer.text) << std::endl;
  }
}
