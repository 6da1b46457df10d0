// What evaluators see and how they are found (private: includes torch).
//
// An evaluator computes one operation. It reads operands by parameter and returns one tensor a
// result; the interpreter converts each to the element type that the operation declares, so an
// evaluator may compute in fp32 and return int64 indices. It never writes to an operand. It may
// throw c10::Error (TORCH_CHECK): the interpreter turns that into an error that names the
// operation.
#pragma once

#include "mil/IR.h"
#include "runtime/Tensors.h"

#include <array>

namespace plait::runtime {

/// A list while a function runs; elements that were never written are undefined tensors.
using TensorList = std::vector<at::Tensor>;

/// A value while a function runs: a tensor, a list, or a literal that is neither (strings).
struct Datum {
  Datum() = default;
  Datum(at::Tensor tensor) : tensor(std::move(tensor)) {}
  Datum(TensorList list) : list(std::make_shared<const TensorList>(std::move(list))) {}
  static Datum ofLiteral(mil::Attr attr) {
    Datum datum;
    datum.literal = std::make_shared<const mil::Attr>(std::move(attr));
    return datum;
  }

  at::Tensor tensor;
  std::shared_ptr<const TensorList> list;
  std::shared_ptr<const mil::Attr> literal;
};

using Data = llvm::SmallVector<Datum, 1>;

class EvalContext {
public:
  /// What a value holds at this point.
  using Lookup = llvm::function_ref<Datum(const mil::Value &)>;
  EvalContext(const mil::Op &op, Compute compute, Lookup lookup, const at::Generator &random)
      : op_(op), compute_(compute), lookup_(lookup), random_(random) {}

  const mil::Op &op() const { return op_; }
  Compute compute() const { return compute_; }
  /// What an operation without a seed of its own draws from; undefined where every run differs.
  const at::Generator &random() const { return random_; }
  bool has(unsigned param) const { return op_[param] != nullptr; }
  mil::DType dtype(unsigned param) const { return op_[param]->type.dtype(); }
  /// Element type and shape that the operation declares for a result.
  const mil::Type &resultType(unsigned index = 0) const { return op_.result(index)->type; }

  Datum datum(unsigned param) const { return lookup_(*op_[param]); }
  /// The operand as it is held: for operations that move elements.
  at::Tensor raw(unsigned param) const { return datum(param).tensor; }
  /// The operand to compute with: fp16 as fp32 unless computing natively.
  at::Tensor value(unsigned param) const { return widen(raw(param)); }
  /// value() where bound, else an undefined tensor.
  at::Tensor valueOr(unsigned param) const { return has(param) ? value(param) : at::Tensor(); }
  std::vector<at::Tensor> raws(unsigned param) const;
  std::vector<at::Tensor> values(unsigned param) const;
  at::Tensor widen(const at::Tensor &tensor) const {
    return compute_ != Compute::Native && tensor.scalar_type() == at::kHalf ? tensor.to(at::kFloat)
                                                                            : tensor;
  }

  /// Elements of an integer or bool operand; empty when absent.
  std::vector<int64_t> ints(unsigned param) const;
  std::vector<int64_t> ints(unsigned param, size_t count, int64_t fallback) const;
  int64_t integer(unsigned param, int64_t fallback = 0) const;
  bool boolean(unsigned param, bool fallback = false) const {
    return integer(param, fallback) != 0;
  }
  double number(unsigned param, double fallback = 0) const;
  /// A string constant; `fallback` when absent.
  std::string string(unsigned param, llvm::StringRef fallback = "") const;
  /// An axis brought into [0, rank).
  int64_t axis(unsigned param, int64_t rank, int64_t fallback) const;
  /// Sorted axes in [0, rank); all of them when absent.
  std::vector<int64_t> axes(unsigned param, int64_t rank) const;

private:
  const mil::Op &op_;
  Compute compute_;
  Lookup lookup_;
  const at::Generator &random_;
};

/// What an evaluator returns: a datum a result.
struct Results : Data {
  Results(at::Tensor tensor) { emplace_back(std::move(tensor)); }
  Results(Datum datum) { push_back(std::move(datum)); }
  static Results of(llvm::ArrayRef<at::Tensor> tensors) {
    Results results;
    for (const at::Tensor &tensor : tensors)
      results.emplace_back(tensor);
    return results;
  }
  static Results literals(llvm::ArrayRef<mil::Attr> attrs) {
    Results results;
    for (const mil::Attr &attr : attrs)
      results.push_back(Datum::ofLiteral(attr));
    return results;
  }

private:
  Results() = default;
};

using EvalFn = Results (*)(EvalContext &);

/// Evaluators by operation; null where the interpreter itself runs the operation (constants,
/// states, control flow).
using EvalTable = std::array<EvalFn, mil::kNumOps>;
const EvalTable &evaluators();
/// An evaluator, or one of those that the interpreter runs itself.
bool isEvaluated(mil::OpKind kind);

// One a family; each is called by evaluators().
class Registry {
public:
  explicit Registry(EvalTable &table) : table_(table) {}
  void add(mil::OpKind kind, EvalFn fn) {
    assert(!table_[unsigned(kind)] && "one evaluator an operation");
    table_[unsigned(kind)] = fn;
  }

private:
  EvalTable &table_;
};
void registerActivations(Registry &registry);
void registerCompression(Registry &registry);
void registerConvolutions(Registry &registry);
void registerElementwiseBinary(Registry &registry);
void registerElementwiseUnary(Registry &registry);
void registerImageResizing(Registry &registry);
void registerLinear(Registry &registry);
void registerLists(Registry &registry);
void registerNormalization(Registry &registry);
void registerPooling(Registry &registry);
void registerQuantization(Registry &registry);
void registerRandom(Registry &registry);
void registerRecurrent(Registry &registry);
void registerReduction(Registry &registry);
void registerScatterGather(Registry &registry);
void registerSlicing(Registry &registry);
void registerSorting(Registry &registry);
void registerTensorOperations(Registry &registry);
void registerTensorTransformations(Registry &registry);

} // namespace plait::runtime
