// The well-formedness of programs. The device profile is in DeviceProfile.cpp.
#include "mil/Verifier.h"

#include "mil/Infer.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::mil {

namespace {

constexpr unsigned kMaxErrors = 10;

class Verifier {
public:
  void program(const Program &program);
  void function(const Function &function);
  Error take() { return std::move(error_); }

private:
  template <typename... Args> void fail(fmt::format_string<Args...> format, Args &&...args) {
    if (count_++ < kMaxErrors)
      error_ = llvm::joinErrors(
          std::move(error_),
          addContext(makeError(Code::IllFormedProgram, format, std::forward<Args>(args)...),
                     where_.empty() ? "program" : where_));
  }
  bool full() const { return count_ >= kMaxErrors; }

  void block(const Block &block);
  void operation(const Op &op);
  void operands(const Op &op);
  void form(const Op &op);
  void results(const Op &op);
  void define(const Value &value, const Block *block);
  void states(const Function &function);
  void images(const Function &function);
  void attributes(llvm::ArrayRef<std::pair<std::string, Attr>> attributes);

  Error error_ = Error::success();
  unsigned count_ = 0;
  std::string where_;
  llvm::DenseSet<const Value *> visible_;
  llvm::StringSet<> valueNames_, opNames_;
};

std::string describe(const Op &op) {
  return "operation '" + op.name + "' (" + op.info().name + ")";
}

void Verifier::define(const Value &value, const Block *block) {
  visible_.insert(&value);
  if (!isLegalName(value.name))
    fail("the value name '{0}' is no identifier, or a word of MIL's grammar", value.name);
  else if (!valueNames_.insert(value.name).second)
    fail("the value name '{0}' is not unique", value.name);
  if (!value.type.isValid())
    fail("value '{0}' has no type", value.name);
  if (value.block() != block)
    fail("value '{0}' belongs to another block", value.name);
}

void Verifier::attributes(llvm::ArrayRef<std::pair<std::string, Attr>> attributes) {
  llvm::StringSet<> names;
  for (const auto &[name, value] : attributes) {
    auto isPart = [](char c) { return llvm::isAlnum(c) || c == '_' || c == '@'; };
    if (name.empty() || !(llvm::isAlpha(name[0]) || name[0] == '_') || !llvm::all_of(name, isPart))
      fail("the attribute name '{0}' is no identifier", name);
    else if (!names.insert(name).second)
      fail("the attribute '{0}' is there twice", name);
  }
}

void Verifier::operands(const Op &op) {
  for (const Operand &operand : op.operands()) {
    if (!operand.get())
      fail("an operand is null");
    else if (!visible_.contains(operand.get()))
      fail("uses '{0}', which is not defined before it", operand->name);
  }
}

/// The opset has the operation, and every parameter that is given.
void Verifier::form(const Op &op) {
  const OpInfo &row = op.info();
  Opset opset = op.opset();
  if (!row.existsIn(opset)) {
    fail("{0} has no such operation; {1} brought it", name(opset), name(row.since()));
    return;
  }
  auto has = row.form(opset);
  for (unsigned i = 0; i < has.size(); ++i) {
    if (has[i] || op.operands(i).empty())
      continue;
    const ParamInfo &param = row.params[i];
    if (param.flags & Gone)
      fail("has the parameter {0}, which is in older opsets than {1} only", param.name,
           name(opset));
    else
      fail("has the parameter {0}, which {1} does not have", param.name, name(opset));
  }
}

void Verifier::results(const Op &op) {
  auto inferred = inferTypes(op);
  if (!inferred) {
    fail("{0}", llvm::toString(inferred.takeError()));
    return;
  }
  if (inferred->size() != op.numResults()) {
    fail("has {0} results, {1} are needed", op.numResults(), inferred->size());
    return;
  }
  for (auto [type, result] : llvm::zip(*inferred, op.results()))
    if (!compatible(type, result->type))
      fail("result '{0}' is {1}; the operands make it {2}", result->name, result->type.str(),
           type.str());
}

void Verifier::operation(const Op &op) {
  std::string outer = std::move(where_);
  where_ = outer + ": " + describe(op);
  if (op.isTerminator()) {
    fail("a terminator among the operations");
    where_ = std::move(outer);
    return;
  }
  if (!op.name.empty() && !opNames_.insert(op.name).second)
    fail("the operation name is not unique");
  attributes(op.attributes);
  unsigned before = count_;
  operands(op);
  form(op);
  bool hasBlocks = op.is(OpKind::cond) || op.is(OpKind::while_loop);
  if (!hasBlocks && !op.blocks().empty())
    fail("has {0} nested blocks", op.blocks().size());
  for (const auto &inner : op.blocks()) {
    std::string here = where_;
    block(*inner);
    where_ = std::move(here);
  }
  // Inference reads operands and blocks: only where these are sound.
  if (count_ == before)
    results(op);
  for (const auto &result : op.results())
    define(*result, op.parent());
  where_ = std::move(outer);
}

void Verifier::block(const Block &block) {
  for (const auto &arg : block.args())
    define(*arg, &block);
  for (const Op &op : block) {
    if (full())
      return;
    operation(op);
  }
  for (const Operand &output : block.outputs())
    if (!output.get() || !visible_.contains(output.get()))
      fail("returns '{0}', which is not defined in it", output.get() ? output->name : "");
  // Values of a nested block end with it; blocks beside it may use the names again.
  if (!block.parentOp())
    return;
  auto forget = [&](const Value &value) {
    visible_.erase(&value);
    valueNames_.erase(value.name);
  };
  for (const auto &arg : block.args())
    forget(*arg);
  for (const Op &op : block)
    for (const auto &result : op.results())
      forget(*result);
}

void Verifier::images(const Function &function) {
  auto check = [&](const char *what, const Value &value, std::optional<PixelFormat> format) {
    if (format && !isImageType(value.type, *format))
      fail("{0} '{1}' is {2}; a {3} image is {4} of the shape [1, {5}, height, width]", what,
           value.name, value.type.str(), name(*format), name(pixelType(*format)),
           channelsOf(*format));
  };
  for (auto [index, input] : llvm::enumerate(function.inputs()))
    check("input", *input, function.infoOfInput(index).image);
  for (auto [index, output] : llvm::enumerate(function.outputs()))
    check("output", *output.get(), function.infoOfOutput(index).image);
}

void Verifier::states(const Function &function) {
  for (const auto &input : function.inputs())
    if (input->type.isState())
      for (const Operand &use : input->uses())
        if (!use.owner()->is(OpKind::read_state) && !use.owner()->is(OpKind::write_state))
          fail("state '{0}' is used by {1}; only read_state and write_state take states",
               input->name,
               use.owner()->isTerminator() ? std::string("an output") : describe(*use.owner()));
}

void Verifier::function(const Function &function) {
  visible_.clear();
  valueNames_.clear();
  opNames_.clear();
  where_ = "function '" + function.name + "'";
  if (!isLegalName(function.name))
    fail("the name is no identifier, or a word of MIL's grammar");
  attributes(function.attributes);
  if (function.outputs().empty())
    fail("has no outputs");
  for (const auto &input : function.inputs())
    if (!input->type.isTensor() && !input->type.isState())
      fail("input '{0}' is {1}; inputs are tensors and states", input->name, input->type.str());
    else if (input->type.isState() && !info(function.opset).states)
      fail("input '{0}' is a state, which {1} does not have; {2} brought states", input->name,
           name(function.opset), name(Opset::iOS18));
  if (function.inputInfo.size() > function.inputs().size())
    fail("describes {0} inputs of {1}", function.inputInfo.size(), function.inputs().size());
  for (auto [info, input] : llvm::zip(function.inputInfo, function.inputs()))
    for (const auto &shape : info.enumeratedShapes)
      if (!input->type.isTensor() ||
          !compatible(input->type, Type::tensor(input->type.dtype(), shape)))
        fail("input '{0}' is {1} and cannot have the enumerated shape {2}", input->name,
             input->type.str(), str(Shape(shape.begin(), shape.end())));
  if (function.outputInfo.size() > function.outputs().size())
    fail("describes {0} outputs of {1}", function.outputInfo.size(), function.outputs().size());
  images(function);
  block(function.body());
  states(function);
}

void Verifier::program(const Program &program) {
  if (program.functions().empty())
    fail("the program has no functions");
  attributes(program.attributes);
  llvm::StringSet<> names;
  for (const auto &f : program.functions()) {
    if (!names.insert(f->name).second) {
      where_ = "program";
      fail("the function '{0}' is there twice", f->name);
    }
    if (!full())
      function(*f);
    if (f->opset != program.functions().front()->opset) {
      where_ = "function '" + f->name + "'";
      fail("has opset {0} where '{1}' has {2}; all functions need one", name(f->opset),
           program.functions().front()->name, name(program.functions().front()->opset));
    }
  }
  if (!program.defaultFunction.empty() && !names.contains(program.defaultFunction)) {
    where_ = "program";
    fail("the default function '{0}' does not exist", program.defaultFunction);
  }
}

} // namespace

Error verify(const Program &program) {
  Verifier verifier;
  verifier.program(program);
  return verifier.take();
}

Error verify(const Function &function) {
  Verifier verifier;
  verifier.function(function);
  return verifier.take();
}

} // namespace plait::mil
