// to-half: computes in fp16 what may be computed in it (--precision fp16).
//
//   %a = linear(x = %x, weight = const W, bias = const b)           before: all fp32
//   %y = relu(x = %a)
//
//   %x_to_fp16 = cast(x = %x, dtype = "fp16")                       after
//   %a = linear(x = %x_to_fp16, weight = const W', bias = const b') W' is W cast lazily
//   %r = relu(x = %a)
//   %y = cast(x = %r, dtype = "fp32")
//
// Inputs and outputs keep their types. coremltools decides what stays in fp32: control flow, lists
// and states; arithmetic on pixels; parameters without fp16 in their domain; alpha and beta of
// activations and the epsilon of inverse, log and rsqrt, which may differ in type from x.
//
// Constants:
//
//   a finite value beyond fp16    keeps its operation in fp32, and those that compute with its
//                                 result, with a warning. Masks and idle bounds saturate
//                                 (HalfConstants.cpp)
//   a value that would become 0   becomes the smallest that does not, in constants of fewer than
//                                 400 elements: an epsilon must not vanish; with a warning where
//                                 it is added, and in fp32 where it is a factor or a logarithm is
//                                 taken of what it bounds
//   whole numbers beyond 2048     are rounded, with a warning
//   a large mapped weight         is not read, unless it is added to what a softmax takes. Where
//                                 the writer finds values beyond fp16, all is compiled once more
//                                 with Options::readsWeights
//
// A weight of integers becomes one of integers with an fp16 scale, where fp16 has the scale with
// all of its digits.
//
// What fp16 would turn into other numbers, such as positions and angles, stays in fp32
// (ExactNumbers.h), and what is asked for (Options::keepFloat32). Operations that only move numbers
// are on the side where fewest casts are (HalfBorders.h). What is gathered from in fp16 then gets
// indices of 16 bits (NarrowIndices.h), from ios17 on.
#include "passes/ExactNumbers.h"
#include "passes/HalfBorders.h"
#include "passes/HalfConstants.h"
#include "passes/Match.h"
#include "passes/NarrowIndices.h"
#include "passes/Rewrite.h"

#include "mil/SaturatedRead.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/PointerIntPair.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SetVector.h"

#include <cmath>

namespace plait::passes {

using namespace mil;

namespace {

bool keepsFloat32(const Op &op, unsigned param) {
  switch (op.kind()) {
  case OpKind::elu:
  case OpKind::leaky_relu:
  case OpKind::prelu:
  case OpKind::thresholded_relu:
  case OpKind::clamped_relu:
  case OpKind::linear_activation:
  case OpKind::scaled_tanh:
  case OpKind::sigmoid_hard:
  case OpKind::softplus_parametric:
  case OpKind::inverse:
  case OpKind::log:
  case OpKind::rsqrt:
    return param != 0;
  case OpKind::non_maximum_suppression: // places in an image; which of two is better
    return true;
  case OpKind::resample: // places in an image
    return param == resample::coordinates;
  default: {
    DTypeSet domain = op.info().params[param].domain;
    return domain && !contains(domain, DType::F16);
  }
  }
}

bool isFloat32(const Value *value) {
  return value->type.isTensor() && value->type.dtype() == DType::F32;
}

/// Multiplies by weights.
bool isLayer(const Op &op) {
  switch (op.kind()) {
  case OpKind::conv:
  case OpKind::conv_transpose:
  case OpKind::einsum:
  case OpKind::gru:
  case OpKind::linear:
  case OpKind::lstm:
  case OpKind::matmul:
  case OpKind::rnn:
  case OpKind::scaled_dot_product_attention:
    return true;
  default:
    return false;
  }
}

/// Arithmetic with constants on the pixels of an image: in fp16 the scale would be off for all
/// pixels alike, and each result be rounded once more. A cast behind it is as cheap as one before.
bool isPixelArithmetic(const Op &op) {
  if (!op.is(OpKind::mul) && !op.is(OpKind::add) && !op.is(OpKind::sub) && !op.is(OpKind::real_div))
    return false;
  for (unsigned x : {0u, 1u}) {
    if (!constTensor(op[1 - x]))
      continue;
    const Value *value = op[x];
    if (value->def())
      return isPixelArithmetic(*value->def());
    const Function *function = value->block()->function();
    return value->block() == &function->body() &&
           function->infoOfInput(value->index()).image.has_value();
  }
  return false;
}

class Halver {
public:
  explicit Halver(PassContext &context) : context_(context) {}

