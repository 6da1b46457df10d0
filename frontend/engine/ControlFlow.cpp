// `if`. Where the condition is known, it is decided while compiling. Otherwise both branches are
// lowered into the blocks of a `cond`. Its results are the branches' outputs, and every tensor,
// list, dictionary and attribute that a branch wrote to.
#include "frontend/engine/Region.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using mil::Builder;
using mil::OpKind;

class IfLowering {
public:
  explicit IfLowering(Engine &engine) : engine_(engine) {}

  Engine::Results run(mil::Value *predicate, llvm::ArrayRef<const Body *> branches) {
    engine_.storeAll();
    Builder &builder = engine_.builder_;
    auto owned = std::make_unique<mil::Op>(OpKind::cond);
    owned->name = engine_.function_.uniqueName("cond");
    op_ = builder.block().insert(builder.position(), std::move(owned));
    op_->set(mil::cond::pred, predicate);
    std::vector<Val> outputs[2];
    std::unique_ptr<Region> regions[2];
    for (unsigned i = 0; i < 2; ++i) {
      auto region = std::make_unique<Region>(engine_, *op_->addBlock());
      leaving_[i] = branches[i]->lower({});
      for (const Val &output : leaving_[i])
        outputs[i].push_back(region->freeze(output));
      region->close();
      regions[i] = std::move(region);
    }
    a_ = regions[0].get();
    b_ = regions[1].get();
    if (a_->changedMetadata() || b_->changedMetadata())
      engine_.fail(makeError(
          Code::ControlFlow,
          "a branch of an if changes the shape of an outer tensor in place; assign it instead"));

    std::vector<std::function<Val()>> merged;
    for (auto [x, y] : llvm::zip(outputs[0], outputs[1]))
      merged.push_back(merge(x, y));
    std::vector<std::function<void()>> effects = mergeEffects();

    if (results_ == 0) {
      // The `cond` would have no results, and neither branch has effects.
      op_->erase();
    } else {
      a_->block().setOutputs(aOutputs_);
      b_->block().setOutputs(bOutputs_);
      for (auto [x, y] : llvm::zip(aOutputs_, bOutputs_))
        op_->addResult(join(x->type, y->type), engine_.function_.uniqueName("cond"));
    }
    for (auto &effect : effects)
      effect();
    Engine::Results results;
    for (const auto &value : merged)
      results.push_back(value());
    noteAliases(results);
    return results;
  }

private:
  mil::Type join(const mil::Type &x, const mil::Type &y) {
    mil::Shape shape;
    for (auto [p, q] : llvm::zip(x.shape(), y.shape()))
      shape.push_back(p == q
                          ? p
                          : engine_.newSymbol(std::max<int64_t>(std::min(p.lower(), q.lower()), 0),
                                              std::max(p.upper(), q.upper())));
    return mil::Type::tensor(x.dtype(), shape);
  }

  /// Finds pairs of results that are one tensor after one branch and two after the other, and
  /// results that are an outer tensor after one branch, also if that branch wrote to it.
  void noteAliases(const Engine::Results &results) {
    for (auto [after, region] : {std::pair(&leaving_[0], a_), {&leaving_[1], b_}}) {
      llvm::DenseMap<const Cell *, size_t> seen;
      for (auto [i, val] : llvm::enumerate(*after))
        if (auto tensor = val.tensor()) {
          if (auto [first, isNew] = seen.try_emplace(tensor->cell.get(), i); !isNew)
            engine_.mayAlias(results[first->second], results[i]);
          if (!region->isLocal(*tensor->cell))
            engine_.mayAlias(results[i], val);
        }
    }
  }

  template <typename Fn> mil::Value *in(Region *region, Fn fn) {
    region->enter();
    mil::Value *value = fn();
    region->leave();
    return value;
  }

