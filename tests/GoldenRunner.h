// Golden tests of passes: text in, pass, text out.
//
// A golden file holds cases separated by lines "// -----". A case opens with comment lines, of
// which "// key: value" are settings, then an input program, a line "// ---- expected" and the
// exact text of the result; "// ---- unchanged" stands for a pass that changes nothing:
//
//     // A scalar factor goes into the weight.
//     // tolerance: 1e-3
//     program(1.3)
//     { … }
//     // ---- expected
//     program(1.3)
//     { … }
//     // -----
//
// UPDATE_GOLDEN=1 writes what the pass gives into the file. For each case the runner checks:
//   1. the input parses;
//   2. it verifies before and after;
//   3. print-parse-print is a fixed point, before and after;
//   4. the changed flag is honest;
//   5. a second run changes nothing;
//   6. given a ProgramRunner, the functions compute the same before and after on seeded inputs;
//   7. every operation of the result has a location, given that those of the input have one, and no
//      weight has become a constant that nobody knows to be one.
// Settings known here: `tolerance` (relative and absolute, default 0: equal), `integers: LOW HIGH`
// (the range of integer inputs, default 0 4), `symbol NAME: VALUE` (the size of a dynamic
// dimension in 6., default 3), `idempotent: no` (leaves out 5.), `interface: repaired` (6. brings
// inputs and outputs to the types that the pass gave them), `runs: no` (leaves out 6.: the input
// has no defined result). Others are for the pass.
//
// BLOBFILE constants need no file: their contents are made from path and offset (mil/StandIn.h).
// Large constants that the pass makes get offsets above all those in use.
#pragma once

#include "mil/Evaluator.h"
#include "mil/Parser.h"
#include "mil/Printer.h"
#include "mil/ProgramRunner.h"
#include "mil/StandIn.h"
#include "mil/Verifier.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"
#include <cmath>
#include <cstdlib>
#include <gtest/gtest.h>
#include <random>

namespace plait::golden {

/// One case of a golden file.
struct Case {
  std::string file, header, input, expected;
  unsigned line = 1; ///< of the header in the file
  bool unchanged = false;
  std::map<std::string, std::string> settings;

  /// A setting, or "" when the case has none.
  std::string setting(const std::string &key) const {
    auto it = settings.find(key);
    return it == settings.end() ? "" : it->second;
  }
};

/// Runs the pass under test and says whether it changed the program.
using Pass = std::function<Expected<bool>(mil::Program &, const Case &)>;

inline constexpr const char *kSeparator = "// -----", *kExpected = "// ---- expected",
                            *kUnchanged = "// ---- unchanged";

inline std::vector<Case> readCases(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer) {
    ADD_FAILURE() << path << ": " << buffer.getError().message();
    return {};
  }
  std::vector<Case> cases(1);
  enum { Header, Input, Expected } part = Header;
  unsigned number = 0;
  llvm::StringRef rest = (*buffer)->getBuffer();
  while (!rest.empty()) {
    auto [line, tail] = rest.split('\n');
    rest = tail;
    ++number;
    Case &c = cases.back();
    llvm::StringRef trimmed = line.rtrim();
    if (trimmed == kSeparator) {
      cases.emplace_back();
      cases.back().line = number + 1;
      part = Header;
    } else if (trimmed == kExpected || trimmed == kUnchanged) {
      c.unchanged = trimmed == kUnchanged;
      part = Expected;
    } else {
      if (part == Header && !trimmed.empty() && !trimmed.starts_with("//"))
        part = Input;
      if (part == Header) {
        c.header += (trimmed + "\n").str();
        auto [key, value] = trimmed.ltrim("/ ").split(": ");
        if (!value.empty())
          c.settings[key.str()] = value.trim().str();
      } else {
        (part == Input ? c.input : c.expected) += (trimmed + "\n").str();
      }
    }
  }
  for (Case &c : cases) {
    c.file = path;
    c.expected = llvm::StringRef(c.expected).rtrim().str();
    if (!c.expected.empty())
      c.expected += '\n';
  }
  // A separator at the end opens no case.
  llvm::erase_if(cases, [](const Case &c) {
    return c.input.empty() && llvm::StringRef(c.header).trim().empty();
  });
  return cases;
}

