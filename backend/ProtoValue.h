// Types and values between MIL and Core ML's protobuf messages. Private to the backend.
//
// A tensor value is immediate, in the one field that Core ML reads for its element type (bools,
// strings, floats, doubles; ints for int32, int16, uint16; longInts for 64 bits; raw little-endian
// `bytes` for the rest), or a reference into a weight file.
#pragma once

#include "backend/WeightFile.h"
#include "mil/Evaluator.h"
#include "mil/OpInfo.h"

#include "llvm/ADT/StringMap.h"
#include <map>
#include <set>

namespace CoreML::Specification::MILSpec {
class Value;
class ValueType;
} // namespace CoreML::Specification::MILSpec

namespace plait {

namespace wire = CoreML::Specification::MILSpec;

/// What a MIL value says to refer to the weight file, and where that file is in a package, beside
/// the model.
inline constexpr llvm::StringLiteral weightReference = "@model_path/weights/weight.bin";
inline constexpr llvm::StringLiteral weightPath = "weights/weight.bin";

/// Whether a constant goes to the weight file: 10 elements and more of the element types that the
/// peer puts there for `opset`. Bool, strings and everything smaller are immediate.
bool wantsBlob(const mil::Attr &value, mil::Opset opset);

void encodeType(const mil::Type &type, wire::ValueType &out);
/// Dynamic dimensions become Dim::unknown().
Expected<mil::Type> decodeType(const wire::ValueType &in);

/// Writes the value itself; `evaluator` computes lazy constants and may be null when there are
/// none.
Error encodeImmediate(const mil::Attr &value, mil::Evaluator *evaluator, wire::Value &out);
/// Writes a reference to the blob whose metadata is at `offset` of the weight file.
void encodeBlob(const mil::Type &type, uint64_t offset, wire::Value &out);

/// The weight files of a package, opened when first referred to.
class WeightFiles {
public:
  /// `@model_path` in a reference stands for `modelFolder`.
  explicit WeightFiles(std::string modelFolder) : folder(std::move(modelFolder)) {}
  /// The blob that a value refers to.
  Expected<mil::TensorData> tensor(llvm::StringRef reference, uint64_t offset, mil::DType dtype,
                                   llvm::ArrayRef<int64_t> shape);
  /// Of each weight file, the offsets that were referred to.
  const std::map<std::string, std::set<uint64_t>> &references() const { return referred; }
  /// Those opened so far, in order of their names.
  std::vector<std::shared_ptr<const WeightFile>> opened() const;

private:
  Expected<std::shared_ptr<const WeightFile>> get(llvm::StringRef reference);

  std::string folder;
  std::map<std::string, std::set<uint64_t>> referred;
  llvm::StringMap<std::shared_ptr<const WeightFile>> files;
};

Expected<mil::Attr> decodeValue(const wire::Value &in, WeightFiles &files);

} // namespace plait
