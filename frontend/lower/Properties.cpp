// Properties of tensors: they need shapes and types, never contents. Sizes stay symbolic.
#include "frontend/lower/Families.h"
#include "frontend/lower/ViewCall.h"

#include <ATen/Functions.h>

namespace plait::frontend {
namespace properties {

static Handled listOf(ViewCall &c, llvm::ArrayRef<Dim> dims) {
  std::vector<Val> values;
  for (const Dim &d : dims)
    values.emplace_back(d);
  return one(c.engine().makeList(c10::IntType::get(), std::move(values)));
}

/// One of `dims`, or all of them where the schema has no `dim`.
static Handled pick(ViewCall &c, llvm::ArrayRef<Dim> dims) {
  if (c.size() == 1)
    return listOf(c, dims);
  auto dim = c.integer("dim");
  if (!dim)
    return std::nullopt;
  TORCH_CHECK(*dim >= -c.rank && *dim < c.rank, "dimension ", *dim,
              " is out of range for a tensor of rank ", c.rank);
  return one(Val(dims[*dim < 0 ? *dim + c.rank : *dim]));
}

static Handled size(ViewCall &c) { return pick(c, c.self->shape); }
static Handled stride(ViewCall &c) {
  return c.self->strides ? pick(c, *c.self->strides) : std::nullopt;
}
static Handled rank(ViewCall &c) { return one(c10::IValue(c.rank)); }
static Handled length(ViewCall &c) {
  TORCH_CHECK(!c.self->shape.empty(), "len() of a 0-d tensor");
  return one(Val(c.self->shape[0]));
}
static Handled numel(ViewCall &c) { return one(Val(mil::numElements(c.self->shape))); }

static Handled shapeAsTensor(ViewCall &c) {
  Engine &engine = c.engine();
  if (auto sizes = mil::constShape(c.self->shape))
    return one(engine.makeKnown({at::tensor(llvm::ArrayRef<int64_t>(*sizes).vec(), at::kLong)}));
  return one(engine.makeTensor(engine.materialise(c.self->shape), at::kLong));
}

static Handled dtype(ViewCall &c) { return one(c10::IValue(int64_t(c.self->dtype()))); }
static Handled device(ViewCall &) { return one(c10::IValue(at::Device(at::kCPU))); }
static Handled layout(ViewCall &) { return one(c10::IValue(int64_t(at::kStrided))); }
static Handled deviceIndex(ViewCall &) { return one(c10::IValue(int64_t(-1))); }
static Handled elementSize(ViewCall &c) {
  return one(c10::IValue(int64_t(at::elementSize(c.self->dtype()))));
}
static Handled isFloatingPoint(ViewCall &c) {
  return one(c10::IValue(at::isFloatingType(c.self->dtype())));
}
static Handled isComplex(ViewCall &c) {
  return one(c10::IValue(at::isComplexType(c.self->dtype())));
}
static Handled never(ViewCall &) { return one(c10::IValue(false)); }
/// No gradient is recorded, and so nothing is derived from something else.
static Handled isLeaf(ViewCall &) { return one(c10::IValue(true)); }

} // namespace properties

void registerProperties(Table &table) {
  using namespace properties;
  table.addValues("aten::size", {"", "int"}, ofTensor<size>);
  table.addValues("aten::sym_size", {"", "int"}, ofTensor<size>);
  table.addValues("aten::stride", {"", "int"}, ofTensor<stride>);
  table.addValues({"aten::dim"}, ofTensor<rank>);
  table.addValues({"aten::len.Tensor"}, ofTensor<length>);
  table.addValues({"aten::numel", "aten::sym_numel"}, ofTensor<numel>);
  table.addValues({"aten::_shape_as_tensor"}, ofTensor<shapeAsTensor>);

  table.addValues({"prim::dtype"}, ofTensor<dtype>);
  table.addValues({"prim::device"}, ofTensor<device>);
  table.addValues({"prim::layout"}, ofTensor<layout>);
  table.addValues({"aten::get_device"}, ofTensor<deviceIndex>);
  table.addValues({"aten::element_size"}, ofTensor<elementSize>);
  table.addValues({"aten::is_floating_point"}, ofTensor<isFloatingPoint>);
  table.addValues({"aten::is_complex"}, ofTensor<isComplex>);
  table.addValues({"prim::is_cuda", "prim::is_sparse", "prim::is_sparse_csr", "prim::is_mkldnn",
                   "prim::is_mps", "prim::is_vulkan", "prim::is_meta", "prim::is_xpu",
                   "prim::is_nested", "prim::is_ipu", "prim::is_xla", "prim::is_ort",
                   "prim::is_maia", "prim::requires_grad", "aten::is_conj", "aten::is_neg",
                   "aten::is_inference"},
                  ofTensor<never>);
  table.addValues({"aten::is_leaf"}, ofTensor<isLeaf>);
}

} // namespace plait::frontend
