// Reading buffers, and finding integers and indices.
#include "compress/Stored.h"

#include "compress/CodeSink.h"
#include "compress/Parts.h"
#include "compress/Units.h"
#include "support/Half.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>

namespace plait::compress {

using llvm::StringRef;
using mil::DType;
using mil::TensorData;

namespace {

constexpr StringRef kPrefix = "_COREML_/";
/// A number is the one that a table or a scale gives where it differs by no more than this part: a
/// step of half precision, in which either may have been saved.
constexpr double kSame = 0x1p-10;

using Shape = llvm::SmallVector<int64_t, 7>;

/// Numbers of any type as doubles, and their shape.
struct Array {
  Shape shape;
  std::vector<double> values;

  static Expected<Array> read(const TensorData &tensor) {
    Array array;
    array.shape.assign(tensor.shape().begin(), tensor.shape().end());
    if (isFloat(tensor.dtype())) {
      auto values = tensor.cast(DType::F32).floatValues();
      if (!values)
        return values.takeError();
      array.values = std::move(*values);
      return array;
    }
    auto values = tensor.intValues();
    if (!values)
      return values.takeError();
    array.values.assign(values->begin(), values->end());
    return array;
  }
  void expandTo(size_t rank) { shape.resize(std::max(shape.size(), rank), 1); }
};

std::string text(llvm::ArrayRef<int64_t> shape) {
  std::string sizes;
  for (int64_t size : shape)
    sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  return "[" + sizes + "]";
}

/// Why `blocks` cannot repeat to `shape`; empty where it can.
std::string misfit(llvm::ArrayRef<int64_t> blocks, llvm::ArrayRef<int64_t> shape, StringRef what) {
  bool fits = blocks.size() == shape.size();
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = blocks[i] > 0 && shape[i] % blocks[i] == 0;
  return fits ? ""
              : fmt::format("its {0} of {1} does not divide {2}", what, text(blocks), text(shape));
}

/// Which element of `blocks` stands for each position of `shape`, in order.
class Blocks {
public:
  Blocks(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<int64_t> blocks)
      : shape_(shape), blocks_(blocks), index_(shape.size()) {}

  size_t next() {
    size_t at = 0;
    for (size_t axis = 0; axis < shape_.size(); ++axis)
      at = at * size_t(blocks_[axis]) + size_t(index_[axis] / (shape_[axis] / blocks_[axis]));
    for (size_t axis = shape_.size(); axis-- > 0;) {
      if (++index_[axis] < shape_[axis])
        break;
      index_[axis] = 0;
    }
    return at;
  }

private:
  llvm::ArrayRef<int64_t> shape_, blocks_;
  llvm::SmallVector<int64_t, 7> index_;
};

bool same(double a, double b, double step) {
  return std::fabs(a - b) <= kSame * std::fabs(b) + 1e-5 * step;
}

/// Integers of an array by its scales and zero points.
struct Integers {
  DType dtype = DType::I8;
  std::vector<uint8_t> codes;
  std::vector<float> stored; ///< what they stand for
};

class Recovery {
public:
  Recovery(const StoredForm &form, DType dtype, const CompressorOptions &options)
      : form_(form), dtype_(dtype), options_(options) {}

  Expected<Outcome> run();

private:
  bool has(StoredForm::Type type) const { return llvm::is_contained(form_.types, type); }
  Error no(std::string why) {
    why_ = std::move(why);
    return Error::success();
  }
  Error readScale(size_t rank, Array &scale, std::optional<Array> &zeroPoint);
  Error integersOf(const Array &numbers, Integers &out);
  Error palette();
  Error plainIntegers();
  Error pruned();
  Error setMask();
  Expected<TensorData> packed(DType dtype, llvm::ArrayRef<uint8_t> codes,
                              llvm::ArrayRef<int64_t> shape) const;
  Error pack(DType dtype, llvm::ArrayRef<uint8_t> codes, llvm::ArrayRef<int64_t> shape);
  Error setScale(const Array &scale, const std::optional<Array> &zeroPoint, DType dtype,
                 llvm::ArrayRef<int64_t> shape);
  TensorData floats(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<double> values) const {
    std::vector<float> singles(values.begin(), values.end());
    return numbers(dtype_, shape, singles);
  }

