// The selection of a run-time mask, x[mask], has a size that depends on the data, which devices
// that plan memory ahead do not like. Most models reduce the selection, or write it back to where
// it came from. Until then it is kept as the pair of source and mask:
//
//     s = x[m]                 source x, mask m
//     (s - 1).sum()            sum(where(m, x - 1, 0))
//     s.shape[0]               sum(m)
//     x[m] = s * 2             where(m, x * 2, x)
//     torch.sort(s)            sort(gather_nd(x, non_zero(m)))
//
// Pointwise operators work on all elements. The table marks operators that work on rows. Reductions
// are in decompositions/selections.py. Operators that need the elements side by side, and outputs,
// get a tensor of unknown size, which the rule data-dependent-size warns about.
#include "frontend/engine/Decomposition.h"
#include "frontend/engine/Engine.h"
#include "frontend/engine/Table.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/runtime/operator.h>

namespace plait::frontend {

/// The same value, or equal ones computed twice.
static bool isSameValue(const mil::Value *a, const mil::Value *b, unsigned depth = 0) {
  if (a == b)
    return true;
  const mil::Op *p = a->def(), *q = b->def();
  if (!p || !q || p->kind() != q->kind() || !(a->type == b->type) || depth > 8 ||
      p->numParams() != q->numParams() || p->numResults() != 1 || !p->blocks().empty())
    return false;
  if (const mil::Attr *x = mil::constAttr(a), *y = mil::constAttr(b); x || y)
    return x && y && *x == *y;
  if (p->is(mil::OpKind::const_) || p->operands().size() != q->operands().size() ||
      !p->info().isPure())
    return false;
  for (auto [x, y] : llvm::zip(p->operands(), q->operands()))
    if (!isSameValue(x.get(), y.get(), depth + 1))
      return false;
  return true;
}

/// The same elements in row-major order: equal values, or reshaped ones.
static bool isSameInOrder(const mil::Value *a, const mil::Value *b) {
  using mil::OpKind;
  auto original = [](const mil::Value *value) {
    while (value->def() &&
           (value->def()->is(OpKind::reshape) || value->def()->is(OpKind::squeeze) ||
            value->def()->is(OpKind::expand_dims)))
      value = (*value->def())[0];
    return value;
  };
  a = original(a), b = original(b);
  const mil::Op *p = a->def(), *q = b->def();
  if (p && q && p->is(OpKind::logical_not) && q->is(OpKind::logical_not))
    return isSameInOrder((*p)[0], (*q)[0]);
  return isSameValue(a, b);
}

Val Engine::makeSelection(Selection selection, Dim count) {
  auto cell = std::make_shared<Cell>();
  cell->serial = nextSerial_++;
  cell->shape.push_back(count);
  const Shape &source = selection.source->shape;
  cell->shape.append(source.begin() + selection.mask->shape.size(), source.end());
  cell->dtype = selection.source->dtype();
  cell->content = std::move(selection);
  cell->version = nextVersion_++;
  return Val(makeObject(std::move(cell)));
}

Engine::Selected *Engine::selectedBy(const mil::Value *mask) {
  for (Selected &known : selected_)
    if (llvm::is_contained(scopes_, known.scope) && isSameValue(known.mask, mask))
      return &known;
  return nullptr;
}

Val Engine::makeSelection(const Val &source, const Val &mask) {
  // What equal masks select has one size.
  mil::Value *value = read(*mask.tensor());
  if (const Selected *known = selectedBy(value))
    return makeSelection({source.tensor(), mask.tensor()}, known->count);
  // The number of elements; nothing is left of it where nobody asks.
  auto sum = torch::jit::findOperatorFor({"aten::sum", ""});
  auto count = call(sum->schema(), {mask, Val(c10::IValue())});
  auto size = count && !count->empty()
                  ? dimOf(count->front(), mil::numElements(mask.tensor()->shape).upper())
                  : std::nullopt;
  selected_.push_back({value, *size, scopes_.back()});
  return makeSelection({source.tensor(), mask.tensor()}, *size);
}

mil::Value *Engine::sideBySide(const Selection &selection, const Dim &count) {
  using namespace mil;
  Value *mask = read(*selection.mask), *source = read(*selection.source);
  if (Builder::isPoison(mask) || Builder::isPoison(source))
    return builder_.poison();
  Selected *known = selectedBy(mask);
  Value *positions = known ? known->positions : nullptr;
  if (!positions) {
    positions = builder_.emit(OpKind::non_zero, {{non_zero::x, mask}});
    if (Builder::isPoison(positions))
      return positions;
    positions->type = positions->type.withShape({count, positions->type.shape()[1]});
    if (known && known->scope == scopes_.back())
      known->positions = positions;
  }
  // The positions themselves are asked for: the coordinates of all elements are selected of.
  if (at::Tensor known = readKnown(*selection.source); known.defined())
    if (auto shape = mil::constShape(mask->type.shape());
        shape && at::isIntegralType(known.scalar_type(), false) &&
        known.dim() == int64_t(shape->size()) + 1 &&
        at::equal(known.flatten(0, -2), at::nonzero(at::ones(*shape, at::kBool))))
      return positions;
  DType type = source->type.dtype();
  if (type == DType::Bool) // which gather_nd does not take
    source = castTo(source, DType::I32);
  Value *rows = builder_.emit(OpKind::gather_nd, {{gather_nd::x, source},
                                                  {gather_nd::indices, positions},
                                                  {gather_nd::batch_dims, 0},
                                                  {gather_nd::validate_indices, false}});
  return Builder::isPoison(rows) ? rows : castTo(rows, type);
}

Val Engine::withoutSelections(const Val &val) {
  auto tensor = val.tensor();
  if (tensor && hasSelection(val))
    return makeTensor(read(*tensor), tensor->dtype());
  auto list = val.list();
  if (!list || !hasSelection(val))
    return val;
  std::vector<Val> elements;
  for (const Val &element : list->values)
    elements.push_back(withoutSelections(element));
  return makeList(list->elementType, std::move(elements));
}

Engine::Results Engine::callSideBySide(const c10::FunctionSchema &schema, Arguments arguments) {
  std::vector<Val> taken;
  for (const Val &argument : arguments)
    taken.push_back(withoutSelections(argument));
  if (llvm::any_of(taken, hasPoison))
    return {};
  auto results = call(schema, std::move(taken));
  return results ? std::move(*results) : Results();
}

std::optional<Selection> Engine::selectionOf(const Val &val) {
  auto tensor = val.tensor();
  auto *content = tensor ? std::get_if<Selection>(&tensor->cell->content) : nullptr;
  if (!content)
    return std::nullopt;
  Selection selection = *content;
  const Shape &masked = selection.mask->shape;
  int64_t more = int64_t(masked.size()) - 1;
  for (const ViewStep &step : tensor->view) {
    if (step.shape.empty() || !(step.shape[0] == tensor->cell->shape[0]))
      return std::nullopt;
    ViewStep moved = step;
    bool ofRows = true;
    if (step.kind == ViewStep::Slice || step.kind == ViewStep::Select) {
      if (step.kind == ViewStep::Slice && step.dim == 0 && !step.dynamicStart &&
          step.start == Dim(0) && step.step == 1)
        continue; // all of it
      ofRows = step.dim > 0;
      moved.dim += more;
    } else if (step.kind == ViewStep::Permute) {
      ofRows = step.perm[0] == 0;
      moved.perm.clear();
      for (int64_t axis = 0; axis < more; ++axis)
        moved.perm.push_back(axis);
      for (int64_t axis : step.perm)
        moved.perm.push_back(axis + more);
    }
    if (!ofRows)
      return std::nullopt;
    moved.shape.assign(masked.begin(), masked.end());
    moved.shape.append(step.shape.begin() + 1, step.shape.end());
    selection.source = view(selection.source, std::move(moved), std::nullopt);
  }
  return selection;
}

bool Engine::hasSelection(const Val &val) {
  if (auto tensor = val.tensor())
    return std::holds_alternative<Selection>(tensor->cell->content);
  auto list = val.list();
  return list && llvm::any_of(list->values, [&](const Val &element) {
           auto tensor = element.tensor();
           return tensor && std::holds_alternative<Selection>(tensor->cell->content);
         });
}

bool Engine::selectsRows(const Val &mask, const Selection &selection) {
  auto tensor = mask.tensor();
  const Shape &rows = selection.mask->shape;
  if (!tensor || tensor->dtype() != at::kBool || tensor->shape.size() < rows.size())
    return false;
  Shape shape(rows);
  shape.resize(tensor->shape.size(), Dim(1));
  return llvm::ArrayRef<Dim>(tensor->shape) == llvm::ArrayRef<Dim>(shape) &&
         isSameInOrder(read(*tensor), read(*selection.mask));
}

bool Engine::isSameMask(const Selection &a, const Selection &b) {
  return a.mask == b.mask || isSameValue(read(*a.mask), read(*b.mask));
}

Engine::Results Engine::selectedCall(const c10::FunctionSchema &schema, Arguments arguments,
                                     const Row *row) {
  std::optional<Selection> first;
  Dim count;
  unsigned position = 0; // of the first argument that is one
  for (auto [i, argument] : llvm::enumerate(arguments)) {
    if (!hasSelection(argument))
      continue;
    auto selection = selectionOf(argument);
    if (!selection)
      return callSideBySide(schema, arguments);
    if (!first)
      first = selection, count = argument.tensor()->shape[0], position = i;
    else if (!isSameMask(*first, *selection))
      return callSideBySide(schema, arguments);
  }
  int64_t maskRank = first->mask->shape.size();
  int64_t rank = int64_t(first->source->shape.size()) - maskRank; // of a row

  // The selection has one axis in place of the mask's axes of the source. `dim` counts those of the
  // selection.
  bool rows = row && row->whenSelected == WhenSelected::Rows &&
              (position == 0 || schema.name() == "aten::embedding");
  auto axesOf = [&](const Val &dim) {
    std::vector<Val> axes;
    auto list = dim.list();
    for (const Val &axis : list ? llvm::ArrayRef<Val>(list->values) : llvm::ArrayRef<Val>(dim))
      axes.emplace_back(
          c10::IValue(ValueCall::wrapAxis(axis.known()->toInt(), rank + 1) + maskRank - 1));
    return axes;
  };
  for (auto [argument, val] : llvm::zip(schema.arguments(), arguments))
    if (rows && argument.name() == "dim") {
      rows = !val.isNone();
      auto axes = rows ? axesOf(val) : std::vector<Val>();
      rows &= !axes.empty() && llvm::none_of(axes, [&](const Val &axis) {
        return axis.known()->toInt() == maskRank - 1;
      });
    }

  if (!rows && row && !row->selectedDecomposition.empty()) {
    // In x[mask] = s, s replaces the elements that the same mask selects.
    if (auto indices = schema.name() == "aten::index_put" ? arguments[1].list() : nullptr) {
      auto mask = indices->values.size() == 1 ? indices->values[0].tensor() : nullptr;
      if (!mask || mask->dtype() != at::kBool || !isSameMask(*first, {first->source, mask.get()}))
        return callSideBySide(schema, arguments);
    }
    // In x.masked_scatter(mask, s) likewise, where the mask is that of the rows.
    if (schema.name() == "aten::masked_scatter") {
      auto x = arguments[0].tensor();
      const Shape &source = first->source->shape;
      if (position != 2 || !x || !(llvm::ArrayRef<Dim>(x->shape) == llvm::ArrayRef<Dim>(source)) ||
          arguments[1].tensor()->shape.size() != source.size() ||
          !selectsRows(arguments[1], *first))
        return callSideBySide(schema, arguments);
    }
    std::vector<Val> taken;
    for (const Val &argument : arguments)
      if (auto selection = selectionOf(argument)) {
        taken.emplace_back(selection->source);
        taken.emplace_back(selection->mask);
      } else {
        taken.push_back(argument);
      }
    // What it refuses may be computed of the elements side by side.
    size_t before = problems_.size();
    auto results = decompose(row->selectedDecomposition, schema, std::move(taken));
    if (problems_.size() == before)
      return results ? std::move(*results) : Results();
    problems_.erase(problems_.begin() + before, problems_.end());
    return callSideBySide(schema, arguments);
  }

  auto handle = c10::Dispatcher::singleton().findSchema(schema.operator_name());
  bool pointwise = handle && handle->hasTag(at::Tag::pointwise);
  if (!pointwise && !rows)
    return callSideBySide(schema, arguments);
  std::vector<Val> taken;
  for (auto [argument, val] : llvm::zip(schema.arguments(), arguments)) {
    if (auto selection = selectionOf(val)) {
      // Rows of fewer axes broadcast against those of more.
      int64_t own = int64_t(selection->source->shape.size()) - maskRank;
      if (own != rank)
        return callSideBySide(schema, arguments);
      taken.emplace_back(selection->source);
    } else if (auto tensor = val.tensor();
               pointwise && tensor && int64_t(tensor->shape.size()) > rank) {
      // The other operand has no axis for the rows.
      return callSideBySide(schema, arguments);
    } else if (rows && argument.name() == "dim") {
      auto axes = axesOf(val);
      taken.push_back(val.list() ? makeList(val.list()->elementType, std::move(axes)) : axes[0]);
    } else {
      taken.push_back(val);
    }
  }
  auto results = call(schema, std::move(taken));
  if (!results || results->empty() || llvm::any_of(*results, hasPoison))
    return {};
  for (Val &result : *results)
    result = makeSelection({result.tensor(), first->mask}, count);
  return std::move(*results);
}

} // namespace plait::frontend
