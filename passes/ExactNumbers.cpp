// Forward, what each value comes from; backward, what leads to where it matters.
#include "passes/ExactNumbers.h"

#include "mil/Computation.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/STLExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

/// What a floating-point value is computed from by arithmetic alone.
enum class Source : uint8_t {
  Counted, ///< integers and constants
  Given,   ///< inputs of the function, too
  Other,   ///< a layer, a norm, an activation
};

bool isFloating(const Value *value) {
  return value->type.isTensor() && isFloat(value->type.dtype());
}

bool isArithmetic(const Op &op) {
  switch (op.kind()) {
  case OpKind::abs:
  case OpKind::add:
  case OpKind::ceil:
  case OpKind::clip:
  case OpKind::cos:
  case OpKind::cumsum:
  case OpKind::exp:
  case OpKind::exp2:
  case OpKind::floor:
  case OpKind::floor_div:
  case OpKind::inverse:
  case OpKind::log:
  case OpKind::maximum:
  case OpKind::minimum:
  case OpKind::mod:
  case OpKind::mul:
  case OpKind::pow:
  case OpKind::real_div:
  case OpKind::reverse:
  case OpKind::round:
  case OpKind::sign:
  case OpKind::sin:
  case OpKind::sqrt:
  case OpKind::square:
  case OpKind::sub:
    return true;
  case OpKind::matmul: { // of positions and frequencies: each result is one product
    auto shape = op[matmul::x]->type.shape();
    bool transposed = constBool(op[matmul::transpose_x]).value_or(false);
    return shape.size() >= 2 && shape[shape.size() - (transposed ? 2 : 1)] == Dim(1);
  }
  default:
    return computes(op, Moves);
  }
}

/// Of numbers that are counted these are counts as well.
bool isReduction(OpKind kind) {
  return kind == OpKind::reduce_sum || kind == OpKind::reduce_max || kind == OpKind::reduce_min ||
         kind == OpKind::reduce_mean || kind == OpKind::reduce_prod;
}

/// A small error of the operands is a large one of the result, or of what follows.
bool magnifies(OpKind kind) {
  switch (kind) {
  case OpKind::ceil:
  case OpKind::cos:
  case OpKind::cumsum:
  case OpKind::floor:
  case OpKind::floor_div:
  case OpKind::mod:
  case OpKind::round:
  case OpKind::sin:
    return true;
  default:
    return false;
  }
}

bool compares(const Op &op) {
  return computes(op, Binary) && op.result()->type.dtype() == DType::Bool &&
         op[0]->type.dtype() != DType::Bool;
}

class Exactness {
public:
  llvm::DenseSet<const Op *> find(const Function &function) {
    std::vector<const Op *> ops;
    walk(const_cast<Block &>(function.body()), [&](Op &op) {
      ops.push_back(&op);
      Source source = sourceOf(op);
      for (const auto &result : op.results())
        if (isFloating(result.get()))
          sources_[result.get()] = source;
    });
    for (const Op *op : ops)
      look(*op);
    return std::move(exact_);
  }

private:
  Source of(const Value *value) const {
    if (isCompileTime(value))
      return Source::Counted;
    if (!value->def())
      return value->block()->parentOp() ? Source::Other : Source::Given;
    auto found = sources_.find(value);
    return found == sources_.end() ? Source::Other : found->second;
  }

  /// Of the results. Control flow gives anything.
  Source sourceOf(const Op &op) const {
    if (op.is(OpKind::cast) && !isFloating(op[cast::x]))
      return Source::Counted;
    if (op.is(OpKind::range_1d) || op.is(OpKind::fill))
      return Source::Counted;
    bool gathers =
        op.is(OpKind::gather) || op.is(OpKind::gather_nd) || op.is(OpKind::gather_along_axis);
    if (gathers && isCompileTime(op[0]))
      return Source::Other; // an embedding
    bool reduces = isReduction(op.kind());
    if (!op.blocks().empty() || (!isArithmetic(op) && !reduces))
      return Source::Other;
    Source source = Source::Counted;
    for (const Operand &operand : op.operands())
      if (isFloating(operand))
        source = std::max(source, of(operand));
    return reduces && source != Source::Counted ? Source::Other : source;
  }

  bool isConstant(const Op &op) const {
    return llvm::all_of(op.operands(), [](const Value *value) { return isCompileTime(value); });
  }

  void look(const Op &op) {
    if (op.is(OpKind::cast)) {
      if (isFloating(op[cast::x]) && isInteger(op.result()->type.dtype()) &&
          of(op[cast::x]) != Source::Other)
        lead(op[cast::x], Source::Given);
    } else if (magnifies(op.kind())) {
      if (!op.results().empty() && isFloating(op.result()) && of(op.result()) != Source::Other)
        lead(op.result(), Source::Given);
    } else if (compares(op)) {
      if (!isConstant(op) && isFloating(op[0]) && of(op[0]) == Source::Counted &&
          of(op[1]) == Source::Counted) {
        exact_.insert(&op);
        lead(op[0], Source::Counted);
        lead(op[1], Source::Counted);
      }
    } else if (op.is(OpKind::resample)) {
      lead(op[resample::coordinates], Source::Other);
    } else if (op.is(OpKind::random_categorical)) {
      lead(op[random_categorical::x], Source::Other);
    }
  }

  /// The arithmetic that computes `value`, as far as its results come from no more than `least`.
  void lead(const Value *value, Source least) {
    llvm::SmallVector<const Value *, 16> work{value};
    while (!work.empty()) {
      const Op *op = work.pop_back_val()->def();
      if (!op || op->numResults() == 0 || !isFloating(op->result()) || of(op->result()) > least)
        continue;
      bool follows = isArithmetic(*op) || isReduction(op->kind());
      if (!follows || op->is(OpKind::cast) || !exact_.insert(op).second)
        continue;
      for (const Operand &operand : op->operands())
        if (isFloating(operand) && !isCompileTime(operand))
          work.push_back(operand);
    }
  }

  llvm::DenseMap<const Value *, Source> sources_;
  llvm::DenseSet<const Op *> exact_;
};

} // namespace

llvm::DenseSet<const Op *> exactOperations(const Function &function) {
  return Exactness().find(function);
}

} // namespace plait::passes
