// Compresses the weights of a program: each one once, whatever the number of functions and
// operations that use it.
//
//   rules                                   the last one that fits a weight decides
//     palette4[group 16]                    every weight of more than 2048 numbers, but adapters'
//     lm_head=int8                          that parameter, or the parameters of that module
//     *.mlp.*=palette6                      by a pattern: * stands for anything, ? for one letter
//     conv=none                             the weights of that kind of operation
//     adapters=int8                         the matrices of low-rank adapters
//
// A weight whose parameter nobody knows is called after its constant. Where a rule's word is the
// whole name of a weight, the weight may have any size.
#pragma once

#include "compress/Compressor.h"

#include <functional>

namespace plait::compress {

/// "palette4", "lm_head=int8".
struct Rule {
  std::string pattern; ///< empty: all
  Scheme scheme;
};
Expected<Rule> parseRule(llvm::StringRef text);

/// Weights of at most as many numbers stay as they are unless they are named.
inline constexpr int64_t kSmallWeight = 2048;

/// What became of one weight.
struct WeightResult {
  std::string name;
  llvm::SmallVector<int64_t, 5> shape;
  mil::DType dtype = mil::DType::F16;
  unsigned functions = 0; ///< that use it
  bool ofAdapter = false;
  std::string skipped; ///< why it stays as it is; empty where it is compressed
  /// Of one that is compressed:
  std::string scheme, note;
  uint64_t bytes = 0;
  double bitsPerWeight = 0, snr = 0, largestError = 0;

  int64_t count() const;
};

struct ProgramOptions : CompressorOptions {
  std::vector<Rule> rules;
  /// Whether a const is the matrix of an adapter.
  std::function<bool(const mil::Op &)> isAdapter = [](const mil::Op &) { return false; };
  /// Told how much of the numbers is done; false stops with an error.
  std::function<bool(double done)> proceed = [](double) { return true; };
};

struct ProgramResult {
  std::vector<WeightResult> weights; ///< of more than kSmallWeight numbers, or named
  unsigned small = 0;                ///< weights that are not listed for their size
  /// The share of the numbers of listed weights, adapters' apart, that are compressed; 100 of none.
  double coverage() const;
};

/// An error, for example of a rule that fits nothing, may leave the program half changed.
Expected<ProgramResult> compressProgram(mil::Program &program, const ProgramOptions &options);

} // namespace plait::compress