  bool run(Function &function) {
    exact_ = exactOperations(function);
    llvm::DenseSet<const Op *> half;
    std::vector<Op *> order;
    mil::walk(function.body(), [&](Op &op) {
      if (!mayBeHalf(op))
        return;
      half.insert(&op);
      order.push_back(&op);
    });
    llvm::DenseSet<const Op *> wide = wideMoves(function, half);
    for (Op *op : order)
      if (!wide.contains(op))
        convert(*op);
    for (Op *cast : casts_)
      if (cast->isUnused())
        cast->erase();
    for (Op *constant : constants_)
      eraseDead(constant);
    return changed_;
  }

private:
  /// What of an operation becomes fp16.
  struct Operands {
    llvm::SmallVector<Operand *, 4> wide;
    llvm::SmallVector<unsigned, 4> params;
  };

  Operands operandsOf(Op &op) {
    Operands found;
    for (unsigned param = 0; param < op.numParams(); ++param) {
      if (keepsFloat32(op, param))
        continue;
      for (const Operand &operand : op.operands(param)) {
        if (!isFloat32(operand.get()))
          continue;
        // What is decompressed to fp32 cannot be cast and stay a constant; its scale can.
        if (isCompileTime(operand.get()) && !constTensor(operand.get()) &&
            !hasHalfScale(operand.get()))
          return {};
        found.wide.push_back(&op.operands()[&operand - op.operands().data()]);
        found.params.push_back(param);
      }
    }
    return found;
  }

  /// Whether the operand is integers with a scale, and half precision has every number of that with
  /// all of its digits.
  bool hasHalfScale(const Value *value) {
    namespace shift = constexpr_blockwise_shift_scale;
    const Op *op = definedBy(value, OpKind::constexpr_blockwise_shift_scale);
    const TensorData *scale = op ? constTensor((*op)[shift::scale]) : nullptr;
    const Value *offset = op ? (*op)[shift::offset] : nullptr;
    if (!scale || (offset && isFloat(offset->type.dtype()) && !constTensor(offset)))
      return false;
    auto [known, fresh] = halfScales_.try_emplace(value, false);
    if (fresh) {
      auto numbers = scale->floatValues(context_.evaluator);
      if (!numbers)
        return llvm::consumeError(numbers.takeError()), false;
      known->second = llvm::all_of(*numbers, isNormalInHalf);
    }
    return known->second;
  }

  static bool isNormalInHalf(double number) {
    return number == 0 || (std::fabs(number) >= 0x1p-14 && std::fabs(number) <= 65504);
  }

  /// A constant scale of quantize or dequantize that half precision would change, or that makes
  /// numbers beyond it.
  static bool needsWideScale(const Op &op) {
    bool rounds = op.is(OpKind::quantize);
    if (!rounds && !op.is(OpKind::dequantize))
      return false;
    const TensorData *scale =
        constTensor(op[rounds ? unsigned(quantize::scale) : unsigned(dequantize::scale)]);
    if (!scale)
      return true;
    auto numbers = scale->floatValues();
    if (!numbers)
      return llvm::consumeError(numbers.takeError()), true;
    return !llvm::all_of(*numbers, [](double number) {
      return isNormalInHalf(number * 255) && isNormalInHalf(number);
    });
  }

  bool mayBeHalf(Op &op) {
    // Which class was drawn is a number of the operand's type.
    if (op.info().half != HalfPolicy::Cast || op.is(OpKind::random_categorical) ||
        isPixelArithmetic(op) || needsWideScale(op))
      return false;
    Operands operands = operandsOf(op);
    if (operands.wide.empty())
      return false;
    bool kept =
        exact_.contains(&op) || (context_.options.keepFloat32 && context_.options.keepFloat32(op));
    // In any case: what is large is followed.
    return !staysWide(op, operands.wide, operands.params) && !kept;
  }

  void convert(Op &op) {
    Operands operands = operandsOf(op);
    llvm::SmallVector<Value *, 4> before;
    for (auto [operand, param] : llvm::zip(operands.wide, operands.params)) {
      before.push_back(operand->get());
      operand->set(half(*operand, param));
    }
    llvm::SmallVector<Type, 2> types;
    for (const auto &result : op.results())
      types.push_back(result->type);
    if (!retype(&op)) {
      for (auto [operand, value] : llvm::zip(operands.wide, before))
        operand->set(value);
      return;
    }
    changed_ = true;
    for (auto [result, type] : llvm::zip(op.results(), types)) {
      if (result->type == type)
        continue;
      // Sizes are what they were: one that nothing is known of is new each time it is inferred.
      if (type.isTensor())
        result->type = result->type.withShape(type.shape());
      if (!(result->type == type))
        widen(op, result.get());
    }
  }

