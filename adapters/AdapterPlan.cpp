// Matching keys with modules, and checking that the tensors of each belong together.
#include "adapters/AdapterPlan.h"

#include "adapters/AdapterRoot.h"
#include "adapters/AliasedModules.h"
#include "adapters/BranchScale.h"
#include "adapters/BranchShapes.h"
#include "adapters/ForeignKeys.h"
#include "adapters/Tensors.h"
#include "adapters/VeraProjections.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

#include <set>

namespace plait::adapters {

using llvm::StringRef;

AdapterKind kindOf(const AdapterBranch &branch) {
  for (const auto &[name, factor] : branch.factors) {
    if (StringRef(name).starts_with("hada_"))
      return AdapterKind::Loha;
    if (StringRef(name).starts_with("lokr_"))
      return AdapterKind::Lokr;
  }
  return AdapterKind::Lora;
}

bool TokenRows::operator==(const TokenRows &other) const {
  return tokens == other.tokens && areEqual(rows, other.rows);
}

/// Whether a tensor of that name has a part in what the kind computes. Files of other tools say
/// alphas and magnitudes in their own way.
static bool hasPart(AdapterKind kind, StringRef factor,
                    const std::optional<AdapterConfig> &config) {
  if (!config && (factor == "alpha" || factor == "dora_scale"))
    return true;
  switch (kind) {
  case AdapterKind::Lora:
    if (factor == "lora_magnitude_vector")
      return !config || config->dora;
    return llvm::is_contained(
               {"lora_A", "lora_B", "lora_B.bias", "lora_embedding_A", "lora_embedding_B"},
               factor) ||
           (!config && factor == "lora_mid");
  case AdapterKind::Ia3:
    return factor == "ia3_l";
  case AdapterKind::Loha:
    return factor.starts_with("hada_") && !factor.ends_with(".bias");
  case AdapterKind::Lokr:
    return factor.starts_with("lokr_") && !factor.ends_with(".bias");
  case AdapterKind::Vera:
    return factor == "vera_lambda_b" || factor == "vera_lambda_d";
  case AdapterKind::LnTuning:
    return false;
  }
  return false;
}

/// How many tensors an error lists.
static constexpr size_t kMaxListed = 20;

std::vector<std::string> AdaptedModule::changedAttributes() const {
  std::vector<std::string> names;
  for (const auto &[name, tensor] : replaced)
    names.push_back(name);
  for (const auto &[name, added] : differences)
    names.push_back(name);
  return names;
}

const char *AdaptedModule::cannotMerge(const AdapterBranch &branch) const {
  if (branch.kind != AdapterKind::Lora || layer.kind != Layer::Convolution ||
      branch.find("lora_mid"))
    return nullptr;
  if (branch["lora_A"].shape()[1] != weight.shape()[1])
    return "grouped";
  return !branch.dilated && layer.isDilated() ? "dilated" : nullptr;
}

class PlanMaker {
public:
  PlanMaker(std::shared_ptr<const mil::ModuleTree> base, llvm::ArrayRef<AdapterUse> adapters,
            bool allowUnmatched, std::vector<Warning> &warnings)
      : adapters_(adapters), allowUnmatched_(allowUnmatched), warnings_(warnings) {
    base_ = std::make_shared<BaseModules>(std::move(base));
    plan_.base_ = base_;
  }

