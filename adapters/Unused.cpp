// What of adapters has no effect, and why.
#include "adapters/Apply.h"
#include "adapters/Tensors.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::adapters {

using llvm::StringRef;

/// Whether all branches are LoRAs as they begin, changing nothing: what has had no part in
/// training, because the model does not call it.
static bool isUntrained(const AdaptedModule &module) {
  auto hasZeros = [](const TensorData *tensor) { return tensor && isZero(*tensor); };
  return llvm::all_of(module.branches, [&](const AdapterBranch &branch) {
    if (branch.kind != AdapterKind::Lora ||
        !(hasZeros(branch.find("lora_A")) || hasZeros(branch.find("lora_B")) ||
          hasZeros(branch.find("lora_embedding_A")) || hasZeros(branch.find("lora_embedding_B"))))
      return false;
    if (const TensorData *bias = branch.find("lora_B.bias"); bias && !isZero(*bias))
      return false;
    const TensorData *magnitude = branch.find("lora_magnitude_vector");
    if (!magnitude)
      return true;
    if (module.computesWeight || module.weight.rank() != 2 ||
        magnitude->numElements() != module.weight.shape()[0])
      return false;
    return llvm::all_of(llvm::zip(floatsOf(*magnitude), rowNorms(module.weight)), [](auto pair) {
      auto [value, norm] = pair;
      return std::abs(value - norm) <= 1e-8 + 1e-3 * std::abs(norm);
    });
  });
}

/// The first few of `paths`, and what stands for the rest.
static std::string listed(std::vector<std::string> paths) {
  size_t count = paths.size();
  paths.resize(std::min<size_t>(count, 5));
  return llvm::join(paths, ", ") + (count > paths.size() ? " …" : "");
}

/// A module of the base with code that is of the same class and has the same weight; null where
/// there is none.
static const BaseModules::Entry *calledAlias(const BaseModules &base, const AdaptedModule &module) {
  if (!base.isTied(module.weight) || base[module.index].callable)
    return nullptr;
  auto it = llvm::find_if(base.entries(), [&](const BaseModules::Entry &entry) {
    const mil::ModuleInfo &other = base[entry.module];
    return other.callable &&
           mil::addressOf(base.tensor(entry.module, "weight")) == mil::addressOf(module.weight) &&
           other.type == base[module.index].type;
  });
  return it == base.entries().end() ? nullptr : &*it;
}

namespace {

class Search {
public:
  Search(const AdapterPlan &plan, const std::map<unsigned, ModuleUse> &uses)
      : plan_(plan), uses_(uses) {}

  std::string run(bool &all) {
    size_t changes = 0;
    for (const AdaptedModule &module : plan_.modules()) {
      changes +=
          !module.branches.empty() + module.tokens.has_value() + module.changedAttributes().size();
      const ModuleUse &use = useOf(module);
      if (!module.branches.empty() && !use.called && !isUntrained(module)) {
        if (use.readDirectly)
          direct_.push_back("'" + module.path + "'");
        else
          add(module, "'" + module.path + "'");
      }
      // Of an embedding and what is tied to it one is enough, where the rows are the same.
      if (module.tokens && llvm::none_of(plan_.modules(), [&](const AdaptedModule &other) {
            return other.tokens && (useOf(other).called || useOf(other).readDirectly) &&
                   *other.tokens == *module.tokens &&
                   mil::addressOf(other.weight) == mil::addressOf(module.weight);
          }))
        add(module, "'" + module.path + "'");
      for (const std::string &name : module.changedAttributes())
        if (!use.read.count(name) && !isReadElsewhere(module, name))
          add(module, "'" + module.path + "." + name + "'");
    }
    all = direct_.size() + elsewhere_.size() + unused_.size() == changes;
    return describe(all);
  }

private:
  const ModuleUse &useOf(const AdaptedModule &module) const {
    static const ModuleUse none;
    auto it = uses_.find(module.index);
    return it == uses_.end() ? none : it->second;
  }

  /// A trace has the calls of a module that has several names under one of them.
  void add(const AdaptedModule &module, const std::string &text) {
    if (const BaseModules::Entry *other = calledAlias(plan_.base(), module))
      elsewhere_.push_back(text + " ('" + other->path + "' has its weight)");
    else
      unused_.push_back(text);
  }

  /// Whether the parameter is another module's too, which was read and is replaced alike: of a tied
  /// parameter PEFT saves each name.
  bool isReadElsewhere(const AdaptedModule &module, StringRef name) const {
    auto found = module.replaced.find(name.str());
    if (found == module.replaced.end())
      return false;
    const uint8_t *address = mil::addressOf(module.parameters.find(name.str())->second);
    return llvm::any_of(plan_.modules(), [&](const AdaptedModule &other) {
      return llvm::any_of(other.replaced, [&](const auto &replaced) {
        return useOf(other).read.count(replaced.first) &&
               mil::addressOf(other.parameters.find(replaced.first)->second) == address &&
               replaced.second.shape() == found->second.shape() &&
               areEqual(replaced.second, found->second);
      });
    });
  }

  /// Going on is no advice where the function would then be the base.
  std::string describe(bool all) {
    auto orGoOn = [&](const char *text) { return all ? "" : text; };
    if (!direct_.empty())
      return "the adapter changes " + listed(std::move(direct_)) +
             ", and the base uses the weight without calling the module, as a frozen file does, "
             "nn.MultiheadAttention with its out_proj, and nn.TransformerEncoder with all of its "
             "layers unless torch.backends.mha.set_fastpath_enabled(False) was called before it "
             "was traced; trace the adapted model and give it as --function NAME=MODEL.pt" +
             orGoOn(", or go on without what the adapter does there with --allow-unmatched");
    if (!elsewhere_.empty())
      return "the adapter changes " + listed(std::move(elsewhere_)) +
             ", which the base has no calls of: where the two are one module, a trace has its "
             "calls under one of the names, and PEFT adapts those by the other; trace the adapted "
             "model and give it as --function NAME=MODEL.pt" +
             orGoOn(", or, where they only share the weight, go on without what the adapter does "
                    "there with --allow-unmatched");
    if (!unused_.empty())
      return "the adapter changes " + listed(std::move(unused_)) +
             ", which the base never uses: it belongs to a part of the model that the base leaves "
             "out" +
             (all ? ", and nothing else is left of the adapter; trace a base with that part"
                  : "; --allow-unmatched goes on without it");
    return "";
  }

  const AdapterPlan &plan_;
  const std::map<unsigned, ModuleUse> &uses_;
  std::vector<std::string> unused_, direct_, elsewhere_;
};

} // namespace

std::string describeUnused(const AdapterPlan &plan, const std::map<unsigned, ModuleUse> &uses,
                           bool &all) {
  return Search(plan, uses).run(all);
}

} // namespace plait::adapters
