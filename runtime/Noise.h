// How far rounding alone takes the outputs of a function.
//
// The function is run in three ways, operation by operation in step:
//
//   as it computes          fp16 weights, results rounded to fp16
//   without rounding        weights as the model has them where they are known, results in fp32
//   the same, disturbed     weights whose unrounded form is not known are moved by one unit in the
//                           last place of fp16, results and inputs by four of fp32; signs are drawn
//
// The first two say what rounding does to the outputs. The second, which has no rounding to speak
// of, is what the model is held against: it is as far from the model as the weights are that are
// not known, and the disturbed runs say how far that is. A weight was rounded by half a unit at
// most, so that one drawn sign takes an output at least as far as a single weight may have, and the
// sum of many 3.5 times as far as their rounding does (a uniform error has 1/sqrt(3) of its bound
// as its deviation). fp32 functions have nothing but their results disturbed. Random numbers are
// the same in all runs.
#pragma once

#include "runtime/Interpreter.h"
#include "runtime/KnownWeights.h"
#include "runtime/Randomness.h"
#include "runtime/Runner.h"

namespace plait::runtime {

/// Of a run without rounding; `weights` outlive it.
Interpreter::Options unroundedOptions(const UnroundedWeights &weights);

/// Whether anything in it is fp16.
bool computesInHalf(const mil::Function &function);
/// Whether anything in it rounds to whole numbers of steps: quantize, round.
bool roundsToSteps(const mil::Function &function);

class Noise {
public:
  /// The function must outlive it. `known` are tensors of the model.
  static Expected<std::unique_ptr<Noise>> create(const mil::Function &function, Compute compute,
                                                 llvm::ArrayRef<mil::TensorData> known);

  /// The states of all runs are zero, and the next step is the first one. An input that is in
  /// `handed` takes in later steps what its run gave as the output of that name. Inputs in
  /// `rounded` are weights that the model has wider: an fp16 one is moved like a weight. Random
  /// numbers follow from the seed too.
  void begin(uint64_t seed, std::map<std::string, std::string> handed = {},
             llvm::StringSet<> rounded = {});
  /// Runs all three ways, on the states that each has left.
  Error step(llvm::ArrayRef<NamedTensor> inputs);
  /// Outputs of the last step, then the states that it left by the names of their inputs.
  const std::vector<NamedResult> &computed() const { return computed_.results; }
  const std::vector<NamedResult> &unrounded() const { return unrounded_.results; }
  const std::vector<NamedResult> &disturbed(size_t run) const { return disturbed_[run].results; }
  size_t disturbedRuns() const { return disturbed_.size(); }
  /// One more disturbed run of all steps so far, with other signs.
  Error disturbAgain();
  /// What the last step gives without rounding where quantize and round leave numbers as they are,
  /// too; an error where the function cannot do without (a number that is an index).
  Expected<std::vector<NamedResult>> smooth() const;
  /// What the function as it computes gives with other random numbers, on states that are zero.
  Expected<std::vector<NamedResult>> draw(llvm::ArrayRef<NamedTensor> inputs) const;

  /// Runs all steps the first two ways again and shows what each operation gives in both in the
  /// last of them. Nothing is shown of a function that rounds nothing.
  using Watch = llvm::function_ref<Error(const mil::Op &, const Data &computed, const Data &exact)>;
  Error watch(Watch watch);
  /// The same of the run of smooth() and of the one without rounding.
  Error watchSmooth(Watch watch);

private:
  /// One way of running, and what it gave last.
  struct Run {
    std::unique_ptr<Interpreter> interpreter;
    std::vector<NamedResult> results;
    uint64_t seed = 0; ///< of a disturbed one
  };
  Noise(const mil::Function &function) : function_(function) {}

  Expected<Run> makeSmooth() const;
  Error watchAll(llvm::ArrayRef<Run *> runs, Watch watch) const;
  /// Random numbers as the first run of a step drew them, so that all runs have the same.
  at::Tensor drawn(const mil::Value &value, const at::Tensor &tensor) const;
  Expected<Run> makeDisturbed(uint64_t seed) const;
  Error runStep(llvm::ArrayRef<Run *> runs, size_t step, Watch watch) const;

  const mil::Function &function_;
  UnroundedWeights weights_;
  bool rounds_ = false; ///< else the first two runs are one
  Run computed_, unrounded_;
  std::vector<Run> disturbed_;
  std::vector<Interpreter::Inputs> steps_; ///< their inputs
  std::map<std::string, std::string> handed_;
  llvm::StringSet<> rounded_;
  uint64_t seed_ = 0;
  /// What operations that draw random numbers gave, by step and, in a loop, by turn.
  struct Draws {
    std::vector<at::Tensor> tensors;
    size_t next = 0; ///< of the run that is on
  };
  mutable std::map<std::pair<size_t, const mil::Op *>, Draws> draws_;
  mutable size_t step_ = 0; ///< that is on
};

} // namespace plait::runtime