  Expected<AdapterPlan> make(const std::optional<std::string> &root) {
    for (const AdapterUse &adapter : adapters_)
      if (Error error = readKeys(adapter))
        return error;
    auto chosen = chooseRoot(*base_, items_, root);
    if (!chosen)
      return chosen.takeError();
    root_ = std::move(*chosen);
    plan_.root_ = root_.path;
    for (auto &[module, object] : root_.matches)
      if (!(*base_)[object].callable)
        if (auto twin = base_->calledTwin(pathOf(module)))
          object = *twin;
    std::set<std::tuple<const AdapterUse *, std::string, std::string>> plain;
    for (const Item &item : items_)
      if (item.parsed.factor.empty() && !isInWrapper(item, "modules_to_save"))
        plain.insert({item.adapter, item.parsed.module, item.parsed.attribute});
    for (const Item &item : items_) {
      // With bias="all" PEFT saves a bias of modules_to_save by two names more, and reads neither.
      if (item.parsed.factor.empty() &&
          (isInWrapper(item, "original_module") ||
           (isInWrapper(item, "modules_to_save") &&
            plain.count({item.adapter, item.parsed.module, item.parsed.attribute}))))
        continue;
      if (Error error = place(item))
        return error;
    }
    dropForeignFactors();
    if (Error error = reportUnmatched())
      return error;
    if (Error error = drawMissingProjections())
      return error;
    if (Error error = tieTokens())
      return error;
    if (Error error = checkNames(*base_, modules_, tied_))
      return error;
    for (const BaseModules::Entry &entry : plan_.base_->entries())
      if (auto it = modules_.find(entry.module); it != modules_.end()) {
        if (Error error = finish(it->second))
          return error;
        plan_.modules_.push_back(std::move(it->second));
        modules_.erase(it);
      }
    if (Error error = checkGivenScales())
      return error;
    return std::move(plan_);
  }

private:
  using Item = AdapterItem;

  /// The adapter's file in front of a message; not where the caller's own says it already.
  std::string where(const AdapterUse &adapter) const {
    const std::string &file = adapter.file->weights();
    return adapters_.size() == 1 && file == adapter.file->path() ? "" : file + ": ";
  }

  /// The tensors of one adapter. Of a pipeline with several parts those of the part that the base
  /// is; the others match nothing.
  Error readKeys(const AdapterUse &adapter) {
    std::map<std::string, std::vector<Item>> parts;
    std::vector<Item> &whole = parts[""];
    std::string foreign;
    for (const auto &[key, tensor] : adapter.file->tensors()) {
      AdapterKey parsed = adapter.file->parse(key);
      Item item{&adapter, &tensor, key, parsed};
      std::string why = adapter.file->config(parsed.part) ? "" : whyForeign(key);
      if (why.empty()) {
        parts[parsed.part].push_back(std::move(item));
        continue;
      }
      unmatched(item, why);
      if (foreign.empty())
        foreign = fmt::format("{0}tensor '{1}' {2}", where(adapter), key, why);
    }
    // Of a kind that plait does not know: an error, or none of the adapter's.
    bool empty = llvm::all_of(parts, [](const auto &part) { return part.second.empty(); });
    if (!foreign.empty() && (!allowUnmatched_ || empty))
      return makeError(Code::AdapterUnmatched, "{0}", foreign);
    if (parts.size() == 1) { // as all of PEFT's
      llvm::append_range(items_, whole);
      return Error::success();
    }
    // The name of a part may be that of a module: of a wrapper that holds parts of the pipeline.
    std::vector<Item> all;
    for (auto &[part, items] : parts)
      llvm::append_range(all, items);
    if (llvm::any_of(all, [](const Item &item) { return !item.parsed.part.empty(); }) &&
        llvm::none_of(all, [](const Item &item) { return item.parsed.flattened; }) &&
        !adapter.file->config(parts.rbegin()->first) && countMatches(*base_, all).second == 0) {
      llvm::append_range(items_, all);
      return Error::success();
    }
    for (auto &[part, items] : parts)
      for (Item &item : items)
        if (!part.empty() && StringRef(item.parsed.module).starts_with(part + "."))
          item.parsed.module.erase(0, part.size() + 1);
    if (whole.empty())
      parts.erase("");
    const std::string *best = nullptr, *other = nullptr;
    std::pair<size_t, size_t> most;
    for (const auto &[part, items] : parts) {
      auto found = countMatches(*base_, items);
      bool isBetter = !best || found.first > most.first ||
                      (found.first == most.first && found.second < most.second);
      other = isBetter ? nullptr : found == most && found.first > 0 ? &part : other;
      if (isBetter) {
        best = &part;
        most = found;
      }
    }
    if (other)
      return makeError(Code::AdapterRoot,
                       "{0}the file holds adapters of several parts of a pipeline, and '{1}' and "
                       "'{2}' both fit the base; save that of one part alone",
                       where(adapter), *best, *other);
    if (best)
      partOf_[&adapter] = *best;
    for (auto &[part, items] : parts) {
      if (best && part == *best) {
        llvm::append_range(items_, items);
        continue;
      }
      for (const Item &item : items)
        unmatched(item, "it belongs to '" + part + "', another part of a pipeline than '" + *best +
                            "', which the base is");
    }
    return Error::success();
  }

