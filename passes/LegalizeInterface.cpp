// legalize-interface: repairs inputs and outputs that Core ML's interface does not allow.
//
//   func main(tensor<bool, []> flag, tensor<fp16, [4]> x, tensor<fp16, [2]> unused) {   before
//     %y = …
//   } -> (%y, %y, %x)
//
//   func main(tensor<fp32, [1]> flag, tensor<fp16, [4]> x, tensor<fp16, [2]> unused) {  after
//     %b = cast(x = %flag, dtype = "bool")
//     %s = squeeze(x = %b, axes = [0])
//     %u = identity(x = %unused)
//     %y = …
//     %y_1 = identity(x = %y)
//     %x_1 = identity(x = %x)
//   } -> (%y, %y_1, %x_1)
//
//   write_state(input = %count, data = %constant)                                        before
//
//   %r = read_state(input = %count)                                                      after
//   %f = fill_like(ref_tensor = %r, value = 0)
//   write_state(input = %count, data = %f)
//
// An input or output has rank 1 to 5 and is fp16, fp32 or int32: bool becomes fp32, narrow integers
// int32; an int8 input stays where the target has such. Every input is used. No output is an input,
// a constant or another output; a constant output gets a zero added that depends on an input. All
// functions are repaired alike. A state is left alone, but what is written to it depends on a read
// of it: Core ML crashes where it loads a function that writes a constant. A classifier's
// `classify` stands last; its label stays what it is. This pass runs last: cleanup would undo it.
#include "passes/Constants.h"
#include "passes/Match.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/SmallPtrSet.h"

namespace plait::passes {

using namespace mil;

namespace {

/// What the interface has in place of an element type.
DType interfaceType(DType dtype) {
  switch (dtype) {
  case DType::F16:
  case DType::F32:
  case DType::I32:
  case DType::String:
    return dtype;
  default:
    return isInteger(dtype) ? DType::I32 : DType::F32;
  }
}

/// Makes all uses of an input uses of what `build` makes of it.
void rewire(Value *input, llvm::function_ref<Value *(Value *)> build) {
  // The operation that is built now becomes its first user, so the others are remembered.
  llvm::SmallVector<Operand *, 8> uses;
  for (Operand &use : input->uses())
    uses.push_back(&use);
  Value *made = build(input);
  for (Operand *use : uses)
    use->set(made);
}

bool legalizeInput(Function &function, Value *input, Opset target) {
  if (!input->type.isTensor())
    return false;
  bool changed = false;
  Builder builder(function.body(), function.body().begin());
  llvm::SmallVector<Op *, 4> users = input->users();
  builder.setLocation(users.empty() || users[0]->location.empty() ? interfaceLocation()
                                                                  : users[0]->location);
  DType inner = input->type.dtype();
  bool isBytes =
      inner == DType::I8 && contains(info(std::max(function.opset, target)).interface, DType::I8);
  DType outer = isBytes ? inner : interfaceType(inner);
  bool scalar = input->type.rank() == 0;
  if (inner != outer || scalar) {
    Type type = Type::tensor(outer, scalar ? llvm::ArrayRef<Dim>(Dim(1)) : input->type.shape());
    rewire(input, [&](Value *value) {
      value->type = type;
      if (inner != outer)
        value = builder.emit(OpKind::cast, {{cast::x, value}, {cast::dtype, name(inner)}},
                             input->name + "_cast");
      if (scalar)
        value = builder.emit(OpKind::squeeze, {{squeeze::x, value}, {squeeze::axes, {0}}},
                             input->name + "_scalar");
      return value;
    });
    changed = true;
  }
  if (!input->hasUses()) {
    builder.emit(OpKind::identity, {{identity::x, input}}, input->name + "_unused");
    changed = true;
  }
  return changed;
}

/// A scalar zero of this type that depends on an input, or null when there is none.
Value *zeroFromInput(Function &function, Builder &builder, DType dtype) {
  for (const auto &input : function.inputs()) {
    if (!input->type.isTensor() || input->type.rank() == 0 || input->type.dtype() == DType::I8)
      continue;
    Value *zeros = builder.emit(OpKind::fill_like,
                                {{fill_like::ref_tensor, input.get()},
                                 {fill_like::value, Attr(TensorData::splat(dtype, {}, 0))}});
    llvm::SmallVector<int64_t, 5> axes;
    for (unsigned i = 0; i < input->type.rank(); ++i)
      axes.push_back(i);
    return builder.emit(OpKind::reduce_max, {{reduce_max::x, zeros},
                                             {reduce_max::axes, llvm::ArrayRef<int64_t>(axes)}});
  }
  return nullptr;
}

class Outputs {
public:
  explicit Outputs(Function &function) : function_(function), builder_(function.body()) {}

