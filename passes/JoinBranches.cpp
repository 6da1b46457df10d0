// join-branches: does once what several parts of one split go through alike, such as the rotary
// embedding of queries and keys.
//
//   %q, %k, %v = split(x = %x, split_sizes = [8, 2, 2], axis = 1)          before
//   %a = mul(x = %q, y = %cos)
//   %b = mul(x = %k, y = %cos)
//   …
//
//   %p, %v = split(x = %x, split_sizes = [10, 2], axis = 1)                after
//   %c = mul(x = %p, y = %cos)
//   …
//   %a, %b = split(x = %c, split_sizes = [8, 2], axis = 1)
//
// Operations that work along other axes than the split's do the same to each part of it; other
// operands have one element along that axis. Only where it takes fewer operations.
#include "mil/Computation.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallVectorExtras.h"

#include <map>
#include <set>

namespace plait::passes {

using namespace mil;

namespace {

/// Operations that a walk looks at behind a split: layers of one block follow one another.
constexpr unsigned kReach = 256;

/// What is computed of a part of the split, by what it is in all lanes: number 0 is the part
/// itself, and equal operations give values of one number.
struct Lane {
  llvm::DenseMap<const Value *, unsigned> numbers;
  std::map<unsigned, Value *> values;
  std::map<std::vector<uintptr_t>, Op *> operations; ///< by kind and operands
};

/// Whether the operand has one element along the axis, which counts from the last one.
bool isAlikeAlong(const Value *operand, unsigned fromLast) {
  llvm::ArrayRef<Dim> shape = operand->type.shape();
  return shape.size() < fromLast || shape[shape.size() - fromLast] == Dim(1);
}

/// Whether the operation does to each slice of `inner`, which are among its operands, along the
/// axis what it does to the others. All of them and its results have that axis.
bool worksAcross(const Op &op, llvm::ArrayRef<const Value *> inner, unsigned axis) {
  size_t rank = inner[0]->type.rank();
  auto isInner = [&](const Value *value) { return llvm::is_contained(inner, value); };
  auto isOther = [&](std::optional<int64_t> one) {
    return one && normalAxis(*one, rank) != int64_t(axis);
  };
  if (!llvm::all_of(inner, [&](const Value *value) { return value->type.rank() == rank; }))
    return false;
  if (computes(op, Unary))
    return inner.size() == 1 && isInner(op[0]);
  if (computes(op, Binary))
    return op.result()->type.rank() == rank && llvm::all_of(op.operands(), [&](const Operand &one) {
             return isInner(one) || isAlikeAlong(one, unsigned(rank - axis));
           });
  switch (op.kind()) {
  case OpKind::split:
    return isOther(constInt(op[split::axis]));
  case OpKind::concat:
    return isOther(constInt(op[concat::axis])) && constBool(op[concat::interleave]) == false &&
           llvm::all_of(op.operands(concat::values),
                        [&](const Operand &value) { return isInner(value); });
  case OpKind::softmax:
    return isOther(constInt(op[softmax::axis]));
  case OpKind::layer_norm: {
    auto axes = constInts(op[layer_norm::axes]);
    return axes && isInner(op[layer_norm::x]) && inner.size() == 1 &&
           llvm::all_of(*axes, [&](int64_t one) { return isOther(one); });
  }
  default:
    return false;
  }
}

/// The parts of a split with known sizes, and what follows them.
class Branches {
public:
  explicit Branches(Op &split) : split_(split) {
    axis_ = unsigned(normalAxis(*constInt(split[split::axis]), split[split::x]->type.rank()));
    for (const auto &part : split.results()) {
      Lane &lane = lanes_.emplace_back();
      lane.numbers[part.get()] = 0;
      lane.values[0] = part.get();
    }
    follow();
  }

  /// `gone` takes the operations that are deleted.
  bool join(llvm::DenseSet<const Op *> &gone);

private:
  void follow();
  /// The value, or of equal constants the first one that was asked for.
  const Value *firstAlike(const Value *value);
  void enter(Op &op, Lane &lane, llvm::ArrayRef<const Value *> inner);
  /// The operations that all lanes [first, last) have, in the order of the first.
  llvm::SmallVector<const std::vector<uintptr_t> *, 8> common(size_t first, size_t last) const;
  bool join(size_t first, size_t last, llvm::DenseSet<const Op *> &gone);

