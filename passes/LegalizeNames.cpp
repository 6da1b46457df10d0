// legalize-names: makes names legal and unique within each function.
//
//   %layer.0 = relu(x = %x)[name = "layer.0"]   before
//   %bool = tanh(x = %layer.0)[name = "layer.0"]
//
//   %layer_0 = relu(x = %x)[name = "layer_0"]   after
//   %bool_ = tanh(x = %layer_0)[name = "layer_0_0"]
//
// A legal name matches [A-Za-z_][A-Za-z0-9_]* and is no word of MIL's grammar. Values of nested
// blocks count with the function's; names of operations are a name space of their own. Inputs and
// outputs choose first. If one of these must change, a warning says so, since apps address it by
// that name.
#include "passes/Rewrite.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringSet.h"

namespace plait::passes {

using namespace mil;

namespace {

class Namer {
public:
  Namer(Function &function, PassContext &context) : function_(function), context_(context) {}

  bool run() {
    for (const auto &input : function_.inputs())
      fixInterface("input", *input);
    for (const Operand &output : function_.outputs())
      if (output->def())
        fixInterface("output", *output.get());
    fixBlock(function_.body());
    return changed_;
  }

private:
  /// A name for `wanted` that `taken` does not have yet.
  Name choose(llvm::StringRef wanted, llvm::StringSet<> &taken) {
    if (isLegalName(wanted) && taken.insert(wanted).second) {
      function_.reserveName(wanted);
      return wanted;
    }
    std::string legal = legalName(wanted);
    if (!isLegalName(wanted) && taken.insert(legal).second) {
      function_.reserveName(legal);
      return legal;
    }
    Name name;
    do
      name = function_.uniqueName(legal);
    while (!taken.insert(name).second);
    return name;
  }

  void fixValue(Value &value) {
    if (!done_.insert(&value).second)
      return;
    Name name = choose(value.name, values_);
    if (name == value.name)
      return;
    value.name = std::move(name);
    changed_ = true;
  }

  void fixInterface(const char *role, Value &value) {
    Name before = value.name;
    fixValue(value);
    if (value.name != before)
      context_.warning(
          Code::IllegalName,
          "function {0}: {1} '{2}' is named '{3}': Core ML does not take the name it had",
          function_.name, role, before, value.name);
  }

  void fixBlock(Block &block) {
    for (const auto &arg : block.args())
      fixValue(*arg);
    for (Op &op : block) {
      if (!op.name.empty()) {
        Name name = choose(op.name, ops_);
        changed_ |= name != op.name;
        op.name = std::move(name);
      }
      for (const auto &result : op.results())
        fixValue(*result);
      for (const auto &inner : op.blocks())
        fixBlock(*inner);
    }
  }

  Function &function_;
  PassContext &context_;
  llvm::StringSet<> values_, ops_;
  llvm::DenseSet<const Value *> done_;
  bool changed_ = false;
};

} // namespace

bool legalizeNames(Program &program, PassContext &context) {
  bool changed = false;
  for (const auto &function : program.functions())
    changed |= Namer(*function, context).run();
  return changed;
}

} // namespace plait::passes
