// One tensor into a list of views of its parts.
#include "frontend/lower/Families.h"
#include "frontend/lower/ViewCall.h"

namespace plait::frontend {
namespace splits {

/// As many pieces of one size as it takes; the last may be smaller.
static Shape equalPieces(const Dim &total, const Dim &each) {
  Shape sizes;
  TORCH_CHECK(total.isConst() && each.isConst() && each.value() > 0,
              "a dimension of run-time size cannot be split into pieces");
  for (int64_t at = 0; at < total.value(); at += each.value())
    sizes.push_back(std::min(each.value(), total.value() - at));
  if (sizes.empty())
    sizes.push_back(total);
  return sizes;
}

static Handled give(ViewCall &c, int64_t dim, llvm::ArrayRef<Dim> sizes) {
  return one(c.engine().splitTensor(c.self, dim, sizes, /*unbind=*/false));
}

/// The dimension that is split: an argument, or the operation's own.
static int64_t dimOf(ViewCall &c) {
  int64_t dim = c.name() == "aten::vsplit"   ? 0
                : c.name() == "aten::hsplit" ? std::min<int64_t>(c.rank - 1, 1)
                : c.name() == "aten::dsplit" ? 2
                                             : c.axis("dim");
  TORCH_CHECK(dim >= 0 && dim < c.rank, c.name().substr(strlen("aten::")).str(),
              " of a tensor of rank ", c.rank);
  return dim;
}

static Handled chunk(ViewCall &c) {
  int64_t dim = dimOf(c);
  const Dim &total = c.self->shape[dim];
  auto chunks = c.integer("chunks");
  if (!chunks)
    return std::nullopt;
  TORCH_CHECK(*chunks > 0, "a tensor is split into ", *chunks, " chunks");
  TORCH_CHECK(total.isConst(), "a dimension of run-time size cannot be split into chunks");
  int64_t each = std::max<int64_t>(1, (total.value() + *chunks - 1) / *chunks);
  return give(c, dim, equalPieces(total, each));
}

/// Into n nearly equal pieces, the first ones larger by one.
static Handled intoSections(ViewCall &c, int64_t dim, int64_t n) {
  int64_t total = c.self->shape[dim].value();
  TORCH_CHECK(n > 0, "a tensor is split into ", n, " sections");
  Shape sizes;
  for (int64_t i = 0; i < n; ++i)
    sizes.push_back(total / n + (i < total % n));
  return give(c, dim, sizes);
}
static Handled sections(ViewCall &c) { return intoSections(c, dimOf(c), *c.integer("sections")); }

/// Cut before each index.
static Handled cutAt(ViewCall &c, int64_t dim, llvm::ArrayRef<Dim> cuts) {
  const Dim &total = c.self->shape[dim];
  Shape sizes;
  Dim at = 0;
  for (const Dim &cut : cuts) {
    Dim end = cut.isConst() && cut.value() < 0 ? total + cut : min(cut, total);
    sizes.push_back(max(end - at, Dim(0)));
    at = end;
  }
  sizes.push_back(total - at);
  return give(c, dim, sizes);
}
static Handled indices(ViewCall &c) { return cutAt(c, dimOf(c), *c.dims("indices")); }

/// tensor_split by a tensor of one number of sections, or of positions.
static Handled byTensor(ViewCall &c) {
  at::Tensor where = c.engine().compute(*c["tensor_indices_or_sections"].tensor());
  TORCH_CHECK(where.defined(), "the places of a split are only known at run time");
  TORCH_CHECK(where.dim() < 2 && where.scalar_type() == at::kLong,
              "a tensor is split by integers, one or a list of them");
  int64_t dim = dimOf(c);
  if (where.dim() == 0)
    return intoSections(c, dim, where.item<int64_t>());
  Shape cuts;
  for (int64_t i = 0; i < where.numel(); ++i)
    cuts.push_back(where[i].item<int64_t>());
  return cutAt(c, dim, cuts);
}

static Handled split(ViewCall &c) {
  int64_t dim = dimOf(c);
  auto size = c.engine().dimOf(c["split_size"]);
  return size ? give(c, dim, equalPieces(c.self->shape[dim], *size)) : std::nullopt;
}

static Handled withSizes(ViewCall &c) {
  int64_t dim = dimOf(c);
  auto sizes = c.dims(c.find("split_sizes") ? "split_sizes" : "split_size");
  return sizes ? give(c, dim, *sizes) : std::nullopt;
}

static Handled unbind(ViewCall &c) {
  const Dim size = Sizes(c.self->shape)[c.axis("dim")];
  int64_t dim = c.axis("dim");
  TORCH_CHECK(size.isConst(),
              "a dimension whose size the data decides cannot be unbound: a trace keeps as many "
              "elements as its example had; go through all that there may be, and mask those that "
              "are not there");
  return one(c.engine().splitTensor(c.self, dim, Shape(size.value(), Dim(1)), /*unbind=*/true));
}

} // namespace splits

void registerSplits(Table &table) {
  using namespace splits;
  table.addValues({"aten::chunk", "aten::unsafe_chunk"}, ofTensor<chunk>);
  table.addValues(
      {"aten::tensor_split.sections", "aten::hsplit.int", "aten::vsplit.int", "aten::dsplit.int"},
      ofTensor<sections>);
  table.addValues({"aten::tensor_split.indices", "aten::hsplit.array", "aten::vsplit.array",
                   "aten::dsplit.array"},
                  ofTensor<indices>);
  table.addValues({"aten::tensor_split.tensor_indices_or_sections"}, ofTensor<byTensor>);
  table.addValues({"aten::split.Tensor", "aten::unsafe_split.Tensor"}, ofTensor<split>);
  table.addValues({"aten::split.sizes", "aten::split", "aten::split_with_sizes",
                   "aten::unsafe_split_with_sizes"},
                  ofTensor<withSizes>);
  table.addValues({"aten::unbind.int"}, ofTensor<unbind>);

  table.addValues({"aten::split_copy.Tensor"}, copyOf<split>);
  table.addValues({"aten::split_with_sizes_copy"}, copyOf<withSizes>);
  table.addValues({"aten::unbind_copy.int"}, copyOf<unbind>);
}

} // namespace plait::frontend
