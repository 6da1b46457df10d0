// An exported program computed by LibTorch's kernels, operator by operator, as it was saved: what a
// package made from it is held against. No LibTorch type appears here.
#pragma once

#include "frontend/Frontend.h"

namespace plait::frontend {

class ExportedEvaluation {
public:
  /// A tensor that was computed from the inputs. Views are left out: they hold what their operand
  /// holds.
  struct Step {
    std::string operation; ///< "aten::linear"
    std::string module;    ///< "encoder.layer.0"; empty for the model itself
    std::string source;    ///< "model.py:12 in forward: …", as far as known
    mil::TensorData value;
    std::vector<unsigned> operands; ///< earlier steps that it was computed from
    bool isOutput = false;
  };

  /// `path` may name a model of an archive ("model.pt2:NAME"); the values take the place of its
  /// own. A model of half precision throughout is computed in fp32.
  static Expected<std::shared_ptr<ExportedEvaluation>> load(llvm::StringRef path,
                                                            std::vector<ParameterValue> values);
  virtual ~ExportedEvaluation() = default;

  /// Results in order for tensors in order. What the program writes to its own tensors, the next
  /// call sees.
  virtual Expected<std::vector<mil::TensorData>> call(llvm::ArrayRef<mil::TensorData> inputs) = 0;
  /// A call that gives every tensor on the way: those inside branches and loops are not among them.
  virtual Expected<std::vector<Step>> trace(llvm::ArrayRef<mil::TensorData> inputs) = 0;
  /// Its tensors hold what the file has.
  virtual void reset() = 0;
  /// They hold what they held before the last call.
  virtual void undo() = 0;
  /// All but those of these names, and what shares memory with them, hold what the file has. Gives
  /// the paths of those that held something else.
  virtual std::vector<std::string> resetBut(llvm::ArrayRef<std::string> kept) = 0;
  /// The buffer at this path, or whose path makes this name, as it is now.
  virtual Expected<std::optional<mil::TensorData>> attribute(llvm::StringRef name) = 0;
  /// The floating-point tensors of the model.
  virtual std::vector<mil::TensorData> tensors() = 0;
};

/// Whether the file at `path`, which may name a model of it, is an archive of torch.export.
bool isExportedFile(llvm::StringRef path);

} // namespace plait::frontend