  const std::optional<AdapterConfig> &configOf(const AdapterUse &adapter) const {
    auto part = partOf_.find(&adapter);
    return adapter.file->config(part == partOf_.end() ? "" : part->second);
  }

  // ---- Placing tensors ----

  std::string pathOf(StringRef module) const {
    if (plan_.root_.empty() || module.empty())
      return plan_.root_ + module.str();
    return plan_.root_ + "." + module.str();
  }

  void unmatched(const Item &item, const llvm::Twine &why) {
    if (StringRef(item.parsed.factor).starts_with("vera_lambda_"))
      incomplete_.insert(item.adapter);
    unmatched(*item.adapter, item.key, *item.tensor, why);
  }

  void unmatched(const AdapterUse &adapter, StringRef key, const TensorData &tensor,
                 const llvm::Twine &why) {
    unmatched_.push_back(fmt::format("{0} {1}: {2}", key, shapeText(tensor.shape()), why.str()));
    ++unmatchedOf_[&adapter];
    if (likely_.empty())
      likely_ = likelyTool(key);
  }

  /// Whether the key goes through a part of the wrapper that PEFT puts around modules_to_save, and
  /// not through a module of the base that has that name.
  bool isInWrapper(const Item &item, StringRef part) const {
    return StringRef(item.key).contains(("." + part + ".").str()) &&
           (part == "modules_to_save" || !root_.matches.count(item.parsed.module));
  }

  Error place(const Item &item) {
    const AdapterKey &key = item.parsed;
    if (item.isProjection()) {
      projections_[item.adapter][key.factor] = {*item.tensor, item.key};
      return Error::success();
    }
    std::optional<unsigned> object;
    if (key.module.empty())
      object = plan_.base_->find(plan_.root_);
    if (auto it = root_.matches.find(key.module); it != root_.matches.end())
      object = it->second;
    if (!object) {
      unmatched(item, "the base has no module '" + pathOf(key.module) + "'");
      return Error::success();
    }
    if (auto it = root_.ambiguous.find(key.module); it != root_.ambiguous.end())
      return makeError(Code::AdapterRoot,
                       "{0}tensor '{1}' fits two modules of the base, '{2}' and '{3}': its name "
                       "has lost the dots of the path; save the adapter in PEFT's form",
                       where(*item.adapter), item.key, plan_.base_->pathOf(*object), it->second);
    return key.factor.empty() ? placeParameter(item, *object) : placeFactor(item, *object);
  }

  AdaptedModule &moduleOf(unsigned object, StringRef name) {
    auto [it, isNew] = modules_.try_emplace(object);
    AdaptedModule &module = it->second;
    if (isNew) {
      module.index = object;
      module.name = name.str();
      module.path = plan_.base_->pathOf(object);
      module.weight = base_->tensor(object, "weight");
      if (!module.weight)
        module.weight = base_->normalisedWeight(object);
      module.computesWeight = module.weight && !base_->tensor(object, "weight");
      module.bias = base_->tensor(object, "bias");
      module.parameters.insert((*base_)[object].tensors.begin(), (*base_)[object].tensors.end());
    }
    return module;
  }

