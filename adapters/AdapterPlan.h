// What adapters do to the modules of a base: each tensor of an adapter with the module it belongs
// to.
#pragma once

#include "adapters/AdapterFile.h"
#include "adapters/BaseModules.h"

#include <map>

namespace plait::adapters {

/// One adapter's part in one module.
struct AdapterBranch {
  AdapterKind kind = AdapterKind::Lora;
  /// alpha / rank, times the weight of the adapter in a blend; of (IA)3 the weight alone.
  double scale = 1;
  /// A DoRA: has "lora_magnitude_vector", what W + the branch is scaled to.
  bool dora = false;
  bool doraInputs = false;  ///< one magnitude an input, as older LyCORIS has it; not an output
  bool feedforward = false; ///< of (IA)3: scales what goes in
  /// Of a LoRA of a convolution: dilated as the base is (AdaLoRA); PEFT's lora_A is not.
  bool dilated = false;
  /// Of a LoKr: kron(W1, W2) as PEFT takes it of a Conv1d whose W2 [c, d, k] is no product. W1 [a,
  /// b] stands for [1, a, b] there, and what comes out, [c, a d, b k], is read as [a c, b d, k].
  bool leadingKron = false;
  struct Factor {
    TensorData tensor;
    std::string key; ///< in the adapter's file
  };
  std::map<std::string, Factor> factors; ///< "lora_A" …, as AdapterKeys.h has them

  const TensorData *find(llvm::StringRef name) const {
    auto it = factors.find(name.str());
    return it == factors.end() ? nullptr : &it->second.tensor;
  }
  /// Of a factor that is known to be there.
  const TensorData &operator[](llvm::StringRef name) const { return *find(name); }
};

/// Rows of an embedding, and of a head with its weight, that the adapter brings of its own.
struct TokenRows {
  std::vector<int64_t> tokens;
  TensorData rows; ///< [tokens, features]

  bool operator==(const TokenRows &other) const;
};

/// The kind that the names of the factors show, where no configuration says it.
AdapterKind kindOf(const AdapterBranch &branch);

struct AdaptedModule {
  std::string path;        ///< in the base
  std::string name;        ///< in the adapter
  unsigned index = 0;      ///< of the base's modules
  Layer layer;             ///< where there are branches or rows for tokens
  TensorData weight, bias; ///< the base's; empty where it has none
  /// All that the base has in the module, by attribute.
  std::map<std::string, TensorData> parameters;
  bool computesWeight = false; ///< of parameters of other names, as weight_norm makes it
  std::vector<AdapterBranch> branches;
  /// Parameters and buffers that the adapter brings of its own, by attribute.
  std::map<std::string, TensorData> replaced;
  /// What adapters add to parameters, each times its weight in a blend, by attribute.
  std::map<std::string, std::vector<std::pair<TensorData, double>>> differences;
  std::optional<TokenRows> tokens;

  bool changes(llvm::StringRef attribute) const {
    return replaced.count(attribute.str()) || differences.count(attribute.str());
  }
  /// Of `replaced` and `differences`.
  std::vector<std::string> changedAttributes() const;
  /// Why the product of a branch's LoRA cannot be part of the weight: "grouped" or "dilated", of a
  /// convolution where PEFT's lora_A is not; null where it can.
  const char *cannotMerge(const AdapterBranch &branch) const;
};

struct AdapterUse {
  std::shared_ptr<const AdapterFile> file;
  double weight = 1; ///< in a blend
  std::optional<GivenScale> scale = {};
};

class AdapterPlan {
public:
  /// Finds the modules of `base` that the adapters change. `root` is the path of the model that was
  /// adapted, where several fit. A tensor that belongs to no module is an error, or, where
  /// `allowUnmatched`, a warning.
  static Expected<AdapterPlan> make(std::shared_ptr<const mil::ModuleTree> base,
                                    llvm::ArrayRef<AdapterUse> adapters,
                                    const std::optional<std::string> &root, bool allowUnmatched,
                                    std::vector<Warning> &warnings);

  /// In order of the base.
  llvm::ArrayRef<AdaptedModule> modules() const { return modules_; }
  const std::string &root() const { return root_; }
  const BaseModules &base() const { return *base_; }

private:
  friend class PlanMaker;
  std::string root_;
  std::vector<AdaptedModule> modules_;
  std::shared_ptr<const BaseModules> base_;
};

} // namespace plait::adapters