  bool run() {
    bool changed = false;
    for (Operand &output : function_.body().outputs())
      changed |= legalize(output);
    return changed;
  }

private:
  /// The output becomes `made`, with the old one's name.
  void become(Operand &output, Value *made, bool takeName) {
    if (takeName)
      std::swap(output.get()->name, made->name);
    output.set(made);
  }

  bool legalize(Operand &output) {
    Value *value = output.get();
    builder_.setLocation(value->def() && value->def()->location ? value->def()->location
                                                                : interfaceLocation());
    bool changed = false;
    if (!value->def()) {
      become(output, builder_.emit(OpKind::identity, {{identity::x, value}}, value->name), false);
      changed = true;
    } else if (isCompileTime(value) && value->type.isTensor() &&
               value->type.dtype() != DType::String) {
      become(output, fromConstant(value), !seen_.contains(value));
      seen_.insert(value);
      changed = true;
    } else if (!seen_.insert(value).second) {
      become(output, builder_.emit(OpKind::identity, {{identity::x, value}}, value->name), false);
      changed = true;
    }
    value = output.get();
    // The label of a classifier is a string or an int64 without dimensions.
    bool isLabel = value->def() && value->def()->is(OpKind::classify);
    if (value->type.isTensor() && !isLabel) {
      DType dtype = value->type.dtype(), outer = interfaceType(dtype);
      if (dtype != outer) {
        become(output,
               builder_.emit(OpKind::cast, {{cast::x, value}, {cast::dtype, name(outer)}},
                             value->name + "_inner"),
               true);
        changed = true;
      }
      if (output.get()->type.rank() == 0) {
        become(output,
               builder_.emit(OpKind::expand_dims,
                             {{expand_dims::x, output.get()}, {expand_dims::axes, {0}}},
                             output.get()->name + "_scalar"),
               true);
        changed = true;
      }
    }
    seen_.insert(output.get());
    return changed;
  }

  Value *fromConstant(Value *value) {
    DType dtype = value->type.dtype(), outer = interfaceType(dtype);
    std::string hint = value->name + "_const";
    if (dtype != outer)
      value = builder_.emit(OpKind::cast, {{cast::x, value}, {cast::dtype, name(outer)}}, hint);
    Value *zero = zeroFromInput(function_, builder_, outer);
    if (!zero)
      return builder_.emit(OpKind::identity, {{identity::x, value}}, hint);
    return builder_.emit(OpKind::add, {{add::x, value}, {add::y, zero}}, hint);
  }

  Function &function_;
  Builder builder_;
  llvm::SmallPtrSet<const Value *, 8> seen_;
};

/// A constant that is written to a state becomes a value that is computed from the state's.
bool legalizeWrite(Op &write) {
  Value *data = write[write_state::data], *state = write[write_state::input];
  if (!isCompileTime(data))
    return false;
  Builder builder = Builder::before(&write);
  auto same = splatValue(data);
  Value *read =
      builder.emit(OpKind::read_state, {{read_state::input, state}}, state->name.str() + "_read");
  Value *filled = builder.emit(
      OpKind::fill_like,
      {{fill_like::ref_tensor, read},
       {fill_like::value, Attr(TensorData::splat(data->type.dtype(), {}, same.value_or(0)))}});
  if (!same)
    filled = builder.emit(OpKind::add, {{add::x, data}, {add::y, filled}});
  write.set(write_state::data, filled);
  return true;
}

/// Core ML takes a classifier whose `classify` is the last operation.
bool moveClassifierLast(Block &body) {
  for (Op &op : body)
    if (op.is(OpKind::classify) && &op != &body.back()) {
      body.insert(body.end(), body.remove(&op));
      return true;
    }
  return false;
}

} // namespace

bool legalizeInterface(Program &program, PassContext &context) {
  bool changed = false;
  for (const auto &function : program.functions()) {
    changed |= Outputs(*function).run();
    for (const auto &input : function->inputs())
      changed |= legalizeInput(*function, input.get(), context.options.target);
    walk(function->body(), [&](Op &op) {
      if (op.is(OpKind::write_state))
        changed |= legalizeWrite(op);
    });
    changed |= moveClassifierLast(function->body());
  }
  return changed;
}

} // namespace plait::passes
