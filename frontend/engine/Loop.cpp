// Loops: unrolled while the trip count and the condition are known (within a budget); what remains
// becomes a `while_loop` that carries the loop's variables and every outer tensor and attribute
// that the body writes.
//
//     while_loop(loop_vars = (i, cond, carried…, cells…))
//       cond block: i < trips and cond
//       body block: the body, which gives i + 1, its condition and the new values
//
// Which values vary is found by dry runs of the body: everything starts as invariant and is
// promoted until a run leaves all invariants as they were. Promotion is monotone, so this ends.
#include "frontend/engine/Region.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using mil::Builder;
using mil::DType;
using mil::OpKind;

/// Dry runs of one body after which promotion is given up.
constexpr unsigned kMostRuns = 1000;

class LoopLowering {
public:
  LoopLowering(Engine &engine, const Body &body, Val trips, Val condition, std::vector<Val> carried,
               int64_t firstIndex)
      : engine_(engine), body_(body), trips_(std::move(trips)), carried_(std::move(carried)),
        firstIndex_(firstIndex) {
    for (auto [i, val] : llvm::enumerate(carried_)) {
      size_t first = slots_.size();
      flatten(val);
      bool owned = val.isTensor() && i < 64 && (body.ownsCarried >> i & 1);
      for (Slot &slot : llvm::drop_begin(slots_, first))
        slot.isAliased = !owned;
    }
    conditionSlot_ = slots_.size();
    slots_.push_back({.initial = std::move(condition)});
  }

  /// What the carried values are after the loop; guesses where it cannot be lowered.
  Engine::Results run() {
    engine_.storeAll();
    // Each run promotes a slot. A slot starts to vary once, and each of its sizes stops being known
    // once. Slots are added without end only if no two turns of the body are alike.
    for (unsigned attempt = 0;; ++attempt) {
      if (attempt > kMostRuns) {
        refuse("does not come to rest: each turn changes other variables; give it a number of "
               "turns that is "
               "known while compiling");
        return engine_.guessLike(carried_);
      }
      mil::Block scratch(&engine_.function_, nullptr);
      size_t problems = engine_.problems_.size(), slots = slots_.size();
      bool changed = lowerBody(scratch, /*final=*/false);
      // The problems of the first turn that could not be lowered are enough.
      if (engine_.problems_.size() > problems || failed_)
        return engine_.guessLike(carried_);
      if (!changed && slots_.size() == slots)
        break;
    }
    Builder &builder = engine_.builder_;
    llvm::SmallVector<mil::Value *, 8> initial{engine_.materialise(Dim(firstIndex_))};
    for (Slot &slot : slots_)
      if (slot.varies)
        initial.push_back(initialValue(slot));
    if (llvm::any_of(initial, Builder::isPoison))
      return engine_.guessLike(carried_);
    mil::Value *limit = unlimited() ? nullptr : engine_.scalar(trips_, DType::I32);

    auto owned = std::make_unique<mil::Op>(OpKind::while_loop);
    owned->name = engine_.function_.uniqueName("while_loop");
    op_ = builder.block().insert(builder.position(), std::move(owned));
    op_->set(mil::while_loop::loop_vars, initial);
    lowerCondition(*op_->addBlock(), limit);
    lowerBody(*op_->addBlock(), /*final=*/true);
    for (const auto &arg : op_->blocks()[1]->args())
      op_->addResult(arg->type, engine_.function_.uniqueName("while_loop"));
    Engine::Results results = finish();
    return failed_ ? engine_.guessLike(carried_) : results;
  }

private:
  /// One value that the loop may carry.
  struct Slot {
    Val initial;
    std::shared_ptr<Cell> cell = nullptr; ///< an outer cell, instead of a value
    /// The attribute whose value it is.
    std::optional<std::pair<c10::ivalue::Object *, size_t>> attribute = std::nullopt;
    bool varies = false;
    mil::Type type = {}; ///< of the loop variable
    c10::TypeKind kind = c10::TypeKind::TensorType;
    at::ScalarType dtype = at::kFloat;
    /// Whether the tensor varies and shares its memory with another one in some turn. A variable of
    /// the loop has a value of its own, so writes to either tensor are refused.
    bool isAliased = false;
    /// Whether it has the strides of `initial` in every turn.
    bool keepsStrides = true;
  };

