// Creation of operations from arguments, literals and defaults.
#include "mil/Builder.h"

#include "mil/Infer.h"

#include <numeric>

namespace plait::mil {

Builder Builder::before(Op *op) {
  Builder builder(*op->parent(), op->getIterator());
  builder.location_ = op->location;
  return builder;
}

void Builder::fail(Error error) {
  Failure failure = takeFailure(std::move(error));
  if (!error_)
    error_ = std::move(failure);
}

Error Builder::takeError() {
  if (!error_)
    return Error::success();
  Failure failure = std::move(*error_);
  error_.reset();
  return makeFailure(std::move(failure));
}

Value *Builder::poison() {
  if (!poison_)
    poison_ = std::make_unique<Value>(Type(), "poison");
  return poison_.get();
}

std::string Builder::nameFor(llvm::StringRef kind, llvm::StringRef hint) const {
  if (!hint.empty())
    return hint.str();
  const Name &module = location_.module();
  return module.empty() ? kind.str() : module + "_" + kind.str();
}

Value *Builder::constant(Attr value, llvm::StringRef hint) {
  auto op = std::make_unique<Op>(OpKind::const_);
  op->name = function().uniqueName(nameFor("const", hint));
  op->location = location_;
  Type type = value.type();
  op->setVal(std::move(value));
  Value *result = op->addResult(std::move(type), op->name);
  block_->insert(position_, std::move(op));
  return result;
}

Value *Builder::scalar(DType dtype, double value, llvm::StringRef hint) {
  return constant(TensorData::splat(dtype, {}, value), hint);
}

Value *Builder::emit(OpKind kind, llvm::ArrayRef<Arg> args, llvm::StringRef hint) {
  Op *op = create(kind, args, hint);
  return op ? op->result() : poison();
}

Op *Builder::create(OpKind kind, llvm::ArrayRef<Arg> args, llvm::StringRef hint) {
  Op *op = insert(kind, args, hint);
  return op && addResults(op) ? op : nullptr;
}

Op *Builder::openControlFlow(OpKind kind, llvm::ArrayRef<Arg> args, llvm::StringRef hint) {
  assert(kind == OpKind::cond || kind == OpKind::while_loop);
  Op *op = insert(kind, args, hint);
  if (!op)
    return nullptr;
  for (int i = 0; i < 2; ++i) {
    Block *block = op->addBlock();
    if (kind == OpKind::while_loop)
      for (const Operand &var : op->operands(while_loop::loop_vars))
        block->addArg(var->type, function().uniqueName(var->name));
  }
  return op;
}

bool Builder::closeControlFlow(Op *op) { return addResults(op); }

/// The operation with operands and defaults, without results; null after an error.
Op *Builder::insert(OpKind kind, llvm::ArrayRef<Arg> args, llvm::StringRef hint) {
  for (const Arg &arg : args)
    for (Value *value : arg.values)
      if (isPoison(value))
        return nullptr;

  auto owned = std::make_unique<Op>(kind);
  owned->location = location_;
  Op *op = owned.get();
  op->name = function().uniqueName(nameFor(op->info().name, hint));
  for (const Arg &arg : args) {
    assert(arg.param < op->numParams());
    if (arg.values.size() != 1 || arg.values[0])
      op->set(arg.param, arg.values);
  }
  // In the block from here on, so that literals go before it.
  op = block_->insert(position_, std::move(owned));
  Block::iterator after = position_;
  position_ = op->getIterator();
  bool ok = true;
  for (const Arg &arg : args)
    if (!std::holds_alternative<std::monostate>(arg.literal))
      ok &= bindLiteral(*op, arg);
  if (ok)
    fillDefaults(*op);
  position_ = after;
  if (!ok) {
    op->erase();
    return nullptr;
  }

  return op;
}

bool Builder::addResults(Op *op) {
  auto types = inferTypes(*op);
  if (!types) {
    fail(types.takeError());
    op->erase();
    return false;
  }
  for (auto [i, type] : llvm::enumerate(*types))
    op->addResult(type,
                  i == 0 ? op->name : function().uniqueName(op->name + "_" + std::to_string(i)));
  return true;
}

/// The element type for a literal: that of another operand bound to the same type variable, else
/// the preferred one where the domain allows it, else the domain's only choice.
DType Builder::dtypeFor(const Op &op, unsigned param, DType preferred) const {
  auto form = op.info().form(op.opset());
  const ParamInfo &info = form[param] ? *form[param] : op.info().params[param];
  auto dtypeOf = [&](char var) -> std::optional<DType> {
    for (auto [i, other] : llvm::enumerate(form))
      if (i != param && other && other->var == var && op[i] && op[i]->type.isTensor())
        return op[i]->type.dtype();
    return std::nullopt;
  };
  if (info.var != '_')
    if (auto dtype = dtypeOf(info.var))
      return *dtype;
  // Norm parameters and the like follow x where they may.
  if (isFloat(preferred))
    if (auto first = form[0] ? dtypeOf(form[0]->var) : std::nullopt;
        first && isFloat(*first) && contains(info.domain, *first))
      return *first;
  if (contains(info.domain, preferred))
    return preferred;
  for (DType candidate :
       {DType::F32, DType::I32, DType::Bool, DType::F16, DType::U32, DType::String})
    if (contains(info.domain, candidate))
      return candidate;
  return preferred;
}

bool Builder::bindLiteral(Op &op, const Arg &arg) {
  const ParamInfo &param = op.info().params[arg.param];
  Attr value;
  if (const auto *attr = std::get_if<Attr>(&arg.literal)) {
    value = *attr;
    // Index lists follow the parameter's element type where it is not int32 (uint32 of resize).
    if (const TensorData *tensor = value.tensor(); tensor && tensor->dtype() == DType::I32)
      value = tensor->cast(dtypeFor(op, arg.param, DType::I32));
  } else if (const auto *integer = std::get_if<int64_t>(&arg.literal)) {
    DType dtype = dtypeFor(op, arg.param, DType::I32);
    if (!isFloat(dtype) && (*integer < INT32_MIN || *integer > INT32_MAX)) {
      fail(makeError(Code::UnsupportedType, "{0}: {1} = {2} does not fit int32", op.info().name,
                     param.name, *integer));
      return false;
    }
    value = TensorData::splat(dtype, {}, double(*integer));
  } else if (const auto *number = std::get_if<double>(&arg.literal)) {
    value = TensorData::splat(dtypeFor(op, arg.param, DType::F32), {}, *number);
  } else if (const auto *boolean = std::get_if<bool>(&arg.literal)) {
    value = Attr::boolean(*boolean);
  } else {
    value = Attr::string(std::get<std::string>(arg.literal));
  }
  op.set(arg.param, constant(std::move(value), op.name + "_" + param.name));
  return true;
}

void Builder::fillDefaults(Op &op) {
  const OpInfo &row = op.info();
  for (auto [index, known] : llvm::enumerate(row.form(op.opset()))) {
    unsigned i = index;
    if (!known || known->def.kind == Default::None || op[i])
      continue;
    const ParamInfo &param = *known;
    // Sizes follow x, or the kernel where the operation pools.
    unsigned rank = op[0] && op[0]->type.isTensor() ? op[0]->type.rank() : 0;
    int64_t spatial = rank >= 2 ? rank - 2 : 0;
    if (auto kernel = row.findParam("kernel_sizes"))
      if (auto sizes = constInts(op[*kernel]))
        spatial = sizes->size();
    Arg arg(i, static_cast<Value *>(nullptr));
    switch (param.def.kind) {
    case Default::None:
      continue;
    case Default::Int:
      arg.literal = int64_t(param.def.number);
      break;
    case Default::Float:
      arg.literal = param.def.number;
      break;
    case Default::Bool:
      arg.literal = param.def.number != 0;
      break;
    case Default::String:
      arg.literal = std::string(param.def.text);
      break;
    case Default::Ones:
      arg.literal = Attr(TensorData::splat(DType::I32, {spatial}, 1));
      break;
    case Default::Zeros:
      arg.literal = Attr(TensorData::splat(DType::I32, {2 * spatial}, 0));
      break;
    case Default::AllAxes: {
      llvm::SmallVector<int64_t, 6> axes;
      for (unsigned axis = 0; axis < rank; ++axis)
        axes.push_back(axis);
      arg.literal = Attr(TensorData::ints(axes));
      break;
    }
    case Default::BoxIndices: {
      const Value *boxes = op[crop_resize::boxes];
      if (!boxes || boxes->type.rank() != 2 || !boxes->type.shape()[0].isConst())
        continue;
      llvm::SmallVector<int64_t, 8> indices(boxes->type.shape()[0].value());
      std::iota(indices.begin(), indices.end(), 0);
      arg.literal = Attr(TensorData::ints(indices));
      break;
    }
    case Default::IndicesDType:
      if (!constBool(op[topk::return_indices]).value_or(true))
        continue;
      arg.literal = std::string("int32");
      break;
    case Default::ZeroBias: {
      auto weight = row.findParam("weight");
      const Value *w = weight ? op[*weight] : nullptr;
      if (!w || !w->type.isTensor() || w->type.rank() == 0 || !w->type.shape()[0].isConst())
        continue;
      arg.literal = Attr(TensorData::splat(w->type.dtype(), {w->type.shape()[0].value()}, 0));
      break;
    }
    }
    bindLiteral(op, arg);
  }
}

} // namespace plait::mil
