// Pickles as torch.save writes them, put together from operations.
#pragma once

#include "llvm/ADT/StringRef.h"

#include <initializer_list>
#include <string>

namespace plait::test {

inline std::string textOp(llvm::StringRef text) {
  std::string op = "X";
  for (int i = 0; i < 4; ++i)
    op += char(text.size() >> (8 * i));
  return op + text.str();
}

inline std::string numberOp(int64_t value) {
  std::string op = "\x8a\x08";
  for (int i = 0; i < 8; ++i)
    op += char(uint64_t(value) >> (8 * i));
  return op;
}

inline std::string tupleOp(std::initializer_list<int64_t> values) {
  std::string op = "(";
  for (int64_t value : values)
    op += numberOp(value);
  return op + "t";
}

/// A tensor of 16 elements' storage in record data/7.
inline std::string tensorOp(int64_t offset, std::initializer_list<int64_t> shape,
                            std::initializer_list<int64_t> strides, const char *type = "Float",
                            const std::string &metadata = "") {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + textOp("storage") + "ctorch\n" + type +
         "Storage\n" + textOp("7") + textOp("cpu") + "K\x10tQ" + numberOp(offset) + tupleOp(shape) +
         tupleOp(strides) + "\x89N" + metadata + "tR";
}

inline std::string dictOp(const std::string &entries) { return "\x80\x02}(" + entries + "u."; }

} // namespace plait::test