  /// The two parts of a complex tensor.
  std::vector<Val> partsOf(const Val &val) {
    return {engine_.part(val.tensor(), 0), engine_.part(val.tensor(), 1)};
  }
  static bool isComplex(const Val &val) { return val.tensor() && val.tensor()->isComplex(); }

  void flatten(const Val &val) {
    if (isComplex(val)) {
      for (const Val &v : partsOf(val))
        flatten(v);
    } else if (auto tuple = val.tuple()) {
      for (const Val &v : tuple->values)
        flatten(v);
    } else if (auto list = val.list()) {
      for (const Val &v : list->values)
        flatten(v);
    } else {
      slots_.push_back({.initial = val});
    }
  }
  void flattenInto(const Val &val, std::vector<Val> &leaves) {
    if (isComplex(val)) {
      for (const Val &v : partsOf(val))
        flattenInto(v, leaves);
    } else if (auto tuple = val.tuple()) {
      for (const Val &v : tuple->values)
        flattenInto(v, leaves);
    } else if (auto list = val.list()) {
      for (const Val &v : list->values)
        flattenInto(v, leaves);
    } else {
      leaves.push_back(val);
    }
  }
  /// `like` with its leaves replaced, in order.
  Val rebuild(const Val &like, llvm::ArrayRef<Val> &leaves) {
    std::vector<Val> values;
    if (auto tuple = like.tuple()) {
      for (const Val &v : tuple->values)
        values.push_back(rebuild(v, leaves));
      return engine_.makeTuple(tuple->type, std::move(values));
    }
    if (auto list = like.list()) {
      for (const Val &v : list->values)
        values.push_back(rebuild(v, leaves));
      Val made = engine_.makeList(list->elementType, std::move(values));
      made.list()->mayBeAliased = true;
      return made;
    }
    if (isComplex(like)) {
      Val real = leaves[0], imag = leaves[1];
      leaves = leaves.drop_front(2);
      return engine_.makeComplex(real, imag);
    }
    Val leaf = leaves.front();
    leaves = leaves.drop_front();
    return leaf;
  }

  bool unlimited() const {
    return trips_.known() && trips_.known()->isInt() && trips_.known()->toInt() == INT64_MAX;
  }

  void refuse(const llvm::Twine &what) {
    failed_ = true;
    // What does not fit together may be what is only guessed.
    if (!engine_.hasGuessed())
      engine_.fail(makeError(Code::ControlFlow,
                             "a loop whose number of turns is only known at run time {0}",
                             what.str()));
  }

  mil::Value *initialValue(Slot &slot) {
    if (slot.cell)
      return engine_.cellValue(*slot.cell);
    if (slot.kind == c10::TypeKind::TensorType) {
      TensorObj &tensor = *slot.initial.tensor();
      // Before the loop nothing was written yet.
      bool isStale = std::exchange(tensor.cell->isStale, false);
      mil::Value *value = engine_.read(tensor);
      tensor.cell->isStale = isStale;
      return value;
    }
    return engine_.scalar(slot.initial, slot.type.dtype());
  }

  Val valueOf(const Slot &slot, mil::Value *value) {
    if (slot.kind == c10::TypeKind::TensorType) {
      Val tensor = engine_.makeTensor(value, slot.dtype);
      if (auto made = slot.isAliased ? tensor.tensor() : nullptr) {
        made->cell->mayBeAliased = made->mayBeAnother = true;
        if (auto initial = slot.initial.tensor())
          initial->cell->mayBeAliased = initial->mayBeAnother = true;
      }
      if (auto made = tensor.tensor(); made && slot.initial.tensor())
        made->strides = slot.keepsStrides ? slot.initial.tensor()->strides : std::nullopt;
      return tensor;
    }
    return Val(Val::Number{value, slot.kind});
  }