  Error placeParameter(const Item &item, unsigned object) {
    const AdapterKey &key = item.parsed;
    TensorData old = base_->tensor(object, key.attribute);
    if (!old) {
      unmatched(item, "the base's module '" + pathOf(key.module) + "' has no tensor '" +
                          key.attribute + "'");
      return Error::success();
    }
    if (key.attribute == "num_batches_tracked") // counted in training, read in training alone
      return Error::success();
    TensorData tensor = *item.tensor;
    if (key.isDifference && !mil::isFloat(tensor.dtype())) {
      unmatched(item, "what is added to a parameter must be floating-point numbers");
      return Error::success();
    }
    if (key.isDifference && tensor.numElements() == old.numElements() && mil::isFloat(old.dtype()))
      tensor = tensor.reshape(old.shape());
    if (old.shape() != tensor.shape())
      return makeError(Code::AdapterMisfit,
                       "{0}tensor '{1}' is {2}, and the base's is {3}: the adapter belongs to "
                       "another base",
                       where(*item.adapter), item.key, shapeText(item.tensor->shape()),
                       shapeText(old.shape()));
    // Embeddings are saved along with their adapters, unchanged.
    if (key.isDifference ? isZero(tensor) : areEqual(old, tensor.cast(old.dtype())))
      return Error::success();
    auto [twin, isNew] = parameters_.try_emplace({object, item.adapter, key.attribute}, &item);
    if (!isNew)
      return checkTwins(item, *twin->second->tensor, twin->second->key, object);
    if (key.isDifference) {
      moduleOf(object, key.module)
          .differences[key.attribute]
          .emplace_back(tensor, item.adapter->weight);
      return Error::success();
    }
    if (adapters_.size() > 1 || item.adapter->weight != 1)
      return makeError(Code::AdapterBlend,
                       "{0}the adapter replaces '{1}', and a replaced parameter cannot be blended "
                       "with others; give it as an adapter of its own with weight 1",
                       where(*item.adapter), item.key);
    moduleOf(object, key.module).replaced[key.attribute] = tensor;
    return Error::success();
  }

  /// Two tensors of one file for one place: those of two models whose modules have the same names,
  /// as the text encoders of a pipeline, or of two adapters. A module of two names may come by
  /// both.
  Error checkTwins(const Item &item, const TensorData &tensor, StringRef other,
                   unsigned object) const {
    if (areEqual(tensor, *item.tensor))
      return Error::success();
    return makeError(Code::AdapterTensor,
                     "{0}tensors '{1}' and '{2}' both belong to module '{3}' of the base: the "
                     "file holds several adapters, of several models or of one; save one of them "
                     "alone",
                     where(*item.adapter), std::min(other, StringRef(item.key)),
                     std::max(other, StringRef(item.key)), plan_.base_->pathOf(object));
  }

  Error placeFactor(const Item &item, unsigned object) {
    const AdapterKey &key = item.parsed;
    if (key.factor == "trainable_tokens_delta")
      return placeTokens(item, object);
    const auto &config = configOf(*item.adapter);
    if (StringRef(item.key).contains(".base_layer.") && StringRef(key.module).contains('.'))
      return makeError(Code::AdapterKind,
                       "{0}tensor '{1}' adapts a part of an adapted module, as PEFT has it of "
                       "nn.MultiheadAttention, which is not supported; trace the model with the "
                       "adapter merged (merge_and_unload) and give it as --function NAME=MODEL.pt",
                       where(*item.adapter), item.key);
    if (config) {
      auto adapts = config->adapts(key.module);
      if (!adapts)
        return addContext(adapts.takeError(), item.adapter->file->path());
      bool tied = config->tiesWeights && plan_.base_->isTied(base_->tensor(object, "weight"));
      if (!*adapts && !tied) {
        unmatched(item, "the adapter's configuration does not choose this module");
        return Error::success();
      }
    }
    AdaptedModule &module = moduleOf(object, key.module);
    AdapterBranch &branch = branchOf(module, item);
    auto [twin, isNew] =
        branch.factors.try_emplace(key.factor, AdapterBranch::Factor{*item.tensor, item.key});
    if (!isNew)
      return checkTwins(item, twin->second.tensor, twin->second.key, object);
    branch.kind = config ? config->kind : kindOf(branch);
    return Error::success();
  }

