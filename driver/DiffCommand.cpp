// plait diff: how two packages differ in meaning.
#include "driver/Commands.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"
#include "driver/LibTorch.h"
#include "driver/diff/Diff.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <cmath>

namespace plait::driver {

namespace {

constexpr Option snrOption{"snr", nullptr,
                           "compare weights that differ number by number: signal over noise, and "
                           "the largest difference"};
constexpr const Option *options[] = {&snrOption, &jsonOption};
const Section sections[] = {{"Options", options}};

/// Of a list so many are printed; --json has all.
constexpr size_t most = 20;

void printMore(size_t count, unsigned indent, llvm::raw_ostream &out) {
  if (count > most)
    out.indent(indent) << "and " << count - most << " more (--json)\n";
}

std::string operationText(const DiffOperation &operation) {
  return operation.kind + (operation.name.empty() ? "" : " %" + operation.name) +
         (operation.place.empty() ? "" : " (" + operation.place + ")");
}

void printDifferences(llvm::ArrayRef<Difference> differences, unsigned indent,
                      llvm::raw_ostream &out) {
  auto side = [](const std::string &text) { return text.empty() ? std::string("nothing") : text; };
  for (const Difference &difference : differences) {
    out.indent(indent) << difference.what;
    if (!difference.a.empty() || !difference.b.empty())
      out << ": " << side(difference.a) << " -> " << side(difference.b);
    out << '\n';
  }
}

void printOperations(const char *title, llvm::ArrayRef<DiffOperation> operations,
                     llvm::raw_ostream &out) {
  for (const DiffOperation &operation : operations.take_front(most))
    out << "  " << title << "  " << operationText(operation) << '\n';
  printMore(operations.size(), 10, out);
}

void printFunction(const FunctionDiff &function, llvm::raw_ostream &out) {
  out << '\n' << function.a;
  if (function.a != function.b)
    out << " -> " << function.b;
  if (function.isSame()) {
    out << ": " << (function.a != function.b ? "another name, and " : "") << "the same "
        << function.same << " operations\n";
    return;
  }
  out << fmt::format(": {0} operations the same, {1} changed, {2} only in A, {3} only in B\n",
                     function.same, function.changed.size(), function.onlyA.size(),
                     function.onlyB.size());
  if (function.isUnlike)
    out << "  so much differs that not all operations were paired\n";
  printDifferences(function.interface, 2, out);
  for (const ChangedOperation &operation : llvm::ArrayRef(function.changed).take_front(most)) {
    out << "  changed   " << operationText(operation.a);
    if (operation.a.name != operation.b.name)
      out << ", in B %" << operation.b.name;
    out << '\n';
    printDifferences(operation.differences, 14, out);
  }
  printMore(function.changed.size(), 12, out);
  printOperations("only in A", function.onlyA, out);
  printOperations("only in B", function.onlyB, out);
}

void printWeights(const PackageDiff &diff, llvm::raw_ostream &out) {
  out << fmt::format("\nweights in one place of both: {0} the same ({1}), {2} differ\n",
                     diff.sameWeights, humanBytes(diff.sameWeightBytes), diff.weights.size());
  for (const WeightDiff &weight : llvm::ArrayRef(diff.weights).take_front(most)) {
    out << "  " << weight.a << ": " << weight.typeA;
    if (weight.typeA != weight.typeB)
      out << " -> " << weight.typeB;
    if (weight.different)
      out << fmt::format(", {0} of {1} elements differ", grouped(*weight.different),
                         grouped(weight.elements));
    if (weight.snr)
      out << (std::isfinite(*weight.snr)
                  ? fmt::format(", SNR {0:.1f} dB", *weight.snr)
                  : std::string(*weight.snr > 0 ? ", equal numbers" : ", zeros in A"));
    if (weight.maxAbsolute)
      out << fmt::format(", by {0:.3g} at most", *weight.maxAbsolute);
    if (weight.functions.size() > 1)
      out << "; in " << llvm::join(weight.functions, ", ");
    out << '\n';
  }
  printMore(diff.weights.size(), 2, out);
}

void printDiff(const PackageDiff &diff, llvm::raw_ostream &out) {
  if (diff.isSame()) {
    out << "no difference but in names and in how files are laid out\n";
    return;
  }
  printDifferences(diff.package, 0, out);
  for (const std::string &name : diff.onlyA)
    out << "function " << name << " is only in A\n";
  for (const std::string &name : diff.onlyB)
    out << "function " << name << " is only in B\n";
  for (const FunctionDiff &function : diff.functions)
    printFunction(function, out);
  printWeights(diff, out);
}

Expected<int> run(const Arguments &arguments) {
  std::vector<std::string> operands = arguments.operands();
  if (operands.size() != 2)
    return usageError(Code::OptionMissing,
                      "two packages are wanted: plait diff A.mlpackage B.mlpackage");
  LazyEvaluator evaluator;
  DiffOptions options{arguments.has(snrOption), &evaluator};
  auto diff = diffPackages(operands[0], operands[1], options);
  if (!diff)
    return diff.takeError();
  arguments.reply() = toJson(*diff);
  if (!arguments.has(jsonOption))
    printDiff(*diff, llvm::outs());
  return diff->isSame() ? 0 : 1;
}

constexpr const char *usage[] = {"A.mlpackage B.mlpackage [--snr] [--json]"};

} // namespace

const Command diffCommand = {
    "diff",
    "how two packages differ in meaning: names and places in files are no matter",
    usage,
    sections,
    "Functions are those of one name, or those that are the same under another one. The exit "
    "status is 0\nwhere nothing differs and 1 where something does.\n",
    {},
    run};

} // namespace plait::driver