  void lowerCondition(mil::Block &block, mil::Value *limit) {
    Builder &builder = engine_.builder_;
    auto *saved = &builder.block();
    auto position = builder.position();
    auto args = addArguments(block);
    builder.setInsertionPointToEnd(block);
    mil::Value *go = nullptr;
    if (limit)
      go = builder.emit(OpKind::less, {{mil::less::x, args[0]}, {mil::less::y, limit}});
    unsigned index = 1;
    for (auto [i, slot] : llvm::enumerate(slots_)) {
      if (!slot.varies)
        continue;
      mil::Value *arg = args[index++];
      if (i == conditionSlot_)
        go = go ? builder.emit(OpKind::logical_and,
                               {{mil::logical_and::x, go}, {mil::logical_and::y, arg}})
                : builder.emit(OpKind::identity, {{mil::identity::x, arg}});
    }
    if (!go)
      go = builder.constant(mil::Attr::boolean(true));
    block.setOutputs(go);
    builder.setInsertionPoint(*saved, position);
  }

  llvm::SmallVector<mil::Value *, 8> addArguments(mil::Block &block) {
    llvm::SmallVector<mil::Value *, 8> args{
        block.addArg(mil::Type::tensor(DType::I32), engine_.function_.uniqueName("i"))};
    for (const Slot &slot : slots_)
      if (slot.varies)
        args.push_back(block.addArg(slot.type, engine_.function_.uniqueName("loop_var")));
    return args;
  }

  /// Lowers the body once. A dry run promotes the slots that changed, and returns whether there
  /// were any.
  bool lowerBody(mil::Block &block, bool final) {
    auto args = addArguments(block);
    own_.clear();
    versions_.clear();
    size_t problems = engine_.problems_.size();
    Region region(engine_, block);
    std::vector<Val> leaves;
    unsigned index = 1;
    for (Slot &slot : slots_) {
      Val now = slot.initial;
      if (slot.varies) {
        mil::Value *arg = args[index++];
        if (slot.cell) {
          engine_.setContent(slot.cell, arg);
          versions_[slot.cell.get()] = slot.cell->version;
        } else {
          now = valueOf(slot, arg);
        }
        if (auto tensor = now.tensor(); tensor && !slot.cell) {
          own_[tensor->cell.get()] = size_t(&slot - slots_.data());
          versions_[tensor->cell.get()] = tensor->cell->version;
        }
        if (slot.attribute)
          engine_.writeSlot(*slot.attribute->first, slot.attribute->second, now);
      }
      leaves.push_back(now);
    }
    std::vector<Val> inputs{Val(Val::Number{args[0], c10::TypeKind::IntType})};
    llvm::ArrayRef<Val> rest(leaves);
    for (const Val &value : carried_)
      inputs.push_back(rebuild(value, rest));
    std::vector<Val> outputs = body_.lower(inputs);

    std::vector<Val> after;
    for (auto [result, value] : llvm::zip(llvm::drop_begin(outputs), carried_)) {
      size_t before = after.size();
      flattenInto(result, after);
      std::vector<Val> expected;
      flattenInto(value, expected);
      if (after.size() - before != expected.size())
        refuse("changes the number of elements that a variable holds");
    }
    after.push_back(outputs[0]);
    for (const Slot &slot : slots_)
      if (slot.attribute)
        after.push_back(*engine_.slot(*slot.attribute->first, slot.attribute->second));
    bool changed = false;
    if (!failed_ && !llvm::any_of(after, Engine::hasPoison)) {
      if (final) {
        emitOutputs(block, args[0], after);
      } else {
        changed = promote(after);
        changed |= noteAliases(region, after);
        changed |= noteStale();
      }
    } else {
      failed_ = true;
    }
    region.close();
    if (region.changedMetadata())
      refuse("changes the shape of an outer tensor in place");
    if (!final && !failed_)
      changed |= promoteEffects(region);
    if (failed_ || engine_.problems_.size() > problems)
      for (const auto &[cell, after] : region.cells())
        engine_.forget(cell, /*isGuess=*/true);
    return changed;
  }

