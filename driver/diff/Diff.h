// How two programs differ in meaning: names of values and operations are no matter, nor where
// weights lie.
#pragma once

#include "mil/Evaluator.h"
#include "mil/IR.h"
#include "support/Error.h"

#include "llvm/Support/JSON.h"

namespace plait::driver {

/// One thing that is other: an attribute, a parameter, a type. Texts are empty where a side has
/// none.
struct Difference {
  std::string what, a, b;
};

struct DiffOperation {
  std::string kind, name;
  std::string place; ///< where in the model it comes from; "" where nobody knows
};

struct ChangedOperation {
  DiffOperation a, b;
  std::vector<Difference> differences;
};

/// A function of A beside one of B.
struct FunctionDiff {
  std::string a, b; ///< names: they differ where all else is the same
  std::vector<Difference> interface;
  size_t same = 0; ///< operations
  std::vector<ChangedOperation> changed;
  std::vector<DiffOperation> onlyA, onlyB;
  /// Too much differs for operations to be paired; all that have no partner are in the lists above.
  bool isUnlike = false;

  bool isSame() const {
    return interface.empty() && changed.empty() && onlyA.empty() && onlyB.empty();
  }
};

/// A weight of A and what stands in its place in B, once however many functions use it.
struct WeightDiff {
  std::string a, b;         ///< paths of parameters, or names where those are not known
  std::string typeA, typeB; ///< with the kind of operation that decompresses it
  uint64_t bytesB = 0;
  uint64_t elements = 0; ///< of A
  std::optional<uint64_t>
      different{};             ///< elements that are not the same bits; of one type and shape
  std::optional<double> snr{}; ///< dB, of B beside A; where it was asked for
  std::optional<double> maxAbsolute{};  ///< likewise
  std::vector<std::string> functions{}; ///< of A
};

struct PackageDiff {
  std::vector<Difference> package; ///< metadata, default function, specification version
  std::vector<std::string> onlyA, onlyB;
  std::vector<FunctionDiff> functions; ///< those in both
  std::vector<WeightDiff> weights;     ///< largest first
  uint64_t sameWeights = 0, sameWeightBytes = 0;

  bool isSame() const;
};

struct DiffOptions {
  bool snr = false;                    ///< compare weights that differ number by number
  mil::Evaluator *evaluator = nullptr; ///< for compressed weights, with `snr`
};

/// Of two packages, compiled models or MIL texts.
Expected<PackageDiff> diffPackages(llvm::StringRef a, llvm::StringRef b,
                                   const DiffOptions &options = {});

/// `plait diff --json`.
llvm::json::Object toJson(const PackageDiff &diff);

} // namespace plait::driver