  /// Calls `fn` while the tensor's cell has the content that the region left, which was restored
  /// since.
  template <typename Fn> auto asLeftBy(Region *region, TensorObj &tensor, Fn fn) {
    for (const auto &[cell, left] : region->cells()) {
      if (cell != tensor.cell)
        continue;
      Cell now = std::exchange(*cell, left);
      auto result = fn();
      *cell = std::move(now);
      return result;
    }
    return fn();
  }
  mil::Value *readAfter(Region *region, TensorObj &tensor) {
    return asLeftBy(region, tensor,
                    [&] { return in(region, [&] { return engine_.read(tensor); }); });
  }

  std::function<Val()> refuse(const llvm::Twine &what) {
    // Types or shapes that differ may be guesses.
    if (!engine_.hasGuessed())
      engine_.fail(makeError(Code::ControlFlow,
                             "the branches of an if that is decided at run time give {0}",
                             what.str()));
    return [] { return Val(); };
  }

  /// One more result; returns its index, or nullopt when the two do not fit.
  std::optional<unsigned> addResult(mil::Value *x, mil::Value *y) {
    if (Builder::isPoison(x) || Builder::isPoison(y))
      return std::nullopt;
    bool fits = x->type.rank() == y->type.rank() && x->type.dtype() == y->type.dtype();
    if (fits)
      for (auto [p, q] : llvm::zip(x->type.shape(), y->type.shape()))
        fits &= p == q || !p.isConst() || !q.isConst();
    if (!fits) {
      refuse("tensors of types " + x->type.str() + " and " + y->type.str() +
             ", which Core ML cannot choose between; give both one shape and element type");
      return std::nullopt;
    }
    aOutputs_.push_back(x);
    bOutputs_.push_back(y);
    return results_++;
  }

  static std::optional<c10::TypeKind> numberKind(const Val &val) {
    if (val.number())
      return val.number()->kind;
    if (val.dim())
      return c10::TypeKind::IntType;
    if (!val.known())
      return std::nullopt;
    return val.known()->isInt()      ? std::optional(c10::TypeKind::IntType)
           : val.known()->isDouble() ? std::optional(c10::TypeKind::FloatType)
           : val.known()->isBool()   ? std::optional(c10::TypeKind::BoolType)
                                     : std::nullopt;
  }

  std::function<Val()> merge(Val x, Val y) {
    if (x.isPoison() || y.isPoison())
      return [] { return Val(); };
    if (x.isUninitialized() && y.isUninitialized())
      return [x] { return x; };
    if (x.isUninitialized() || y.isUninitialized())
      return mergeUninitialized(x, y);
    if (x.known() && y.known() && x.known()->tagKind() == y.known()->tagKind() &&
        (x.known()->isObject() ? x.known()->is(*y.known()) : *x.known() == *y.known()))
      return [x] { return x; };
    if (auto kx = numberKind(x), ky = numberKind(y); kx && ky) {
      if (*kx != *ky)
        return refuse("numbers of different types");
      if (x.asDim() && y.asDim() && *x.asDim() == *y.asDim())
        return [x] { return x; };
      mil::DType type = *kx == c10::TypeKind::IntType    ? mil::DType::I32
                        : *kx == c10::TypeKind::BoolType ? mil::DType::Bool
                                                         : mil::DType::F32;
      auto index = addResult(in(a_, [&] { return engine_.scalar(x, type); }),
                             in(b_, [&] { return engine_.scalar(y, type); }));
      if (!index)
        return [] { return Val(); };
      return
          [this, index = *index, kind = *kx] { return Val(Val::Number{op_->result(index), kind}); };
    }
    if (x.tensor() && y.tensor())
      return mergeTensors(x, y);
    if (x.tuple() && y.tuple() && x.tuple()->values.size() == y.tuple()->values.size()) {
      std::vector<std::function<Val()>> parts;
      for (auto [p, q] : llvm::zip(x.tuple()->values, y.tuple()->values))
        parts.push_back(merge(p, q));
      return [this, parts, type = x.tuple()->type] {
        std::vector<Val> values;
        for (const auto &part : parts)
          values.push_back(part());
        return engine_.makeTuple(type, std::move(values));
      };
    }
    if (x.list() && x.list() == y.list())
      return [x] { return x; };
    if (x.list() && y.list()) {
      auto values = mergeLists(x.list()->values, y.list()->values);
      return [this, values, type = x.list()->elementType] {
        std::vector<Val> elements;
        for (const auto &value : values)
          elements.push_back(value());
        Val list = engine_.makeList(type, std::move(elements));
        list.list()->mayBeAliased = true;
        return list;
      };
    }
    if (x.dict() && x.dict() == y.dict())
      return [x] { return x; };
    if (x.isNone() || y.isNone())
      return refuse("None and a value");
    return refuse("values of different kinds");
  }