  static bool sameLeaf(const Val &before, const Val &after) {
    if (before.known() && after.known())
      return before.known()->tagKind() == after.known()->tagKind() &&
             (before.known()->isObject() ? before.known()->is(*after.known())
                                         : *before.known() == *after.known());
    if (before.asDim() && after.asDim())
      return *before.asDim() == *after.asDim();
    if (before.tensor() && after.tensor())
      return before.tensor() == after.tensor();
    return before.number() && after.number() && before.number()->value == after.number()->value;
  }

  /// Widens a loop variable's type so that it also holds `type`.
  bool widen(Slot &slot, const mil::Type &type) {
    if (slot.type.rank() != type.rank() || slot.type.dtype() != type.dtype()) {
      refuse("changes a variable from " + slot.type.str() + " to " + type.str());
      return false;
    }
    mil::Shape shape;
    bool wider = false;
    for (auto [x, y] : llvm::zip(slot.type.shape(), type.shape())) {
      bool keeps = x == y || (x.isSymbol() && llvm::StringRef(x.str()).starts_with("?"));
      shape.push_back(keeps ? x : Dim::unknown());
      wider |= !keeps;
    }
    slot.type = slot.type.withShape(shape);
    return wider;
  }

  /// Marks the variables that share memory with another value at the end of a turn. Returns whether
  /// more were marked than before: these may have been written to as if they were unshared.
  bool noteAliases(const Region &region, llvm::ArrayRef<Val> after) {
    bool changed = false;
    llvm::DenseMap<const Cell *, size_t> seen;
    size_t leaf = 0;
    for (auto [i, slot] : llvm::enumerate(slots_)) {
      if (slot.cell)
        continue;
      auto tensor = after[leaf++].tensor();
      if (!tensor || !slot.varies)
        continue;
      auto share = [&](Slot &one) {
        changed |= !one.isAliased;
        one.isAliased = true;
      };
      for (const std::shared_ptr<Cell> &cell : cellsOf(tensor)) {
        auto [first, isNew] = seen.try_emplace(cell.get(), i);
        if (!isNew && first->second != i) {
          share(slot);
          share(slots_[first->second]);
        }
        if (auto own = own_.find(cell.get()); own != own_.end() && own->second != i) {
          share(slot);
          share(slots_[own->second]);
          if (!slots_[own->second].varies)
            cell->mayBeAliased = true;
        } else if (own == own_.end() && !region.isLocal(*cell) && !isInitial(i, *cell)) {
          share(slot);
          cell->mayBeAliased = true;
        }
      }
    }
    return changed;
  }

  /// Whether the cell is that of the variable itself, which in this run was not known to vary.
  bool isInitial(size_t slot, const Cell &cell) const {
    auto initial = slots_[slot].initial.tensor();
    return initial && initial->cell.get() == &cell &&
           llvm::none_of(own_, [&](const auto &own) { return own.second == slot; });
  }

  /// The cells that the tensor may have its memory in at the end of a turn.
  std::vector<std::shared_ptr<Cell>> cellsOf(const Val::TensorPtr &tensor) {
    std::vector<std::shared_ptr<Cell>> cells{tensor->cell};
    auto near = Engine::connected(tensor->cell.get(), engine_.links_);
    for (const Engine::Link &link : engine_.links_)
      for (const auto &one : {link.a, link.b})
        if (llvm::is_contained(near, one->cell.get()) && !llvm::is_contained(cells, one->cell))
          cells.push_back(one->cell);
    return cells;
  }

  /// An attribute that the loop assigns is a variable, which at first is the tensor of before, and
  /// has a value of its own. If that is written to, the tensor of before is not to be read under
  /// another name, in the loop or after it. Returns whether there are more such than before. If the
  /// tensor of before is written to under another name, the loop is refused.
  bool noteStale() {
    auto isWritten = [&](const Cell &cell) {
      auto version = versions_.find(&cell);
      return version != versions_.end() && version->second != cell.version;
    };
    bool changed = false;
    for (const auto &[cell, i] : own_) {
      auto initial = slots_[i].initial.tensor();
      if (!slots_[i].attribute || !slots_[i].varies || !initial)
        continue;
      if (isWritten(*initial->cell))
        refuse("assigns an attribute, and writes to the tensor that it was under another name; "
               "write to the attribute instead");
      if (isWritten(*cell) && !initial->cell->isStale)
        initial->cell->isStale = changed = true;
    }
    return changed;
  }