  Op &split_;
  unsigned axis_;
  std::vector<Lane> lanes_;
  std::map<std::vector<uintptr_t>, unsigned> numbers_; ///< of an operation's first result
  unsigned next_ = 1;
  llvm::DenseMap<uint64_t, llvm::SmallVector<const Value *, 1>> constants_;
  llvm::DenseMap<const Op *, unsigned> places_;
};

const Value *Branches::firstAlike(const Value *value) {
  const Attr *attr = constAttr(value);
  if (!attr)
    return value;
  auto &known = constants_[attr->tensor() ? attr->tensor()->treeHash() : 0];
  auto found = llvm::find_if(known, [&](const Value *one) { return *constAttr(one) == *attr; });
  if (found != known.end())
    return *found;
  known.push_back(value);
  return value;
}

void Branches::enter(Op &op, Lane &lane, llvm::ArrayRef<const Value *> inner) {
  std::vector<uintptr_t> key{uintptr_t(op.kind()), op.numResults()};
  for (unsigned param = 0; param < op.numParams(); ++param) {
    key.push_back(op.operands(param).size());
    for (const Operand &operand : op.operands(param)) {
      auto known = lane.numbers.find(operand.get());
      bool isOwn = known != lane.numbers.end();
      key.push_back(isOwn);
      key.push_back(isOwn ? known->second : reinterpret_cast<uintptr_t>(firstAlike(operand.get())));
    }
  }
  auto [number, isNew] = numbers_.try_emplace(key, next_);
  if (isNew)
    next_ += op.numResults();
  lane.operations.try_emplace(std::move(key), &op);
  for (const auto &result : op.results()) {
    lane.numbers[result.get()] = number->second + result->index();
    lane.values[number->second + result->index()] = result.get();
  }
}

/// Sorts operations into lanes, in order: those that only one lane goes into.
void Branches::follow() {
  unsigned seen = 0;
  for (auto it = std::next(split_.getIterator()), end = split_.parent()->end();
       it != end && seen < kReach; ++it) {
    if (it->is(OpKind::const_))
      continue;
    ++seen;
    Lane *own = nullptr;
    llvm::SmallVector<const Value *, 2> inner;
    bool mixed = false;
    for (const Operand &operand : it->operands())
      for (Lane &lane : lanes_)
        if (lane.numbers.count(operand.get())) {
          mixed |= own && own != &lane;
          own = &lane;
          if (!llvm::is_contained(inner, operand.get()))
            inner.push_back(operand.get());
        }
    if (!own || mixed || it->isTerminator() || !worksAcross(*it, inner, axis_))
      continue;
    places_[&*it] = seen;
    enter(*it, *own, inner);
  }
}

llvm::SmallVector<const std::vector<uintptr_t> *, 8> Branches::common(size_t first,
                                                                      size_t last) const {
  llvm::SmallVector<const std::vector<uintptr_t> *, 8> keys;
  const Lane &lane = lanes_[first];
  for (const auto &[key, op] : lane.operations) {
    bool all = true;
    for (size_t i = first + 1; i < last; ++i)
      all &= lanes_[i].operations.count(key) > 0;
    if (all)
      keys.push_back(&key);
  }
  llvm::sort(keys, [&](const auto *a, const auto *b) {
    return places_.lookup(lane.operations.at(*a)) < places_.lookup(lane.operations.at(*b));
  });
  return keys;
}

bool Branches::join(size_t first, size_t last, llvm::DenseSet<const Op *> &gone) {
  auto keys = common(first, last);
  llvm::DenseSet<const Op *> joined;
  std::set<unsigned> numbers{0}, exits; // of values
  for (const auto *key : keys) {
    for (size_t i = first; i < last; ++i)
      joined.insert(lanes_[i].operations.at(*key));
    for (unsigned i = 0, count = lanes_[first].operations.at(*key)->numResults(); i < count; ++i)
      numbers.insert(numbers_.at(*key) + i);
  }
  for (unsigned number : numbers)
    for (size_t i = first; i < last; ++i)
      for (const Operand &use : lanes_[i].values.at(number)->uses())
        if (!joined.contains(use.owner()))
          exits.insert(number);
  bool whole = last - first == lanes_.size();
  int64_t gain = int64_t((last - first - 1) * keys.size()) - int64_t(exits.size()) + whole;
  if (keys.empty() || gain <= 0)
    return false;

  // The parts together.
  auto sizeOf = [&](const Value *value) { return value->type.shape()[axis_].value(); };
  llvm::SmallVector<int64_t, 4> own, sizes;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    int64_t size = sizeOf(split_.result(unsigned(i)));
    bool inside = i >= first && i < last;
    if (inside)
      own.push_back(size);
    if (inside && i > first)
      sizes.back() += size;
    else
      sizes.push_back(size);
  }
  Builder builder = Builder::before(&split_);
  auto cut = [&](Value *x, llvm::ArrayRef<int64_t> into, llvm::StringRef name) {
    return builder.create(
        OpKind::split,
        {{split::x, x}, Arg(split::split_sizes, into), {split::axis, int64_t(axis_)}}, name);
  };
  std::map<unsigned, Value *> made;
  if (whole) {
    made[0] = split_[split::x];
  } else {
    Op *parts = cut(split_[split::x], sizes, split_.name);
    made[0] = parts->result(unsigned(first));
    for (size_t i = 0; i < lanes_.size(); ++i)
      if (i < first || i >= last)
        replaceUses(split_.result(unsigned(i)),
                    parts->result(unsigned(i < first ? i : i - (last - first) + 1)));
  }