  /// The operation has a constant that fp16 does not hold, or computes with what such an operation
  /// gives. Layers do not: their weights would be stored in fp32.
  bool staysWide(Op &op, llvm::ArrayRef<Operand *> wide, llvm::ArrayRef<unsigned> params) {
    bool stays = false, isLarge = false;
    for (auto [operand, param] : llvm::zip(wide, params)) {
      const Value *value = operand->get();
      bool large = large_.contains(value);
      stays |= large && !isLayer(op);
      if (constTensor(value)) {
        const HalfConstant &constant = narrow(*operand, param);
        bool logged = constant.vanished && feedsLog(op);
        if (logged) // so that the logarithm takes it in fp32
          large_.insert(op.result());
        if (logged || (constant.vanished && (op.is(OpKind::mul) || op.is(OpKind::real_div)))) {
          context_.warning(Code::LostInHalf,
                           "function {0}: constant '{1}'{2} holds {3:.2g}, which fp16 has not: "
                           "{4}{5} is computed in fp32",
                           op.parent()->function()->name, value->name, place(*value->def()),
                           *constant.vanished, op.info().name, place(op));
          stays = true;
        }
        if (auto beyond = constant.beyond) {
          context_.warning(Code::BeyondHalf,
                           "function {0}: constant '{1}'{2} holds {3:.2f}, beyond the range of "
                           "fp16: {4}{5} is computed in fp32",
                           op.parent()->function()->name, value->name, place(*value->def()),
                           *beyond, op.info().name, place(op));
          stays = large = true;
        }
      }
      // x / 1e6 is no larger than x.
      isLarge |= large && !(op.is(OpKind::real_div) && param == unsigned(real_div::y));
    }
    if (stays && isLarge && mayBeLargeAfter(op))
      for (const auto &result : op.results())
        large_.insert(result.get());
    return stays;
  }

  static std::string place(const Op &op) { return op.location ? " at " + op.location.str() : ""; }

  /// Gives the users of an fp16 result the fp32 they expect; those that are converted later take
  /// the result itself.
  void widen(Op &op, Value *result) {
    if (!result->hasUses())
      return;
    Builder builder(*op.parent(), std::next(op.getIterator()));
    builder.setLocation(op.location);
    Value *wide = builder.emit(OpKind::cast, {{cast::x, result}, {cast::dtype, "fp32"}},
                               result->name + "_to_fp32");
    for (Operand &use : result->uses())
      if (use.owner()->isTerminator() && !use.owner()->parent()->parentOp()) {
        std::swap(result->name, wide->name);
        break;
      }
    result->replaceAllUsesWith(wide);
    wide->def()->set(cast::x, result);
    remember(wide);
    halves_[wide] = result;
  }

  void remember(Value *made) {
    casts_.push_back(made->def());
    constants_.insert((*made->def())[cast::dtype]->def());
  }

