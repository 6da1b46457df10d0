// Gathers the vectors, and puts codes where the first of their numbers lies.
#include "compress/Vectors.h"

#include "compress/CodeSink.h"
#include "compress/Parts.h"
#include "compress/Pieces.h"
#include "compress/Units.h"
#include "compress/VectorPalette.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

namespace plait::compress {

Expected<Outcome> compressVectors(const mil::TensorData &weight, const Layout &layout,
                                  const Scheme &scheme, const CompressorOptions &options) {
  int64_t length = scheme.palette->vector, columns = layout.rowLength();
  if (layout.rows % length != 0)
    return Outcome{std::nullopt, fmt::format("its {0} output channels do not divide into vectors "
                                             "of {1}",
                                             layout.rows, length)};
  auto pieces = Pieces::create(weight, layout, options.evaluator);
  if (!pieces)
    return pieces.takeError();
  Pieces::Buffer all;
  pieces->read(0, pieces->count(), all);
  if (!llvm::all_of(all.values, [](float value) { return std::isfinite(value); }))
    return Outcome{std::nullopt, "it holds numbers that are not finite"};
  std::vector<float> vectors(all.values.size());
  for (int64_t row = 0; row < layout.rows; ++row) {
    const float *from = all.values.data() + row * columns;
    float *to = vectors.data() + row / length * columns * length + row % length;
    for (int64_t column = 0; column < columns; ++column)
      to[column * length] = from[column];
  }
  unsigned count = 1u << scheme.palette->bits;
  auto palette = vectorPalette(vectors, unsigned(length), count, pieces->halves(), options.threads);
  if (!palette)
    return palette.takeError();

  Compressed result;
  result.scheme = scheme;
  result.count = pieces->count();
  result.vectorAxis = int(layout.axes.out);
  Loss loss;
  std::vector<float> stored;
  stored.reserve(vectors.size());
  for (uint8_t code : palette->codes) {
    const float *entry = palette->entries.data() + code * size_t(length);
    stored.insert(stored.end(), entry, entry + length);
  }
  loss.add(vectors, stored, {});
  result.power = loss.power;
  result.error = loss.error;
  result.largestError = loss.largest;
  llvm::SmallVector<int64_t, 5> shape = layout.shape;
  shape[layout.axes.out] /= length;
  auto sink =
      CodeSink::create(indexType(scheme.palette->bits), mil::numElements(shape), options.target);
  if (!sink)
    return sink.takeError();
  if (Error error = sink->append(asItLies(Layout(shape, layout.axes), palette->codes)))
    return error;
  auto data = sink->finish(shape);
  if (!data)
    return data.takeError();
  result.data = *data;
  llvm::SmallVector<int64_t, 7> table(shape.size(), 1);
  table.push_back(count);
  table.push_back(length);
  result.table = numbers(weight.dtype(), table, palette->entries);
  return Outcome{std::move(result), ""};
}

} // namespace plait::compress
