// The tables made from Ops.def: the rows, and the forms that older opsets have.
#include "mil/OpInfo.h"

#include "mil/Computation.h"

#include "llvm/ADT/SmallVectorExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"

#include <deque>

namespace plait::mil {

namespace infer {
#define OP(NAME, NEWEST, TRAITS, HALF, INFER, ...) Error INFER(InferContext &);
#define OP_KEYWORD(NAME, TEXT, NEWEST, TRAITS, HALF, INFER, ...) Error INFER(InferContext &);
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
#define GONE(NAME) ParamInfo{#NAME, '_', Any, uint8_t(Opt | Gone), {}},
#define OP(NAME, NEWEST, TRAITS, HALF, INFER, ...)                                                 \
  constexpr ParamInfo NAME##_params[] = {__VA_ARGS__ ParamInfo{nullptr, 0, 0, 0, {}}};
#define OP_KEYWORD(NAME, TEXT, NEWEST, TRAITS, HALF, INFER, ...)                                   \
  OP(NAME, NEWEST, TRAITS, HALF, INFER, __VA_ARGS__)
#include "mil/Ops.def"

const OpInfo kOps[] = {
#define OP_KEYWORD(NAME, TEXT, NEWEST, TRAITS, HALF, INFER, ...)                                   \
  {TEXT, NEWEST,       uint8_t(TRAITS),                                                            \
   HALF, infer::INFER, llvm::ArrayRef<ParamInfo>(NAME##_params).drop_back()},
#define OP(NAME, NEWEST, TRAITS, HALF, INFER, ...)                                                 \
  OP_KEYWORD(NAME, #NAME, NEWEST, TRAITS, HALF, INFER, __VA_ARGS__)
#include "mil/Ops.def"
    {"block_return", iOS15, Effect, Keep, nullptr, {}},
};

/// How a form differs from its row.
struct Change {
  enum Kind : uint8_t { Is, Not, Tied, All } kind;
  const char *names;
  char var;
  DTypeSet domain;
  uint8_t flags;
};

struct Form {
  OpKind op;
  Opset since;
  llvm::SmallVector<Change, 4> changes;
};

llvm::ArrayRef<Form> forms() {
  static const Form table[] = {
#define OP(NAME, ...)
#define IN(NAME, VAR, DOMAIN, FLAGS) Change{Change::Is, #NAME, VAR, DOMAIN, uint8_t(FLAGS)},
#define NO(NAME) Change{Change::Not, #NAME, '_', 0, 0},
#define TIED(NAMES) Change{Change::Tied, NAMES, 'T', 0, 0},
#define ALL(VAR, DOMAIN) Change{Change::All, "", VAR, DOMAIN, 0},
#define FORM(NAME, SINCE, ...) {OpKind::NAME, SINCE, {__VA_ARGS__}},
#include "mil/Ops.def"
#undef NO
#undef TIED
#undef ALL
  };
  return table;
}
} // namespace row
} // namespace

namespace {

/// Every form of every operation, made when it is first asked for.
class FormTable {
public:
  struct Entry {
    Opset since;
    std::vector<const ParamInfo *> params;
  };

  static const FormTable &get() {
    static const FormTable table;
    return table;
  }
  /// Oldest first.
  llvm::ArrayRef<Entry> of(const OpInfo &op) const { return entries_[&op - row::kOps]; }

private:
  FormTable() : entries_(kNumOps + 1) {
    for (const row::Form &form : row::forms())
      entries_[unsigned(form.op)].push_back(
          {form.since, changed(row::kOps[unsigned(form.op)], form)});
    for (unsigned i = 0; i <= kNumOps; ++i) {
      const OpInfo &op = row::kOps[i];
      Entry newest{op.newest, {}};
      for (const ParamInfo &param : op.params)
        newest.params.push_back(param.flags & Gone ? nullptr : &param);
      entries_[i].push_back(std::move(newest));
    }
  }

  std::vector<const ParamInfo *> changed(const OpInfo &op, const row::Form &form) {
    std::vector<const ParamInfo *> params;
    for (const ParamInfo &param : op.params) {
      ParamInfo own = param;
      for (const row::Change &change : form.changes)
        apply(change, own);
      changed_.push_back(own);
      params.push_back(own.flags & Gone ? nullptr : &changed_.back());
    }
    return params;
  }

  static void apply(const row::Change &change, ParamInfo &param) {
    switch (change.kind) {
    case row::Change::Is:
      if (llvm::StringRef(change.names) == param.name) {
        param.var = change.var;
        param.domain = change.domain;
        param.flags = change.flags | (param.def.kind == Default::None ? 0 : Opt);
      }
      break;
    case row::Change::Not:
      if (llvm::StringRef(change.names) == param.name)
        param.flags |= Gone;
      break;
    case row::Change::Tied: {
      llvm::SmallVector<llvm::StringRef, 6> names;
      llvm::StringRef(change.names).split(names, ' ');
      if (llvm::is_contained(names, param.name))
        param.var = change.var;
      break;
    }
    case row::Change::All:
      if (param.var == change.var)
        param.domain = change.domain;
      break;
    }
  }

  std::vector<llvm::SmallVector<Entry, 1>> entries_;
  std::deque<ParamInfo> changed_;
};

} // namespace

const OpInfo &info(OpKind kind) { return row::kOps[unsigned(kind)]; }

Opset OpInfo::since() const { return FormTable::get().of(*this).front().since; }

llvm::ArrayRef<const ParamInfo *> OpInfo::form(Opset opset) const {
  llvm::ArrayRef<FormTable::Entry> entries = FormTable::get().of(*this);
  size_t i = entries.size() - 1;
  while (i > 0 && entries[i].since > opset)
    --i;
  return entries[i].params;
}

llvm::SmallVector<Opset, 3> OpInfo::formsSince() const {
  return llvm::map_to_vector<3>(FormTable::get().of(*this),
                                [](const FormTable::Entry &entry) { return entry.since; });
}

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

} // namespace plait::mil
