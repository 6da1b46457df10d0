// Reads tests/mil/data/shapes.txt; tests/python/make_shape_table.py describes its lines.
#pragma once

#include "mil/Builder.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"

#include <map>

namespace plait::table {

/// "f16" as in the table, and the names of sub-byte types beside it.
inline mil::DType dtypeOf(llvm::StringRef text) {
  using mil::DType;
  static const std::map<std::string, DType> names = {
      {"f16", DType::F16},   {"f32", DType::F32},    {"i32", DType::I32}, {"i16", DType::I16},
      {"i8", DType::I8},     {"u8", DType::U8},      {"u16", DType::U16}, {"u32", DType::U32},
      {"bool", DType::Bool}, {"str", DType::String}, {"i4", DType::I4},   {"u1", DType::U1},
      {"u2", DType::U2},     {"u3", DType::U3},      {"u4", DType::U4},   {"u6", DType::U6}};
  return names.at(text.str());
}

/// Numbers separated by commas; what is none is a dynamic dimension.
inline mil::Shape shapeOf(llvm::StringRef text) {
  mil::Shape shape;
  llvm::SmallVector<llvm::StringRef> parts;
  text.split(parts, ',', -1, false);
  for (llvm::StringRef part : parts) {
    int64_t size = 0;
    shape.push_back(part.getAsInteger(10, size) ? mil::Dim::unknown() : mil::Dim(size));
  }
  return shape;
}

/// One operation of the table.
struct Line {
  explicit Line(llvm::StringRef text) : text(text) {
    auto [head, tail] = text.split(" -> ");
    head.split(words, ' ');
    results = tail;
  }
  llvm::StringRef text, results;
  /// The operation's name, then parameter=value.
  llvm::SmallVector<llvm::StringRef> words;
  llvm::StringRef operation() const { return words[0]; }
};

/// All lines but comments; the buffer holds their text.
inline std::vector<Line> readLines(const llvm::MemoryBuffer &buffer) {
  llvm::SmallVector<llvm::StringRef> texts;
  buffer.getBuffer().split(texts, '\n', -1, false);
  std::vector<Line> lines;
  for (llvm::StringRef text : texts)
    if (!text.starts_with("#"))
      lines.emplace_back(text);
  return lines;
}

/// The value that a text of the table stands for: an input of the function, or a constant. With
/// `retyped` it has that element type instead, unless it is a string.
inline mil::Value *valueOf(mil::Builder &builder, llvm::StringRef text,
                           std::optional<mil::DType> retyped = std::nullopt) {
  using namespace mil;
  auto typeOf = [&](llvm::StringRef name) { return retyped.value_or(dtypeOf(name)); };
  if (auto [dtype, scalar] = text.split(':'); !scalar.empty()) {
    if (dtype == "str")
      return builder.constant(Attr::string(scalar));
    double number = 0;
    scalar.getAsDouble(number);
    return builder.constant(TensorData::splat(typeOf(dtype), {}, number));
  }
  if (text.ends_with(")")) {
    auto [dtype, list] = text.drop_back().split('(');
    std::vector<double> numbers;
    for (const Dim &d : shapeOf(list))
      numbers.push_back(double(d.value()));
    return builder.constant(TensorData::from<double>(DType::F64, {int64_t(numbers.size())}, numbers)
                                .cast(typeOf(dtype)));
  }
  bool ones = text.consume_back("!");
  auto [dtype, list] = text.drop_back().split('[');
  Shape shape = shapeOf(list);
  if (ones)
    return builder.constant(TensorData::splat(typeOf(dtype), *constShape(shape), 1));
  Function &function = builder.function();
  return function.addInput(Type::tensor(typeOf(dtype), shape),
                           "p" + std::to_string(function.inputs().size()));
}

} // namespace plait::table
