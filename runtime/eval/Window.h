// What convolutions and pools share: their padding.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace plait::runtime {

/// Elements added before and after each spatial axis, as MIL's `pad_type` asks: "valid" none,
/// "custom" those of `pad`, "same" and "same_lower" as many as give ceil(input / stride) windows;
/// the odd one goes after for "same" and before for "same_lower". `kernel` is the dilated extent.
struct Padding {
  std::vector<int64_t> before, after;
  bool symmetric() const { return before == after; }
};
Padding padding(const std::string &padType, const std::vector<int64_t> &pad,
                const std::vector<int64_t> &input, const std::vector<int64_t> &kernel,
                const std::vector<int64_t> &strides);

/// The amounts in the order that LibTorch's constant_pad_nd takes: last axis first.
std::vector<int64_t> padAmounts(const Padding &padding);

} // namespace plait::runtime
