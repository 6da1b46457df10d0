// Running one operation in a test: as part of a function with run-time inputs, folded by the
// RuntimeEvaluator, and in fp16, each held against what is expected.
#pragma once

#include "mil/Builder.h"
#include "runtime/Interpreter.h"
#include "runtime/RuntimeEvaluator.h"

#include <gtest/gtest.h>

namespace plait::runtime {

/// An operand: a tensor that is a run-time input of the function (a constant where the parameter
/// must be one), or a literal.
struct Bind {
  Bind(unsigned param, at::Tensor tensor) : param(param), tensors{std::move(tensor)} {}
  Bind(unsigned param, std::vector<at::Tensor> tensors) : param(param), tensors(tensors) {}
  Bind(mil::Arg literal) : param(literal.param), literal(std::move(literal)) {}

  unsigned param;
  std::vector<at::Tensor> tensors;
  std::optional<mil::Arg> literal;
  /// The element type of the operand; that of the tensor when absent.
  std::optional<mil::DType> dtype;
  /// A constant although the parameter would take a run-time value.
  bool fixed = false;
  Bind constant() && {
    fixed = true;
    return std::move(*this);
  }
  Bind as(mil::DType type) && {
    dtype = type;
    return std::move(*this);
  }
};

/// A literal operand.
template <typename T> Bind lit(unsigned param, T value) { return Bind(mil::Arg(param, value)); }
inline Bind lit(unsigned param, std::initializer_list<int64_t> values) {
  return Bind(mil::Arg(param, values));
}
Bind flags(unsigned param, std::initializer_list<bool> values);

using Binds = std::vector<Bind>;

/// The results of one operation on these operands; fails the test and returns nothing on an error.
std::vector<at::Tensor> runOp(mil::OpKind kind, const Binds &binds,
                              Compute compute = Compute::Float32);
/// The message of the error that running the operation gives.
std::string failureOf(mil::OpKind kind, const Binds &binds);

/// Runs the operation on run-time inputs, on constants, and in fp16 where its tensors are fp32
/// (they should hold numbers that fp16 holds), and compares every result.
void check(mil::OpKind kind, const Binds &binds, const std::vector<at::Tensor> &expected,
           double tolerance = 1e-5);
inline void check(mil::OpKind kind, const Binds &binds, const at::Tensor &expected,
                  double tolerance = 1e-5) {
  check(kind, binds, std::vector<at::Tensor>{expected}, tolerance);
}

/// Normal numbers that fp16 holds exactly, the same ones in every run.
at::Tensor randn(at::IntArrayRef shape, uint64_t seed = 0);
/// Integers in [low, high).
at::Tensor randint(int64_t low, int64_t high, at::IntArrayRef shape, uint64_t seed = 0);
/// The nearest numbers that fp16 holds.
inline at::Tensor half(const at::Tensor &x) { return x.to(at::kHalf).to(at::kFloat); }
at::Tensor ints(std::initializer_list<int64_t> values);
at::Tensor floats(std::initializer_list<double> values);

/// Equal shapes, and elements within tolerance * (1 + |expected|); NaN equals NaN.
void expectClose(const at::Tensor &actual, const at::Tensor &expected, double tolerance,
                 const char *what);

} // namespace plait::runtime
