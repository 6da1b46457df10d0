// What the rules of limit-rank share. A rule makes the operation again on tensors of rank 5 or
// less: it looks at operands as coarser shapes, in which neighbouring axes that the operation
// treats alike are one axis, and gives the results as such coarse tensors.
#pragma once

#include "passes/Match.h"
#include "passes/Rewrite.h"

namespace plait::passes {

inline constexpr unsigned kMaxRank = 5;

/// What the result of a reshape, squeeze or expand_dims is made of; null for other values.
mil::Value *reshapeSource(const mil::Value *value);

/// At most kMaxRank axes: the first ones are joined.
mil::Shape joinedShape(llvm::ArrayRef<mil::Dim> shape);
/// Results and variables of branches and loops (LimitRankRegions.cpp).
bool limitRegionRanks(mil::Program &program);

/// Runs of neighbouring axes that become one axis each.
class AxisGroups {
public:
  /// The label of an axis that stays an axis of its own.
  static constexpr int kAlone = -1;

  /// Neighbours of equal label are joined. Axes of one element belong to no group, unless they
  /// stand alone. There is at least one group.
  AxisGroups(llvm::ArrayRef<mil::Dim> shape, llvm::ArrayRef<int> labels);

  size_t size() const { return groups_.size(); }
  llvm::ArrayRef<unsigned> operator[](size_t group) const { return groups_[group]; }
  /// The group that holds the axis.
  std::optional<unsigned> of(unsigned axis) const;
  /// A shape of the same rank, with the axes of each group multiplied.
  mil::Shape coarse(llvm::ArrayRef<mil::Dim> shape) const;

private:
  llvm::SmallVector<llvm::SmallVector<unsigned, 6>, 6> groups_;
};

/// The operation that is made again, and the operations made for it, which go before it.
class RankRewrite {
public:
  using Labels = llvm::SmallVector<int, 8>;
  using Ints = llvm::SmallVector<int64_t, 8>;
  using Bools = llvm::SmallVector<bool, 8>;

  explicit RankRewrite(mil::Op &op);

  mil::Op &op;
  mil::Builder builder;

  llvm::ArrayRef<mil::Dim> shape(unsigned param) const { return op[param]->type.shape(); }
  llvm::ArrayRef<mil::Dim> resultShape(unsigned index = 0) const {
    return op.result(index)->type.shape();
  }
  std::optional<int64_t> axis(unsigned param, unsigned rank) const;

  /// `x` under another shape of as many elements; poison where that shape cannot be written. What
  /// only reshaped `x` to a rank that is too high is passed over.
  mil::Value *view(mil::Value *x, llvm::ArrayRef<mil::Dim> shape);
  mil::Value *view(mil::Value *x, llvm::ArrayRef<int64_t> shape) {
    return view(x, mil::Shape(shape.begin(), shape.end()));
  }
  /// A shape as an int32 vector; poison where an input shows no such size.
  mil::Value *sizes(llvm::ArrayRef<mil::Dim> shape);
  /// The operation once more, with these parameters bound otherwise; null after an error.
  mil::Op *again(llvm::ArrayRef<mil::Arg> changed);
  mil::Value *againOne(llvm::ArrayRef<mil::Arg> changed);
  /// `x`, seen as `shape`, with its axes in another order, in as few transposes of rank 5 or less
  /// as are found.
  mil::Value *transposed(mil::Value *x, mil::Shape shape, Ints perm);
  /// An operand of `param` that is a vector with an element an axis, cut down to these axes.
  mil::Value *pick(mil::Value *vector, llvm::ArrayRef<int64_t> axes);

  /// The results under their own shapes in place of the operation's; undoes all where one is
  /// poison. Returns whether the operation was replaced.
  bool finish(llvm::ArrayRef<mil::Value *> coarse);

private:
  mil::Value *symbolValue(llvm::StringRef name);

  mil::Op *previous_; ///< what stood before the operation; null for nothing
};

/// A rule gives the coarse results, or nothing where the operation is no case of it.
using RankResults = llvm::SmallVector<mil::Value *, 2>;
using RankRule = RankResults (*)(RankRewrite &);

/// The rule for operations of a kind; null where there is none. One file a family.
RankRule elementwiseRankRule(mil::OpKind kind); // LimitRank.cpp
RankRule axesRankRule(mil::OpKind kind);        // LimitRankAxes.cpp: along axes, slices, joins
RankRule indexRankRule(mil::OpKind kind);       // LimitRankIndices.cpp: gather, scatter, products

} // namespace plait::passes
