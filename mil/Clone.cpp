// Operations in order, with a map from the original's values to the copy's.
#include "mil/Clone.h"

namespace plait::mil {

namespace {

class Cloner {
public:
  explicit Cloner(Function &made) : made_(made) {}

  void copy(const Block &from, Block &to) {
    for (const auto &argument : from.args()) {
      made_.reserveName(argument->name);
      values_[argument.get()] = to.addArg(argument->type, argument->name);
    }
    for (const Op &op : from)
      copy(op, to);
    llvm::SmallVector<Value *, 4> outputs;
    for (const Operand &output : from.outputs())
      outputs.push_back(values_.lookup(output.get()));
    to.setOutputs(outputs);
  }

private:
  void copy(const Op &op, Block &block) {
    auto owned = std::make_unique<Op>(op.kind());
    made_.reserveName(op.name);
    owned->name = op.name;
    owned->location = op.location;
    owned->attributes = op.attributes;
    if (op.is(OpKind::const_))
      owned->setVal(op.val());
    for (unsigned param = 0; param < op.numParams(); ++param) {
      llvm::SmallVector<Value *, 4> operands;
      for (const Operand &operand : op.operands(param))
        operands.push_back(values_.lookup(operand.get()));
      if (!operands.empty())
        owned->set(param, operands);
    }
    Op *made = block.insert(block.end(), std::move(owned));
    for (const auto &inner : op.blocks())
      copy(*inner, *made->addBlock());
    for (const auto &result : op.results()) {
      made_.reserveName(result->name);
      values_[result.get()] = made->addResult(result->type, result->name);
    }
  }

  Function &made_;
  llvm::DenseMap<const Value *, Value *> values_;
};

} // namespace

Function *cloneFunction(Program &program, const Function &original, llvm::StringRef name) {
  Function *made = program.addFunction(name, original.opset);
  made->inputInfo = original.inputInfo;
  made->outputInfo = original.outputInfo;
  made->attributes = original.attributes;
  made->otherDescription = original.otherDescription;
  Cloner(*made).copy(original.body(), made->body());
  return made;
}

} // namespace plait::mil