  /// The fp16 form of an operand.
  Value *half(const Operand &operand, unsigned param) {
    Value *value = operand.get();
    Op *user = operand.owner(), *def = value->def();
    Builder builder(*value->block(), def ? std::next(def->getIterator()) : value->block()->begin());
    builder.setLocation(def ? def->location : user->location);
    std::string name = value->name + "_to_fp16";
    if (constTensor(value)) {
      Value *&known = constantHalves_[{value, roleOf(*user, param)}];
      if (known)
        return known;
      const HalfConstant &half = narrow(operand, param);
      if (half.saturated)
        context_.warning(Code::BeyondHalf,
                         "function {0}: constant '{1}'{2} holds {3:.2f}, beyond the range of fp16: "
                         "it becomes {4:.2f}; --precision fp32 keeps it",
                         value->block()->function()->name, value->name, place(*def),
                         *half.saturated, std::copysign(65504, *half.saturated));
      if (half.vanished)
        context_.warning(Code::LostInHalf,
                         "function {0}: constant '{1}'{2} holds {3:.2g}, which is 0 in fp16: it "
                         "becomes {4:.2g}; --keep-fp32 '%{5}' keeps it",
                         value->block()->function()->name, value->name, place(*user),
                         *half.vanished, std::copysign(0x1p-24, *half.vanished),
                         user->result()->name);
      if (half.inexact)
        context_.warning(Code::LostInHalf,
                         "function {0}: constant '{1}'{2} holds the whole number {3:.0f}, which "
                         "fp16 rounds; --keep-fp32 '%{4}' keeps it",
                         value->block()->function()->name, value->name, place(*user), *half.inexact,
                         user->result()->name);
      constants_.insert(def);
      known = builder.constant(half.tensor, name);
      constants_.insert(known->def());
      return known;
    }
    Value *&known = halves_[value];
    if (known)
      return known;
    if (isCompileTime(value)) {
      namespace shift = constexpr_blockwise_shift_scale;
      auto narrowed = [&](Value *part) {
        return part && isFloat32(part)
                   ? builder.constant(constTensor(part)->cast(DType::F16), part->name)
                   : part;
      };
      constants_.insert(def);
      return known = builder.emit(def->kind(),
                                  {{shift::data, (*def)[shift::data]},
                                   {shift::scale, narrowed((*def)[shift::scale])},
                                   {shift::offset, narrowed((*def)[shift::offset])}},
                                  name);
    }
    Value *source = value;
    if (Op *inner = definedBy(value, OpKind::cast)) {
      DType dtype = (*inner)[cast::x]->type.dtype();
      if (dtype == DType::F16)
        return known = (*inner)[cast::x];
      // To fp32 and on to fp16 is to fp16 at once: integers that fp32 rounds are beyond fp16.
      source = (*inner)[cast::x];
    }
    Value *made = builder.emit(OpKind::cast, {{cast::x, source}, {cast::dtype, "fp16"}}, name);
    remember(made);
    return known = made;
  }

  /// A constant operand in fp16. It is read once, unless what becomes of it differs from use to
  /// use.
  const HalfConstant &narrow(const Operand &operand, unsigned param) {
    const Op &user = *operand.owner();
    ConstantRole role = roleOf(user, param);
    auto &known = narrowed_[{operand.get(), role}];
    if (!known || known->dependsOnUse) {
      known = halfConstant(user, param, *constTensor(operand.get()), role);
      if (context_.options.readsWeights && !known->wasRead) {
        auto &beyond = largestBeyond_[operand.get()];
        if (!beyond)
          beyond = largestBeyond(known->tensor);
        if (*beyond > 0)
          known->beyond = *beyond;
      }
    }
    return *known;
  }

  /// The greatest magnitude beyond fp16 in an fp16 tensor, before it was rounded; 0 where all is
  /// within. What cannot be read is the writer's to refuse.
  double largestBeyond(const TensorData &tensor) {
    auto reader = TensorReader::create(tensor, context_.evaluator);
    if (!reader) {
      llvm::consumeError(reader.takeError());
      return 0;
    }
    Saturation saturation;
    constexpr int64_t step = 1 << 20;
    std::vector<uint8_t> bytes(step * byteSize(DType::F16, 1));
    for (int64_t begin = 0, count; begin < tensor.numElements(); begin += count) {
      count = std::min(step, tensor.numElements() - begin);
      readSaturated(*reader, begin, count, bytes.data(), saturation);
      reader->release(begin, count);
    }
    return saturation.largest;
  }

  using RoleKey = llvm::PointerIntPair<Value *, 2, ConstantRole>;

  PassContext &context_;
  llvm::DenseMap<Value *, Value *> halves_; ///< the fp16 form of a value that is no constant
  llvm::DenseMap<RoleKey, Value *> constantHalves_;
  llvm::DenseMap<const Value *, bool> halfScales_; ///< whether they keep their digits
  llvm::DenseMap<RoleKey, std::optional<HalfConstant>> narrowed_;
  llvm::DenseSet<const Op *> exact_; ///< kept in fp32
  llvm::DenseMap<const Value *, std::optional<double>> largestBeyond_;
  llvm::DenseSet<const Value *> large_; ///< may lie beyond fp16, and stay in fp32
  std::vector<Op *> casts_;
  llvm::SetVector<Op *> constants_; ///< that may have lost their last use
  bool changed_ = false;
};

} // namespace

bool toHalf(Program &program, PassContext &context) {
  bool changed = false;
  if (context.options.precision != Precision::F16)
    return changed;
  for (const auto &function : program.functions()) {
    changed |= Halver(context).run(*function);
    if (context.options.target >= Opset::iOS17)
      changed |= narrowIndices(*function);
  }
  return changed;
}

} // namespace plait::passes
