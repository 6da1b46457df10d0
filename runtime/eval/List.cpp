// Lists of tensors. A write makes a new list that shares the other elements; a dynamic list grows
// to the index written. Reading an element that was never written gives zeros of the element's
// shape.
#include "runtime/eval/Eval.h"

namespace plait::runtime {

using namespace mil;
namespace {

const TensorList &listOf(const Datum &datum) {
  TORCH_CHECK(datum.list, "the operand is no list");
  return *datum.list;
}

at::Tensor element(EvalContext &c, unsigned listParam, const TensorList &list, int64_t index) {
  TORCH_CHECK(index >= 0 && index < int64_t(list.size()), "index ", index,
              " is out of range for a list of ", list.size());
  if (list[index].defined())
    return list[index];
  const Type &type = c.op()[listParam]->type.element();
  auto shape = constShape(type.shape());
  TORCH_CHECK(shape, "element ", index, " was never written and its shape is not known");
  return at::zeros(at::IntArrayRef(shape->data(), shape->size()),
                   heldType(type.dtype(), c.compute()));
}

void write(TensorList &list, int64_t index, const at::Tensor &value) {
  TORCH_CHECK(index >= 0, "index ", index, " is negative");
  if (index >= int64_t(list.size()))
    list.resize(index + 1);
  list[index] = value;
}

Results evalMakeList(EvalContext &c) {
  int64_t length = c.integer(make_list::init_length, 1);
  TORCH_CHECK(length >= 0, "init_length is ", length);
  return Datum(TensorList(length));
}

Results evalListLength(EvalContext &c) {
  return at::scalar_tensor(int64_t(listOf(c.datum(list_length::ls)).size()), at::kLong);
}

Results evalListRead(EvalContext &c) {
  Datum list = c.datum(list_read::ls);
  return element(c, list_read::ls, listOf(list), c.integer(list_read::index));
}

Results evalListWrite(EvalContext &c) {
  TensorList list = listOf(c.datum(list_write::ls));
  write(list, c.integer(list_write::index), c.raw(list_write::value));
  return Datum(std::move(list));
}

Results evalListGather(EvalContext &c) {
  Datum list = c.datum(list_gather::ls);
  std::vector<at::Tensor> elements;
  for (int64_t index : c.ints(list_gather::indices))
    elements.push_back(element(c, list_gather::ls, listOf(list), index));
  TORCH_CHECK(!elements.empty(), "indices is empty");
  return at::stack(elements, 0);
}

Results evalListScatter(EvalContext &c) {
  TensorList list = listOf(c.datum(list_scatter::ls));
  at::Tensor value = c.raw(list_scatter::value);
  std::vector<int64_t> indices = c.ints(list_scatter::indices);
  TORCH_CHECK(value.dim() > 0 && value.size(0) == int64_t(indices.size()), "value has shape ",
              value.sizes(), " for ", indices.size(), " indices");
  for (size_t i = 0; i < indices.size(); ++i)
    write(list, indices[i], value[int64_t(i)]);
  return Datum(std::move(list));
}

} // namespace

void registerLists(Registry &r) {
  r.add(OpKind::list_gather, evalListGather);
  r.add(OpKind::list_length, evalListLength);
  r.add(OpKind::list_read, evalListRead);
  r.add(OpKind::list_scatter, evalListScatter);
  r.add(OpKind::list_write, evalListWrite);
  r.add(OpKind::make_list, evalMakeList);
}

} // namespace plait::runtime
