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
      for (const Val &output : branches[i]->lower({}))
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

  // ---- Tensors: what the result shares its memory with ----

  /// An outer tensor that the result is after one branch: always where `when` is null, else where
  /// that is true.
  struct Shared {
    Val::TensorPtr outer;
    unsigned branch;
    mil::Value *when;
  };
  /// A result that is a tensor local to a branch after it, in whole or a view of it.
  struct Leaving {
    Val::TensorPtr tensor, result;
  };

  /// Adds the outer tensors that `tensor` shares its memory with after branch `i`. Returns whether
  /// it may share that of others, which only the branch knows.
  bool findShared(unsigned i, const Val::TensorPtr &tensor, std::vector<Shared> &shared) {
    Region &region = i == 0 ? *a_ : *b_;
    if (!region.isLocal(*tensor->cell)) {
      shared.push_back({tensor, i, nullptr});
      return false;
    }
    bool isOpen = tensor->cell->mayBeAliased;
    auto near = Engine::connected(tensor->cell.get(), region.links());
    for (const Cell *cell : llvm::drop_begin(near)) {
      bool isDirect = false;
      for (const auto &link : region.links())
        if (link.a->cell == tensor->cell && link.b->cell.get() == cell && link.a->view.empty() &&
            tensor->view.empty() && !region.isLocal(*cell)) {
          shared.push_back({link.b, i, link.same});
          isDirect = true;
        }
      isOpen |= !isDirect && !region.isLocal(*cell);
    }
    return isOpen;
  }

  /// The condition of a link, as a value after the `cond`.
  std::function<mil::Value *()> conditionOf(const Shared &shared) {
    mil::Value *predicate = (*op_)[mil::cond::pred];
    if (!shared.when)
      return [this, predicate, branch = shared.branch] { return inBranch(predicate, branch); };
    mil::Value *never = in(shared.branch == 0 ? b_ : a_,
                           [&] { return engine_.builder_.constant(mil::Attr::boolean(false)); });
    auto index = shared.branch == 0 ? addResult(shared.when, never) : addResult(never, shared.when);
    return [this, index]() -> mil::Value * { return index ? op_->result(*index) : nullptr; };
  }
  /// Whether the branch was taken, as a value after the `cond`.
  mil::Value *inBranch(mil::Value *predicate, unsigned branch) {
    return branch == 0
               ? predicate
               : engine_.builder_.emit(OpKind::logical_not, {{mil::logical_not::x, predicate}});
  }

  /// Links the result with all that it may share its memory with.
  std::function<void(const Val &)> linksOf(const Val::TensorPtr &p, const Val::TensorPtr &q) {
    std::vector<Shared> shared;
    bool isOpen = findShared(0, p, shared);
    isOpen |= findShared(1, q, shared);
    std::vector<std::pair<Val::TensorPtr, std::function<mil::Value *()>>> links;
    for (const Shared &one : shared)
      links.emplace_back(one.outer, conditionOf(one));
    mil::Value *predicate = (*op_)[mil::cond::pred];
    return [this, p, q, isOpen, links, predicate](const Val &result) {
      auto made = result.tensor();
      if (!made)
        return;
      made->cell->mayBeAliased |= isOpen;
      for (const auto &[outer, condition] : links)
        if (mil::Value *same = condition())
          engine_.link(made, outer, same);
      for (unsigned i : {0u, 1u}) {
        const Val::TensorPtr &tensor = i == 0 ? p : q;
        Region &region = i == 0 ? *a_ : *b_;
        if (!region.isLocal(*tensor->cell))
          continue;
        auto near = Engine::connected(tensor->cell.get(), region.links());
        for (const Leaving &other : left_[i]) {
          if (isSame(tensor, other.tensor))
            engine_.link(made, other.result, inBranch(predicate, i));
          else if (llvm::is_contained(near, other.tensor->cell.get()))
            engine_.mayAlias(Val(made), Val(other.result));
        }
        left_[i].push_back({tensor, made});
      }
    };
  }

  std::function<Val()> mergeTensors(const Val &x, const Val &y) {
    auto p = x.tensor(), q = y.tensor();
    // What its cell holds is merged with the effects.
    if (p == q)
      return [x] { return x; };
    if (isSame(p, q))
      return [this, x, y] { return merged(Val(engine_.makeObject(x.tensor()->cell)), x, y); };
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
    for (const auto &[pair, made] : merged_)
      if (isSame(pair.first, p) && isSame(pair.second, q))
        return [this, made = made, x, y] {
          auto tensor = made->tensor();
          return tensor ? merged(Val(engine_.makeObject(tensor->cell)), x, y) : Val();
        };
    auto made = std::make_shared<Val>();
    merged_.push_back({{p, q}, made});
    std::function<void(const Val &)> addLinks = linksOf(p, q);
    at::Tensor known = asLeftBy(a_, *p, [&] { return engine_.readKnown(*p); });
    at::Tensor other = asLeftBy(b_, *q, [&] { return engine_.readKnown(*q); });
    if (known.defined() && other.defined() && known.numel() <= 4096 && known.equal(other)) {
      Val copy = asLeftBy(a_, *p, [&] { return engine_.copy(p); });
      return [this, copy, made, addLinks, x, y] {
        *made = merged(copy, x, y);
        addLinks(copy);
        return copy;
      };
    }
    auto index = addResult(readAfter(a_, *p), readAfter(b_, *q));
    if (!index)
      return [] { return Val(); };
    return [this, index = *index, dtype = p->dtype(), made, addLinks, x, y] {
      *made = merged(engine_.makeTensor(op_->result(index), dtype), x, y);
      addLinks(*made);
      return *made;
    };
  }
  /// The result as an object: with the strides that it has after either branch; if they differ,
  /// only LibTorch knows whether a reshape would copy. And it may be an outer object.
  Val merged(const Val &result, const Val &x, const Val &y) {
    auto made = result.tensor(), p = x.tensor(), q = y.tensor();
    if (!made)
      return result;
    made->strides = p->strides == q->strides ? p->strides : std::nullopt;
    if (!a_->isLocal(*p) || !b_->isLocal(*q))
      made->mayBeAnother = p->mayBeAnother = q->mayBeAnother = true;
    for (const auto &[other, one] : objects_)
      if (other == p || other == q)
        made->mayBeAnother = one->mayBeAnother = true;
    made->mayBeAnother |= p->mayBeAnother || q->mayBeAnother;
    objects_.push_back({p, made});
    objects_.push_back({q, made});
    return result;
  }
  /// Whether the two are one tensor in all that it holds.
  static bool isSame(const Val::TensorPtr &a, const Val::TensorPtr &b) {
    return a == b || (a->cell == b->cell && a->view.empty() && b->view.empty());
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
      effects.push_back([this, key = key, value] {
        engine_.writeSlot(*key.first, key.second, value());
        engine_.detachState(key);
      });
    }
    return effects;
  }

  Engine &engine_;
  mil::Op *op_ = nullptr;
  Region *a_ = nullptr, *b_ = nullptr;
  llvm::SmallVector<mil::Value *, 4> aOutputs_, bOutputs_;
  unsigned results_ = 0;
  /// What was merged, and into what; null tensors until the `cond` is complete.
  std::vector<std::pair<std::pair<Val::TensorPtr, Val::TensorPtr>, std::shared_ptr<Val>>> merged_;
  std::vector<Leaving> left_[2];
  /// Objects of the branches, and the result that each became.
  std::vector<std::pair<Val::TensorPtr, Val::TensorPtr>> objects_;
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
