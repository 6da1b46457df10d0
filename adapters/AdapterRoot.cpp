// Matching the ends of the base's paths with the adapter's.
#include "adapters/AdapterRoot.h"

#include "adapters/ForeignKeys.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::adapters {

using llvm::StringRef;

/// All places where one of the adapter's modules is, by path.
using Roots = std::map<std::string, AdapterRoot>;

/// Where `path` ends in the key's module: the path before it. `flat` is `path` with '_' for '.'.
static std::optional<StringRef> rootOf(StringRef path, StringRef flat, const AdapterKey &key) {
  StringRef whole = key.flattened ? flat : path;
  if (!whole.ends_with(key.module))
    return std::nullopt;
  size_t before = path.size() - key.module.size();
  if (before == 0)
    return StringRef();
  return path[before - 1] == '.' ? std::optional(path.take_front(before - 1)) : std::nullopt;
}

/// The roots, and the number of modules that the items are of.
static std::pair<Roots, size_t> findRoots(const BaseModules &base,
                                          llvm::ArrayRef<AdapterItem> items) {
  llvm::StringMap<const AdapterKey *> wanted;
  for (const AdapterItem &item : items)
    if (!item.parsed.module.empty() && !item.isProjection())
      wanted.try_emplace(item.parsed.module, &item.parsed);
  Roots roots;
  for (const BaseModules::Entry &entry : base.entries()) {
    std::string flat = entry.path;
    std::replace(flat.begin(), flat.end(), '.', '_');
    for (const auto &[module, key] : wanted)
      if (auto path = rootOf(entry.path, flat, *key)) {
        AdapterRoot &root = roots[path->str()];
        root.path = path->str();
        auto [it, isNew] = root.matches.try_emplace(module.str(), entry.module);
        if (!isNew && it->second != entry.module)
          root.ambiguous.try_emplace(module.str(), entry.path);
      }
  }
  return {std::move(roots), wanted.size()};
}

static size_t mostMatches(const Roots &roots) {
  size_t most = 0;
  for (const auto &[path, root] : roots)
    most = std::max(most, root.matches.size());
  return most;
}

std::pair<size_t, size_t> countMatches(const BaseModules &base, llvm::ArrayRef<AdapterItem> items) {
  auto [roots, wanted] = findRoots(base, items);
  size_t most = mostMatches(roots);
  return {most, wanted - most};
}

static Error explainNoMatch(const BaseModules &base, const AdapterItem &item) {
  StringRef wanted = item.parsed.module;
  if (base.isFlat())
    return makeError(Code::AdapterRoot,
                     "the base has no modules left that an adapter could be applied to: it was "
                     "frozen (torch.jit.freeze, optimize_for_inference), exported flat, or traced "
                     "from a function; save it with torch.jit.save right after torch.jit.trace or "
                     "torch.jit.script of the module itself");
  for (StringRef inner = wanted.split('.').second; inner.contains('.');
       inner = inner.split('.').second)
    if (llvm::any_of(base.entries(), [&](const BaseModules::Entry &entry) {
          return entry.path == inner || StringRef(entry.path).ends_with(("." + inner).str());
        }))
      return makeError(Code::AdapterRoot,
                       "no module of the base is one that the adapter changes: it changes '{0}' "
                       "and the base has '{1}', so that it is a part of the model that was "
                       "adapted; trace a wrapper that holds the whole model and calls that part",
                       wanted, inner);
  std::vector<std::string> examples;
  for (const BaseModules::Entry &entry : base.entries())
    if (!entry.path.empty() && base.tensor(entry.module, "weight") && examples.size() < 3)
      examples.push_back("'" + entry.path + "'");
  std::string likely = likelyTool(item.key);
  return makeError(Code::AdapterRoot,
                   "no module of the base is one that the adapter changes: it changes '{0}' and "
                   "the base has {1} …; give the model that the adapter was trained on, or a "
                   "wrapper around it{2}",
                   wanted, llvm::join(examples, ", "),
                   likely.empty() ? "" : "; tensor '" + item.key + "': " + likely);
}

Expected<AdapterRoot> chooseRoot(const BaseModules &base, llvm::ArrayRef<AdapterItem> items,
                                 const std::optional<std::string> &given) {
  auto [roots, wanted] = findRoots(base, items);
  if (given) {
    if (!base.find(*given)) {
      llvm::SmallVector<StringRef> known;
      for (const BaseModules::Entry &entry : base.entries())
        known.push_back(entry.path);
      return makeError(Code::AdapterRoot,
                       "the base has no module '{0}'{1}, which is given as the adapter's root",
                       *given, didYouMean(*given, known));
    }
    AdapterRoot root = roots[*given];
    root.path = *given;
    return root;
  }
  if (wanted == 0) // all of it belongs to the model itself
    return AdapterRoot();
  if (roots.empty())
    return explainNoMatch(base, items[0]);
  size_t most = mostMatches(roots);
  std::vector<const AdapterRoot *> candidates, called;
  for (const auto &entry : roots) {
    const AdapterRoot &root = entry.second;
    if (root.matches.size() == most && llvm::none_of(candidates, [&](const AdapterRoot *other) {
          return other->matches == root.matches;
        }))
      candidates.push_back(&root);
  }
  // Of one module under two names a trace has the code under one.
  llvm::copy_if(candidates, std::back_inserter(called), [&](const AdapterRoot *root) {
    return llvm::any_of(root->matches,
                        [&](const auto &match) { return base[match.second].callable; });
  });
  if (!called.empty())
    candidates = std::move(called);
  if (candidates.size() > 1) {
    std::vector<std::string> paths;
    for (const AdapterRoot *root : candidates)
      paths.push_back(root->path);
    return makeError(Code::AdapterRoot,
                     "the adapter fits {0} parts of the base: '{1}'; say which one was adapted "
                     "with --adapter-root",
                     paths.size(), llvm::join(paths, "', '"));
  }
  return *candidates[0];
}

} // namespace plait::adapters
