// What a package holds, as plain data: functions with their interfaces and operations, weights and
// the functions that share them.
#pragma once

#include "backend/NearSharing.h"
#include "mil/IR.h"

#include "llvm/Support/JSON.h"

namespace plait {

struct PackageSummary {
  struct Feature {
    std::string name;
    mil::Type type;
    std::optional<mil::PixelFormat> image = {};
    std::string description = {};
    /// Names of dimensions that inputs have in common, "" of others; empty where there are none.
    std::vector<std::string> sizes = {};
    std::optional<double> defaultValue = {};
    /// Of an input with dynamic dimensions: the shapes that it may have, where they are listed, and
    /// the one that it has without a request; empty where nothing is known.
    std::vector<llvm::SmallVector<int64_t, 5>> shapes = {};
    llvm::SmallVector<int64_t, 5> defaultShape = {};
  };
  /// A constant that lies in a weight file.
  struct Weight {
    std::string name; ///< of the `const` operation
    mil::Type type;
    unsigned blob; ///< index into `blobs`
  };
  struct Function {
    std::string name;
    std::vector<Feature> inputs, states, outputs;
    /// Arguments of the model that are no inputs, and what they are.
    std::map<std::string, std::string> constants;
    /// Inputs that the app hands on from call to call, and the outputs that they come from.
    std::map<std::string, std::string> handedOn;
    std::map<std::string, unsigned>
        operations;              ///< how many of each, nested blocks included, without `const`
    std::vector<Weight> weights; ///< in program order
    uint64_t weightBytes = 0;    ///< of the distinct blobs that it uses
  };
  struct Blob {
    uint64_t offset = 0; ///< of the data in its weight file
    uint64_t bytes = 0;
    mil::DType dtype = mil::DType::F16;
    std::vector<unsigned> functions; ///< those that use it, ascending
  };

  int specificationVersion = 0;
  std::string defaultFunction; ///< the only function of a plain package
  mil::Metadata metadata;
  std::vector<Function> functions; ///< in the order of the model description
  std::vector<Blob> blobs;         ///< those that a function uses, in order of first use

  uint64_t fileBytes = 0;       ///< of all weight files
  uint64_t blobCount = 0;       ///< as the files' headers say
  uint64_t uniqueBytes = 0;     ///< of all `blobs`
  uint64_t referencedBytes = 0; ///< the same, a blob once for each function that uses it

  std::vector<NearlyShared> nearlyShared; ///< largest first; empty unless asked for

  /// Function by function, the bytes of the blobs that both use; on the diagonal, those that one
  /// uses.
  std::vector<std::vector<uint64_t>> sharingMatrix() const;
  /// Of each function, the bytes of the blobs that no other uses.
  std::vector<uint64_t> ownBytes() const;
};

/// With `nearSharing`, weights are compared too, which reads those that are near.
Expected<PackageSummary> inspectPackage(llvm::StringRef path, bool nearSharing = false);

/// `plait inspect --json`.
llvm::json::Value toJson(const PackageSummary &summary);

/// The type as text; a dynamic dimension is its range, "?" where nothing is known of it, behind its
/// name where `names` has one.
std::string describe(const mil::Type &type, llvm::ArrayRef<std::string> names = {});

} // namespace plait