  bool promote(llvm::ArrayRef<Val> after) {
    bool changed = false;
    size_t leaf = 0;
    for (Slot &slot : slots_) {
      if (slot.cell)
        continue;
      const Val &result = after[leaf++];
      if (auto initial = slot.initial.tensor(); initial && result.tensor() && slot.keepsStrides)
        if (initial->strides != result.tensor()->strides) {
          slot.keepsStrides = false;
          changed |= slot.varies;
        }
      if (slot.varies) {
        mil::Type type = slot.type;
        if (result.tensor())
          type = mil::Type::tensor(milTypeOf(result.tensor()->dtype()), result.tensor()->shape);
        changed |= widen(slot, type);
        continue;
      }
      if (sameLeaf(slot.initial, result))
        continue;
      if (auto tensor = slot.initial.tensor(); tensor && result.tensor()) {
        slot.dtype = tensor->dtype();
        if (result.tensor()->dtype() != slot.dtype)
          return refuse(llvm::Twine("changes a tensor from ") + at::toString(slot.dtype) + " to " +
                        at::toString(result.tensor()->dtype())),
                 false;
        slot.type = mil::Type::tensor(milTypeOf(slot.dtype), tensor->shape);
      } else {
        auto known = slot.initial.known();
        bool isInt =
            slot.initial.asDim() ||
            (slot.initial.number() && slot.initial.number()->kind == c10::TypeKind::IntType);
        bool isBool =
            (known && known->isBool()) ||
            (slot.initial.number() && slot.initial.number()->kind == c10::TypeKind::BoolType);
        bool isFloat =
            (known && known->isDouble()) ||
            (slot.initial.number() && slot.initial.number()->kind == c10::TypeKind::FloatType);
        if (!isInt && !isBool && !isFloat)
          return refuse("changes a variable that is neither a tensor nor a number"), false;
        slot.kind = isInt    ? c10::TypeKind::IntType
                    : isBool ? c10::TypeKind::BoolType
                             : c10::TypeKind::FloatType;
        slot.type = mil::Type::tensor(isInt ? DType::I32 : isBool ? DType::Bool : DType::F32);
      }
      slot.varies = changed = true;
    }
    return changed;
  }

  bool promoteEffects(Region &region) {
    bool changed = false;
    if (!region.dicts().empty())
      refuse("writes to a dictionary");
    for (const auto &[key, after] : region.slots()) {
      if (llvm::any_of(slots_, [&, k = key](const Slot &slot) { return slot.attribute == k; }))
        continue;
      const Val *before = engine_.slot(*key.first, key.second);
      if (!before) {
        refuse("gives an attribute its first value");
        continue;
      }
      slots_.push_back({.initial = *before, .attribute = key});
      changed = true;
    }
    for (const auto &[list, values] : region.lists()) {
      bool same = values.size() == list->values.size() &&
                  llvm::all_of(llvm::zip(values, list->values), [](auto pair) {
                    return sameLeaf(std::get<0>(pair), std::get<1>(pair));
                  });
      if (!same)
        refuse("changes a list; stack its values into a tensor of known size and write its "
               "elements instead");
    }
    for (const auto &[cell, after] : region.cells()) {
      if (llvm::any_of(slots_, [&, c = cell](const Slot &slot) { return slot.cell == c; }))
        continue;
      Slot slot;
      slot.cell = cell;
      slot.dtype = cell->dtype;
      slot.type = mil::Type::tensor(milTypeOf(cell->dtype), cell->shape);
      slot.varies = changed = true;
      slots_.push_back(std::move(slot));
    }
    return changed;
  }