/// Weight files that exist only in name.
class Blobs {
public:
  Expected<mil::TensorData> read(llvm::StringRef path, uint64_t offset, const mil::Type &type) {
    for (auto &[data, location] : known_)
      if (location.path == path && location.offset == offset && data.type() == type)
        return data;
    auto made = mil::standIn(path, offset, type);
    if (!made)
      return made.takeError();
    mil::TensorData data = std::move(*made);
    known_.push_back({data, {path.str(), offset}});
    next_ = std::max(next_, offset + 64);
    return data;
  }

  mil::BlobLocation locate(const mil::TensorData &data) {
    for (auto &[other, location] : known_)
      if (data.sameTree(other))
        return location;
    known_.push_back({data, {"@model_path/weights/weight.bin", next_}});
    next_ += 64;
    return known_.back().second;
  }

  Expected<std::unique_ptr<mil::Program>> parse(llvm::StringRef text, const std::string &name) {
    mil::ParseOptions options;
    options.fileName = name;
    options.blob = [this](llvm::StringRef path, uint64_t offset, const mil::Type &type) {
      return read(path, offset, type);
    };
    return mil::parseProgram(text, options);
  }

  std::string print(const mil::Program &program, mil::Evaluator *evaluator, bool readable = false) {
    mil::PrintOptions options;
    options.evaluator = evaluator;
    options.symbols = true;
    options.readable = readable;
    options.blob = [this](const mil::TensorData &data) { return locate(data); };
    return mil::toString(program, options);
  }

private:
  std::vector<std::pair<mil::TensorData, mil::BlobLocation>> known_;
  uint64_t next_ = 64;
};

/// A seeded input for each input of the function.
inline std::vector<mil::TensorData> makeInputs(const mil::Function &function, const Case &c) {
  int64_t low = 0, high = 4;
  if (auto range = c.setting("integers"); !range.empty()) {
    auto [a, b] = llvm::StringRef(range).split(' ');
    a.getAsInteger(10, low);
    b.getAsInteger(10, high);
  }
  std::vector<mil::TensorData> inputs;
  for (const auto &input : function.inputs()) {
    llvm::SmallVector<int64_t, 5> shape;
    for (const mil::Dim &d : input->type.shape()) {
      int64_t size = 3;
      if (auto value = c.setting("symbol " + d.str()); !value.empty())
        llvm::StringRef(value).getAsInteger(10, size);
      shape.push_back(d.isConst() ? d.value() : size);
    }
    std::mt19937_64 random(llvm::xxh3_64bits(input->name.str())); // the same on every library
    std::vector<double> values(mil::numElements(llvm::ArrayRef<int64_t>(shape)));
    mil::DType dtype = input->type.dtype();
    for (double &value : values)
      value = mil::isFloat(dtype)         ? double(random() >> 12) / double(1ll << 51) - 1
              : dtype == mil::DType::Bool ? double(random() & 1)
                                          : double(low + int64_t(random() % uint64_t(high - low)));
    inputs.push_back(mil::TensorData::from<double>(mil::DType::F64, shape, values).cast(dtype));
  }
  return inputs;
}

/// The largest excess of |a - b| over the tolerance; negative when all agree.
inline bool agree(const mil::TensorData &a, const mil::TensorData &b, double tolerance) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape())
    return false;
  auto x = a.floatValues(), y = b.floatValues();
  if (!x || !y) {
    llvm::consumeError(x.takeError());
    llvm::consumeError(y.takeError());
    return false;
  }
  for (auto [p, q] : llvm::zip(*x, *y)) {
    bool same = p == q || (std::isnan(p) && std::isnan(q)) ||
                std::abs(p - q) <= tolerance * (1 + std::abs(q));
    if (!same)
      return false;
  }
  return true;
}

/// The elements of `data` as `type` holds them.
inline mil::TensorData fitted(const mil::TensorData &data, const mil::Type &type) {
  auto shape = mil::constShape(type.shape());
  return shape && mil::numElements(llvm::ArrayRef<int64_t>(*shape)) == data.numElements()
             ? data.reshape(*shape).cast(type.dtype())
             : data;
}

