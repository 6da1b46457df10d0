// Messages to MIL functions.
#include "backend/ProtoFunction.h"

#include "MIL.pb.h"
#include "mil/Infer.h"
#include "support/Failure.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include <map>

namespace plait {

using mil::Attr;
using mil::Op;
using mil::OpKind;
using mil::Type;
using mil::Value;

namespace {

/// Names in a message are scoped by block; those in a MIL function are unique.
class FunctionDecoder {
public:
  FunctionDecoder(mil::Function &function, WeightFiles &files) : function(function), files(files) {}

  Error decode(const wire::Function &in, RefineInput refine);

private:
  using Scope = llvm::StringMap<Value *>;

  Error decodeBlock(const wire::Block &in, mil::Block &out);
  Error decodeOp(const wire::Operation &in, mil::Block &block);
  Error decodeOperands(const wire::Operation &in, mil::Block &block, Op &op);
  Expected<Value *> decodeLiteral(const wire::Value &in, mil::Block &block,
                                  const llvm::Twine &name);
  Error decodeResults(const wire::Operation &in, Op &op);
  Error define(Value *value, llvm::StringRef name);
  Value *find(llvm::StringRef name) const;
  mil::Name take(llvm::StringRef name);

  mil::Function &function;
  WeightFiles &files;
  llvm::StringSet<> taken;
  std::vector<Scope> scopes;
};

/// The name itself where it is free.
mil::Name FunctionDecoder::take(llvm::StringRef name) {
  if (taken.insert(name).second) {
    function.reserveName(name);
    return name;
  }
  mil::Name unique;
  do
    unique = function.uniqueName(name);
  while (!taken.insert(unique).second);
  return unique;
}

Error FunctionDecoder::define(Value *value, llvm::StringRef name) {
  if (name.empty())
    return makeError(Code::PackageDamaged, "a value has no name");
  if (!scopes.back().try_emplace(name, value).second)
    return makeError(Code::PackageDamaged, "two values of one block are named '{0}'", name);
  return Error::success();
}

Value *FunctionDecoder::find(llvm::StringRef name) const {
  for (const Scope &scope : llvm::reverse(scopes))
    if (Value *value = scope.lookup(name))
      return value;
  return nullptr;
}

Expected<Value *> FunctionDecoder::decodeLiteral(const wire::Value &in, mil::Block &block,
                                                 const llvm::Twine &name) {
  Expected<Attr> value = decodeValue(in, files);
  if (!value)
    return value.takeError();
  mil::Name unique = take(name.str());
  Op *literal = block.insert(block.end(), std::make_unique<Op>(OpKind::const_));
  literal->name = unique;
  Type type = value->type();
  literal->setVal(std::move(*value));
  return literal->addResult(std::move(type), unique);
}

Error FunctionDecoder::decodeOperands(const wire::Operation &in, mil::Block &block, Op &op) {
  const mil::OpInfo &info = op.info();
  std::string base = in.outputs_size() ? in.outputs(0).name() : op.name.str();
  auto bind = [&](llvm::StringRef name, llvm::ArrayRef<Value *> values) -> Error {
    std::optional<unsigned> param = info.findParam(name);
    if (!param)
      return makeError(Code::PackageDamaged,
                       "parameter '{0}' is not known; it may belong to another opset", name);
    if (values.size() != 1 && !info.params[*param].isVariadic())
      return makeError(Code::PackageDamaged, "parameter '{0}' takes one value, not {1}", name,
                       values.size());
    op.set(*param, values);
    return Error::success();
  };

  // Protobuf's maps have no order; literals are made in that of the parameters, as in text.
  auto inOrder = [&](auto &entries) {
    llvm::sort(entries, [&](const auto &a, const auto &b) {
      auto place = [&](llvm::StringRef name) {
        return std::pair(info.findParam(name).value_or(UINT_MAX), name);
      };
      return place(a.first) < place(b.first);
    });
  };
  std::vector<std::pair<llvm::StringRef, const wire::Argument *>> inputs;
  for (const auto &[name, argument] : in.inputs())
    inputs.emplace_back(name, &argument);
  inOrder(inputs);
  for (const auto &[name, argument] : inputs) {
    llvm::SmallVector<Value *> values;
    for (const wire::Argument::Binding &binding : argument->arguments()) {
      if (binding.has_value()) {
        Expected<Value *> literal = decodeLiteral(binding.value(), block, base + "_" + name);
        if (!literal)
          return addContext(literal.takeError(), "parameter '" + name + "'");
        values.push_back(*literal);
      } else if (Value *value = find(binding.name())) {
        values.push_back(value);
      } else {
        return makeError(Code::PackageDamaged,
                         "parameter '{0}': there is no value '{1}' before its use", name,
                         binding.name());
      }
    }
    if (Error error = bind(name, values))
      return error;
  }

  std::vector<std::pair<llvm::StringRef, const wire::Value *>> attributes;
  for (const auto &[name, value] : in.attributes())
    attributes.emplace_back(name, &value);
  inOrder(attributes);
  for (const auto &[name, encoded] : attributes) {
    if (name == "name")
      continue;
    if ((info.traits & mil::Constexpr) && info.findParam(name)) {
      Expected<Value *> literal = decodeLiteral(*encoded, block, base + "_" + name);
      if (!literal)
        return addContext(literal.takeError(), "parameter '" + name + "'");
      if (Error error = bind(name, *literal))
        return error;
      continue;
    }
    Expected<Attr> value = decodeValue(*encoded, files);
    if (!value)
      return addContext(value.takeError(), "attribute '" + name + "'");
    if (op.is(OpKind::const_) && name == "val")
      op.setVal(std::move(*value));
    else
      op.attributes.emplace_back(name.str(), std::move(*value));
  }
  return Error::success();
}

Error FunctionDecoder::decodeResults(const wire::Operation &in, Op &op) {
  bool isStatic = true;
  for (const wire::NamedValueType &output : in.outputs()) {
    Expected<Type> type = decodeType(output.type());
    if (!type)
      return addContext(type.takeError(), "output '" + output.name() + "'");
    isStatic &= type->isTensor() && type->hasStaticShape();
    if (Error error = define(op.addResult(*type, take(output.name())), output.name()))
      return error;
  }
  if (op.is(OpKind::const_)) {
    bool isWhole = op.numResults() == 1 && op.operands().empty() && in.attributes().count("val");
    if (!isWhole)
      return makeError(Code::PackageDamaged, "a constant has the attribute 'val' and one output");
    if (!mil::compatible(op.val().type(), op.result()->type))
      return makeError(Code::PackageDamaged, "it is declared as {0}, but its value is {1}",
                       op.result()->type.str(), op.val().type().str());
    op.result()->type = op.val().type();
    return Error::success();
  }
  if (isStatic)
    return Error::success();
  // The message says "?" where inference knows how a size follows from the inputs'. Where it does
  // not agree with the message, the message is believed; the verifier tells.
  auto inferred = mil::inferTypes(op);
  if (!inferred) {
    llvm::consumeError(inferred.takeError());
    return Error::success();
  }
  for (auto [result, type] : llvm::zip(op.results(), *inferred))
    if (mil::compatible(type, result->type))
      result->type = type;
  return Error::success();
}

Error FunctionDecoder::decodeOp(const wire::Operation &in, mil::Block &block) {
  std::optional<OpKind> kind = mil::parseOpKind(in.type());
  if (!kind || *kind == OpKind::block_return)
    return makeFailure(FailureKind::Unsupported, Code::PackageDamaged,
                       "the operation is not known");
  auto owned = std::make_unique<Op>(*kind);
  Op &op = *owned;
  if (auto it = in.attributes().find("name"); it != in.attributes().end()) {
    const auto &strings = it->second.immediatevalue().tensor().strings();
    if (strings.values_size() == 1)
      op.name = strings.values(0);
  }
  if (Error error = decodeOperands(in, block, op))
    return error;
  // After the literals that it uses.
  block.insert(block.end(), std::move(owned));
  for (const wire::Block &nested : in.blocks()) {
    scopes.emplace_back();
    Error error = decodeBlock(nested, *op.addBlock());
    scopes.pop_back();
    if (error)
      return error;
  }
  if (Error error = decodeResults(in, op))
    return error;
  if (op.name.empty())
    op.name = op.numResults() ? op.result()->name : take(in.type());
  return Error::success();
}

Error FunctionDecoder::decodeBlock(const wire::Block &in, mil::Block &out) {
  for (const wire::NamedValueType &input : in.inputs()) {
    Expected<Type> type = decodeType(input.type());
    if (!type)
      return addContext(type.takeError(), "block input '" + input.name() + "'");
    if (Error error = define(out.addArg(*type, take(input.name())), input.name()))
      return error;
  }
  for (const wire::Operation &op : in.operations())
    if (Error error = decodeOp(op, out))
      return addContext(std::move(error),
                        "operation " + op.type() +
                            (op.outputs_size() ? " '" + op.outputs(0).name() + "'" : ""));
  llvm::SmallVector<Value *> outputs;
  for (const std::string &name : in.outputs()) {
    Value *value = find(name);
    if (!value)
      return makeError(Code::PackageDamaged, "the output '{0}' is never computed", name);
    outputs.push_back(value);
  }
  out.setOutputs(outputs);
  return Error::success();
}

Error FunctionDecoder::decode(const wire::Function &in, RefineInput refine) {
  scopes.emplace_back();
  for (const wire::NamedValueType &input : in.inputs()) {
    Expected<Type> type = decodeType(input.type());
    if (!type)
      return addContext(type.takeError(), "input '" + input.name() + "'");
    Value *value = function.addInput(refine(input.name(), *type), take(input.name()));
    if (Error error = define(value, input.name()))
      return error;
  }
  auto body = in.block_specializations().find(in.opset());
  if (body == in.block_specializations().end())
    return makeError(Code::PackageDamaged, "it has no body for its opset '{0}'", in.opset());
  if (body->second.inputs_size() != 0)
    return makeError(Code::PackageDamaged, "its body has inputs of its own");
  if (Error error = decodeBlock(body->second, function.body()))
    return error;
  std::map<std::string, const wire::Value *> attributes;
  for (const auto &[name, value] : in.attributes())
    attributes[name] = &value;
  for (const auto &[name, encoded] : attributes) {
    Expected<Attr> value = decodeValue(*encoded, files);
    if (!value)
      return addContext(value.takeError(), "attribute '" + name + "'");
    function.attributes.emplace_back(name, std::move(*value));
  }
  return Error::success();
}

} // namespace

Error decodeFunction(const wire::Function &in, mil::Function &out, WeightFiles &files,
                     RefineInput refine) {
  return FunctionDecoder(out, files).decode(in, refine);
}

} // namespace plait
