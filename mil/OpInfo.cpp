// The constexpr tables made from Ops.def.
#include "mil/OpInfo.h"

#include "llvm/ADT/StringMap.h"

namespace plait::mil {

namespace infer {
#define OP(NAME, SINCE, TRAITS, HALF, INFER, ...) Error INFER(InferContext &);
#define OP_KEYWORD(NAME, TEXT, SINCE, TRAITS, HALF, INFER, ...) Error INFER(InferContext &);
#include "mil/Ops.def"
} // namespace infer

namespace {
// The names that Ops.def uses for element types, opsets, policies and defaults.
namespace row {
constexpr DTypeSet Bool = setOf(DType::Bool), Str = setOf(DType::String), F16 = setOf(DType::F16),
                   F32 = setOf(DType::F32), Fp = F16 | F32, I4 = setOf(DType::I4),
                   I8 = setOf(DType::I8), I16 = setOf(DType::I16), I32 = setOf(DType::I32),
                   U1 = setOf(DType::U1), U2 = setOf(DType::U2), U3 = setOf(DType::U3),
                   U4 = setOf(DType::U4), U6 = setOf(DType::U6), U8 = setOf(DType::U8),
                   U16 = setOf(DType::U16), U32 = setOf(DType::U32);
// Families of domains: data movement, the same without bool, the older operations' data, index
// types, index types of shapes, values of compressed constants, indices into look-up tables.
constexpr DTypeSet Num = Fp | I8 | I16 | I32 | U8 | U16, Data = Num | Bool, Basic = Fp | I32 | Bool,
                   Idx = I8 | I16 | I32 | U8 | U16, Int = I8 | I16 | I32,
                   Packed = Fp | I4 | I8 | U4 | U8, Lut = U1 | U2 | U3 | U4 | U6 | U8;
/// Any tensor element type, and none: lists, states and literals.
constexpr DTypeSet Any = ~DTypeSet(0), NoTensor = 0;
using enum Opset;
using enum HalfPolicy;
constexpr Default i(int v) { return {Default::Int, double(v)}; }
constexpr Default f(double v) { return {Default::Float, v}; }
constexpr Default b(bool v) { return {Default::Bool, double(v)}; }
constexpr Default s(const char *v) { return {Default::String, 0, v}; }
constexpr Default ones() { return {Default::Ones}; }
constexpr Default zeros() { return {Default::Zeros}; }
constexpr Default allAxes() { return {Default::AllAxes}; }
constexpr Default zeroBias() { return {Default::ZeroBias}; }
constexpr Default boxIndices() { return {Default::BoxIndices}; }
constexpr Default indicesDType() { return {Default::IndicesDType}; }

// A sentinel keeps the array of an operation without parameters legal.
#define IN(NAME, VAR, DOMAIN, FLAGS) ParamInfo{#NAME, VAR, DOMAIN, uint8_t(FLAGS), {}},
#define DEF(NAME, VAR, DOMAIN, FLAGS, DEFAULT)                                                     \
  ParamInfo{#NAME, VAR, DOMAIN, uint8_t((FLAGS) | Opt), DEFAULT},
#define OP(NAME, SINCE, TRAITS, HALF, INFER, ...)                                                  \
  constexpr ParamInfo NAME##_params[] = {__VA_ARGS__ ParamInfo{nullptr, 0, 0, 0, {}}};
#define OP_KEYWORD(NAME, TEXT, SINCE, TRAITS, HALF, INFER, ...)                                    \
  OP(NAME, SINCE, TRAITS, HALF, INFER, __VA_ARGS__)
#include "mil/Ops.def"

const OpInfo kOps[] = {
#define OP_KEYWORD(NAME, TEXT, SINCE, TRAITS, HALF, INFER, ...)                                    \
  {TEXT, SINCE,        uint8_t(TRAITS),                                                            \
   HALF, infer::INFER, llvm::ArrayRef<ParamInfo>(NAME##_params).drop_back()},
#define OP(NAME, SINCE, TRAITS, HALF, INFER, ...)                                                  \
  OP_KEYWORD(NAME, #NAME, SINCE, TRAITS, HALF, INFER, __VA_ARGS__)
#include "mil/Ops.def"
    {"block_return", iOS15, Effect, Keep, nullptr, {}},
};
} // namespace row
} // namespace

const OpInfo &info(OpKind kind) { return row::kOps[unsigned(kind)]; }

std::optional<OpKind> parseOpKind(llvm::StringRef name) {
  static const llvm::StringMap<OpKind> kinds = [] {
    llvm::StringMap<OpKind> map;
    for (unsigned i = 0; i < kNumOps; ++i)
      map[info(OpKind(i)).name] = OpKind(i);
    return map;
  }();
  auto it = kinds.find(name);
  return it == kinds.end() ? std::nullopt : std::optional(it->second);
}

std::optional<unsigned> OpInfo::findParam(llvm::StringRef name) const {
  for (unsigned i = 0; i < params.size(); ++i)
    if (name == params[i].name)
      return i;
  return std::nullopt;
}

llvm::StringRef name(Opset opset) {
  static constexpr llvm::StringLiteral names[] = {"ios15", "ios16", "ios17", "ios18"};
  return names[unsigned(opset) - unsigned(Opset::iOS15)];
}

llvm::StringRef packageName(Opset opset) {
  static constexpr llvm::StringLiteral names[] = {"CoreML5", "CoreML6", "CoreML7", "CoreML8"};
  return names[unsigned(opset) - unsigned(Opset::iOS15)];
}

std::optional<Opset> parseOpset(llvm::StringRef text) {
  for (Opset opset : {Opset::iOS15, Opset::iOS16, Opset::iOS17, Opset::iOS18})
    if (text == name(opset) || text == packageName(opset))
      return opset;
  return std::nullopt;
}

} // namespace plait::mil
