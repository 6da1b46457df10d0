// Encoding and decoding of types and values.
#include "backend/ProtoValue.h"

#include "MIL.pb.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CheckedArithmetic.h"
#include "llvm/Support/Path.h"
#include <cstring>

namespace plait {

using mil::Attr;
using mil::Dim;
using mil::DType;
using mil::TensorData;
using mil::Type;

// ---- Types --------------------------------------------------------------------------------------

namespace {

struct DTypeRow {
  DType dtype;
  wire::DataType code;
};
constexpr DTypeRow dtypeTable[] = {
    {DType::Bool, wire::BOOL},     {DType::String, wire::STRING}, {DType::F16, wire::FLOAT16},
    {DType::BF16, wire::BFLOAT16}, {DType::F32, wire::FLOAT32},   {DType::F64, wire::FLOAT64},
    {DType::I4, wire::INT4},       {DType::I8, wire::INT8},       {DType::I16, wire::INT16},
    {DType::I32, wire::INT32},     {DType::I64, wire::INT64},     {DType::U1, wire::UINT1},
    {DType::U2, wire::UINT2},      {DType::U3, wire::UINT3},      {DType::U4, wire::UINT4},
    {DType::U6, wire::UINT6},      {DType::U8, wire::UINT8},      {DType::U16, wire::UINT16},
    {DType::U32, wire::UINT32},    {DType::U64, wire::UINT64},
};

wire::DataType dtypeCode(DType dtype) {
  for (const DTypeRow &row : dtypeTable)
    if (row.dtype == dtype)
      return row.code;
  llvm_unreachable("every element type has a code");
}

Expected<DType> decodeDType(wire::DataType code) {
  for (const DTypeRow &row : dtypeTable)
    if (row.code == code)
      return row.dtype;
  return makeError(Code::PackageDamaged, "element type {0} of Core ML's format is not supported",
                   int(code));
}

void encodeDim(const Dim &dim, wire::Dimension &out) {
  if (std::optional<int64_t> size = dim.tryValue())
    out.mutable_constant()->set_size(uint64_t(*size));
  else
    out.mutable_unknown()->set_variadic(false);
}

Expected<Dim> decodeDim(const wire::Dimension &in) {
  if (in.has_constant()) {
    if (in.constant().size() > uint64_t(INT64_MAX))
      return makeError(Code::PackageDamaged, "a dimension of size {0} is not possible",
                       in.constant().size());
    return Dim(int64_t(in.constant().size()));
  }
  if (in.unknown().variadic())
    return makeError(Code::PackageDamaged, "tensors of unknown rank are not supported");
  return Dim::unknown();
}

} // namespace

void encodeType(const Type &type, wire::ValueType &out) {
  switch (type.kind()) {
  case Type::Kind::Tensor: {
    wire::TensorType &tensor = *out.mutable_tensortype();
    tensor.set_datatype(dtypeCode(type.dtype()));
    tensor.set_rank(type.rank());
    for (const Dim &dim : type.shape())
      encodeDim(dim, *tensor.add_dimensions());
    return;
  }
  case Type::Kind::List:
    encodeType(type.element(), *out.mutable_listtype()->mutable_type());
    encodeDim(type.length(), *out.mutable_listtype()->mutable_length());
    return;
  case Type::Kind::Tuple:
    out.mutable_tupletype();
    for (const Type &element : type.elements())
      encodeType(element, *out.mutable_tupletype()->add_types());
    return;
  case Type::Kind::Dict:
    encodeType(type.elements()[0], *out.mutable_dictionarytype()->mutable_keytype());
    encodeType(type.elements()[1], *out.mutable_dictionarytype()->mutable_valuetype());
    return;
  case Type::Kind::State:
    encodeType(type.element(), *out.mutable_statetype()->mutable_wrappedtype());
    return;
  case Type::Kind::Invalid:
    break;
  }
  llvm_unreachable("poison does not reach the writer");
}

Expected<Type> decodeType(const wire::ValueType &in) {
  switch (in.type_case()) {
  case wire::ValueType::kTensorType: {
    const wire::TensorType &tensor = in.tensortype();
    Expected<DType> dtype = decodeDType(tensor.datatype());
    if (!dtype)
      return dtype.takeError();
    if (tensor.rank() < 0)
      return makeError(Code::PackageDamaged, "tensors of unknown rank are not supported");
    if (tensor.rank() != tensor.dimensions_size())
      return makeError(Code::PackageDamaged, "a tensor type of rank {0} lists {1} dimensions",
                       tensor.rank(), tensor.dimensions_size());
    mil::Shape shape;
    for (const wire::Dimension &dimension : tensor.dimensions()) {
      Expected<Dim> dim = decodeDim(dimension);
      if (!dim)
        return dim.takeError();
      shape.push_back(*dim);
    }
    return Type::tensor(*dtype, shape);
  }
  case wire::ValueType::kListType: {
    Expected<Type> element = decodeType(in.listtype().type());
    if (!element)
      return element.takeError();
    Expected<Dim> length = decodeDim(in.listtype().length());
    if (!length)
      return length.takeError();
    return Type::list(*element, *length);
  }
  case wire::ValueType::kTupleType: {
    std::vector<Type> elements;
    for (const wire::ValueType &type : in.tupletype().types()) {
      Expected<Type> element = decodeType(type);
      if (!element)
        return element.takeError();
      elements.push_back(*element);
    }
    return Type::tuple(std::move(elements));
  }
  case wire::ValueType::kDictionaryType: {
    Expected<Type> key = decodeType(in.dictionarytype().keytype());
    if (!key)
      return key.takeError();
    Expected<Type> value = decodeType(in.dictionarytype().valuetype());
    if (!value)
      return value.takeError();
    return Type::dict(*key, *value);
  }
  case wire::ValueType::kStateType: {
    Expected<Type> wrapped = decodeType(in.statetype().wrappedtype());
    if (!wrapped)
      return wrapped.takeError();
    if (!wrapped->isTensor())
      return makeError(Code::PackageDamaged, "a state that holds no tensor is not supported");
    return Type::state(*wrapped);
  }
  case wire::ValueType::TYPE_NOT_SET:
    break;
  }
  return makeError(Code::PackageDamaged, "a value has no type");
}

// ---- Values to messages -------------------------------------------------------------------------

bool wantsBlob(const Attr &value, mil::Opset opset) {
  const TensorData *tensor = value.tensor();
  if (!tensor || tensor->numElements() < 10)
    return false;
  switch (tensor->dtype()) {
  case DType::F16:
  case DType::F32:
  case DType::I8:
  case DType::U8:
    return true;
  case DType::BF16:
    return false;
  default:
    return mil::info(opset).allBlobs && blobCode(tensor->dtype());
  }
}

namespace {

template <typename T, typename Field> void addAll(llvm::ArrayRef<uint8_t> bytes, Field &field) {
  size_t count = bytes.size() / sizeof(T);
  field.Reserve(int(count));
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    field.Add(value);
  }
}

void encodeElements(DType dtype, llvm::ArrayRef<uint8_t> bytes, wire::TensorValue &out) {
  switch (dtype) {
  case DType::Bool:
    return addAll<uint8_t>(bytes, *out.mutable_bools()->mutable_values());
  case DType::F32:
    return addAll<float>(bytes, *out.mutable_floats()->mutable_values());
  case DType::F64:
    return addAll<double>(bytes, *out.mutable_doubles()->mutable_values());
  case DType::I16:
    return addAll<int16_t>(bytes, *out.mutable_ints()->mutable_values());
  case DType::U16:
    return addAll<uint16_t>(bytes, *out.mutable_ints()->mutable_values());
  case DType::I32:
    return addAll<int32_t>(bytes, *out.mutable_ints()->mutable_values());
  case DType::I64:
  case DType::U64:
    return addAll<int64_t>(bytes, *out.mutable_longints()->mutable_values());
  default:
    out.mutable_bytes()->set_values(bytes.data(), bytes.size());
  }
}

} // namespace

