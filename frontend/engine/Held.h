// Optional content that need not be checked before it is used. Using content that is not there
// refuses the operation that is being lowered, with its name and place. A null pointer or an empty
// std::optional would end the process, or go on with garbage.
//
//     if (auto tensor = val.tensor())     asked first: another way may be tried
//       … tensor->shape …
//     int64_t axis = *c.integer("dim");   not asked: "aten::squeeze.dim: an integer that is known
//                                         while compiling is needed here …"
#pragma once

#include "frontend/engine/Sizes.h"
#include "support/Failure.h"

#include <memory>
#include <stdexcept>

namespace c10 {
struct IValue;
}

namespace plait::frontend {

struct DictObj;
struct ListObj;
struct TensorObj;
struct TupleObj;

/// Ends the lowering of one operation: Engine::at makes a problem of it, where the operation
/// stands.
struct Refusal : std::runtime_error {
  Refusal(Code code, const std::string &message) : std::runtime_error(message), code(code) {}
  explicit Refusal(const Failure &failure) : Refusal(failure.code(), failure.message) {}
  explicit Refusal(Error error) : Refusal(takeFailure(std::move(error))) {}
  Code code;
};

/// The message where another kind of content is held, by type.
template <typename T> constexpr const char *kHeldName = "a number";
template <> inline constexpr const char *kHeldName<const c10::IValue> = "a value";
template <> inline constexpr const char *kHeldName<Dim> = "an integer";
template <> inline constexpr const char *kHeldName<int64_t> = "an integer";
template <> inline constexpr const char *kHeldName<Shape> = "a list of integers";
template <> inline constexpr const char *kHeldName<TensorObj> = "a tensor";
template <> inline constexpr const char *kHeldName<ListObj> = "a list";
template <> inline constexpr const char *kHeldName<TupleObj> = "a tuple";
template <> inline constexpr const char *kHeldName<DictObj> = "a dictionary";

/// Ends the lowering without another problem: its cause was reported already.
struct Abandoned : Refusal {
  Abandoned() : Refusal(Code::None, "") {}
};

[[noreturn]] void refuseMissing(const char *what);

/// A pointer, plain or shared, that may be null and cannot be followed then.
template <typename P> class Held {
public:
  using Element = typename std::pointer_traits<P>::element_type;

  Held(std::nullptr_t) : pointer_() {}
  Held(P pointer) : pointer_(std::move(pointer)) {}

  explicit operator bool() const { return pointer_ != nullptr; }
  const P &get() const {
    if (!pointer_)
      refuseMissing(kHeldName<Element>);
    return pointer_;
  }
  Element &operator*() const { return *get(); }
  Element *operator->() const { return &*get(); }
  /// A shared object is passed on as one; a plain pointer would lose the question.
  operator const P &() const
    requires(!std::is_pointer_v<P>)
  {
    return get();
  }
  /// Null where nothing is held.
  const P &orNull() const { return pointer_; }
  friend bool operator==(const Held &a, const Held &b) { return a.pointer_ == b.pointer_; }

private:
  P pointer_;
};

/// A value that may be absent and cannot be read then.
template <typename T> class Maybe {
public:
  Maybe(std::nullopt_t = std::nullopt) {}
  Maybe(T value) : value_(std::move(value)) {}
  Maybe(std::optional<T> value) : value_(std::move(value)) {}

  explicit operator bool() const { return value_.has_value(); }
  const T &operator*() const {
    if (!value_)
      refuseMissing(kHeldName<T>);
    return *value_;
  }
  const T *operator->() const { return &**this; }
  T value_or(T other) const { return value_.value_or(std::move(other)); }
  bool operator==(std::nullopt_t) const { return !value_; }

private:
  std::optional<T> value_;
};

} // namespace plait::frontend
