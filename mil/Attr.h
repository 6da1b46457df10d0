// Compile-time values: what a `const` holds and what attributes of functions and operations hold.
#pragma once

#include "mil/TensorData.h"

#include <string>
#include <variant>
#include <vector>

namespace plait::mil {

/// A numeric or bool tensor, a string tensor, or a list, tuple or dictionary of attributes.
class Attr {
public:
  using Dict = std::vector<std::pair<Attr, Attr>>;

  Attr() = default;
  Attr(TensorData tensor) : type_(tensor.type()), value_(std::move(tensor)) {}
  static Attr string(llvm::StringRef value);
  static Attr strings(std::vector<std::string> values, llvm::ArrayRef<int64_t> shape);
  static Attr boolean(bool value) { return TensorData::scalar(value); }
  static Attr integer(int32_t value) { return TensorData::scalar(value); }
  static Attr list(Type element, std::vector<Attr> values);
  static Attr tuple(std::vector<Attr> values);
  static Attr dict(Type key, Type value, Dict entries);

  const Type &type() const { return type_; }
  /// Null unless a numeric or bool tensor.
  const TensorData *tensor() const { return std::get_if<TensorData>(&value_); }
  /// Null unless a string tensor; one element for a scalar.
  const std::vector<std::string> *strings() const {
    return std::get_if<std::vector<std::string>>(&value_);
  }
  /// Null unless a scalar string.
  const std::string *string() const;
  /// Null unless a list or tuple.
  const std::vector<Attr> *elements() const { return std::get_if<std::vector<Attr>>(&value_); }
  const Dict *dict() const { return std::get_if<Dict>(&value_); }

  /// Equal types and contents; tensors by tree, or by bytes where both are at hand.
  friend bool operator==(const Attr &a, const Attr &b);

private:
  Type type_;
  std::variant<std::monostate, TensorData, std::vector<std::string>, std::vector<Attr>, Dict>
      value_;
};

} // namespace plait::mil