Error encodeImmediate(const Attr &value, mil::Evaluator *evaluator, wire::Value &out) {
  encodeType(value.type(), *out.mutable_type());
  wire::Value::ImmediateValue &immediate = *out.mutable_immediatevalue();
  if (const TensorData *tensor = value.tensor()) {
    Expected<std::vector<uint8_t>> bytes = tensor->bytes(evaluator);
    if (!bytes)
      return bytes.takeError();
    encodeElements(tensor->dtype(), *bytes, *immediate.mutable_tensor());
  } else if (const std::vector<std::string> *strings = value.strings()) {
    wire::TensorValue::RepeatedStrings &field = *immediate.mutable_tensor()->mutable_strings();
    for (const std::string &string : *strings)
      field.add_values(string);
  } else if (const std::vector<Attr> *elements = value.elements()) {
    bool isList = value.type().isList();
    if (isList)
      immediate.mutable_list();
    else
      immediate.mutable_tuple();
    for (const Attr &element : *elements)
      if (Error error = encodeImmediate(element, evaluator,
                                        isList ? *immediate.mutable_list()->add_values()
                                               : *immediate.mutable_tuple()->add_values()))
        return error;
  } else if (const Attr::Dict *entries = value.dict()) {
    immediate.mutable_dictionary();
    for (const auto &[key, entry] : *entries) {
      wire::DictionaryValue::KeyValuePair &pair = *immediate.mutable_dictionary()->add_values();
      if (Error error = encodeImmediate(key, evaluator, *pair.mutable_key()))
        return error;
      if (Error error = encodeImmediate(entry, evaluator, *pair.mutable_value()))
        return error;
    }
  }
  return Error::success();
}

