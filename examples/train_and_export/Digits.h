// The images that make_digits.py writes.
//
//   file    := "DIGITS01" count image* label*
//   count   := u32, little endian
//   image   := 64 bytes, 8 rows of 8 pixels, each 0 to 16
//   label   := one byte, 0 to 9
#pragma once

#include <torch/torch.h>

#include <cstring>
#include <fstream>
#include <stdexcept>

struct Digits {
  torch::Tensor images; ///< [n, 1, 8, 8], 0 to 1
  torch::Tensor labels; ///< [n], int64

  static Digits read(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    char magic[8] = {};
    uint32_t count = 0;
    file.read(magic, 8).read(reinterpret_cast<char *>(&count), 4);
    if (!file || std::memcmp(magic, "DIGITS01", 8) != 0)
      throw std::runtime_error(path + ": not a file that make_digits.py wrote; run it first");
    torch::Tensor pixels = torch::empty({count, 1, 8, 8}, torch::kByte);
    torch::Tensor labels = torch::empty({count}, torch::kByte);
    file.read(static_cast<char *>(pixels.data_ptr()), pixels.numel());
    file.read(static_cast<char *>(labels.data_ptr()), labels.numel());
    if (!file)
      throw std::runtime_error(path + ": the file is too short; write it again");
    return {pixels.to(torch::kFloat) / 16, labels.to(torch::kLong)};
  }

  Digits slice(int64_t begin, int64_t end) const {
    return {images.slice(0, begin, end), labels.slice(0, begin, end)};
  }
};
