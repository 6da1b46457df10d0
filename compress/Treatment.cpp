// Rules and stored forms, asked for one layer.
#include "compress/Treatment.h"

#include "compress/Rules.h"

#include "llvm/ADT/STLExtras.h"

namespace plait::compress {

using namespace mil;

/// Whether outputs are compressed without a look at others than those of their group, of which
/// `rows` are a whole number.
static bool worksByGroup(const Scheme &scheme, int64_t rows) {
  auto fits = [&](const Grain &grain) {
    return grain.kind == Grain::Kind::Group ? rows % grain.size == 0
                                            : grain.kind != Grain::Kind::Tensor;
  };
  return !(scheme.prune && scheme.prune->of == 0) && scheme.lowRank == 0 &&
         (!scheme.palette || fits(scheme.palette->grain)) &&
         (!scheme.linear || fits(scheme.linear->grain));
}

uint64_t treatmentOf(const Op &layer, llvm::ArrayRef<Rule> rules,
                     llvm::ArrayRef<StoredForm> stored) {
  uint64_t own = reinterpret_cast<uintptr_t>(&layer);
  const Value *constant = layer[linear::weight];
  const TensorData &weight = *constTensor(constant);
  std::vector<std::string> names = parametersOf(weight);
  if (llvm::any_of(stored,
                   [&](const StoredForm &form) { return llvm::is_contained(names, form.path); }))
    return own;
  names.push_back(constant->name.str());
  uint64_t number = 0;
  bool named = false;
  for (auto [index, rule] : llvm::enumerate(rules))
    if (Fit fit = fitOf(rule, names, {layer.info().name}, /*ofAdapter=*/false); fit != Fit::None) {
      number = index + 1;
      named = fit == Fit::Name;
    }
  if (number == 0 || rules[number - 1].scheme.isNone())
    return number;
  bool isSmall = weight.numElements() <= kSmallWeight && !named;
  return isSmall || !worksByGroup(rules[number - 1].scheme, weight.shape()[0]) ? own : number;
}

} // namespace plait::compress
