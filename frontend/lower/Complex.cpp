// Complex tensors: how they are made of real ones and taken apart, and which operations are those
// of both parts. The others that there are, arithmetic first of all, are in
// decompositions/complex.py.
#include "frontend/lower/Families.h"
#include "frontend/lower/ViewCall.h"

namespace plait::frontend {
namespace complexes {

static bool isKnown(ValueCall &c, int index) { return c.engine().toKnown(c[index]).has_value(); }

/// torch.complex(real, imag): a tensor of its own.
static Handled make(ValueCall &c) {
  auto real = c[0].tensor(), imag = c[1].tensor();
  if (!real || !imag || (isKnown(c, 0) && isKnown(c, 1)))
    return std::nullopt;
  TORCH_CHECK(real->dtype() == imag->dtype(), "the real part is ", at::toString(real->dtype()),
              " and the imaginary part ", at::toString(imag->dtype()));
  TORCH_CHECK(at::isFloatingType(real->dtype()), "the parts are ", at::toString(real->dtype()),
              ", not floating-point");
  return one(c.engine().makeComplex(c.engine().copy(real), c.engine().copy(imag)));
}

/// The last axis holds the parts, which the result aliases.
static Handled viewAsComplex(ViewCall &c) {
  if (isKnown(c, 0))
    return std::nullopt;
  TORCH_CHECK(c.rank > 0 && c.self->shape.back() == Dim(2), "the last dimension of ",
              mil::str(c.self->shape), " must have two elements, the real and the imaginary part");
  TORCH_CHECK(at::isFloatingType(c.self->dtype()), at::toString(c.self->dtype()),
              " values are no parts of a complex tensor");
  auto part = [&](int64_t index) {
    return c.engine().selectTensor(c.self, c.rank - 1, Val(c10::IValue(index)));
  };
  return one(c.engine().makeComplex(part(0), part(1)));
}

static Handled real(ViewCall &c) {
  return one(c.self->isComplex() ? c.engine().part(c.self, 0)
                                 : c.engine().reshapeTensor(c.self, c.self->shape, true));
}
static Handled imag(ViewCall &c) {
  TORCH_CHECK(c.self->isComplex(), "a real tensor has no imaginary part");
  return one(c.engine().part(c.self, 1));
}

} // namespace complexes

void registerComplex(Table &table) {
  using namespace complexes;
  table.addValues({"aten::complex"}, make);
  table.addValues({"aten::view_as_complex"}, ofTensor<viewAsComplex>);
  table.addValues({"aten::real"}, ofTensor<real>);
  table.addValues({"aten::imag"}, ofTensor<imag>);
  table.setComplexParts({"aten::sum",
                         "aten::sum.dim_IntList",
                         "aten::mean",
                         "aten::mean.dim",
                         "aten::cumsum",
                         "aten::diff",
                         "aten::cat",
                         "aten::concat",
                         "aten::concatenate",
                         "aten::stack",
                         "aten::hstack",
                         "aten::vstack",
                         "aten::dstack",
                         "aten::column_stack",
                         "aten::row_stack",
                         "aten::flip",
                         "aten::fliplr",
                         "aten::flipud",
                         "aten::roll",
                         "aten::rot90",
                         "aten::repeat",
                         "aten::tile",
                         "aten::repeat_interleave.self_int",
                         "aten::repeat_interleave.self_Tensor",
                         "aten::tril",
                         "aten::triu",
                         "aten::diag",
                         "aten::diag_embed",
                         "aten::trace",
                         "aten::constant_pad_nd",
                         "aten::_pad_circular",
                         "aten::pad",
                         "aten::reflection_pad1d",
                         "aten::reflection_pad2d",
                         "aten::replication_pad1d",
                         "aten::replication_pad2d",
                         "aten::gather",
                         "aten::index_select",
                         "aten::index.Tensor",
                         "aten::index.Tensor_hacked_twin",
                         "aten::take",
                         "aten::take_along_dim",
                         "aten::unfold",
                         "aten::masked_select",
                         "aten::as_strided",
                         "aten::neg",
                         "aten::negative",
                         "aten::atleast_1d",
                         "aten::atleast_2d",
                         "aten::atleast_3d",
                         "aten::embedding",

                         "aten::index_add",
                         "aten::index_copy",
                         "aten::scatter.src",
                         "aten::scatter_add",
                         "aten::masked_scatter"});
}

} // namespace plait::frontend
