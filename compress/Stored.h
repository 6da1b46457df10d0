// Weights that were compressed before the model was saved: coremltools.optimize.torch (GPTQ,
// SqueezeLLM, DKM, training with quantisation, pruning) leaves a parameter of dequantised numbers,
// and beside it buffers that say what they stand for:
//
//   fc1.weight                                    numbers, in fp32 or fp16
//   fc1._COREML_/weight/compression_type          [2, 3]: palettes, whose tables are integers
//   fc1._COREML_/weight/lut                       [groups of each axis.., entries, vector]
//   fc1._COREML_/weight/quantization_scale …      and zero_point, quantization_n_bits
//   fc1._COREML_/weight/palettization_scale       what numbers were divided by before
//
// Integers and indices are recovered: they are those for which the scale and the table give the
// numbers that are there. Where one number is not among these, nothing is compressed.
#pragma once

#include "compress/Compressor.h"
#include "mil/ModuleTree.h"

namespace plait::compress {

struct StoredForm {
  std::string path;      ///< of the parameter
  mil::TensorData value; ///< that it holds
  enum Type : uint8_t { Pruned = 1, Palette = 2, Integers = 3 };
  llvm::SmallVector<Type, 3> types; ///< in the order in which they were applied
  unsigned bits = 0;                ///< of integers
  mil::TensorData scale, zeroPoint, table, paletteScale;
  std::optional<int64_t> vectorAxis;
  std::string unread; ///< why the buffers cannot be read; empty where they can
};

/// What the buffers of a model say.
std::vector<StoredForm> storedForms(const mil::ModuleTree &model);

/// The parts of a weight of `dtype`, which is fp16 or fp32, whose numbers are the parameter's; or
/// why they are not what the buffers say.
Expected<Outcome> recoverStored(const StoredForm &form, mil::DType dtype,
                                const CompressorOptions &options);

} // namespace plait::compress
