// Random functions before and after each pass and the whole pipeline: the interpreter gives the
// same. PLAIT_GENERATE=FIRST..LAST takes other seeds than the first ones.
//
// A failure prints the least part of a function that shows it: the operations behind the first
// value that comes out differently.
#include "mil/Clone.h"
#include "mil/Printer.h"
#include "mil/Verifier.h"
#include "passes/Opsets.h"
#include "passes/Pipeline.h"
#include "runtime/RuntimeEvaluator.h"
#include "tests/driver/InterpretingRunner.h"
#include "tests/generate/MilWriter.h"

#include <cmath>
#include <gtest/gtest.h>

namespace plait {
namespace {

using mil::TensorData;

/// Runs one pass, or all.
struct Treatment {
  std::string name;
  const passes::PassInfo *pass = nullptr;
  passes::Precision precision = passes::Precision::F32;
  mil::Opset target = mil::kDefaultOpset;

  bool rounds() const {
    return precision == passes::Precision::F16 && (!pass || pass->name == "to-half");
  }

  Error apply(mil::Program &program) const {
    static runtime::RuntimeEvaluator evaluator;
    passes::PassContext context;
    context.evaluator = &evaluator;
    context.options.precision = precision;
    context.options.target = target;
    passes::PipelineHooks hooks;
    hooks.verify = [](const mil::Program &p) { return mil::verify(p); };
    if (!pass)
      return passes::runPipeline(program, context, hooks);
    auto changed = passes::runPasses(program, context, {pass}, hooks);
    return changed ? Error::success() : changed.takeError();
  }
};

std::vector<Treatment> treatments() {
  std::vector<Treatment> all;
  for (const passes::PassInfo &pass : passes::allPasses())
    all.push_back({pass.name.str(), &pass});
  all.push_back({"to-half", passes::findPass("to-half"), passes::Precision::F16});
  all.push_back({"the pipeline"});
  all.push_back({"the pipeline in fp16", nullptr, passes::Precision::F16});
  all.push_back({"the pipeline for ios16", nullptr, passes::Precision::F32, mil::Opset::iOS16});
  return all;
}

/// The largest of numbers that are all finite; none where one is not, or is large.
std::optional<double> peak(const std::vector<double> &values) {
  double peak = 0;
  for (double value : values) {
    if (!(std::abs(value) < 1e4))
      return std::nullopt;
    peak = std::max(peak, std::abs(value));
  }
  return peak;
}

/// What differs; "" where nothing does.
std::string difference(llvm::ArrayRef<TensorData> before, llvm::ArrayRef<TensorData> after,
                       bool rounds) {
  if (before.size() != after.size())
    return fmt::format("{0} outputs, and {1} before", after.size(), before.size());
  for (size_t i = 0; i < before.size(); ++i) {
    // The interface has no rank 0 and no bool.
    if (before[i].numElements() != after[i].numElements())
      return fmt::format("output {0} is {1}, and {2} before", i, after[i].type().str(),
                         before[i].type().str());
    auto x = llvm::cantFail(before[i].floatValues()), y = llvm::cantFail(after[i].floatValues());
    auto largest = peak(std::vector<double>(x.begin(), x.end()));
    if (!largest)
      continue;
    double tolerance = (rounds ? 0.05 : 1e-3) * (1 + *largest);
    for (size_t j = 0; j < x.size(); ++j)
      if (!(std::abs(x[j] - y[j]) <= tolerance))
        return fmt::format("output {0}, element {1}: {2}, and {3} before", i, j, y[j], x[j]);
  }
  return "";
}

std::unique_ptr<mil::Program> copyOf(const mil::Program &program) {
  auto copy = std::make_unique<mil::Program>();
  mil::cloneFunction(*copy, *program.functions()[0], "main");
  return copy;
}

/// "" where the treatment changes nothing that can be seen.
std::string fault(const mil::Program &program, const Treatment &treatment, bool isSmooth) {
  auto after = copyOf(program);
  if (Error error = treatment.apply(*after))
    return llvm::toString(std::move(error));
  if (treatment.rounds() && !isSmooth)
    return "";
  InterpretingRunner runner;
  for (int64_t symbol : {2, 3}) {
    std::mt19937 random(1);
    std::vector<TensorData> inputs, given;
    const mil::Function &function = *program.functions()[0], &other = *after->functions()[0];
    bool dynamic = false;
    for (auto [input, changed] : llvm::zip(function.inputs(), other.inputs())) {
      dynamic |= !mil::constShape(input->type.shape());
      inputs.push_back(generate::MilWriter::input(input->type, symbol, random));
      given.push_back(inputs.back().cast(changed->type.dtype()));
    }
    auto x = runner.run(function, inputs), y = runner.run(other, given);
    if (!x) { // what no pass is to blame for
      llvm::consumeError(x.takeError());
      if (!y)
        llvm::consumeError(y.takeError());
      return "";
    }
    if (!y)
      return llvm::toString(y.takeError());
    if (std::string text = difference(*x, *y, treatment.rounds()); !text.empty())
      return text;
    if (!dynamic)
      break;
  }
  return "";
}

/// The function with the first of its values for an output that shows the fault.
std::string reduced(unsigned seed, unsigned count, const Treatment &treatment) {
  mil::Program whole;
  generate::MilWriter writer(seed);
  mil::Function *function = writer.write(whole, count);
  passes::PassContext context;
  for (mil::Value *value : writer.values()) {
    function->body().setOutputs({value});
    auto part = copyOf(whole);
    passes::dce(*part, context);
    std::string text = fault(*part, treatment, writer.isSmooth());
    mil::PrintOptions options;
    options.maxInlineElements = INT64_MAX;
    options.readable = options.symbols = true;
    if (!text.empty())
      return text + "\n" + mil::toString(*part, options);
  }
  return "only with all outputs at once";
}

TEST(GeneratedPasses, ComputeTheSame) {
  unsigned first = 0, last = 149;
  if (const char *given = std::getenv("PLAIT_GENERATE")) {
    auto [low, high] = llvm::StringRef(given).split("..");
    ASSERT_FALSE(low.getAsInteger(10, first) || high.getAsInteger(10, last)) << given;
  }
  std::vector<Treatment> all = treatments();
  size_t operations = 0;
  std::map<std::string, unsigned> faults; // a kind is shown twice
  for (unsigned seed = first; seed <= last; ++seed) {
    unsigned count = 4 + seed % 12;
    mil::Program program;
    generate::MilWriter writer(seed);
    mil::Function *function = writer.write(program, count);
    ASSERT_EQ(llvm::toString(mil::verify(program)), "") << seed;
    operations += std::distance(function->body().begin(), function->body().end());
    for (const Treatment &treatment : all) {
      std::string text = fault(program, treatment, writer.isSmooth());
      if (!text.empty() && ++faults[treatment.name] <= 2)
        ADD_FAILURE() << "seed " << seed << ", " << treatment.name << ": " << text << "\n"
                      << reduced(seed, count, treatment);
    }
  }
  for (const auto &[name, times] : faults)
    ADD_FAILURE() << name << ": " << times << " functions";
  EXPECT_GT(operations, (last - first + 1) * 8u);
}

} // namespace
} // namespace plait
