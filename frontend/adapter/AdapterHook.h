// Applies an AdapterPlan while the base is lowered: stands between each adapted module and its
// forward, and gives replaced parameters in place of the base's.
//
//   keep   y = module(x) + s * B(A(x)): the weight is the base's own and stays shared
//   fold   y = module(x) with the weight W + s * B A, merged in fp32 when the package is written
//   inputs as keep, the factors being inputs of the function
#pragma once

#include "frontend/Frontend.h"
#include "frontend/adapter/AdapterPlan.h"
#include "frontend/adapter/Ops.h"
#include "frontend/script/ModuleHook.h"

#include <set>

namespace plait::frontend {

class AdapterHook : public ModuleHook {
public:
  AdapterHook(const AdapterPlan &plan, AdapterMode mode);

  std::vector<Val> call(Engine &engine, const Object &module, std::vector<Val> arguments,
                        Base base) override;
  std::optional<Val> attribute(Engine &engine, const Object &module, llvm::StringRef name,
                               llvm::StringRef path) override;

  /// After lowering: modules whose adapters had no effect, because the model uses their weight
  /// without calling them.
  Error checkAllUsed() const;
  /// Inputs mode: the inputs that were added to the function, in order.
  llvm::ArrayRef<AdapterInput> inputs() const { return inputs_; }

  // ---- for the branches ----

  /// A factor as a value: a constant, or the function's input.
  Val factor(Ops &ops, const AdaptedModule &module, const AdapterBranch &branch,
             llvm::StringRef name);
  /// What the branch is multiplied with: one where the arrays of inputs hold it already.
  AdapterMode mode() const { return mode_; }
  double scaleOf(const AdapterBranch &branch) const {
    return mode_ == AdapterMode::Inputs ? 1 : branch.scale;
  }

private:
  struct State {
    const AdaptedModule *module;
    unsigned active = 0; ///< calls of its forward that are being lowered
    bool called = false;
    bool readDirectly = false;             ///< its weight, by what is not its code
    std::set<std::string> read;            ///< of the replaced parameters
    std::map<std::string, Val> overridden; ///< attributes during one call
  };

  std::vector<Val> adapt(Ops &ops, State &state, std::vector<Val> arguments, Base base);
  /// Whether an argument is the parameter itself, or what was given in its place: a trace passes a
  /// parameter that belongs to another module too (tied weights) as an argument.
  bool isParameter(const Val &argument, const at::Tensor &parameter) const;
  std::optional<size_t> inputOf(const AdaptedModule &module, llvm::ArrayRef<Val> arguments) const;
  bool isReadElsewhere(const AdaptedModule &module, llvm::StringRef name) const;
  Val replacement(Engine &engine, const AdaptedModule &module, llvm::StringRef name);
  /// Runs the module's own code with some of its parameters exchanged.
  Val runBase(Engine &engine, State &state, std::vector<Val> arguments,
              std::map<std::string, Val> overridden, Base base);

  const AdapterPlan &plan_;
  AdapterMode mode_;
  llvm::DenseMap<const Object *, State> states_;
  /// By cell: what replaced parameters were read as, and where the base has them.
  llvm::DenseMap<const Cell *, std::pair<Val, const void *>> given_;
  std::vector<AdapterInput> inputs_;
  std::map<std::string, mil::Value *> inputValues_; ///< by the factor's key
};

/// What a branch adds to the module's result: s * B(A(x)) and its like for each kind but (IA)3.
Val branchOutput(AdapterHook &hook, Ops &ops, const AdaptedModule &module,
                 const AdapterBranch &branch, const Val &x);
/// A parameter of the module as its adapters leave it, before any branch is merged: in fp32.
Val changedParameter(Ops &ops, const AdaptedModule &module, llvm::StringRef name);
/// The weight (in the module's own layout) and bias with all branches merged into them.
struct MergedParameters {
  Val weight;
  std::optional<Val> bias;
  std::optional<Val> addend; ///< the bias of a module that has none: added to its result
};
MergedParameters mergeBranches(Ops &ops, const AdaptedModule &module);
/// The result of an embedding, or of a head with its weight, with the rows that an adapter brings
/// for some tokens in place of the base's.
Val replaceRows(Ops &ops, const AdaptedModule &module, const Val &x, const Val &y);
/// The weight of an embedding with those rows in it, for what reads it without calling the module.
Val weightWithRows(Ops &ops, const AdaptedModule &module);
/// DoRA: magnitude / norm of each output, or input, of W + what the branch adds; a vector.
Val doraScale(Ops &ops, const AdaptedModule &module, const AdapterBranch &branch);
/// A vector of one element a feature, in the shape that multiplies x: [n] of a linear layer,
/// [n, 1, 1] of a convolution.
Val perFeature(Ops &ops, const AdaptedModule &module, const Val &vector);
/// What (IA)3 multiplies with: of several adapters their weighted sum.
Val featureScale(AdapterHook *hook, Ops &ops, const AdaptedModule &module);

} // namespace plait::frontend
