// Dimensions of shapes: constants, or normalised expressions over named input dimensions.
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace plait::mil {

/// The size of one dimension: a constant, or a polynomial with integer coefficients over atoms. An
/// atom is a named symbol (an input's dynamic dimension, at least 1) or floordiv, mod, min or max
/// of two Dims. Expressions are normalised when built, so equal normal forms prove equal sizes;
/// unequal ones prove nothing unless the difference is a constant. A value type: cheap to copy,
/// immutable, safe to share between threads.
class Dim {
public:
  Dim(int64_t value = 0) : value_(value) {}
  /// A dynamic dimension; symbols of one name are equal. Bounds are inclusive.
  static Dim symbol(llvm::StringRef name, int64_t lower = 1, int64_t upper = INT64_MAX);
  /// A symbol that equals no other: a size that nothing is known of ("?" in MIL text).
  static Dim unknown();

  bool isConst() const { return !expr_; }
  /// Throws std::logic_error unless isConst(): no size that is not known becomes a number.
  int64_t value() const;
  /// The value if constant.
  std::optional<int64_t> tryValue() const;
  bool isSymbol() const;

  friend Dim operator+(const Dim &a, const Dim &b);
  friend Dim operator-(const Dim &a, const Dim &b);
  friend Dim operator*(const Dim &a, const Dim &b);
  /// Rounds towards minus infinity. A division by the constant 0 throws std::logic_error.
  friend Dim floordiv(const Dim &a, const Dim &b);
  friend Dim ceildiv(const Dim &a, const Dim &b);
  /// Result has the sign of b.
  friend Dim floormod(const Dim &a, const Dim &b);
  friend Dim min(const Dim &a, const Dim &b);
  friend Dim max(const Dim &a, const Dim &b);

  /// Proved equal (same normal form).
  friend bool operator==(const Dim &a, const Dim &b);

  /// Inclusive bounds from the bounds of the symbols; INT64_MIN/MAX where none is known.
  int64_t lower() const;
  int64_t upper() const;

  /// The value with each symbol replaced; nullopt when a symbol has none.
  std::optional<int64_t>
  evaluate(llvm::function_ref<std::optional<int64_t>(llvm::StringRef)> valueOf) const;

  /// What a Dim is made of: a sum of terms, each a coefficient times factors. For emitting it as
  /// operations.
  struct Factor;
  struct Term {
    int64_t coefficient;
    std::vector<Factor> factors;
  };
  std::vector<Term> terms() const;

  /// "128", "s0", "2*s0 + 1", "floordiv(s0, 2)".
  std::string str() const;

  struct Expr;

private:
  explicit Dim(std::shared_ptr<const Expr> expr) : expr_(std::move(expr)) {}
  static Dim fromExpr(Expr expr);
  static Dim atom(int kind, const Dim &a, const Dim &b);
  static Expr toExpr(const Dim &d);

  int64_t value_ = 0;
  std::shared_ptr<const Expr> expr_;
};

/// A symbol by name, or a binary operation on a and b.
struct Dim::Factor {
  enum Kind { Symbol, FloorDiv, Mod, Min, Max } kind;
  std::string name;
  Dim a, b;
};

/// A static shape if every dimension is constant.
std::optional<llvm::SmallVector<int64_t, 6>> constShape(llvm::ArrayRef<Dim> shape);
/// Product of the dimensions.
Dim numElements(llvm::ArrayRef<Dim> shape);
int64_t numElements(llvm::ArrayRef<int64_t> shape);
/// "[1, 6000]"
std::string str(llvm::ArrayRef<Dim> shape);

} // namespace plait::mil
