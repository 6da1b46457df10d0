// Comparing what the adapters change of two names of a module.
#include "adapters/AliasedModules.h"

#include "adapters/Tensors.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::adapters {

/// Whether two modules are only given new parameters and rows, and the same ones.
static bool changeAlike(const AdaptedModule &one, const AdaptedModule *other) {
  if (!other || !one.branches.empty() || !one.differences.empty())
    return false;
  if (one.tokens && !(other->tokens && *one.tokens == *other->tokens))
    return false;
  return llvm::all_of(one.replaced, [&](const auto &replaced) {
    auto twin = other->replaced.find(replaced.first);
    return twin != other->replaced.end() && areEqual(twin->second, replaced.second);
  });
}

/// Whether all that the adapters change of one they change of the other.
static bool changeBoth(const AdaptedModule &one, const AdaptedModule *other) {
  return other && one.branches.empty() == other->branches.empty() &&
         llvm::all_of(one.changedAttributes(),
                      [&](const std::string &name) { return other->changes(name); });
}

Error checkNames(BaseModules &base, const std::map<unsigned, AdaptedModule> &modules,
                 const std::set<unsigned> &tied) {
  auto changesOf = [&](unsigned module) {
    auto it = modules.find(module);
    return it == modules.end() ? nullptr : &it->second;
  };
  for (const BaseModules::Entry &entry : base.entries()) {
    const AdaptedModule *module = changesOf(entry.module);
    if (!module || module->path != entry.path)
      continue;
    bool isTied = tied.count(entry.module) && module->replaced.empty();
    const BaseModules::Entry *alias = isTied ? nullptr : base.aliasOf(entry.module);
    if (alias && base[entry.module].calledAgain && !changeAlike(*module, changesOf(alias->module)))
      return makeError(Code::AdapterLayer,
                       "module '{0}' of the base is '{1}' too, and is called more than once: a "
                       "trace does not tell calls by one name from those by the other, and PEFT "
                       "adapts what is called by one alone; trace the adapted model and give it as "
                       "--function NAME=MODEL.pt",
                       module->path, alias->path);
    const BaseModules::Entry *twin =
        base[entry.module].callable ? base.scriptedTwin(entry.path) : nullptr;
    if (twin && !changeBoth(*module, changesOf(twin->module)))
      return makeError(Code::AdapterLayer,
                       "the adapter changes '{0}' and not '{1}', and the modules of the base that "
                       "they are parts of have the same parameters: where they are one module that "
                       "is used twice PEFT adapts both uses, and a scripted file does not tell; "
                       "trace the base, or trace the adapted model and give it as --function "
                       "NAME=MODEL.pt",
                       module->path, twin->path);
  }
  return Error::success();
}

} // namespace plait::adapters
