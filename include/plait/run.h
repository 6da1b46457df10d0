// Packages run in plait's reference interpreter.
#pragma once

#include <plait/exception.h>

#ifdef PLAIT_CXX20
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace plait {
inline namespace v0 {

/// What an element is. Named as in MIL, but for `boolean`, whose name is "bool".
enum class ElementType {
  fp16,
  fp32,
  fp64,
  bf16,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  boolean,
  other, ///< none of these: a text, or what a newer package may have
};

/// "fp16", "bool"; "" of `other`.
PLAIT_API std::string_view name(ElementType type) noexcept;
/// `other` of a name that is none of theirs.
PLAIT_API ElementType elementType(std::string_view name) noexcept;

namespace detail {

/// Of the bits of an fp16 number.
inline float halfToFloat(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t(bits & 0x8000u) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1Fu, fraction = bits & 0x3FFu;
  if (exponent == 0) { // fraction * 2^-24
    const float value = float(fraction) * 0x1p-24f;
    return sign ? -value : value;
  }
  const std::uint32_t wide = exponent == 0x1Fu ? 0xFFu : exponent + (127 - 15);
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

/// The element type that a C++ type is; `other` for one that is none.
template <typename T> constexpr ElementType elementTypeOf() {
  if constexpr (std::is_same_v<T, bool>)
    return ElementType::boolean;
  else if constexpr (std::is_same_v<T, float>)
    return ElementType::fp32;
  else if constexpr (std::is_same_v<T, double>)
    return ElementType::fp64;
  else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>)
    return sizeof(T) == 1   ? ElementType::int8
           : sizeof(T) == 2 ? ElementType::int16
           : sizeof(T) == 4 ? ElementType::int32
                            : ElementType::int64;
  else if constexpr (std::is_integral_v<T>)
    return sizeof(T) == 1   ? ElementType::uint8
           : sizeof(T) == 2 ? ElementType::uint16
           : sizeof(T) == 4 ? ElementType::uint32
                            : ElementType::uint64;
  else
    return ElementType::other;
}

/// Throws where elements of `type` are not made of values of `given`, which take `size` bytes each.
PLAIT_API void checkElements(std::string_view type, ElementType given, std::size_t size);
[[noreturn]] PLAIT_API void refuseValues(std::string_view array, std::string_view wanted);
[[noreturn]] PLAIT_API void refuseSize(std::string_view array, std::size_t bytes);

} // namespace detail

/// A value of a function's interface.
struct ValueInfo {
  std::string name;
  std::string type; ///< as in MIL: "fp16", "fp32", "int32", "bool" …
  /// Bounds of each dimension in elements, equal where it is fixed.
  struct Range {
    std::int64_t lower, upper;
  };
  std::vector<Range> shape;
  /// Of an input: what every element is where it is not given.
  std::optional<double> defaultValue = {};

  ElementType elementType() const { return v0::elementType(type); }
};

struct FunctionInfo {
  std::string name;
  std::vector<ValueInfo> inputs, outputs, states;
};

/// Elements in row-major order, of a type named as in MIL, in the machine's byte order; bool is one
/// byte an element, 0 or 1.
struct Array {
  std::string type;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;

  ElementType elementType() const { return v0::elementType(type); }

  /// Of the element type that T is: fp32 for float, int32 for std::int32_t, bool for bool. There
  /// are as many values as the shape says; run() throws where there are not.
  template <typename T>
  static Array of(std::vector<std::int64_t> shape, const std::vector<T> &values) {
    static_assert(detail::elementTypeOf<T>() != ElementType::other,
                  "an array holds float, double, bool or an integer type");
    return of(detail::elementTypeOf<T>(), std::move(shape), values);
  }
  /// `T` is what `type` says, or an unsigned integer of its size: std::uint16_t for the bits of
  /// fp16. Throws where it is neither.
  template <typename T>
  static Array of(std::string type, std::vector<std::int64_t> shape, const std::vector<T> &values) {
    detail::checkElements(type, detail::elementTypeOf<T>(), sizeof(T));
    Array array{std::move(type), std::move(shape),
                std::vector<std::byte>(values.size() * sizeof(T))};
    if constexpr (std::is_same_v<T, bool>) // std::vector<bool> has no elements in memory
      for (std::size_t i = 0; i < values.size(); ++i)
        array.data[i] = std::byte(bool(values[i]));
    else if (!values.empty())
      std::memcpy(array.data.data(), values.data(), array.data.size());
    return array;
  }
  template <typename T>
  static Array of(ElementType type, std::vector<std::int64_t> shape, const std::vector<T> &values) {
    return of(std::string(name(type)), std::move(shape), values);
  }

  /// The elements. T is what the element type is; float also takes fp16 and bf16, double every
  /// floating-point type, a 64-bit integer every narrower one whose values it holds, std::uint16_t
  /// the bits of fp16 and bf16, std::uint8_t those of bool. Throws for every other T.
  template <typename T> std::vector<T> values() const {
    const ElementType own = elementType();
    constexpr ElementType wanted = detail::elementTypeOf<T>();
    static_assert(wanted != ElementType::other,
                  "values() gives float, double, bool or an integer type");
    if (own == wanted || (wanted == ElementType::uint8 && own == ElementType::boolean) ||
        (wanted == ElementType::uint16 && (own == ElementType::fp16 || own == ElementType::bf16)))
      return converted<T, T>([](T value) { return value; });
    if constexpr (std::is_floating_point_v<T>) {
      if (own == ElementType::fp16)
        return converted<T, std::uint16_t>([](auto bits) { return T(detail::halfToFloat(bits)); });
      if (own == ElementType::bf16)
        return converted<T, std::uint16_t>(
            [](auto bits) { return T(std::bit_cast<float>(std::uint32_t(bits) << 16)); });
      if (own == ElementType::fp32)
        return converted<T, float>([](float value) { return T(value); });
    } else if constexpr (std::is_integral_v<T> && sizeof(T) == 8) {
      auto widen = [](auto value) { return T(value); };
      if constexpr (std::is_signed_v<T>) {
        if (own == ElementType::int8)
          return converted<T, std::int8_t>(widen);
        if (own == ElementType::int16)
          return converted<T, std::int16_t>(widen);
        if (own == ElementType::int32)
          return converted<T, std::int32_t>(widen);
      }
      if (own == ElementType::uint8)
        return converted<T, std::uint8_t>(widen);
      if (own == ElementType::uint16)
        return converted<T, std::uint16_t>(widen);
      if (own == ElementType::uint32)
        return converted<T, std::uint32_t>(widen);
    }
    detail::refuseValues(type, name(wanted));
  }

private:
  template <typename T, typename Stored, typename Convert>
  std::vector<T> converted(Convert convert) const {
    if (data.size() % sizeof(Stored))
      detail::refuseSize(type, data.size());
    std::vector<T> result(data.size() / sizeof(Stored));
    for (std::size_t i = 0; i < result.size(); ++i) {
      if constexpr (std::is_same_v<Stored, bool>) {
        result[i] = data[i] != std::byte(0);
      } else {
        Stored stored;
        std::memcpy(&stored, data.data() + i * sizeof(Stored), sizeof(Stored));
        result[i] = convert(stored);
      }
    }
    return result;
  }
};

/// How operations on fp16 compute: in fp32 with a rounded result each, or in fp16 throughout.
enum class Compute { fp32, native };

struct RunOptions {
  Compute compute = Compute::fp32;
  /// Values inside the function whose contents Session::traced() gives; "all": every one.
  std::vector<std::string> trace = {};
  /// Whether Session::profile() counts.
  bool profile = false;
};

/// What a classifier says of its inputs.
struct Classification {
  std::string output; ///< the name of the output that is the label
  std::string label;  ///< the likeliest class; an integer as text
  /// Of every class, in the model's order.
  std::vector<std::pair<std::string, double>> probabilities;
};

/// How long the operations of one kind took, in all runs of a session.
struct ProfileRow {
  std::string operation; ///< "linear"
  std::uint64_t calls;
  double milliseconds;
};

class Session;

/// A package, opened to be run: what `plait run` does. Weights stay in the mapped file: a package
/// that is replaced meanwhile is another file, one that addTo() or remove() has changed should be
/// opened again. Packages that other tools wrote are read too, as far as MIL operations go.
class PLAIT_API Program {
public:
  /// Throws where there is no package at `path` or it cannot be read.
  explicit Program(const std::string &path);
  Program(Program &&) noexcept;
  Program &operator=(Program &&) noexcept;
  ~Program();

  /// In the order of the package.
  const std::vector<FunctionInfo> &functions() const &;
  /// "" where the package names none.
  const std::string &defaultFunction() const &;
  /// Of a program that ends with the expression: for (const auto &f : Program(path).functions()).
  std::vector<FunctionInfo> functions() && { return std::as_const(*this).functions(); }
  std::string defaultFunction() && { return std::as_const(*this).defaultFunction(); }

  /// A function ready to run; "" takes the default function, or the only one. The session keeps
  /// what it needs of the program alive. Throws where there is no such function or value to trace,
  /// or the interpreter lacks an operation.
  Session session(const std::string &function = "", const RunOptions &options = {}) const;

  struct PLAIT_HIDDEN Impl;
  /// For verify(). Throws where the program was moved from.
  const Impl &impl() const;

private:
  std::shared_ptr<Impl> impl_;
};

/// One function with its states, which live from run to run. Several sessions of one program, and
/// copies of one session, do not share states and may run in different threads. Like a program, one
/// that was moved from takes nothing but another one's content: all else throws.
class PLAIT_API Session {
public:
  /// With the states as they are now; what was traced and counted is not copied.
  Session(const Session &);
  Session &operator=(const Session &);
  Session(Session &&) noexcept;
  Session &operator=(Session &&) noexcept;
  ~Session();

  const FunctionInfo &function() const &;
  FunctionInfo function() && { return std::as_const(*this).function(); }

  /// Every input by name, but for those with a default value; floating-point types are converted to
  /// the input's own, and integers that fit. The results by name, in the type that the function
  /// declares; of a classifier's label and probabilities, which are no arrays, classification()
  /// tells. Throws where an input is
  /// missing, unknown, or of another type or shape; states are then as before.
  std::map<std::string, Array> run(const std::map<std::string, Array> &inputs);

  /// Of the last run; nothing before it, or where the function is no classifier.
  std::optional<Classification> classification() const;

  /// The states as they are now: zeros before the first run.
  std::map<std::string, Array> states() const;
  /// Gives states other contents, by name; the others stay. Throws where there is no such state or
  /// the shape is not its own; all states are then as before.
  void setStates(const std::map<std::string, Array> &states);
  void setState(const std::string &name, const Array &content);
  /// All states are zeros again.
  void resetStates();

  /// Of the last run, what RunOptions::trace names (in a loop, the last of each name).
  std::map<std::string, Array> traced() const;
  /// Slowest first; nothing without RunOptions::profile. Nested operations count in the control
  /// flow around them too.
  std::vector<ProfileRow> profile() const;

  struct PLAIT_HIDDEN Impl;
  /// For <plait/torch.h>. Throws where the session was moved from.
  Impl &impl() const;

private:
  friend class Program;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace v0
} // namespace plait
#endif