  Error placeTokens(const Item &item, unsigned object) {
    const auto &config = configOf(*item.adapter);
    const std::vector<int64_t> *tokens = config ? config->tokensOf(item.parsed.module) : nullptr;
    if (!tokens) {
      unmatched(item, "the adapter's configuration has no trainable_token_indices for it");
      return Error::success();
    }
    std::string file = where(*item.adapter);
    AdaptedModule &module = moduleOf(object, item.parsed.module);
    const TensorData &weight = module.weight, &rows = *item.tensor;
    if (!weight || weight.rank() != 2 || rows.rank() != 2 || rows.shape()[1] != weight.shape()[1] ||
        rows.shape()[0] != int64_t(tokens->size()) || !mil::isFloat(rows.dtype()))
      return makeError(Code::AdapterMisfit,
                       "{0}tensor '{1}' is {2}, where a row for each of {3} tokens of the base's "
                       "weight {4} is wanted",
                       file, item.key, shapeText(rows.shape()), tokens->size(),
                       shapeText(weight ? weight.shape() : llvm::ArrayRef<int64_t>()));
    if (std::set<int64_t>(tokens->begin(), tokens->end()).size() != tokens->size())
      return makeError(Code::AdapterKind,
                       "{0}trainable_token_indices has a token twice, which PEFT gives the sum of "
                       "its rows; trace the adapted model and give it as --function NAME=MODEL.pt",
                       file);
    for (int64_t token : *tokens)
      if (token < 0 || token >= weight.shape()[0])
        return makeError(Code::AdapterMisfit,
                         "{0}trainable_token_indices has {1}, and the base's weight {2}: the "
                         "adapter belongs to a base whose embedding was resized",
                         file, token, shapeText(weight.shape()));
    if (adapters_.size() > 1 || item.adapter->weight != 1)
      return makeError(Code::AdapterBlend,
                       "{0}the adapter replaces rows of '{1}', and replaced rows cannot be blended "
                       "with others; give it as an adapter of its own with weight 1",
                       file, module.path);
    module.tokens = TokenRows{*tokens, rows};
    return Error::success();
  }

  /// What has the weight of an embedding with rows of its own has the rows too. PEFT ties them
  /// where the model's configuration says so, which a base does not have.
  Error tieTokens() {
    std::map<const void *, llvm::SmallVector<const AdaptedModule *, 2>> byWeight;
    for (const BaseModules::Entry &entry : base_->entries())
      if (auto it = modules_.find(entry.module);
          it != modules_.end() && it->second.tokens && base_->isTied(it->second.weight))
        byWeight[mil::addressOf(it->second.weight)].push_back(&it->second);
    for (const BaseModules::Entry &entry : base_->entries()) {
      TensorData weight = base_->tensor(entry.module, "weight");
      auto rows = byWeight.find(mil::addressOf(weight));
      if (rows == byWeight.end() || !(*base_)[entry.module].callable)
        continue;
      AdaptedModule &module = moduleOf(entry.module, entry.path);
      if (module.tokens)
        continue;
      const AdaptedModule &owner = *rows->second.front();
      for (const AdaptedModule *other : rows->second)
        if (!(*other->tokens == *owner.tokens))
          return makeError(Code::AdapterKind,
                           "the adapter has rows for tokens of '{0}' and others of '{1}', which "
                           "have the same weight, and '{2}' has it too; trace the adapted model "
                           "and give it as --function NAME=MODEL.pt",
                           owner.path, other->path, module.path);
      module.tokens = owner.tokens;
      tied_.insert(module.index);
      warnings_.push_back(
          {Code::AdapterKind,
           fmt::format("'{0}' has the weight of '{1}', and is given its rows for tokens, as PEFT "
                       "does where the model's configuration ties the two (tie_word_embeddings); "
                       "where it does not, trace the adapted model and give it as --function "
                       "NAME=MODEL.pt",
                       module.path, owner.path)});
    }
    return Error::success();
  }