void encodeBlob(const Type &type, uint64_t offset, wire::Value &out) {
  encodeType(type, *out.mutable_type());
  out.mutable_blobfilevalue()->set_filename(weightReference.str());
  out.mutable_blobfilevalue()->set_offset(offset);
}

// ---- Messages to values -------------------------------------------------------------------------

Expected<std::shared_ptr<const WeightFile>> WeightFiles::get(llvm::StringRef reference) {
  auto [it, isNew] = files.try_emplace(reference);
  if (!isNew && it->second)
    return it->second;
  llvm::StringRef name = reference;
  bool inside = name.consume_front("@model_path/");
  for (llvm::StringRef part : llvm::split(name, '/'))
    inside &= !part.empty() && part != "." && part != "..";
  if (!inside)
    return makeError(Code::PackageDamaged,
                     "weights are in '{0}', which is no path inside the package", reference);
  llvm::SmallString<256> path(folder);
  llvm::sys::path::append(path, name);
  auto file = WeightFile::open(path);
  if (!file)
    return file.takeError();
  it->second = *file;
  return *file;
}

std::vector<std::shared_ptr<const WeightFile>> WeightFiles::opened() const {
  std::vector<llvm::StringRef> names(files.keys().begin(), files.keys().end());
  llvm::sort(names);
  std::vector<std::shared_ptr<const WeightFile>> result;
  for (llvm::StringRef name : names)
    if (auto file = files.lookup(name))
      result.push_back(std::move(file));
  return result;
}

Expected<TensorData> WeightFiles::tensor(llvm::StringRef reference, uint64_t offset,
                                         mil::DType dtype, llvm::ArrayRef<int64_t> shape) {
  auto file = get(reference);
  if (!file)
    return file.takeError();
  referred[reference.str()].insert(offset);
  return (*file)->tensorAt(offset, dtype, shape);
}

