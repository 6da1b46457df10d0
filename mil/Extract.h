// Cuts one operation out of a program, for tests and for looking at it alone.
//
//   func f(x) {                             {.value = "d"}             {.value = "d", .depth = 1}
//     h = linear(x, weight = A, bias = a);    func main(h) {             func main(x) {
//     d = linear(h, weight = B, bias = b);      d = linear(h, B, b);       h = linear(x, A, a);
//     y = add(d, x);                          } -> (d);                    d = linear(h, B, b);
//   } -> (y);                                                            } -> (d);
#pragma once

#include "mil/IR.h"

namespace plait::mil {

struct ExtractOptions {
  /// The name of a value that an operation computes.
  std::string value;
  /// How many steps before the operation come along.
  unsigned depth = 0;
  /// The function that it is in; may be empty where only one function has such a value.
  std::string function = {};
};

/// A program of one function, `main`: the operation that computes the value, and the operations up
/// to `depth` steps before it. Constants come along, constexpr_* ones too. Every other operand
/// becomes an input of its name and type; all results of the operation become outputs. What was
/// written to a state before is no operand, so it stays behind.
///
/// An error where there is no such operation: the value is an input or a constant, nothing has the
/// name, or several functions have it.
Expected<std::unique_ptr<Program>> extract(const Program &program, const ExtractOptions &options);

} // namespace plait::mil