  /// What PEFT computes of rows for tokens.
  Error finishTokens(const AdaptedModule &module) const {
    bool isHead = module.layer.kind == Layer::Linear;
    if (module.layer.kind != Layer::Embedding && !isHead)
      return makeError(Code::AdapterLayer,
                       "module '{0}' has rows for tokens, and is neither an embedding nor a linear "
                       "layer; trace the adapted model and give it as --function NAME=MODEL.pt",
                       module.path);
    if (!module.branches.empty() || module.replaced.count("weight"))
      return makeError(
          Code::AdapterKind,
          "module '{0}' has rows for tokens and is adapted otherwise too, which is not "
          "supported; trace the adapted model and give it as --function NAME=MODEL.pt",
          module.path);
    if (isHead && module.bias)
      return makeError(Code::AdapterKind,
                       "module '{0}' has the weight of an embedding with rows for tokens, and a "
                       "bias, which PEFT leaves out then; trace the adapted model and give it as "
                       "--function NAME=MODEL.pt",
                       module.path);
    return Error::success();
  }

  /// Tensors that no computation of their kind uses, in the modules where they are.
  void dropForeignFactors() {
    for (auto &[object, module] : modules_) {
      auto &adapters = adapterOf_[object];
      for (size_t i = 0; i < module.branches.size();) {
        AdapterBranch &branch = module.branches[i];
        const auto &config = configOf(*adapters[i]);
        for (auto it = branch.factors.begin(); it != branch.factors.end();) {
          if (hasPart(branch.kind, it->first, config)) {
            ++it;
            continue;
          }
          unmatched(*adapters[i], it->second.key, it->second.tensor,
                    name(branch.kind) + llvm::Twine(" has no such part") +
                        (it->first == "lora_magnitude_vector"
                             ? " where the configuration lacks use_dora"
                             : ""));
          it = branch.factors.erase(it);
        }
        if (branch.factors.empty()) {
          module.branches.erase(module.branches.begin() + i);
          adapters.erase(adapters.begin() + i);
        } else {
          ++i;
        }
      }
    }
  }

  AdapterBranch &branchOf(AdaptedModule &module, const Item &item) {
    auto [it, isNew] = branches_.try_emplace({module.index, item.adapter}, module.branches.size());
    if (isNew) {
      module.branches.emplace_back();
      adapterOf_[module.index].push_back(item.adapter);
    }
    return module.branches[it->second];
  }

  Error reportUnmatched() {
    if (unmatched_.empty())
      return Error::success();
    std::string text = fmt::format(
        "{0} tensor{1} of the adapter belong{2} to no module of the base:", unmatched_.size(),
        unmatched_.size() == 1 ? "" : "s", unmatched_.size() == 1 ? "s" : "");
    for (StringRef line : llvm::ArrayRef(unmatched_).take_front(kMaxListed))
      text += ("\n  " + line).str();
    if (unmatched_.size() > kMaxListed)
      text += fmt::format("\n  and {0} more", unmatched_.size() - kMaxListed);
    for (const auto &[adapter, count] : unmatchedOf_)
      if (count == adapter->file->tensors().size())
        return makeError(
            Code::AdapterUnmatched,
            "{0}\n{1}no tensor of it is left, so that the function would be the base{2}", text,
            where(*adapter),
            likely_.empty() ? "; give the model that the adapter was trained on" : ": " + likely_);
    if (!allowUnmatched_)
      return makeError(Code::AdapterUnmatched, "{0}\n--allow-unmatched goes on without them", text);
    warnings_.push_back({Code::AdapterUnmatched, std::move(text)});
    return Error::success();
  }