namespace {

/// The number of elements of a static tensor type, or an error for one that no memory could hold.
Expected<int64_t> checkedElements(const Type &type) {
  int64_t elements = 1;
  for (const Dim &dim : type.shape()) {
    std::optional<int64_t> size = dim.tryValue();
    if (!size)
      return makeError(Code::PackageDamaged, "a constant has the dynamic type {0}", type.str());
    std::optional<int64_t> product = llvm::checkedMul(elements, *size);
    if (!product || *product > INT64_MAX / 64)
      return makeError(Code::PackageDamaged, "a constant has the impossible type {0}", type.str());
    elements = *product;
  }
  return elements;
}

template <typename T, typename Field> std::vector<uint8_t> packAll(const Field &field) {
  std::vector<uint8_t> bytes(size_t(field.size()) * sizeof(T));
  for (int i = 0; i < field.size(); ++i) {
    T value = T(field.Get(i));
    std::memcpy(bytes.data() + size_t(i) * sizeof(T), &value, sizeof(T));
  }
  return bytes;
}

/// The inverse of encodeElements(): of each element type the field that Core ML reads, no other.
Expected<std::vector<uint8_t>> decodeElements(DType dtype, const wire::TensorValue &in) {
  if (in.value_case() == wire::TensorValue::VALUE_NOT_SET) // An empty tensor may leave it out.
    return std::vector<uint8_t>();
  switch (dtype) {
  case DType::Bool:
    if (in.has_bools())
      return packAll<uint8_t>(in.bools().values());
    break;
  case DType::F32:
    if (in.has_floats())
      return packAll<float>(in.floats().values());
    break;
  case DType::F64:
    if (in.has_doubles())
      return packAll<double>(in.doubles().values());
    break;
  case DType::I16:
  case DType::U16:
    if (in.has_ints())
      return packAll<uint16_t>(in.ints().values());
    break;
  case DType::I32:
    if (in.has_ints())
      return packAll<uint32_t>(in.ints().values());
    break;
  case DType::I64:
  case DType::U64:
    if (in.has_longints())
      return packAll<uint64_t>(in.longints().values());
    break;
  default:
    if (in.has_bytes()) {
      const std::string &bytes = in.bytes().values();
      return std::vector<uint8_t>(bytes.begin(), bytes.end());
    }
  }
  return makeError(Code::PackageDamaged, "a constant of {0} is stored as another type",
                   mil::name(dtype));
}

Expected<Attr> decodeTensor(const Type &type, const wire::Value &in, WeightFiles &files) {
  Expected<int64_t> elements = checkedElements(type);
  if (!elements)
    return elements.takeError();
  llvm::SmallVector<int64_t, 6> shape = *mil::constShape(type.shape());

  if (in.has_blobfilevalue()) {
    Expected<TensorData> tensor = files.tensor(in.blobfilevalue().filename(),
                                               in.blobfilevalue().offset(), type.dtype(), shape);
    if (!tensor)
      return tensor.takeError();
    return Attr(std::move(*tensor));
  }

  if (!in.immediatevalue().has_tensor())
    return makeError(Code::PackageDamaged, "a constant of type {0} has no tensor value",
                     type.str());
  const wire::TensorValue &value = in.immediatevalue().tensor();
  if (type.dtype() == DType::String) {
    if (value.strings().values_size() != *elements)
      return makeError(Code::PackageDamaged, "a constant of type {0} holds {1} strings", type.str(),
                       value.strings().values_size());
    return Attr::strings({value.strings().values().begin(), value.strings().values().end()}, shape);
  }
  Expected<std::vector<uint8_t>> bytes = decodeElements(type.dtype(), value);
  if (!bytes)
    return bytes.takeError();
  if (bytes->size() != mil::byteSize(type.dtype(), *elements))
    return makeError(Code::PackageDamaged, "a constant of type {0} holds {1} bytes", type.str(),
                     bytes->size());
  return Attr(TensorData::fromBytes(type.dtype(), shape, std::move(*bytes)));
}

/// A value inside another one, whose type states its own.
Expected<Attr> decodeElement(const wire::Value &in, const Type &type, WeightFiles &files) {
  Expected<Attr> element = decodeValue(in, files);
  if (element && !compatible(element->type(), type))
    return makeError(Code::PackageDamaged, "a constant states {0} and holds {1}", type.str(),
                     element->type().str());
  return element;
}

template <typename Values>
Expected<std::vector<Attr>> decodeAll(const Values &values, llvm::ArrayRef<Type> types,
                                      WeightFiles &files) {
  if (values.size() != int(types.size()))
    return makeError(Code::PackageDamaged, "a constant states {0} elements and holds {1}",
                     types.size(), values.size());
  std::vector<Attr> result;
  for (auto [value, type] : llvm::zip(values, types)) {
    Expected<Attr> element = decodeElement(value, type, files);
    if (!element)
      return element.takeError();
    result.push_back(std::move(*element));
  }
  return result;
}

} // namespace

Expected<Attr> decodeValue(const wire::Value &in, WeightFiles &files) {
  Expected<Type> type = decodeType(in.type());
  if (!type)
    return type.takeError();
  const wire::Value::ImmediateValue &immediate = in.immediatevalue();
  switch (type->kind()) {
  case Type::Kind::Tensor:
    return decodeTensor(*type, in, files);
  case Type::Kind::List: {
    const auto &values = immediate.list().values();
    if (auto length = type->length().tryValue(); length && *length != values.size())
      return makeError(Code::PackageDamaged, "a constant of type {0} holds {1} elements",
                       type->str(), values.size());
    std::vector<Type> types(size_t(values.size()), type->element());
    Expected<std::vector<Attr>> elements = decodeAll(values, types, files);
    if (!elements)
      return elements.takeError();
    return Attr::list(type->element(), std::move(*elements));
  }
  case Type::Kind::Tuple: {
    Expected<std::vector<Attr>> elements =
        decodeAll(immediate.tuple().values(), type->elements(), files);
    if (!elements)
      return elements.takeError();
    return Attr::tuple(std::move(*elements));
  }
  case Type::Kind::Dict: {
    Attr::Dict entries;
    for (const wire::DictionaryValue::KeyValuePair &pair : immediate.dictionary().values()) {
      Expected<Attr> key = decodeElement(pair.key(), type->elements()[0], files);
      if (!key)
        return key.takeError();
      Expected<Attr> value = decodeElement(pair.value(), type->elements()[1], files);
      if (!value)
        return value.takeError();
      entries.emplace_back(std::move(*key), std::move(*value));
    }
    return Attr::dict(type->elements()[0], type->elements()[1], std::move(entries));
  }
  default:
    return makeError(Code::PackageDamaged, "a constant of type {0} is not supported", type->str());
  }
}

} // namespace plait
