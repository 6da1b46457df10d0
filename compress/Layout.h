// The axes of a weight as its users see them, and what of it shares a scale or a table.
//
//   linear [out, in]        conv [out, in, kh, kw]        conv_transpose [in, out, kh, kw]
//   matmul [.., in, out], with transpose_y [.., out, in]  gather [rows, features]: rows are outputs
//
// Numbers are looked at in the order (out, in, the others): a row is what one output is made of. In
// most weights that is the order in which they lie.
#pragma once

#include "compress/Scheme.h"
#include "mil/IR.h"

namespace plait::compress {

struct Axes {
  unsigned out = 0;
  std::optional<unsigned> in; ///< none of a vector
  friend bool operator==(const Axes &, const Axes &) = default;
};

/// The axes by which an operation reads a constant; nullopt where the table of operations does not
/// say (an addition reads every element alike): then rows are those of the first axis.
std::optional<Axes> axesOf(const mil::Op &user, const mil::Value *weight);

/// A weight in the order (out, in, others).
struct Layout {
  Layout(llvm::ArrayRef<int64_t> shape, Axes axes);

  Axes axes;
  llvm::SmallVector<int64_t, 5> shape; ///< as it lies
  llvm::SmallVector<int64_t, 5> perm;  ///< to (out, in, others)
  bool inOrder;                        ///< perm changes nothing
  int64_t rows, inputs, inner;         ///< numbers in all: the product

  int64_t rowLength() const { return inputs * inner; }
  int64_t count() const { return rows * rowLength(); }
};

/// What shares parameters: `rows` rows, and of each of them `inputs` inputs.
struct Cells {
  Grain grain; ///< where what was asked for does not divide, what is next to it
  int64_t rows = 0, inputs = 0;
  /// The shape of a scale, in the axes of the weight.
  llvm::SmallVector<int64_t, 5> shape;
  /// "groups of 13 in place of 16, which 26 rows do not divide into"; empty where all is as asked.
  std::string note;
};
Cells cellsOf(const Layout &layout, Grain grain);

} // namespace plait::compress