inline void compareRuns(const Case &c, const mil::Program &before, const mil::Program &after,
                        mil::ProgramRunner &runner) {
  double tolerance = 0;
  llvm::StringRef(c.setting("tolerance")).getAsDouble(tolerance);
  for (const auto &function : before.functions()) {
    const mil::Function *other = after.function(function->name);
    if (!other) {
      ADD_FAILURE() << "the function '" << function->name << "' is gone";
      continue;
    }
    // A classifier's label and dictionary are no tensors, which is what this runner returns; the
    // text shows that they stayed, and tests of the command run them.
    if (!llvm::all_of(function->outputs(),
                      [](const mil::Operand &output) { return output->type.isTensor(); }))
      continue;
    auto inputs = makeInputs(*function, c), otherInputs = inputs;
    bool repaired = c.setting("interface") == "repaired";
    for (size_t i = 0; repaired && i < inputs.size(); ++i)
      otherInputs[i] = fitted(inputs[i], other->inputs()[i]->type);
    auto x = runner.run(*function, inputs), y = runner.run(*other, otherInputs);
    if (!x || !y) {
      ADD_FAILURE() << (x ? "" : llvm::toString(x.takeError())) << " "
                    << (y ? "" : llvm::toString(y.takeError()));
      continue;
    }
    EXPECT_EQ(x->size(), y->size());
    for (size_t i = 0; i < std::min(x->size(), y->size()); ++i)
      EXPECT_TRUE(agree((*x)[i], repaired ? fitted((*y)[i], (*x)[i].type()) : (*y)[i], tolerance))
          << "output " << i << " of '" << function->name << "' changed";
  }
}

/// What check 7 compares.
class Provenance {
public:
  /// Gives every operation a location, and remembers the weights.
  void give(mil::Program &program) {
    forEachOp(program, [&](mil::Op &op) {
      op.location = mil::Location("", "operation " + std::to_string(++count_), op.info().name);
      const mil::TensorData *tensor = mil::constTensor(op.numResults() ? op.result() : nullptr);
      if (!tensor)
        return;
      mil::forEachLeaf(*tensor, [&](const auto &leaf) {
        (leaf.origin ? weights_ : others_).push_back(leaf.storage);
      });
    });
  }

  /// Of what a pass made of it.
  void check(mil::Program &program) const {
    forEachOp(program, [&](mil::Op &op) {
      EXPECT_FALSE(op.location.empty()) << "no location: " << mil::toString(op);
      if (const mil::TensorData *tensor = mil::constTensor(op.numResults() ? op.result() : nullptr))
        mil::forEachLeaf(*tensor, [&](const auto &leaf) { checkLeaf(leaf, op); });
    });
  }

private:
  static void forEachOp(mil::Program &program, llvm::function_ref<void(mil::Op &)> callback) {
    for (const auto &function : program.functions())
      mil::walk(function->body(), callback);
  }

  void checkLeaf(const mil::TensorData::Node &leaf, const mil::Op &op) const {
    if (leaf.origin || !mil::isFloat(leaf.dtype) || llvm::is_contained(others_, leaf.storage))
      return;
    if (llvm::is_contained(weights_, leaf.storage)) {
      ADD_FAILURE() << "a weight is no weight any more: " << mil::toString(op);
      return;
    }
    // A number may become a factor, and what repeats one number a fill. More than that is computed
    // from weights where there are any.
    bool isFill = llvm::all_of(llvm::zip(leaf.shape, leaf.strides), [](auto axis) {
      return std::get<0>(axis) == 1 || std::get<1>(axis) == 0;
    });
    if (!isFill && !weights_.empty()) {
      EXPECT_LT(mil::numElements(llvm::ArrayRef<int64_t>(leaf.shape)), 10)
          << "made of nobody knows what: " << mil::toString(op);
    }
  }

  unsigned count_ = 0;
  std::vector<std::shared_ptr<const mil::Storage>> weights_, others_;
};

/// How a file is checked.
struct Checks {
  /// Computes constants for printing, where texts have lazy ones.
  mil::Evaluator *evaluator = nullptr;
  /// Runs the functions for check 6.
  mil::ProgramRunner *runner = nullptr;
  /// Expected texts are for people (PrintOptions::readable); else they are Core ML's form.
  bool readable = false;
};