  /// A variable that one path leaves unset is only read after the other path: any value of its type
  /// will do.
  std::function<Val()> mergeUninitialized(const Val &x, const Val &y) {
    const Val &set = x.isUninitialized() ? y : x;
    if (set.known() || set.dim())
      return [set] { return set; };
    Region *region = x.isUninitialized() ? b_ : a_, *other = x.isUninitialized() ? a_ : b_;
    mil::Value *value = set.tensor()   ? readAfter(region, *set.tensor())
                        : set.number() ? set.number()->value
                                       : nullptr;
    if (!value || Builder::isPoison(value) || !value->type.hasStaticShape())
      return refuse("a value and nothing");
    auto zeros = in(other, [&] {
      return engine_.builder_.constant(
          mil::TensorData::splat(value->type.dtype(), *mil::constShape(value->type.shape()), 0));
    });
    auto index = x.isUninitialized() ? addResult(zeros, value) : addResult(value, zeros);
    if (!index)
      return [] { return Val(); };
    if (set.number())
      return [this, index = *index, kind = set.number()->kind] {
        return Val(Val::Number{op_->result(index), kind});
      };
    return [this, index = *index, dtype = set.tensor()->dtype()] {
      return engine_.makeTensor(op_->result(index), dtype);
    };
  }

  std::function<Val()> mergeTensors(const Val &x, const Val &y) {
    auto p = x.tensor(), q = y.tensor();
    if (p == q) // what its cell holds is merged with the effects
      return [x] { return x; };
    if (p->dtype() != q->dtype())
      return refuse(llvm::Twine("tensors of ") + at::toString(p->dtype()) + " and " +
                    at::toString(q->dtype()));
    if (p->shape.size() != q->shape.size())
      return refuse("tensors of shapes " + mil::str(p->shape) + " and " + mil::str(q->shape));
    if (p->isComplex()) {
      auto real = merge(engine_.part(p, 0), engine_.part(q, 0));
      auto imag = merge(engine_.part(p, 1), engine_.part(q, 1));
      return [this, real, imag] { return engine_.makeComplex(real(), imag()); };
    }
    at::Tensor known = asLeftBy(a_, *p, [&] { return engine_.readKnown(*p); });
    at::Tensor other = asLeftBy(b_, *q, [&] { return engine_.readKnown(*q); });
    if (known.defined() && other.defined() && known.numel() <= 4096 && known.equal(other))
      return [x] { return x; };
    auto index = addResult(readAfter(a_, *p), readAfter(b_, *q));
    if (!index)
      return [] { return Val(); };
    return [this, index = *index, p, q] {
      Val result = engine_.makeTensor(op_->result(index), p->dtype());
      // The branches may have passed on an outer tensor: writing to the result would write to it.
      if (!a_->isLocal(*p->cell))
        engine_.mayAlias(result, Val(p));
      if (!b_->isLocal(*q->cell))
        engine_.mayAlias(result, Val(q));
      return result;
    };
  }

  std::vector<std::function<Val()>> mergeLists(const std::vector<Val> &x,
                                               const std::vector<Val> &y) {
    std::vector<std::function<Val()>> values;
    if (x.size() != y.size()) {
      refuse("lists of " + llvm::Twine(x.size()) + " and " + llvm::Twine(y.size()) + " elements");
      return values;
    }
    for (auto [p, q] : llvm::zip(x, y))
      values.push_back(merge(p, q));
    return values;
  }