  void emitOutputs(mil::Block &block, mil::Value *counter, llvm::ArrayRef<Val> after) {
    Builder &builder = engine_.builder_;
    llvm::SmallVector<mil::Value *, 8> outputs{
        builder.emit(OpKind::add, {{mil::add::x, counter}, {mil::add::y, 1}})};
    size_t leaf = 0;
    for (Slot &slot : slots_) {
      const Val *result = slot.cell ? nullptr : &after[leaf++];
      if (!slot.varies)
        continue;
      if (slot.cell)
        outputs.push_back(engine_.cellValue(*slot.cell));
      else if (slot.kind == c10::TypeKind::TensorType)
        outputs.push_back(engine_.read(*result->tensor()));
      else
        outputs.push_back(engine_.scalar(*result, slot.type.dtype()));
    }
    if (llvm::any_of(outputs, Builder::isPoison)) {
      failed_ = true;
      return;
    }
    block.setOutputs(outputs);
  }

  Engine::Results finish() {
    std::vector<Val> leaves;
    unsigned index = 1;
    for (Slot &slot : slots_) {
      mil::Value *result = slot.varies ? op_->result(index++) : nullptr;
      if (slot.cell) {
        engine_.setContent(slot.cell, result);
        continue;
      }
      leaves.push_back(result ? valueOf(slot, result) : slot.initial);
      if (slot.attribute && result)
        engine_.writeSlot(*slot.attribute->first, slot.attribute->second, leaves.back());
    }
    llvm::ArrayRef<Val> rest(leaves);
    Engine::Results results;
    for (const Val &value : carried_)
      results.push_back(rebuild(value, rest));
    return results;
  }

  Engine &engine_;
  const Body &body_;
  Val trips_;
  std::vector<Val> carried_;
  int64_t firstIndex_;
  std::vector<Slot> slots_;
  size_t conditionSlot_;
  llvm::DenseMap<const Cell *, size_t>
      own_; ///< the variable that a cell belongs to in this run of the body
  llvm::DenseMap<const Cell *, uint64_t> versions_; ///< at the beginning of the body
  mil::Op *op_ = nullptr;
  bool failed_ = false;
};

Engine::Results Engine::loop(const Val &trips, Val condition, std::vector<Val> carried,
                             const Body &body) {
  int64_t index = 0;
  // The loop may have no turn at all. One is lowered to report its problems.
  auto guess = [&] {
    mil::Block scratch(&function_, nullptr);
    Region region(*this, scratch);
    std::vector<Val> inputs{unknownNumber(c10::TypeKind::IntType, /*isGuess=*/true)};
    llvm::append_range(inputs, guessLike(carried));
    body.lower(inputs);
    region.close();
    for (const auto &[cell, after] : region.cells())
      forget(cell, /*isGuess=*/true);
    return guessLike(carried);
  };
  if (trips.isPoison() || condition.isPoison())
    return guess();
  while (true) {
    auto limit = trips.asDim();
    bool decided = limit && limit->isConst() && condition.known();
    if (decided && (index >= limit->value() || !condition.known()->toBool()))
      return carried;
    unrolled_ += decided ? body.operations : 0;
    if (!decided && llvm::any_of(carried, hasPoison))
      return guess();
    if (!decided || unrolled_ > options_.unrollBudget)
      return LoopLowering(*this, body, trips, condition, carried, index).run();
    std::vector<Val> inputs{Val(c10::IValue(index))};
    llvm::append_range(inputs, carried);
    size_t problems = problems_.size();
    std::vector<Val> outputs = body.lower(inputs);
    condition = outputs[0];
    carried.assign(outputs.begin() + 1, outputs.end());
    ++index;
    // Operators without a lowering are counted. Refusals would be reported in many forms, and are
    // left out.
    bool refused = llvm::any_of(llvm::ArrayRef(problems_).drop_front(problems),
                                [](const Problem &problem) { return !problem.unsupported; });
    if (refused || condition.isPoison())
      return guessLike(carried);
  }
}

} // namespace plait::frontend
