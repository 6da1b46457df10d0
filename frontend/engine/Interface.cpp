// Inputs by declaration, outputs by name.
#include "frontend/engine/Interface.h"

#include "llvm/ADT/StringSet.h"

namespace plait::frontend {

using mil::Builder;
using mil::DType;
using mil::OpKind;

Error Interface::checkNames(llvm::ArrayRef<std::string> taken) {
  llvm::StringSet<> seen;
  for (const std::string &name : taken) {
    seen.insert(name);
    function_.reserveName(name);
  }
  for (const InputSpec &input : declared_.inputs)
    if (!input.name.empty() && !seen.insert(input.name).second)
      return makeError("two inputs, outputs or states are called '{0}'; names must differ",
                       input.name);
  for (const std::string &output : declared_.outputs) {
    if (!seen.insert(output).second)
      return makeError("two inputs, outputs or states are called '{0}'; names must differ", output);
    function_.reserveName(output);
  }
  for (const auto &name : seen.keys())
    if (!mil::isLegalName(name))
      return makeError("'{0}' cannot be the name of an input or output; use letters, digits and "
                       "_, not beginning "
                       "with a digit, and no word of MIL's grammar",
                       name);
  return Error::success();
}

Expected<Val> Interface::nextInput(llvm::StringRef argument) {
  const InputSpec &spec = declared_.inputs[next_++];
  std::string name = spec.name.empty() ? function_.uniqueName(argument).str() : spec.name;
  DType dtype = spec.dtype.value_or(floatType_);
  mil::Shape shape;
  mil::InputInfo info;
  if (!spec.enumerated.empty()) {
    size_t rank = spec.enumerated[0].size();
    for (size_t axis = 0; axis < rank; ++axis) {
      int64_t low = INT64_MAX, high = 0;
      for (const auto &sizes : spec.enumerated) {
        if (sizes.size() != rank)
          return makeError("input '{0}': the enumerated shapes have different ranks", name);
        low = std::min(low, sizes[axis]);
        high = std::max(high, sizes[axis]);
      }
      shape.push_back(low == high ? Dim(low)
                                  : Dim::symbol(name + "_" + std::to_string(axis), low, high));
    }
    info.enumeratedShapes = spec.enumerated;
    info.defaultShape = spec.enumerated[0];
  } else {
    bool flexible = false;
    for (auto [axis, range] : llvm::enumerate(spec.shape)) {
      if (range.lower < 1 || range.upper < range.lower)
        return makeError("input '{0}': dimension {1} must be a positive size or a range low..high",
                         name, axis);
      flexible |= range.lower != range.upper;
      shape.push_back(range.lower == range.upper ? Dim(range.lower)
                                                 : Dim::symbol(name + "_" + std::to_string(axis),
                                                               range.lower, range.upper));
      info.defaultShape.push_back(range.lower);
    }
    if (!flexible)
      info.defaultShape.clear();
  }
  mil::Value *value = function_.addInput(mil::Type::tensor(dtype, shape), name);
  function_.inputInfo.resize(function_.inputs().size());
  function_.inputInfo.back() = std::move(info);
  at::ScalarType torchType = dtype == DType::I32    ? at::kLong
                             : dtype == DType::Bool ? at::kBool
                                                    : at::kFloat;
  // Sizes are taken from the input itself, before any conversion of it.
  engine_.makeTensor(value, torchType);
  return engine_.makeTensor(engine_.castTo(value, milTypeOf(torchType)), torchType);
}

/// Tensors and numbers in a result, in order, with the keys of dictionaries.
static void collect(const Val &val, llvm::StringRef name,
                    std::vector<std::pair<std::string, Val>> &outputs) {
  if (auto tuple = val.tuple()) {
    for (const Val &element : tuple->values)
      collect(element, "", outputs);
  } else if (auto list = val.list()) {
    for (const Val &element : list->values)
      collect(element, "", outputs);
  } else if (auto dict = val.dict()) {
    for (const auto &[key, element] : dict->entries)
      collect(element, key.isString() ? key.toStringRef() : "", outputs);
  } else if (!val.isNone()) { // a model may return None among tensors
    outputs.emplace_back(name.str(), val);
  }
}

Error Interface::setOutputs(const Val &result, std::vector<std::pair<std::string, Val>> further) {
  std::vector<std::pair<std::string, Val>> outputs;
  collect(result, "", outputs);
  size_t own = outputs.size();
  if (outputs.empty())
    return makeError("{0} returns no tensor; a Core ML function needs an output", declared_.method);
  if (declared_.outputs.size() > outputs.size())
    return makeError("{0} outputs are named, but {1} returns {2}", declared_.outputs.size(),
                     declared_.method, outputs.size());
  llvm::append_range(outputs, further);
  Builder &builder = engine_.builder();
  llvm::SmallVector<mil::Value *, 4> values;
  for (auto [i, output] : llvm::enumerate(outputs)) {
    auto &[key, val] = output;
    mil::Value *value;
    if (auto tensor = val.tensor())
      value = engine_.read(*tensor);
    else if (val.number())
      value = val.number()->value;
    else if (val.asDim() || (val.known() && val.known()->isScalar()))
      value = engine_.scalar(val, val.asDim()             ? DType::I32
                                  : val.known()->isBool() ? DType::Bool
                                                          : DType::F32);
    else
      return makeError("{0} returns a value that is neither a tensor nor a number",
                       declared_.method);
    // What brings a result into the interface's form comes from where the result does.
    if (!Builder::isPoison(value) && value->def())
      builder.setLocation(value->def()->location);
    if (!Builder::isPoison(value) && mil::isFloat(value->type.dtype()))
      value = engine_.castTo(value, floatType_);
    if (Error error = builder.takeError())
      return error;
    // Each output is a result of its own: it gets the interface's name.
    bool taken =
        !value->def() || value->def()->is(OpKind::const_) || llvm::is_contained(values, value);
    if (taken)
      value = builder.emit(OpKind::identity, {{mil::identity::x, value}});
    std::string name = i < declared_.outputs.size() ? declared_.outputs[i]
                       : i >= own                   ? key
                       : !key.empty()               ? function_.uniqueName(key).str()
                       : own == 1                   ? function_.uniqueName("output").str()
                                  : function_.uniqueName("output_" + std::to_string(i)).str();
    value->name = std::move(name);
    values.push_back(value);
  }
  function_.body().setOutputs(values);
  return builder.takeError();
}

} // namespace plait::frontend
