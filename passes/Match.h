// Matchers: expressions that mirror a piece of a graph. They match from its last operation upwards.
//
//   Captures c{};
//   // x * sigmoid(x)
//   if (match(v, binary(OpKind::mul, value(0), unary(OpKind::sigmoid, value(0))), c))
//     … c[0] …
//
// `value(n)` binds slot n the first time and must see the same value afterwards. Operands of
// `commutative` match in either order. A failed attempt leaves no binding behind.
#pragma once

#include "passes/Constants.h"

#include <array>
#include <cmath>

namespace plait::passes {

using Captures = std::array<mil::Value *, 8>;

/// The operation that computes `value` if it is of this kind, else null.
inline mil::Op *definedBy(const mil::Value *value, mil::OpKind kind) {
  return value && value->def() && value->def()->is(kind) ? value->def() : nullptr;
}

template <typename Matcher>
bool match(mil::Value *value, const Matcher &matcher, Captures &captures) {
  return value && matcher(value, captures);
}

/// Any value; the same one wherever the slot is named.
inline auto value(unsigned slot) {
  return [=](mil::Value *v, Captures &c) {
    if (!c[slot])
      c[slot] = v;
    return c[slot] == v;
  };
}

/// A tensor constant, whatever its elements.
inline auto constant(unsigned slot) {
  return [=](mil::Value *v, Captures &c) { return mil::constTensor(v) && value(slot)(v, c); };
}

/// A constant whose elements are all `expected`, to three digits: models hold such constants in
/// any precision.
inline auto splat(double expected) {
  return [=](mil::Value *v, Captures &) {
    std::optional<double> found = splatValue(v);
    return found && std::abs(*found - expected) <= 1e-3 * std::abs(expected);
  };
}

/// A constant whose elements are all equal.
inline auto anySplat(unsigned slot) {
  return [=](mil::Value *v, Captures &c) { return splatValue(v) && value(slot)(v, c); };
}

/// Whether log, rsqrt or inverse adds more to its operand than keeps it from being 0.
inline bool addsEpsilon(const mil::Op &op) {
  if (!op.is(mil::OpKind::log) && !op.is(mil::OpKind::rsqrt) && !op.is(mil::OpKind::inverse))
    return false;
  std::optional<double> epsilon = splatValue(op[1]);
  return epsilon ? *epsilon > 1e-9 : op.is(mil::OpKind::inverse);
}

/// An operation whose first parameter matches, and that adds nothing to it of its own.
template <typename X> auto unary(mil::OpKind kind, X x) {
  return [=](mil::Value *v, Captures &c) {
    mil::Op *op = definedBy(v, kind);
    return op && !addsEpsilon(*op) && match((*op)[0], x, c);
  };
}

/// An operation whose first two parameters match, in order.
template <typename X, typename Y> auto binary(mil::OpKind kind, X x, Y y) {
  return [=](mil::Value *v, Captures &c) {
    mil::Op *op = definedBy(v, kind);
    return op && match((*op)[0], x, c) && match((*op)[1], y, c);
  };
}

/// The same in either order.
template <typename X, typename Y> auto commutative(mil::OpKind kind, X x, Y y) {
  return [=](mil::Value *v, Captures &c) {
    Captures before = c;
    if (binary(kind, x, y)(v, c))
      return true;
    c = before;
    if (binary(kind, y, x)(v, c))
      return true;
    c = before;
    return false;
  };
}

/// The first alternative that matches.
template <typename A, typename B> auto either(A a, B b) {
  return [=](mil::Value *v, Captures &c) {
    Captures before = c;
    if (a(v, c))
      return true;
    c = before;
    return b(v, c);
  };
}

} // namespace plait::passes
