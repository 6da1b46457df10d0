// Cutting an operation out of a program.
#include "mil/Extract.h"

#include "support/DidYouMean.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::mil {

namespace {

/// Calls `callback` for each value from outside that `op` or what is nested in it uses.
void forEachCapture(const Op &op, llvm::function_ref<void(Value *)> callback) {
  llvm::SmallPtrSet<const Block *, 4> inside;
  auto visit = [&](auto &self, const Op &user) -> void {
    for (const Operand &operand : user.operands())
      if (!inside.contains(operand->block()))
        callback(operand.get());
    for (const auto &block : user.blocks()) {
      inside.insert(block.get());
      for (const Op &inner : *block)
        self(self, inner);
      self(self, *block->terminator());
    }
  };
  visit(visit, op);
}

/// A list has no place in a function's interface, so what makes it comes along.
bool canBeInput(const Value &value) { return !value.type.isList(); }

class Extraction {
public:
  explicit Extraction(Function &to) : to_(to) {}

  /// The operation, what it needs at compile time, and what is up to `depth` steps before it.
  void choose(Op *op, unsigned depth) {
    llvm::SmallVector<Op *> level{op};
    for (unsigned step = 0; !level.empty(); ++step) {
      llvm::SmallVector<Op *> next;
      for (size_t i = 0; i < level.size(); ++i) { // grows
        if (!chosen_.insert(level[i]).second)
          continue;
        forEachCapture(*level[i], [&](Value *value) {
          if (!value->def())
            return;
          if (isCompileTime(value) || !canBeInput(*value))
            level.push_back(value->def());
          else if (step < depth)
            next.push_back(value->def());
        });
      }
      level = std::move(next);
    }
  }

  /// Copies what was chosen, in the order of the program.
  void copy(const Block &body) {
    for (Op &op : body) {
      if (chosen_.contains(&op)) {
        forEachCapture(op, [&](Value *value) { addInput(*value); });
        copy(op, to_.body());
        continue;
      }
      for (const auto &block : op.blocks())
        copy(*block);
    }
  }

  Value *copyOf(const Value *value) const { return copies_.lookup(value); }

private:
  void addInput(const Value &value) {
    if (copies_.contains(&value))
      return;
    unsigned index = to_.inputs().size();
    copies_[&value] = to_.addInput(value.type, value.name.str());
    // An input of the function keeps its allowed and default shapes.
    const Function *from = value.block()->function();
    if (!value.def() && value.block() == &from->body() && value.index() < from->inputInfo.size()) {
      to_.inputInfo.resize(index + 1);
      to_.inputInfo[index].enumeratedShapes = from->inputInfo[value.index()].enumeratedShapes;
      to_.inputInfo[index].defaultShape = from->inputInfo[value.index()].defaultShape;
    }
  }

  Value *copy(const Value &value, Value *made) {
    to_.reserveName(value.name);
    return copies_[&value] = made;
  }

  void copy(const Op &op, Block &block) {
    Op *made = block.insert(block.end(), std::make_unique<Op>(op.kind()));
    made->name = op.name;
    to_.reserveName(op.name);
    made->location = op.location;
    made->attributes = op.attributes;
    if (op.is(OpKind::const_))
      made->setVal(op.val());
    bind(op, *made);
    for (const auto &result : op.results())
      copy(*result, made->addResult(result->type, result->name));
    for (const auto &inner : op.blocks()) {
      Block *to = made->addBlock();
      for (const auto &arg : inner->args())
        copy(*arg, to->addArg(arg->type, arg->name));
      for (const Op &nested : *inner)
        copy(nested, *to);
      bind(*inner->terminator(), *to->terminator());
    }
  }

  void bind(const Op &op, Op &made) {
    for (unsigned param = 0; param < op.numParams(); ++param) {
      llvm::SmallVector<Value *, 4> values;
      for (const Operand &operand : op.operands(param))
        values.push_back(copyOf(operand.get()));
      made.set(param, values);
    }
  }

  Function &to_;
  llvm::DenseSet<const Op *> chosen_;
  llvm::DenseMap<const Value *, Value *> copies_;
};

/// The places where a name of a value occurs in a function.
struct Found {
  Op *op = nullptr; ///< the first operation that computes it
  bool isConstant = false, isArgument = false;
};

void look(const Block &block, llvm::StringRef value, Found &found) {
  for (const auto &arg : block.args())
    found.isArgument |= arg->name == value;
  for (Op &op : block) {
    for (const auto &result : op.results())
      if (result->name == value) {
        found.isConstant |= op.is(OpKind::const_);
        if (!found.op && !op.is(OpKind::const_))
          found.op = &op;
      }
    for (const auto &inner : op.blocks())
      look(*inner, value, found);
  }
}

/// The one operation of the program that --extract means.
Expected<Op *> find(const Program &program, const ExtractOptions &options) {
  if (!options.function.empty() && !program.function(options.function)) {
    llvm::SmallVector<llvm::StringRef, 8> known;
    for (const auto &function : program.functions())
      known.push_back(function->name);
    return makeError(Code::NoSuchFunction, "there is no function '{0}'{1}; there are {2}",
                     options.function, didYouMean(options.function, known),
                     llvm::join(known, ", "));
  }
  Found all;
  llvm::SmallVector<llvm::StringRef> known;
  llvm::SmallVector<std::string> having;
  for (const auto &function : program.functions()) {
    if (!options.function.empty() && function->name != options.function)
      continue;
    Found found;
    look(function->body(), options.value, found);
    walk(function->body(), [&](Op &op) {
      if (!op.is(OpKind::const_))
        for (const auto &result : op.results())
          known.push_back(result->name);
    });
    if (found.op) {
      all.op = found.op;
      having.push_back(function->name);
    }
    all.isConstant |= found.isConstant;
    all.isArgument |= found.isArgument;
  }
  if (having.size() > 1)
    return makeError(Code::NoSuchFunction,
                     "several functions have a value '{0}': {1}; say which one", options.value,
                     llvm::join(having, ", "));
  if (all.op)
    return all.op;
  return makeError(Code::NoSuchFunction, "'{0}' is {1}{2}; name a value that an operation computes",
                   options.value,
                   all.isConstant   ? "a constant"
                   : all.isArgument ? "an input"
                                    : "no value of the program",
                   all.isConstant || all.isArgument ? "" : didYouMean(options.value, known));
}

} // namespace

Expected<std::unique_ptr<Program>> extract(const Program &program, const ExtractOptions &options) {
  auto found = find(program, options);
  if (!found)
    return found.takeError();
  const Function &from = *(*found)->function();
  auto cut = std::make_unique<Program>();
  Function *main = cut->addFunction("main", from.opset);
  Extraction extraction(*main);
  extraction.choose(*found, options.depth);
  extraction.copy(from.body());
  llvm::SmallVector<Value *, 4> outputs;
  for (const auto &result : (*found)->results())
    outputs.push_back(extraction.copyOf(result.get()));
  main->body().setOutputs(outputs);
  return cut;
}

} // namespace plait::mil