/// Checks 1 to 5 and 7, and 6 given a runner. Returns what the pass made of the input, for updates;
/// nullopt after a failure that leaves nothing to write.
inline std::optional<std::string> checkCase(const Case &c, const Pass &pass, const Checks &checks,
                                            bool compareText) {
  SCOPED_TRACE(c.file + ":" + std::to_string(c.line) + ": " +
               llvm::StringRef(c.header).split('\n').first.str());
  Blobs blobs;
  auto print = [&](const mil::Program &program, bool readable = false) {
    return blobs.print(program, checks.evaluator, readable);
  };
  auto fixedPoint = [&](const std::string &text, const char *what, bool readable = false) {
    auto again = blobs.parse(text, what);
    if (!again) {
      ADD_FAILURE() << "what is printed does not parse: " << llvm::toString(again.takeError());
      return;
    }
    EXPECT_EQ(print(**again, readable), text) << what << ": print-parse-print differs";
  };
  auto program = blobs.parse(c.input, c.file);
  if (!program) {
    ADD_FAILURE() << llvm::toString(program.takeError());
    return std::nullopt;
  }
  if (Error error = mil::verify(**program)) {
    ADD_FAILURE() << "before the pass: " << llvm::toString(std::move(error));
    return std::nullopt;
  }
  std::string before = print(**program);
  fixedPoint(before, "before");
  auto original = llvm::cantFail(blobs.parse(before, "before"));

  Provenance provenance;
  provenance.give(**program);
  auto changed = pass(**program, c);
  if (!changed) {
    ADD_FAILURE() << "the pass failed: " << llvm::toString(changed.takeError());
    return std::nullopt;
  }
  if (Error error = mil::verify(**program))
    ADD_FAILURE() << "after the pass: " << llvm::toString(std::move(error)) << "\n"
                  << print(**program);
  std::string after = print(**program), text = print(**program, checks.readable);
  fixedPoint(after, "after");
  fixedPoint(text, "the expected text", checks.readable);
  provenance.check(**program);
  EXPECT_EQ(*changed, before != after) << "the changed flag lies";
  if (compareText) {
    EXPECT_EQ(c.unchanged ? after : text, c.unchanged ? before : c.expected);
  }

  if (checks.runner && c.setting("runs") != "no")
    compareRuns(c, *original, **program, *checks.runner);
  if (c.setting("idempotent") != "no") {
    auto second = pass(**program, c);
    if (!second)
      ADD_FAILURE() << "the second run failed: " << llvm::toString(second.takeError());
    else
      EXPECT_FALSE(*second) << "the second run says that it changed something";
    EXPECT_EQ(print(**program), after) << "the second run changed something";
  }
  return before == after ? kUnchanged + std::string("\n") : kExpected + ("\n" + text);
}

/// Checks all cases of a golden file; with UPDATE_GOLDEN set in the environment rewrites the
/// expected texts first.
inline void runFile(const std::string &path, const Pass &pass, const Checks &checks = {}) {
  std::vector<Case> cases = readCases(path);
  EXPECT_FALSE(cases.empty()) << path << " has no cases";
  const char *update = std::getenv("UPDATE_GOLDEN");
  bool updates = update && *update && std::string(update) != "0";
  std::string text;
  bool complete = true;
  for (const Case &c : cases) {
    auto result = checkCase(c, pass, checks, !updates);
    complete &= result.has_value();
    if (!text.empty())
      text += std::string(kSeparator) + "\n";
    text += c.header + c.input + result.value_or("");
  }
  if (!updates || !complete)
    return;
  std::error_code error;
  llvm::raw_fd_ostream os(path, error);
  if (error)
    ADD_FAILURE() << path << ": " << error.message();
  else
    os << text;
}

/// All *.mil files of a folder, sorted.
inline std::vector<std::string> filesIn(const std::string &folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (llvm::sys::fs::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error))
    if (llvm::StringRef(it->path()).ends_with(".mil"))
      files.push_back(it->path());
  llvm::sort(files);
  return files;
}

} // namespace plait::golden
