// What plait uses of LibTorch beyond its public interface (torch/script.h, torch/torch.h, the
// operators and the graph IR). Such parts change between LibTorch's versions without notice, so
// that all of them are in this folder, under internal/, and each has a fallback on the public
// interface:
//
//   internal/MappedArchive   unpickler, importer, upgraders: models load without copies of weights
//                            fallback: torch::jit::load, with copies
//   internal/Trace           the tracer: live modules and callables
//                            fallback: a refusal that says to script the model; there is no other
//   internal/DebugRanges     ranges of the graph's nodes and debug records: lines in messages
//                            fallback: what SourceRange::str() prints
//
// A LibTorch that one of them does not compile against is served by configuring with
// -DPLAIT_LIBTORCH_INTERNALS=OFF, which leaves internal/ out, until that one is mended.
#pragma once

#include "frontend/archive/ArchiveLayout.h"
#include "support/MappedFile.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <functional>
#include <memory>
#include <optional>

namespace plait::libtorch {

using FilePtr = std::shared_ptr<const MappedFile>;
using LayoutPtr = std::shared_ptr<const ArchiveLayout>;

/// A call whose operations are recorded.
struct TraceCall {
  torch::jit::Module self; ///< its parameters and buffers become GetAttr of the graph's first input
  std::vector<at::Tensor> inputs; ///< of which those after it are
  std::vector<std::string> names; ///< theirs
  std::function<c10::IValue(const std::vector<at::Tensor> &)> call;
  /// Called while nothing of the call runs, every few milliseconds; what it throws ends the trace.
  std::function<void()> step = [] {};
};

/// A number that the call read out of a tensor which depends on its inputs: `item()`, a comparison
/// in an `if`. No trace can hold what it decides.
struct ValueRead {
  size_t operation; ///< the one that made the tensor, counted from 1; 0: it is an input
  std::string name; ///< that one's, "aten::sum"
  bool operator==(const ValueRead &) const = default;
};

struct Recording {
  /// Simplified as LibTorch does it.
  std::shared_ptr<torch::jit::Graph> graph;
  /// In their order, each place once. What is read through a pointer is not seen.
  std::vector<ValueRead> reads;
};

/// Whether operations are numbered by it: constants and attributes are not.
bool isOperation(const torch::jit::Node &node);

struct SourceLocation;

/// Functions throw what LibTorch throws, and std::runtime_error.
struct Internals {
  /// The newest form of archives that the loader reads.
  uint64_t maxArchiveVersion;
  /// The module of a torch.jit.save archive, its storages over the mapping.
  torch::jit::Module (*loadModule)(const FilePtr &, const LayoutPtr &);
  Recording (*trace)(TraceCall);
  std::optional<SourceLocation> (*locate)(const torch::jit::SourceRange &);
};

/// Null where they are not built in, or are switched off.
const Internals *internals();

/// Of builds without internal/, while it lives: tests of the fallbacks. Not for several threads.
class WithoutInternals {
public:
  WithoutInternals();
  ~WithoutInternals();
  WithoutInternals(const WithoutInternals &) = delete;
};

/// What is built in; null in a build without internal/.
const Internals *builtInInternals();

} // namespace plait::libtorch
