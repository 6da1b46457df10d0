// Constants in fp16: what becomes of a value that fp16 does not hold, by how it is used.
#pragma once

#include "passes/Pass.h"

namespace plait::passes {

/// How an operation uses a constant.
enum class ConstantRole : uint8_t {
  Other,
  Added,   ///< to something, or chosen in its stead: a mask if it looks like one
  Mask,    ///< reaches a softmax: worth reading wherever it lies
  Guarded, ///< reaches a softmax through a maximum, which raises what is -inf
};

ConstantRole roleOf(const mil::Op &op, unsigned param);

/// A constant in fp16.
struct HalfConstant {
  mil::TensorData tensor;
  /// The first value that is beyond fp16 and has no counterpart in it: the operation has to be
  /// computed in fp32.
  std::optional<double> beyond = std::nullopt;
  /// The first value that saturated because it stands for infinity.
  std::optional<double> saturated = std::nullopt;
  /// What it holds everywhere is smaller than what fp16 has. The tensor holds the smallest number
  /// in its place.
  std::optional<double> vanished = std::nullopt;
  /// It holds whole numbers, and this one becomes another.
  std::optional<double> inexact = std::nullopt;
  bool wasRead = false; ///< else it is large and lies in a file
  /// It holds values beyond fp16: another operation may do something else about them.
  bool dependsOnUse = false;
};

/// The operand `param` of `op` in fp16. What is large and lies in a file is not read, unless it is
/// a mask.
HalfConstant halfConstant(const mil::Op &op, unsigned param, const mil::TensorData &tensor,
                          ConstantRole role);

/// A logarithm is taken of its result: that of 1e-10 is far from that of the smallest number of
/// fp16.
bool feedsLog(const mil::Op &op);

/// Results may be as large as operands: an operation that hands them on or computes with them, and
/// does not bring them back into a small interval.
bool mayBeLargeAfter(const mil::Op &op);

} // namespace plait::passes
