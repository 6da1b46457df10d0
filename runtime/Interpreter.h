// Runs a MIL function with LibTorch (private: includes torch; Runner.h is the face without it).
//
// Operations run in order; a value dies at its last use. Constants are never kept: a weight is read
// where it lies each time an operation uses it. A constexpr_* weight is decompressed at its first
// use in a run and, where a loop or a second operation uses it, kept until the last one.
#pragma once

#include "runtime/Runner.h"
#include "runtime/eval/Eval.h"

#include "llvm/ADT/DenseSet.h"
#include <ATen/core/Generator.h>
#include <functional>
#include <map>

namespace plait::runtime {

class Interpreter {
public:
  struct Options {
    Compute compute = Compute::Float32;
    /// Sees every result as it is made, those in nested blocks too.
    std::function<void(const mil::Value &, const Datum &)> observer;
    /// What a constant holds in this run; nullopt leaves it as it is.
    std::function<Expected<std::optional<at::Tensor>>(const mil::Value &)> constant;
    /// What is gone on with in place of a result or an input.
    std::function<at::Tensor(const mil::Value &, const at::Tensor &)> disturb;
    bool profile = false;
    /// Pages of mapped weights are given back after each operation of the function's body.
    bool givesBack = false;
    /// A while_loop that runs longer than this is an error.
    int64_t maxIterations = 1000000;
  };
  struct Timing {
    uint64_t calls = 0;
    uint64_t nanoseconds = 0;
  };
  using Inputs = std::map<std::string, at::Tensor>;

  /// An error lists every operation that has no evaluator. The function must outlive the
  /// interpreter and stay as it is.
  static Expected<std::unique_ptr<Interpreter>> create(const mil::Function &function,
                                                       Options options);

  /// Outputs in the order of the function. Inputs are exactly the function's, states excepted, held
  /// as heldType() of their element types (fp16 ones in fp16, or in fp32 where nothing is rounded).
  Expected<std::vector<Datum>> run(const Inputs &inputs);

  /// The same in steps: start(), then step() until next() is null, then finish().
  Error start(const Inputs &inputs);
  const mil::Op *next() const { return position_ == end_ ? nullptr : &*position_; }
  /// Runs next() and returns its results.
  Expected<Data> step();
  Expected<std::vector<Datum>> finish();

  /// Contents of the states, kept from run to run; zeros at first.
  std::map<std::string, at::Tensor> states;
  void setState(const mil::Value &state, const at::Tensor &content) {
    states[state.name.str()] = content.to(heldType(state.type.dtype(), options_.compute));
  }
  /// From here on, operations that have no seed of their own draw the numbers that follow from this
  /// one; before, they draw other numbers in every run.
  void seedRandom(uint64_t seed);
  const std::map<mil::OpKind, Timing> &timings() const { return timings_; }

private:
  Interpreter(const mil::Function &function, Options options)
      : function_(function), options_(std::move(options)) {}

  void findLastUses(const mil::Block &block);
  void findReusedWeights();
  Error bindInput(const mil::Value &input, const mil::InputInfo *info, const at::Tensor &tensor);
  Expected<Data> runOp(const mil::Op &op);
  Expected<Data> runBlock(const mil::Block &block, llvm::ArrayRef<Datum> args);
  Expected<Data> runCond(const mil::Op &op);
  Expected<Data> runWhile(const mil::Op &op);
  Expected<Data> evaluate(const mil::Op &op);
  /// The result as it is held, checked against its declared type.
  Expected<Datum> settle(const mil::Value &result, Datum datum) const;
  /// Throws c10::Error where a constant cannot be read.
  Datum lookup(const mil::Value &value);
  /// The same of the result of a constexpr_* operation.
  Datum decompressed(const mil::Value &value);
  void release(const mil::Op &op);

  const mil::Function &function_;
  Options options_;
  llvm::DenseMap<const mil::Value *, Datum> values_;
  llvm::DenseMap<const mil::Op *, llvm::SmallVector<const mil::Value *, 2>> lastUses_;
  llvm::DenseSet<const mil::Value *> reused_; ///< results of constexpr_* that are used repeatedly
  mil::Block::iterator position_, end_;
  std::map<mil::OpKind, Timing> timings_;
  at::Generator random_;
};

/// Inputs as the interpreter takes them.
Expected<Interpreter::Inputs> inputTensors(const mil::Function &function,
                                           llvm::ArrayRef<NamedTensor> inputs);
/// Outputs as they are given back.
Expected<std::vector<NamedResult>> namedResults(const mil::Function &function,
                                                llvm::ArrayRef<Datum> outputs);

/// "conv 'layer1' (encoder.layer, model.py:12)": how messages name an operation.
std::string describe(const mil::Op &op, bool withLocation = true);

} // namespace plait::runtime
