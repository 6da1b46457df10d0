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
  TORCH_CHECK(dim < c.rank, c.name().substr(strlen("aten::")).str(), " of a tensor of rank ",
              c.rank);
  return dim;
}

static Handled chunk(ViewCall &c) {
  int64_t dim = dimOf(c);
  const Dim &total = c.self->shape[dim];
  auto chunks = c.integer("chunks");
  if (!chunks)
    return std::nullopt;
  TORCH_CHECK(total.isConst(), "a dimension of run-time size cannot be split into chunks");
  int64_t each = std::max<int64_t>(1, (total.value() + *chunks - 1) / *chunks);
  return give(c, dim, equalPieces(total, each));
}

/// Into n nearly equal pieces, the first ones larger by one.
static Handled sections(ViewCall &c) {
  int64_t dim = dimOf(c);
  const Dim &total = c.self->shape[dim];
  auto n = c.integer("sections");
  if (!n || !total.isConst())
    return std::nullopt;
  Shape sizes;
  for (int64_t i = 0; i < *n; ++i)
    sizes.push_back(total.value() / *n + (i < total.value() % *n));
  return give(c, dim, sizes);
}

/// Cut before each index.
static Handled indices(ViewCall &c) {
  int64_t dim = dimOf(c);
  const Dim &total = c.self->shape[dim];
  auto cuts = c.dims("indices");
  if (!cuts)
    return std::nullopt;
  Shape sizes;
  Dim at = 0;
  for (const Dim &cut : *cuts) {
    Dim end = cut.isConst() && cut.value() < 0 ? total + cut : min(cut, total);
    sizes.push_back(max(end - at, Dim(0)));
    at = end;
  }
  sizes.push_back(total - at);
  return give(c, dim, sizes);
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
  int64_t dim = c.axis("dim");
  const Dim &size = c.self->shape[dim];
  TORCH_CHECK(size.isConst(), "a dimension of run-time size cannot be unbound");
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