  const StoredForm &form_;
  const DType dtype_;
  const CompressorOptions &options_;
  Array weight_;
  std::vector<uint8_t> keep_;
  std::vector<float> stored_; ///< what each number becomes
  Compressed result_;
  std::string why_;
};

Grain grainOf(llvm::ArrayRef<int64_t> blocks, llvm::ArrayRef<int64_t> shape) {
  for (size_t axis = 0; axis < shape.size(); ++axis)
    if (blocks[axis] > 1 && axis > 0)
      return {Grain::Kind::Block, shape[axis] / blocks[axis]};
  if (blocks[0] == 1)
    return {};
  if (blocks[0] == shape[0])
    return {Grain::Kind::Channel};
  return {Grain::Kind::Group, shape[0] / blocks[0]};
}

Error Recovery::readScale(size_t rank, Array &scale, std::optional<Array> &zeroPoint) {
  if (!form_.scale)
    return no("quantization_scale is missing");
  auto read = Array::read(form_.scale);
  if (!read)
    return read.takeError();
  scale = std::move(*read);
  scale.expandTo(rank);
  if (form_.zeroPoint) {
    auto zeros = Array::read(form_.zeroPoint);
    if (!zeros)
      return zeros.takeError();
    zeroPoint = std::move(*zeros);
    zeroPoint->expandTo(rank);
    if (zeroPoint->shape != scale.shape)
      return no("its zero_point has another shape than its scale");
  }
  return Error::success();
}

/// `numbers` by the stored scale; sets why_ where they are none of its multiples.
Error Recovery::integersOf(const Array &numbers, Integers &out) {
  Array scale;
  std::optional<Array> zeroPoint;
  if (Error error = readScale(numbers.shape.size(), scale, zeroPoint))
    return error;
  if (!why_.empty())
    return Error::success();
  if (why_ = misfit(scale.shape, numbers.shape, "scale"); !why_.empty())
    return Error::success();
  std::vector<int> integers;
  Blocks blocks(numbers.shape, scale.shape);
  int low = 0, high = 0;
  for (double value : numbers.values) {
    size_t block = blocks.next();
    double step = scale.values[block];
    int zero = zeroPoint ? int(zeroPoint->values[block]) : 0;
    double quotient = step == 0 ? 0 : std::nearbyint(value / step);
    if (!(std::fabs(quotient) <= 512) || !same(quotient * step, value, std::fabs(step)))
      return no(fmt::format("a number of it, {0}, is no multiple of its scale {1}", value, step));
    int integer = int(quotient) + zero;
    low = std::min({low, integer, zero});
    high = std::max({high, integer, zero});
    integers.push_back(integer);
    out.stored.push_back(float(quotient * step));
  }
  bool isSigned = low < 0;
  int least = isSigned ? -(1 << (form_.bits - 1)) : 0,
      most = (1 << (form_.bits - unsigned(isSigned))) - 1;
  if ((form_.bits != 4 && form_.bits != 8) || low < least || high > most)
    return no(fmt::format("its integers from {0} to {1} are none of {2} bits that Core ML has", low,
                          high, form_.bits));
  out.dtype =
      form_.bits == 4 ? (isSigned ? DType::I4 : DType::U4) : (isSigned ? DType::I8 : DType::U8);
  for (int integer : integers)
    out.codes.push_back(uint8_t(integer));
  return setScale(scale, zeroPoint, out.dtype, scale.shape);
}

Error Recovery::setScale(const Array &scale, const std::optional<Array> &zeroPoint, DType dtype,
                         llvm::ArrayRef<int64_t> shape) {
  if (dtype_ == DType::F16)
    for (double value : scale.values)
      if (float half = halfToFloat(floatToHalf(float(value)));
          (value != 0 && half == 0) || !std::isfinite(half))
        return no(fmt::format("its scale {0} is beyond half precision", value));
  result_.scale = floats(shape, scale.values);
  if (!zeroPoint)
    return Error::success();
  std::vector<uint8_t> zeros;
  for (double value : zeroPoint->values)
    zeros.push_back(uint8_t(int(value)));
  auto offset = packed(dtype, zeros, shape);
  if (!offset)
    return offset.takeError();
  result_.offset = *offset;
  return Error::success();
}

Error Recovery::plainIntegers() {
  Integers integers;
  if (Error error = integersOf(weight_, integers))
    return error;
  if (!why_.empty())
    return Error::success();
  result_.scheme.linear = {form_.bits, bool(result_.offset),
                           grainOf(result_.scale.shape(), weight_.shape)};
  stored_ = std::move(integers.stored);
  return pack(integers.dtype, integers.codes, weight_.shape);
}

Error Recovery::palette() {
  size_t rank = weight_.shape.size();
  auto table = Array::read(form_.table);
  if (!table)
    return table.takeError();
  table->expandTo(rank + 2); // of single numbers the last axis may be left out
  if (table->shape.size() != rank + 2)
    return no(
        fmt::format("its lut of {0} has two axes more than the weight or one", text(table->shape)));
  int64_t entries = table->shape[rank], vector = table->shape[rank + 1];
  unsigned bits = llvm::Log2_64_Ceil(uint64_t(std::max<int64_t>(entries, 2)));
  bits += bits == 5 || bits == 7;
  if (bits > 8)
    return no(fmt::format("its lut has {0} entries", entries));
  Shape shape = weight_.shape; // of the indices
  auto axis = size_t(form_.vectorAxis.value_or(0));
  if (form_.vectorAxis && *form_.vectorAxis < 0)
    axis = size_t(*form_.vectorAxis + int64_t(rank));
  if (vector > 1) {
    if (axis >= rank || shape[axis] % vector)
      return no(fmt::format("vectors of {0} do not divide {1}", vector, text(shape)));
    shape[axis] /= vector;
    if (has(StoredForm::Pruned))
      return no("it is pruned and has a table of vectors");
  }
  Shape groups(table->shape.begin(), table->shape.begin() + rank);
  if (why_ = misfit(groups, shape, "lut"); !why_.empty())
    return Error::success();
  // A scale for each channel over a table is a table for each channel: the two operations after one
  // another are known to fail on devices.
  Array outer{Shape(rank, 1), {1}};
  if (form_.paletteScale) {
    auto read = Array::read(form_.paletteScale);
    if (!read)
      return read.takeError();
    outer = std::move(*read);
    outer.expandTo(rank);
    if (why_ = misfit(outer.shape, shape, "palettization_scale"); !why_.empty())
      return Error::success();
    if (has(StoredForm::Integers))
      return no("its table of integers is under a palettization_scale");
  }
  Shape fine;
  for (size_t i = 0; i < rank; ++i) {
    fine.push_back(std::max(groups[i], outer.shape[i]));
    if (fine[i] % groups[i] || fine[i] % outer.shape[i])
      return no("its lut and its palettization_scale have groups that do not fit");
  }
  int64_t tables = mil::numElements(fine), size = int64_t(1) << bits;
  std::vector<double> entriesOf(size_t(tables * size * vector));
  Blocks ofTable(fine, groups), ofScale(fine, outer.shape);
  for (int64_t t = 0; t < tables; ++t) {
    size_t from = ofTable.next() * size_t(entries * vector);
    double factor = outer.values[ofScale.next()];
    for (int64_t i = 0; i < entries * vector; ++i)
      entriesOf[size_t(t * size * vector + i)] = table->values[from + size_t(i)] * factor;
  }
  // The nearest entry; all of its numbers have to be those of the weight.
  int64_t inner = 1, across = weight_.shape.empty() ? 1 : weight_.shape[axis];
  for (size_t i = axis + 1; i < rank; ++i)
    inner *= weight_.shape[i];
  std::vector<uint8_t> codes;
  stored_.resize(weight_.values.size());
  Blocks ofIndex(shape, fine);
  int64_t count = mil::numElements(shape);
  for (int64_t i = 0; i < count; ++i) {
    const double *own = entriesOf.data() + ofIndex.next() * size_t(size * vector);
    int64_t place = i;
    if (vector > 1)
      place = i / (inner * (across / vector)) * (inner * across) +
              i / inner % (across / vector) * vector * inner + i % inner;
    int64_t best = 0;
    double least = INFINITY;
    for (int64_t code = 0; code < entries; ++code) {
      double off = 0;
      for (int64_t v = 0; v < vector; ++v)
        off += std::fabs(own[code * vector + v] - weight_.values[size_t(place + v * inner)]);
      if (off < least) {
        least = off;
        best = code;
      }
    }
    for (int64_t v = 0; v < vector; ++v) {
      auto at = size_t(place + v * inner);
      bool pruned = !keep_.empty() && !keep_[at];
      if (!pruned && !same(own[best * vector + v], weight_.values[at], 0))
        return no(fmt::format("a number of it, {0}, is not in its lut", weight_.values[at]));
      stored_[at] = float(own[best * vector + v]);
    }
    codes.push_back(uint8_t(best));
  }
  result_.scheme.palette =
      Scheme::Palette{bits, grainOf(fine, shape), has(StoredForm::Integers), unsigned(vector)};
  if (vector > 1)
    result_.vectorAxis = int(axis);
  Shape full = fine;
  full.push_back(size);
  full.push_back(vector);
  if (has(StoredForm::Integers)) {
    Integers integers;
    Array padded{full, entriesOf};
    if (Error error = integersOf(padded, integers))
      return error;
    if (!why_.empty())
      return Error::success();
    result_.table = TensorData::fromBytes(integers.dtype, full, integers.codes);
  } else {
    result_.table = floats(full, entriesOf);
  }
  return pack(indexType(bits), codes, shape);
}

Expected<TensorData> Recovery::packed(DType dtype, llvm::ArrayRef<uint8_t> codes,
                                      llvm::ArrayRef<int64_t> shape) const {
  auto sink = CodeSink::create(dtype, int64_t(codes.size()), options_.target);
  if (!sink)
    return sink.takeError();
  if (Error error = sink->append(codes))
    return error;
  return sink->finish(shape);
}

/// Codes of `shape`; of a pruned weight those that are kept, and the mask.
Error Recovery::pack(DType dtype, llvm::ArrayRef<uint8_t> codes, llvm::ArrayRef<int64_t> shape) {
  std::vector<uint8_t> kept;
  for (size_t i = 0; i < codes.size(); ++i)
    if (keep_.empty() || keep_[i])
      kept.push_back(codes[i]);
  auto data =
      keep_.empty() ? packed(dtype, kept, shape) : packed(dtype, kept, {int64_t(kept.size())});
  if (!data)
    return data.takeError();
  result_.data = *data;
  return keep_.empty() ? Error::success() : setMask();
}

Error Recovery::setMask() {
  auto mask = packed(DType::U1, keep_, weight_.shape);
  if (!mask)
    return mask.takeError();
  result_.mask = *mask;
  return Error::success();
}

/// Of a weight that is pruned and no more: the numbers that are left, as they are.
Error Recovery::pruned() {
  std::vector<float> kept;
  for (size_t i = 0; i < keep_.size(); ++i)
    if (keep_[i])
      kept.push_back(float(weight_.values[i]));
  result_.data = numbers(dtype_, {int64_t(kept.size())}, kept);
  stored_.assign(weight_.values.begin(), weight_.values.end());
  return setMask();
}

Expected<Outcome> Recovery::run() {
  auto skip = [&](std::string why) {
    return Outcome{std::nullopt, "its _COREML_ buffers do not say what it holds: " + why};
  };
  if (!form_.unread.empty())
    return skip(form_.unread);
  auto weight = Array::read(form_.value);
  if (!weight)
    return weight.takeError();
  weight_ = std::move(*weight);
  if (weight_.shape.empty() || weight_.values.empty())
    return skip("it is a single number, or none");
  result_.count = int64_t(weight_.values.size());
  if (has(StoredForm::Pruned)) {
    size_t zeros = 0;
    for (double value : weight_.values) {
      keep_.push_back(value != 0);
      zeros += value == 0;
    }
    result_.scheme.prune = Scheme::Prune{100 * double(zeros) / double(weight_.values.size())};
  }
  Error error = has(StoredForm::Palette)    ? palette()
                : has(StoredForm::Integers) ? plainIntegers()
                                            : pruned();
  if (error)
    return error;
  if (!why_.empty())
    return skip(why_);
  Loss loss;
  for (size_t i = 0; i < stored_.size(); ++i)
    loss.add(float(weight_.values[i]), keep_.empty() || keep_[i] ? stored_[i] : 0);
  result_.power = loss.power;
  result_.error = loss.error;
  result_.largestError = loss.largest;
  result_.note = "as it was stored";
  return Outcome{std::move(result_), ""};
}

} // namespace

std::vector<StoredForm> storedForms(const mil::ModuleTree &model) {
  std::vector<StoredForm> forms;
  llvm::StringMap<size_t> byPath;
  for (unsigned number = 0; number < model.modules().size(); ++number) {
    const mil::ModuleInfo &module = model[number];
    for (const auto &[name, tensor] : module.tensors) {
      StringRef rest = name;
      if (!rest.consume_front(kPrefix) || !rest.contains('/'))
        continue;
      StringRef parameter = rest.rsplit('/').first, key = rest.rsplit('/').second;
      const TensorData *value = module.find(parameter);
      if (!value)
        continue;
      std::string path = model.pathOf(number).str();
      path += (path.empty() ? "" : ".") + parameter.str();
      auto [it, isNew] = byPath.try_emplace(path, forms.size());
      if (isNew) {
        forms.emplace_back().path = path;
        forms.back().value = *value;
      }
      StoredForm &form = forms[it->second];
      auto integers = [&, &stored = tensor]() -> llvm::SmallVector<int64_t, 8> {
        auto values = stored.intValues();
        if (values)
          return *values;
        form.unread = fmt::format("{0}: {1}", key, toString(values.takeError()));
        return {};
      };
      if (key == "compression_type") {
        for (int64_t type : integers())
          if (type >= 1 && type <= 3)
            form.types.push_back(StoredForm::Type(type));
          else
            form.unread = fmt::format("compression_type {0} is none that is known", type);
      } else if (key == "quantization_n_bits" || key == "vector_axis") {
        llvm::SmallVector<int64_t, 8> values = integers();
        if (values.size() != 1)
          form.unread = fmt::format("{0} is no single number", key);
        else if (key == "vector_axis")
          form.vectorAxis = values[0];
        else
          form.bits = unsigned(values[0]);
      } else if (key == "quantization_scale") {
        form.scale = tensor;
      } else if (key == "zero_point") {
        form.zeroPoint = tensor;
      } else if (key == "lut") {
        form.table = tensor;
      } else if (key == "palettization_scale") {
        form.paletteScale = tensor;
      } else {
        form.unread = fmt::format("'{0}' is none of the buffers that are known", key);
      }
    }
  }
  for (StoredForm &form : forms) {
    if (form.types.empty() && form.unread.empty())
      form.unread = "compression_type is missing";
    if (llvm::is_contained(form.types, StoredForm::Palette) && !form.table && form.unread.empty())
      form.unread = "lut is missing";
  }
  return forms;
}

Expected<Outcome> recoverStored(const StoredForm &form, DType dtype,
                                const CompressorOptions &options) {
  return Recovery(form, dtype, options).run();
}

} // namespace plait::compress
