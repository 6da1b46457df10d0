// Tensors that are one at run time, or two. After
//
//     z = y
//     if flag:
//         z = x + 1
//     z.add_(1)
//
// `z` is a tensor of its own where the flag is set, and `y` where it is not. The merged tensor has
// a cell of its own, and a link says when it shares its memory with `y`:
//
//     %z = cond(flag) { x + 1 } { y }        link: z is y where not flag
//     %z1 = add(%z, 1)                       the write
//     %y1 = select(not flag, %z1, %y)        passed on; nobody may read it, then it goes
//
// Links make a forest of cells: one way at most leads from a cell to another. So each write reaches
// every cell that may share its memory once, in an order that does not matter.
#include "frontend/engine/Engine.h"

namespace plait::frontend {

using mil::OpKind;

llvm::SmallVector<const Cell *, 4> Engine::connected(const Cell *cell, llvm::ArrayRef<Link> links) {
  llvm::SmallVector<const Cell *, 4> found{cell};
  for (size_t i = 0; i < found.size(); ++i)
    for (const Link &link : links)
      for (auto [one, other] : {std::pair(&link.a, &link.b), {&link.b, &link.a}})
        if ((*one)->cell.get() == found[i] && !llvm::is_contained(found, (*other)->cell.get()))
          found.push_back((*other)->cell.get());
  return found;
}

void Engine::link(const Val::TensorPtr &a, const Val::TensorPtr &b, mil::Value *same) {
  auto isPlain = [](const TensorObj &tensor) {
    return !tensor.isComplex() && !tensor.isQuantized() && !tensor.cell->mayBeAliased &&
           !std::holds_alternative<Selection>(tensor.cell->content);
  };
  // A second link of the same two cells is of the other branch, never true at once.
  bool isDirect = llvm::any_of(
      links_, [&](const Link &link) { return link.a->cell == a->cell && link.b->cell == b->cell; });
  bool isReached = llvm::is_contained(connected(a->cell.get(), links_), b->cell.get());
  if (isPlain(*a) && isPlain(*b) && (isDirect || !isReached) &&
      llvm::ArrayRef<Dim>(a->shape) == llvm::ArrayRef<Dim>(b->shape)) {
    // As they are now: unsqueeze_() and the like may change the objects.
    links_.push_back(
        {std::make_shared<TensorObj>(*a), std::make_shared<TensorObj>(*b), same, scopes_.back()});
    return;
  }
  mayAlias(Val(a), Val(b));
  llvm::SmallVector<const Cell *, 4> all = connected(a->cell.get(), links_);
  llvm::append_range(all, connected(b->cell.get(), links_));
  for (const Link &link : links_)
    for (const auto &tensor : {link.a, link.b})
      if (llvm::is_contained(all, tensor->cell.get()))
        tensor->cell->mayBeAliased = true;
}

void Engine::passOn(const Cell *cell, const Cell *from) {
  // By index: writing adds no links, but a copy is safer than a reference.
  for (size_t i = 0; i < links_.size(); ++i) {
    Link link = links_[i];
    if (link.a->cell.get() != cell && link.b->cell.get() != cell)
      continue;
    auto [here, there] =
        link.a->cell.get() == cell ? std::pair(link.a, link.b) : std::pair(link.b, link.a);
    if (there->cell.get() == from)
      continue;
    mil::Value *now = read(*here);
    mil::Value *content = builder_.emit(
        OpKind::select,
        {{mil::select::cond, link.same}, {mil::select::a, now}, {mil::select::b, read(*there)}});
    Val value = makeTensor(content, there->dtype());
    if (!value.tensor())
      return;
    writeOne(*there, value);
    passOn(there->cell.get(), cell);
  }
}

} // namespace plait::frontend