  /// The contents of objects after each branch. The objects themselves have their contents from
  /// before.
  template <typename Entries, typename Ptr, typename T>
  static const T &after(const Entries &entries, const Ptr &object, const T &before) {
    for (const auto &[key, value] : entries)
      if (key == object)
        return value;
    return before;
  }

  std::vector<std::function<void()>> mergeEffects() {
    std::vector<std::function<void()>> effects;
    std::vector<std::shared_ptr<Cell>> cells;
    std::vector<Val::ListPtr> lists;
    std::vector<Val::DictPtr> dicts;
    std::map<std::pair<c10::ivalue::Object *, size_t>, int> slots;
    for (Region *region : {a_, b_}) {
      for (const auto &[cell, value] : region->cells())
        if (!llvm::is_contained(cells, cell))
          cells.push_back(cell);
      for (const auto &[list, value] : region->lists())
        if (!llvm::is_contained(lists, list))
          lists.push_back(list);
      for (const auto &[dict, value] : region->dicts())
        if (!llvm::is_contained(dicts, dict))
          dicts.push_back(dict);
      for (const auto &[key, value] : region->slots())
        slots[key];
    }
    for (const auto &cell : cells) {
      Cell x = after(a_->cells(), cell, *cell), y = after(b_->cells(), cell, *cell);
      auto index = addResult(in(a_, [&] { return engine_.cellValue(x); }),
                             in(b_, [&] { return engine_.cellValue(y); }));
      if (index)
        effects.push_back(
            [this, cell, index = *index] { engine_.setContent(cell, op_->result(index)); });
    }
    for (const auto &list : lists) {
      auto values = mergeLists(after(a_->lists(), list, list->values),
                               after(b_->lists(), list, list->values));
      effects.push_back([this, list, values] {
        engine_.touch(list);
        list->values.clear();
        for (const auto &value : values)
          list->values.push_back(value());
      });
    }
    for (const auto &dict : dicts) {
      const auto &x = after(a_->dicts(), dict, dict->entries),
                 &y = after(b_->dicts(), dict, dict->entries);
      std::vector<std::pair<c10::IValue, std::function<Val()>>> entries;
      bool sameKeys = x.size() == y.size();
      for (size_t i = 0; sameKeys && i < x.size(); ++i) {
        sameKeys = x[i].first == y[i].first;
        if (sameKeys)
          entries.emplace_back(x[i].first, merge(x[i].second, y[i].second));
      }
      if (!sameKeys)
        refuse("dictionaries of different keys");
      effects.push_back([this, dict, entries] {
        engine_.touch(dict);
        dict->entries.clear();
        for (const auto &[key, value] : entries)
          dict->entries.emplace_back(key, value());
      });
    }
    for (const auto &[key, unused] : slots) {
      auto now = engine_.slots_.find(key);
      Val before = now == engine_.slots_.end() ? Val(Val::Uninitialized{}) : now->second;
      auto x = a_->slots().find(key), y = b_->slots().find(key);
      auto value = merge(x == a_->slots().end() ? before : x->second,
                         y == b_->slots().end() ? before : y->second);
      // As a write of the region around, if there is one.
      effects.push_back(
          [this, key = key, value] { engine_.writeSlot(*key.first, key.second, value()); });
    }
    return effects;
  }

  Engine &engine_;
  mil::Op *op_ = nullptr;
  Region *a_ = nullptr, *b_ = nullptr;
  std::vector<Val> leaving_[2]; ///< the branches' outputs, taken before the roll-back
  llvm::SmallVector<mil::Value *, 4> aOutputs_, bOutputs_;
  unsigned results_ = 0;
};

Engine::Results Engine::branch(const Val &condition, const Body &then, const Body &otherwise) {
  if (condition.known() && condition.known()->isBool())
    return (condition.known()->toBool() ? then : otherwise).lower({});
  if (!condition.number())
    return {};
  // Inputs for which the model raises are outside its domain.
  if (then.raises != otherwise.raises)
    return (then.raises ? otherwise : then).lower({});
  return IfLowering(*this).run(condition.number()->value, {&then, &otherwise});
}

} // namespace plait::frontend
