// Packages run in plait's reference interpreter.
#pragma once

#include <plait/exception.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

namespace plait {
inline namespace v0 {

/// A value of a function's interface.
struct ValueInfo {
  std::string name;
  std::string type; ///< as in MIL: "fp16", "fp32", "int32", "bool" …
  /// Bounds of each dimension in elements, equal where it is fixed.
  struct Range {
    std::int64_t lower, upper;
  };
  std::vector<Range> shape;
};

struct FunctionInfo {
  std::string name;
  std::vector<ValueInfo> inputs, outputs, states;
};

/// Elements in row-major order, of a type named as in MIL, in the machine's byte order; bool is one
/// byte an element.
struct Array {
  std::string type;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;

  /// `T` has the size of an element of `type`, and `values` as many as the shape says; run() throws
  /// where they are not.
  template <typename T>
  static Array of(std::string type, std::vector<std::int64_t> shape, const std::vector<T> &values) {
    auto *bytes = reinterpret_cast<const std::byte *>(values.data());
    return {std::move(type), std::move(shape), {bytes, bytes + values.size() * sizeof(T)}};
  }
  template <typename T> std::vector<T> values() const {
    std::vector<T> result(data.size() / sizeof(T));
    if (!result.empty())
      std::memcpy(result.data(), data.data(), result.size() * sizeof(T));
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
  const std::vector<FunctionInfo> &functions() const;
  /// "" where the package names none.
  const std::string &defaultFunction() const;

  /// A function ready to run; "" takes the default function, or the only one. The session keeps
  /// what it needs of the program alive. Throws where there is no such function or value to trace,
  /// or the interpreter lacks an operation.
  Session session(const std::string &function = "", const RunOptions &options = {}) const;

  struct PLAIT_HIDDEN Impl;
  /// For verify().
  const Impl &impl() const { return *impl_; }

private:
  std::shared_ptr<Impl> impl_;
};

/// One function with its states, which live from run to run. Several sessions of one program do not
/// share states and may run in different threads.
class PLAIT_API Session {
public:
  Session(Session &&) noexcept;
  Session &operator=(Session &&) noexcept;
  ~Session();

  const FunctionInfo &function() const;

  /// Every input by name; floating-point types are converted to the input's own, and integers that
  /// fit. The results by name, in the type that the function declares. Throws where an input is
  /// missing, unknown, or of another type or shape; states are then as before.
  std::map<std::string, Array> run(const std::map<std::string, Array> &inputs);

  /// The states as they are now.
  std::map<std::string, Array> states() const;
  /// Gives states other contents, by name; the others stay. Throws where there is no such state or
  /// the shape is not its own; all states are then as before.
  void setStates(const std::map<std::string, Array> &states);
  /// All states are zeros again.
  void resetStates();

  /// Of the last run, what RunOptions::trace names (in a loop, the last of each name).
  std::map<std::string, Array> traced() const;
  /// Slowest first; nothing without RunOptions::profile. Nested operations count in the control
  /// flow around them too.
  std::vector<ProfileRow> profile() const;

  struct PLAIT_HIDDEN Impl;
  /// For <plait/torch.h>.
  Impl &impl() { return *impl_; }
  const Impl &impl() const { return *impl_; }

private:
  friend class Program;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace v0
} // namespace plait
