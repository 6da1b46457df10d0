// Copies, casts and changes of layout. Which of them alias is LibTorch's rule: `contiguous` and
// `to` where nothing is to be done.
#include "frontend/lower/Families.h"
#include "frontend/lower/ViewCall.h"

#include <ATen/Functions.h>

namespace plait::frontend {
namespace copies {

/// How LibTorch lays the tensor out, as a tensor without memory; undefined where that is not known.
static at::Tensor layoutOf(const TensorObj &tensor) {
  auto sizes = mil::constShape(tensor.shape);
  auto strides = tensor.strides ? mil::constShape(*tensor.strides) : std::nullopt;
  if (!sizes || !strides)
    return {};
  return at::empty_strided(at::IntArrayRef(sizes->data(), sizes->size()),
                           at::IntArrayRef(strides->data(), strides->size()),
                           at::device(at::kMeta));
}

static at::MemoryFormat formatOf(ViewCall &c, at::MemoryFormat otherwise) {
  auto format = c.integer("memory_format");
  return format ? at::MemoryFormat(*format) : otherwise;
}

/// A copy with the strides that LibTorch gives it, unknown ones where those are not known.
static Val copied(ViewCall &c, at::MemoryFormat format) {
  Val result = c.engine().copy(c.self);
  auto tensor = result.tensor();
  if (!tensor)
    return result;
  bool rowMajor = format == at::MemoryFormat::Contiguous ||
                  (format == at::MemoryFormat::Preserve && frontend::isContiguous(*c.self));
  tensor->strides.reset();
  if (at::Tensor layout = layoutOf(*c.self); layout.defined()) {
    layout = layout.clone(format);
    tensor->strides.emplace(layout.strides().begin(), layout.strides().end());
  } else if (rowMajor) {
    tensor->strides = contiguousStrides(c.self->shape);
  }
  return result;
}

static Handled isContiguous(ViewCall &c) {
  at::MemoryFormat format = formatOf(c, at::MemoryFormat::Contiguous);
  if (at::Tensor layout = layoutOf(*c.self); layout.defined())
    return one(c10::IValue(layout.is_contiguous(format)));
  if (format == at::MemoryFormat::Contiguous && c.self->strides)
    return one(c10::IValue(frontend::isContiguous(*c.self)));
  return std::nullopt;
}

static Handled contiguous(ViewCall &c) {
  at::MemoryFormat format = formatOf(c, at::MemoryFormat::Contiguous);
  bool rowMajor = format == at::MemoryFormat::Contiguous;
  at::Tensor layout = layoutOf(*c.self);
  if (layout.defined() ? layout.is_contiguous(format) : rowMajor && frontend::isContiguous(*c.self))
    return one(Val(c.self));
  Val result = copied(c, format);
  if (!layout.defined() && !(rowMajor && c.self->strides))
    c.engine().mayAlias(result, Val(c.self));
  return one(result);
}

static Handled clone(ViewCall &c) {
  return one(copied(c, formatOf(c, at::MemoryFormat::Preserve)));
}

/// In a new place where `forced`, also if nothing else changes.
static Handled convert(ViewCall &c, at::ScalarType dtype, bool forced) {
  at::MemoryFormat format = formatOf(c, at::MemoryFormat::Preserve);
  if (dtype == c.self->dtype()) {
    if (!forced && format == at::MemoryFormat::Preserve)
      return one(Val(c.self));
    at::Tensor layout = layoutOf(*c.self);
    if (!forced && layout.defined() && layout.suggest_memory_format() == format)
      return one(Val(c.self));
    Val result = copied(c, format);
    if (!forced && !layout.defined())
      c.engine().mayAlias(result, Val(c.self));
    return one(result);
  }
  Val result = c.engine().castTensor(c.self, dtype);
  if (auto tensor = result.tensor();
      tensor && (!frontend::isContiguous(*c.self) || format != at::MemoryFormat::Preserve))
    tensor->strides.reset();
  return one(result);
}

static at::ScalarType dtypeOf(ViewCall &c) {
  if (auto dtype = c.integer("dtype"))
    return at::ScalarType(*dtype);
  auto other = c.find("other");
  return other && other->tensor() ? other->tensor()->dtype() : c.self->dtype();
}

static Handled to(ViewCall &c) {
  auto copy = c.find("copy");
  bool forced = copy && copy->known() && copy->known()->isBool() && copy->known()->toBool();
  return convert(c, dtypeOf(c), forced);
}
static Handled toCopy(ViewCall &c) { return convert(c, dtypeOf(c), true); }
/// torch.as_tensor of a tensor: itself, or its copy in another element type.
static Handled asTensor(ViewCall &c) { return convert(c, dtypeOf(c), false); }
/// Autocast is off where a model is compiled.
static Handled autocast(ViewCall &c) { return convert(c, c.self->dtype(), false); }

/// The values of `src` in the form of `self`.
static Handled copy(ViewCall &c) {
  Val result = c.engine().makeTensor(c.engine().read(*c.self), c.self->dtype());
  if (result.tensor())
    c.engine().write(*result.tensor(), c["src"]);
  return one(result);
}

} // namespace copies

void registerCopies(Table &table) {
  using namespace copies;
  table.addValues("aten::is_contiguous", {"", "memory_format"}, ofTensor<isContiguous>);
  table.addValues({"aten::contiguous"}, ofTensor<contiguous>);
  table.addValues({"aten::clone"}, ofTensor<clone>);
  table.addValues(
      "aten::to",
      {"device", "dtype", "other", "dtype_layout", "prim_Device", "prim_dtype", "prim_other"},
      ofTensor<to>);
  table.addValues({"aten::type_as"}, ofTensor<to>);
  table.addValues({"aten::as_tensor"}, ofTensor<asTensor>);
  table.addValues({"aten::_to_copy"}, ofTensor<toCopy>);
  table.addValues({"aten::_autocast_to_reduced_precision", "aten::_autocast_to_full_precision"},
                  ofTensor<autocast>);
  table.addValues({"aten::copy"}, ofTensor<copy>);
}

} // namespace plait::frontend