  // ---- VeRA ----

  /// Of the sizes that PEFT draws them in: the largest of all modules.
  Error drawMissingProjections() {
    for (const AdapterUse &adapter : adapters_) {
      const auto &config = configOf(adapter);
      if (!config || !config->projectionSeed || projections_.count(&adapter))
        continue;
      if (incomplete_.count(&adapter))
        return makeError(Code::AdapterTensor,
                         "{0}PEFT draws the projections of this adapter (save_projection=False) in "
                         "the sizes of its largest modules, and the base lacks some of them; save "
                         "it with save_projection=True",
                         where(adapter));
      int64_t in = 0, out = 0;
      for (const auto &[object, module] : modules_) {
        for (auto [branch, owner] : llvm::zip(module.branches, adapterOf_[object])) {
          const TensorData *vector = branch.find("vera_lambda_d");
          if (owner != &adapter || !vector || !module.weight || module.weight.rank() != 2)
            continue;
          if (vector->numElements() != config->rank)
            return makeError(Code::AdapterTensor,
                             "{0}module '{1}': its vectors have rank {2}, and adapter_config.json "
                             "says {3}",
                             where(adapter), module.path, vector->numElements(), config->rank);
          bool transposed = (*base_)[object].layer.kind == Layer::TransposedLinear;
          out = std::max(out, module.weight.shape()[transposed ? 1 : 0]);
          in = std::max(in, module.weight.shape()[transposed ? 0 : 1]);
        }
      }
      if (in == 0 || out == 0)
        continue;
      projections_[&adapter] = drawProjections(*config, in, out);
    }
    return Error::success();
  }

  // ---- Scales ----

  Error finish(AdaptedModule &module) {
    // What has no code is reported once the base is lowered, with what the base does instead.
    if ((module.branches.empty() && !module.tokens) || !(*base_)[module.index].callable)
      return Error::success();
    module.layer = (*base_)[module.index].layer;
    if (module.tokens)
      return finishTokens(module);
    for (auto [branch, adapter] : llvm::zip(module.branches, adapterOf_[module.index]))
      if (Error error = finishBranch(module, branch, *adapter))
        return addContext(std::move(error), where(*adapter) + "module '" + module.path + "'");
    return checkBlend(module);
  }

  Error finishBranch(AdaptedModule &module, AdapterBranch &branch, const AdapterUse &adapter) {
    const auto &config = configOf(adapter);
    branch.dilated = config && config->adaptive;
    branch.leadingKron = config && branch.kind == AdapterKind::Lokr;
    if (config && config->dora && !branch.find("lora_magnitude_vector"))
      return makeError(Code::AdapterTensor,
                       "'lora_magnitude_vector' is missing, and the configuration says use_dora");
    if (branch.kind == AdapterKind::Vera)
      for (const auto &[name, factor] : projections_[&adapter])
        branch.factors[name] = factor;
    if (branch.kind == AdapterKind::Ia3 && config && config->feedforward.given) {
      auto feedforward = config->feedforward.endsIn(module.name);
      if (!feedforward)
        return feedforward.takeError();
      branch.feedforward = *feedforward;
    }
    auto rank = checkBranch((*base_)[module.index].type, module, branch);
    if (!rank)
      return rank.takeError();
    AdapterKey key = adapter.file->parse(branch.factors.begin()->second.key);
    StringRef name = module.name;
    bool isModule = name.consume_front(key.part) && (name.empty() || name.starts_with("."));
    auto scale = branchScale(config, module.name, branch, *rank,
                             {adapter.scale, adapter.file->isOfDiffusers(key, isModule)});
    if (!scale)
      return scale.takeError();
    if (lacksScale(config, branch))
      lacking_.insert(&adapter);
    branch.scale = *scale * adapter.weight;
    return Error::success();
  }