  // Each before the first of the operations that it is in place of.
  for (const auto *key : keys) {
    const Lane *lane = nullptr;
    for (size_t i = first; i < last; ++i)
      if (!lane ||
          places_.lookup(lanes_[i].operations.at(*key)) < places_.lookup(lane->operations.at(*key)))
        lane = &lanes_[i];
    Op &model = *lane->operations.at(*key);
    builder = Builder::before(&model);
    llvm::SmallVector<Arg, 4> arguments;
    for (unsigned param = 0; param < model.numParams(); ++param) {
      auto values = llvm::map_to_vector<2>(model.operands(param), [&](const Operand &operand) {
        auto number = lane->numbers.find(operand.get());
        return number == lane->numbers.end() ? operand.get() : made.at(number->second);
      });
      if (!values.empty())
        arguments.emplace_back(param, llvm::ArrayRef<Value *>(values));
    }
    Op *op = builder.create(model.kind(), arguments, model.name);
    assert(op && "what works on the parts works on the whole");
    for (const auto &result : op->results())
      made[numbers_.at(*key) + result->index()] = result.get();
  }
  for (unsigned number : exits) {
    if (number != 0) // else behind the split before the first operation
      builder.setInsertionPoint(*split_.parent(), std::next(made[number]->def()->getIterator()));
    else
      builder = Builder::before(&split_);
    Op *pieces = cut(made[number], own, made[number]->name);
    for (size_t i = first; i < last; ++i) {
      Value *old = lanes_[i].values.at(number);
      replaceUses(old, pieces->result(unsigned(i - first)));
    }
  }
  // What is left of the lanes uses itself alone, and constants.
  gone.insert(joined.begin(), joined.end());
  llvm::SmallSetVector<Op *, 8> constants;
  for (const auto *key : llvm::reverse(keys))
    for (size_t i = first; i < last; ++i) {
      Op *op = lanes_[i].operations.at(*key);
      for (const Operand &operand : op->operands())
        if (constAttr(operand.get()))
          constants.insert(operand->def());
      op->erase();
    }
  for (Op *constant : constants)
    if (constant->isUnused())
      constant->erase();
  eraseDead(&split_);
  return true;
}

bool Branches::join(llvm::DenseSet<const Op *> &gone) {
  for (size_t first = 0; first + 1 < lanes_.size(); ++first)
    for (size_t last = lanes_.size(); last > first + 1; --last)
      if (join(first, last, gone))
        return true;
  return false;
}

} // namespace

bool joinBranches(Program &program, PassContext &) {
  std::vector<Op *> splits;
  walk(program, [&](Op &op) {
    auto shape = op.is(OpKind::split) ? constInt(op[split::axis]) : std::nullopt;
    if (!shape)
      return;
    int64_t axis = normalAxis(*shape, op[split::x]->type.rank());
    if (op[split::x]->type.shape()[axis].isConst() &&
        llvm::all_of(op.results(),
                     [&](const auto &part) { return part->type.shape()[axis].isConst(); }))
      splits.push_back(&op);
  });
  bool changed = false;
  llvm::DenseSet<const Op *> gone;
  for (Op *split : splits)
    changed |= !gone.contains(split) && Branches(*split).join(gone);
  return changed;
}

} // namespace plait::passes
