// The part of reading a pickle that does not depend on what its values become: the stack with its
// marks, the memo, tuples, lists and dictionaries, and the limits. Two machines stand on it:
//
//   TensorPickle  builds the tensors of adapter_model.bin itself
//   PickleCheck   looks at a model's pickle before LibTorch builds its modules, whose classes and
//                 __setstate__ methods are TorchScript that LibTorch compiles and runs
//
// Items are small: what they hold lies in arenas of the machine, so that it is freed in one go,
// however deep it nests.
#pragma once

#include "frontend/archive/PickleOperations.h"

#include <vector>

namespace plait {

enum class PickledContainer : uint8_t { Tuple, List, Dictionary };

/// A `Machine` derives from it and has
///
///   Item make(PickledContainer, Items)            a new container; keys and values take turns
///   Error add(Item &to, PickledContainer, Items)  APPEND(S) and SETITEM(S)
///   Error other(const PickleOperation &)          every operation that is not handled here
///   size_t numContainers() const
///   std::optional<uint32_t> containerOf(uint32_t container, size_t &next) const
///                                                 as checkPickledNesting asks it
template <typename Machine, typename Item> class PickleMachine {
public:
  using Items = std::vector<Item>;

protected:
  explicit PickleMachine(llvm::StringRef pickle) : operations(pickle) {}

  /// Runs to the end, at STOP or at an operation that is not known.
  Error runToEnd() {
    while (true) {
      auto operation = operations.next();
      if (!operation)
        return operation.takeError();
      if (!*operation)
        break;
      if (Error error = step(**operation))
        return error;
      if (self().numContainers() > maxPickledContainers || pushed > maxPickledValues)
        return tooManyPickledValues();
    }
    return checkPickledNesting(self().numContainers(), [&](uint32_t container, size_t &next) {
      return self().containerOf(container, next);
    });
  }

  void push(Item item) {
    stack.push_back(item);
    ++pushed;
  }
  /// The last `count` values.
  std::optional<Items> take(size_t count) {
    if (stack.size() < count)
      return std::nullopt;
    Items items(stack.end() - ptrdiff_t(count), stack.end());
    stack.resize(stack.size() - count);
    return items;
  }
  Error missing() const { return operations.damaged("takes values that are not there"); }

  PickleOperations operations;
  Items stack;
  size_t pushed = 0;

private:
  Machine &self() { return static_cast<Machine &>(*this); }

  /// Those above the last mark, of which at least `below` must be under it.
  std::optional<Items> takeToMark(size_t below) {
    if (marks_.empty() || marks_.back() > stack.size() || marks_.back() < below)
      return std::nullopt;
    size_t count = stack.size() - marks_.back();
    marks_.pop_back();
    return take(count);
  }

  Error step(const PickleOperation &operation) {
    using enum PickledContainer;
    switch (char code = operation.code) {
    case '(':
      marks_.push_back(stack.size());
      return Error::success();
    case ')':
      return make(Tuple, Items());
    case ']':
      return make(List, Items());
    case '}':
      return make(Dictionary, Items());
    case '\x85':
    case '\x86':
    case '\x87':
      return make(Tuple, take(size_t(code - '\x85') + 1));
    case 't':
      return make(Tuple, takeToMark(0));
    case 'l':
      return make(List, takeToMark(0));
    case 'd':
      return make(Dictionary, takeToMark(0));
    case 'a':
      return addToTop(List, take(1));
    case 'e':
      return addToTop(List, takeToMark(1));
    case 's':
      return addToTop(Dictionary, take(2));
    case 'u':
      return addToTop(Dictionary, takeToMark(1));
    case '0':
      return take(1) ? Error::success() : missing();
    case 'q':
    case 'r':
      return remember(littleEndian(operation.argument));
    case 'h':
    case 'j':
      return recall(littleEndian(operation.argument));
    default:
      return self().other(operation);
    }
  }

  static bool isWhole(PickledContainer kind, const std::optional<Items> &items) {
    return items && (kind != PickledContainer::Dictionary || items->size() % 2 == 0);
  }
  Error make(PickledContainer kind, std::optional<Items> items) {
    if (!isWhole(kind, items))
      return missing();
    push(self().make(kind, std::move(*items)));
    return Error::success();
  }
  Error addToTop(PickledContainer kind, std::optional<Items> items) {
    if (!isWhole(kind, items) || stack.empty())
      return missing();
    return self().add(stack.back(), kind, std::move(*items));
  }

  Error remember(uint64_t slot) {
    if (stack.empty())
      return missing();
    if (!isMemoSlot(slot, pushed))
      return operations.damaged("claims more than there is");
    if (slot >= memo_.size())
      memo_.resize(slot + 1);
    memo_[slot] = stack.back();
    return Error::success();
  }
  Error recall(uint64_t slot) {
    if (slot >= memo_.size() || !memo_[slot])
      return missing();
    push(*memo_[slot]);
    return Error::success();
  }

  std::vector<std::optional<Item>> memo_;
  std::vector<size_t> marks_;
};

} // namespace plait