  /// A scale is given for the adapters that have none; one that none needs is a mistake.
  Error checkGivenScales() const {
    auto given = llvm::find_if(adapters_, [](const AdapterUse &use) { return use.scale; });
    if (given == adapters_.end() || !lacking_.empty())
      return Error::success();
    return makeError(Code::AdapterScale,
                     "{0} is given, and the adapter says its scale itself, by adapter_config.json, "
                     "metadata or a tensor 'alpha'; take the option away, or put it behind the "
                     "--adapter that it is for",
                     given->scale->isAlpha ? "--lora-alpha" : "--lora-scale");
  }

  Error checkBlend(const AdaptedModule &module) {
    for (auto [branch, adapter] : llvm::zip(module.branches, adapterOf_[module.index])) {
      if (branch.dora && (module.branches.size() > 1 || adapter->weight != 1))
        return makeError(Code::AdapterBlend,
                         "module '{0}': a DoRA adapter cannot be blended with others or weighted, "
                         "since its magnitude belongs to one sum of weights",
                         module.path);
      bool isAlone = llvm::none_of(parameters_, [&, owner = adapter](const auto &changed) {
        return std::get<0>(changed.first) == module.index && std::get<1>(changed.first) != owner;
      });
      if (!isAlone && (branch.dora || branch.kind == AdapterKind::Ia3))
        return makeError(Code::AdapterBlend,
                         "module '{0}': {1} cannot be blended with an adapter that adds to the "
                         "module's parameters",
                         module.path, branch.dora ? "a DoRA adapter" : "(IA)3");
      if (branch.kind != module.branches[0].kind ||
          branch.feedforward != module.branches[0].feedforward)
        return makeError(Code::AdapterBlend,
                         "module '{0}': adapters of the kinds {1} and {2} cannot be blended",
                         module.path, name(module.branches[0].kind), name(branch.kind));
    }
    return Error::success();
  }

  llvm::ArrayRef<AdapterUse> adapters_;
  bool allowUnmatched_;
  std::vector<Warning> &warnings_;
  AdapterPlan plan_;
  std::shared_ptr<BaseModules> base_;
  std::vector<Item> items_;
  AdapterRoot root_;
  std::map<const AdapterUse *, std::string> partOf_;
  std::vector<std::string> unmatched_;
  std::map<const AdapterUse *, size_t> unmatchedOf_;
  std::string likely_;                        ///< the tool that unmatched tensors look like ones of
  std::set<const AdapterUse *> lacking_;      ///< that do not say their scale
  std::set<const AdapterUse *> incomplete_;   ///< with vectors of VeRA that are unmatched
  std::map<unsigned, AdaptedModule> modules_; ///< by number of the base
  std::set<unsigned> tied_;                   ///< with the rows for tokens of another
  /// What changes parameters, by module, adapter and attribute.
  std::map<std::tuple<unsigned, const AdapterUse *, std::string>, const Item *> parameters_;
  std::map<std::pair<unsigned, const AdapterUse *>, size_t> branches_;
  std::map<unsigned, std::vector<const AdapterUse *>> adapterOf_;
  std::map<const AdapterUse *, std::map<std::string, AdapterBranch::Factor>> projections_;
};

Expected<AdapterPlan> AdapterPlan::make(std::shared_ptr<const mil::ModuleTree> base,
                                        llvm::ArrayRef<AdapterUse> adapters,
                                        const std::optional<std::string> &root, bool allowUnmatched,
                                        std::vector<Warning> &warnings) {
  return PlanMaker(std::move(base), adapters, allowUnmatched, warnings).make(root);
}

} // namespace plait::adapters
