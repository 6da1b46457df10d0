// How a weight is compressed, as people write it.
//
//   scheme   := 'none' | part ('+' part)*                   the parts in the order of the table
//   part     := prune | preset | palette | linear | lowrank
//   preset   := 'q8' | 'q6' | 'q4'
//   prune    := 'prune' PERCENT '%' | 'prune' N ':' M       N of every M along the input axis
//   linear   := 'int8' | 'uint8' | 'int4' | 'uint4' ['[' grain ']']
//   palette  := 'palette' BITS ['[' option (',' option)* ']']
//   option   := grain | 'table int8' | 'vector' V           V numbers along the output axis
//   grain    := 'tensor' | 'channel' | 'group' N | 'block' N
//   lowrank  := 'lowrank' RANK                              of what the others change
//
//   int8                      a scale for each output channel (int4: for blocks of 32 inputs)
//   palette4[group 16]        a table of 16 for each 16 output channels
//   prune50% + palette4       half of the weights are zeros, the others from a table of 16
//   q4 + lowrank16            beside a table, two thin matrices whose product is nearest to the
//   error
//
// `uint8` and `uint4` have zero points, `int8` and `int4` none.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <optional>
#include <string>

namespace plait::compress {

/// What shares a scale or a table.
struct Grain {
  enum class Kind : uint8_t {
    Tensor,
    Channel, ///< one output channel
    Group,   ///< `size` output channels
    Block,   ///< `size` inputs of one output channel
  } kind = Kind::Tensor;
  int64_t size = 1;

  std::string str() const;
  friend bool operator==(const Grain &, const Grain &) = default;
};

struct Scheme {
  struct Prune {
    double percent = 0; ///< of all weights, where `of` is 0
    unsigned zeros = 0, of = 0;
    friend bool operator==(const Prune &, const Prune &) = default;
  };
  struct Palette {
    unsigned bits = 4; ///< 1, 2, 3, 4, 6, 8
    Grain grain;
    bool tableInt8 = false; ///< tables are int8 with a scale each
    unsigned vector = 1;    ///< numbers that one index stands for
    friend bool operator==(const Palette &, const Palette &) = default;
  };
  struct Linear {
    unsigned bits = 8; ///< 4 or 8
    bool hasZeroPoint = false;
    Grain grain;
    friend bool operator==(const Linear &, const Linear &) = default;
  };
  std::optional<Prune> prune;
  std::optional<Palette> palette; ///< at most one of these two
  std::optional<Linear> linear;
  unsigned lowRank = 0; ///< of the correction of their error; 0: there is none

  bool isNone() const { return !prune && !palette && !linear; }
  /// As it would be written, every choice said.
  std::string str() const;
  friend bool operator==(const Scheme &, const Scheme &) = default;
};

/// An error says what a scheme looks like.
Expected<Scheme> parseScheme(llvm::StringRef text);

} // namespace plait::compress
