// Plans arguments: what is called as an argument first, then the others in order.
#include "frontend/script/Signature.h"

#include "frontend/ModelArguments.h"
#include "frontend/script/ConstantArgument.h"
#include "frontend/script/IntegerUses.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"

#include <ATen/Functions.h>
#include <torch/csrc/jit/api/function_impl.h>

namespace plait::frontend {

using c10::TypeKind;
using c10::TypePtr;
using llvm::StringRef;
using Kind = ArgumentPlan::Kind;

// ---- Plans -------------------------------------------------------------------------------------

static std::string describe(const c10::FunctionSchema &schema) {
  std::string text = "(";
  for (auto [i, argument] : llvm::enumerate(llvm::drop_begin(schema.arguments())))
    text += (i ? ", " : "") + argument.name() + ": " + argument.type()->repr_str();
  return text + ")";
}

static bool isNumber(const TypePtr &type) {
  return llvm::is_contained(
      {TypeKind::IntType, TypeKind::FloatType, TypeKind::BoolType, TypeKind::NumberType},
      type->kind());
}

/// The texts that a graph computes with: keys of dictionaries are among them.
static void collectTexts(const torch::jit::Block &block, llvm::StringSet<> &texts) {
  for (const torch::jit::Node *node : block.nodes()) {
    if (node->kind() == c10::prim::Constant &&
        node->output()->type()->kind() == TypeKind::StringType)
      texts.insert(node->s(c10::attr::value));
    for (const torch::jit::Block *inner : node->blocks())
      collectTexts(*inner, texts);
  }
}

namespace {

class Planner {
public:
  Planner(const torch::jit::Module &module, const ModelFunction &declared, bool checksTypes)
      : function_(module.get_method(declared.method).function()), method_(declared.method),
        declared_(declared.inputs), checksTypes_(checksTypes), isTaken_(declared_.size()),
        isReserved_(declared_.size()) {
    if (!declared.isTracedWithConstants)
      constants_ = declared.constants;
    collectTexts(*torch::jit::toGraphFunction(function_).graph()->block(), texts_);
  }

  Expected<std::vector<ArgumentPlan>> run() {
    const c10::FunctionSchema &schema = function_.getSchema();
    auto arguments = llvm::drop_begin(schema.arguments());
    for (const c10::Argument &argument : arguments)
      reserve(argument.type(), argument.name(), "");
    std::vector<ArgumentPlan> plans;
    for (auto [i, argument] : llvm::enumerate(arguments)) {
      auto plan = planValue(argument.type(), argument.name());
      if (!plan)
        return plan.takeError();
      if (*plan) {
        if (Error error = checkIntegers(i, **plan))
          return error;
        plans.push_back(std::move(**plan));
        continue;
      }
      bool isOptional = argument.type()->kind() == TypeKind::OptionalType;
      if (!argument.default_value() && !isOptional)
        return missing(argument.type(), argument.name());
      plans.push_back({Kind::Known, argument.name(), argument.type()});
      plans.back().known = argument.default_value().value_or(c10::IValue());
    }
    if (!constants_.empty())
      return makeError(Code::InputType, "{0} has no argument '{1}' that could be {2}: {3}", method_,
                       constants_.begin()->first, constants_.begin()->second.str(),
                       describe(schema));
    size_t taken = llvm::count(isTaken_, true);
    if (taken < declared_.size())
      return makeError(Code::InputCount, "{0} inputs are declared, but {1} takes {2}: {3}{4}",
                       declared_.size(), method_, taken, describe(schema), numbersHint(schema));
    return plans;
  }

private:
  using Result = Expected<std::optional<ArgumentPlan>>;

  std::optional<size_t> named(const llvm::Twine &name) const {
    std::string wanted = name.str();
    for (auto [i, spec] : llvm::enumerate(declared_))
      if (!isTaken_[i] && spec.name == wanted)
        return i;
    return std::nullopt;
  }
  bool anyNamed(StringRef path) const {
    for (const auto &[name, constant] : constants_)
      if (name == path || isBelow(name, path))
        return true;
    for (auto [i, spec] : llvm::enumerate(declared_))
      if (!isTaken_[i] && (spec.name == path || isBelow(spec.name, path)))
        return true;
    return false;
  }
  /// Called as something in the argument, and not as another argument: batch_size is none of batch.
  bool isBelow(StringRef name, StringRef path) const {
    StringRef rest = name;
    return rest.consume_front(path) && rest.starts_with("_") &&
           (!paths_.contains(name) || StringRef(paths_.lookup(name)) == path);
  }
  std::optional<size_t> nextInOrder() const {
    for (size_t i = 0; i < declared_.size(); ++i)
      if (!isTaken_[i] && !isReserved_[i])
        return i;
    return std::nullopt;
  }

  /// What is called as a tensor of this argument is not given to others. `around` is the argument
  /// or what it is a part of.
  void reserve(const TypePtr &type, const std::string &path, const std::string &around) {
    paths_[path] = around;
    for (const char *ending : {"", "_real", "_imag"})
      if (auto i = named(path + ending))
        isReserved_[*i] = true;
    switch (type->kind()) {
    case TypeKind::OptionalType:
      return reserve(type->expect<c10::OptionalType>()->getElementType(), path, around);
    case TypeKind::TupleType:
      for (auto [name, element] : fields(type, path))
        reserve(element, name, path);
      return;
    case TypeKind::ListType:
    case TypeKind::DictType:
      if (auto i = named(path))
        isReserved_[*i] = true;
      if (holdsTensors(type))
        for (auto [i, spec] : llvm::enumerate(declared_))
          isReserved_[i] = isReserved_[i] || StringRef(spec.name).starts_with(path + "_");
      return;
    default:
      return;
    }
  }

  static bool holdsTensors(const TypePtr &type) {
    if (type->kind() == TypeKind::TensorType)
      return true;
    auto dict = type->cast<c10::DictType>();
    if (dict && dict->getKeyType()->kind() != TypeKind::StringType)
      return false;
    return llvm::any_of(type->containedTypes(), [](const TypePtr &t) { return holdsTensors(t); });
  }

  /// Elements of a tuple under their names: pair_0, or point_x of a named one.
  static std::vector<std::pair<std::string, TypePtr>> fields(const TypePtr &type,
                                                             const std::string &path) {
    auto tuple = type->expect<c10::TupleType>();
    std::vector<std::pair<std::string, TypePtr>> result;
    for (auto [i, element] : llvm::enumerate(tuple->elements()))
      result.emplace_back(
          path + "_" +
              (tuple->schema() ? tuple->schema()->arguments()[i].name() : std::to_string(i)),
          element);
    return result;
  }

  ArgumentPlan take(Kind kind, const TypePtr &type, const std::string &path, size_t input) {
    isTaken_[input] = true;
    ArgumentPlan plan{kind, path, type};
    plan.inputs.push_back(input);
    return plan;
  }

  /// '[-1, 4]' and '[none, 4]', by which other tools say an open size.
  static bool looksOpen(const Constant &constant) {
    bool open = false;
    for (const Constant::Scalar &scalar : constant.values) {
      auto *size = std::get_if<int64_t>(&scalar);
      if (size ? *size < -1 : !std::holds_alternative<std::monostate>(scalar))
        return false;
      open |= !size || *size == -1;
    }
    return open && constant.isList;
  }

  Result planConstant(const Constant &constant, const TypePtr &type, const std::string &path) {
    auto optional = type->cast<c10::OptionalType>();
    TypePtr inner = optional ? optional->getElementType() : type;
    if (inner->kind() == TypeKind::TensorType && looksOpen(constant))
      return makeError(Code::InputShape,
                       "{0}'s argument '{1}' is a tensor, and {2} is no shape of one: an open size "
                       "has bounds, --input '{1}=[1..64, 4]'; numbers that are the same in every "
                       "call have a point, '{1}=[-1.0, 4.0]'",
                       method_, path, constant.str());
    auto value = valueOf(constant, type);
    if (!value)
      return makeError(Code::InputType, "{0}'s argument '{1}' has type {2} and cannot be {3}{4}",
                       method_, path, type->repr_str(), constant.str(),
                       constant.isNone() ? "; it is not optional"
                       : type->kind() == TypeKind::DictType || type->kind() == TypeKind::TupleType
                           ? "; name its elements, '" + path + "_0'"
                           : "");
    ArgumentPlan plan{Kind::Known, path, type};
    plan.known = std::move(*value);
    plan.said = constant.str();
    return plan;
  }

  /// '[4, 4]' is a shape to whoever reads it; of a list of numbers it is the list.
  std::optional<Constant> listIn(const TypePtr &type, const std::string &path) {
    auto list = type->cast<c10::ListType>();
    auto input = named(path);
    if (!list || !isNumber(list->getElementType()) || !input)
      return std::nullopt;
    const InputSpec &spec = declared_[*input];
    Constant constant{{}, true};
    for (const InputSpec::Range &size : spec.shape) {
      if (size.lower != size.upper || !size.name.empty())
        return std::nullopt;
      constant.values.emplace_back(size.lower);
    }
    if (spec.dtype || spec.image || spec.defaultValue || constant.values.empty())
      return std::nullopt;
    isTaken_[*input] = true;
    return constant;
  }

  /// nullopt: nothing is said of it.
  Result planValue(const TypePtr &type, const std::string &path) {
    if (auto it = constants_.find(path); it != constants_.end()) {
      Constant constant = std::move(it->second);
      constants_.erase(it);
      return planConstant(constant, type, path);
    }
    if (auto list = listIn(type, path))
      return planConstant(*list, type, path);
    switch (type->kind()) {
    case TypeKind::OptionalType: {
      TypePtr inner = type->expect<c10::OptionalType>()->getElementType();
      bool isGiven =
          inner->kind() == TypeKind::TensorType ? anyNamed(path) || nextInOrder() : anyNamed(path);
      return isGiven ? planValue(inner, path) : Result(std::nullopt);
    }
    case TypeKind::TensorType:
      return planTensor(type, path);
    case TypeKind::TupleType: {
      if (!holdsTensors(type) && !anyNamed(path))
        return std::nullopt;
      ArgumentPlan plan{Kind::Tuple, path, type};
      for (auto [name, element] : fields(type, path)) {
        auto one = planValue(element, name);
        if (!one)
          return one.takeError();
        if (!*one && element->kind() != TypeKind::OptionalType)
          return missing(element, name);
        plan.elements.push_back(*one ? std::move(**one) : ArgumentPlan{Kind::Known, name, element});
      }
      return plan;
    }
    case TypeKind::ListType:
      return holdsTensors(type) ? planList(type, path) : Result(std::nullopt);
    case TypeKind::DictType:
      return holdsTensors(type) ? planDict(type, path) : Result(std::nullopt);
    default:
      return isNumber(type) ? planNumber(type, path) : Result(std::nullopt);
    }
  }

  Result planTensor(const TypePtr &type, const std::string &path) {
    auto input = named(path);
    if (!input) {
      auto real = named(path + "_real"), imag = named(path + "_imag");
      if (real && imag) {
        ArgumentPlan plan = take(Kind::Complex, type, path, *real);
        isTaken_[*imag] = true;
        plan.inputs.push_back(*imag);
        return plan;
      }
      input = nextInOrder();
    }
    return input ? Result(take(Kind::Tensor, type, path, *input)) : Result(std::nullopt);
  }

  Result planNumber(const TypePtr &type, const std::string &path) {
    auto input = named(path);
    if (!input)
      return std::nullopt;
    const InputSpec &spec = declared_[*input];
    bool isOne = spec.enumerated.empty() && !spec.image &&
                 llvm::all_of(spec.shape, [](const InputSpec::Range &r) { return r.upper == 1; });
    bool isFloat = !spec.dtype || mil::isFloat(*spec.dtype);
    bool isBool = spec.dtype == mil::DType::Bool;
    bool fits = type->kind() == TypeKind::NumberType  ? true
                : type->kind() == TypeKind::FloatType ? isFloat
                : type->kind() == TypeKind::BoolType  ? isBool
                                                      : !isFloat && !isBool;
    if (!isOne || (checksTypes_ && !fits)) {
      StringRef wanted = type->kind() == TypeKind::FloatType  ? "fp32[1]"
                         : type->kind() == TypeKind::BoolType ? "bool[1]"
                                                              : "int32[1]";
      return makeError(Code::InputType,
                       "{0}'s argument '{1}' has type {2}; as an input it is one number, --input "
                       "'{1}={3}'",
                       method_, path, type->repr_str(), wanted);
    }
    return take(Kind::Number, type, path, *input);
  }

  /// As many elements as inputs are left for.
  Result planList(const TypePtr &type, const std::string &path) {
    ArgumentPlan plan{Kind::List, path, type};
    TypePtr element = type->expect<c10::ListType>()->getElementType();
    for (size_t i = 0;; ++i) {
      std::string name = path + "_" + std::to_string(i);
      size_t before = llvm::count(isTaken_, true);
      if (!anyNamed(name) && !nextInOrder())
        break;
      auto one = planValue(element, name);
      if (!one)
        return one.takeError();
      if (!*one || size_t(llvm::count(isTaken_, true)) == before)
        break;
      plan.elements.push_back(std::move(**one));
    }
    return plan;
  }

  /// The key in the name of an input: what is behind the argument's name, if the model does not
  /// have the whole name as a key. Of values that are made of several inputs it is the longest text
  /// of the model that the name begins with.
  std::string keyIn(StringRef name, StringRef path, bool isTensor) const {
    if (isTensor && texts_.contains(name))
      return name.str();
    StringRef rest = name;
    std::string prefix = (path + "_").str();
    rest.consume_front(prefix);
    if (isTensor) {
      // A key may be no legal name: "a b" is an input a_b.
      for (const auto &text : texts_.keys())
        if (!texts_.contains(rest) &&
            (mil::legalName(text) == rest || mil::legalName(text) == name))
          return text.str();
      return rest.str();
    }
    StringRef key = rest.split('_').first;
    for (const auto &text : texts_.keys())
      if (text.size() > key.size() && (rest == text || rest.starts_with((text + "_").str())))
        key = text;
    return key.str();
  }

  Result planDict(const TypePtr &type, const std::string &path) {
    ArgumentPlan plan{Kind::Dict, path, type};
    auto dict = type->expect<c10::DictType>();
    TypePtr value = dict->getValueType();
    bool isTensor = value->kind() == TypeKind::TensorType;
    std::string prefix = path + "_";
    while (true) {
      std::optional<size_t> next;
      for (size_t i = 0; i < declared_.size() && !next; ++i)
        if (!isTaken_[i] && (isBelow(declared_[i].name, path) || !isReserved_[i]))
          next = i;
      if (!next)
        return plan;
      const std::string &name = declared_[*next].name;
      if (name.empty())
        return makeError(Code::InputCount,
                         "{0}'s argument '{1}' is a dictionary: an input of it needs a name, "
                         "'{1}_KEY=[…]'",
                         method_, path);
      std::string key = keyIn(name, path, isTensor);
      plan.keys.emplace_back(key);
      if (isTensor) {
        plan.elements.push_back(take(Kind::Tensor, value, name, *next));
        continue;
      }
      auto one = planValue(value, prefix + key);
      if (!one)
        return one.takeError();
      if (!*one || !isTaken_[*next])
        return makeError(Code::InputCount,
                         "{0}'s argument '{1}' is a dictionary of {2}, and no value of it has an "
                         "input '{3}'",
                         method_, path, value->repr_str(), name);
      plan.elements.push_back(std::move(**one));
    }
  }

  Error missing(const TypePtr &type, const std::string &path) const {
    if (holdsTensors(type))
      return makeError(Code::InputCount,
                       "{0} takes a tensor '{1}' that no input is declared for; add --input "
                       "'{1}=[…]'",
                       method_, path);
    if (isNumber(type))
      return makeError(
          Code::InputType,
          "{0}'s argument '{1}' has type {2} and no default; --input '{1}={3}[1]' makes "
          "it an input, --input '{1}={4}' a constant",
          method_, path, type->repr_str(),
          type->kind() == TypeKind::FloatType  ? "fp32"
          : type->kind() == TypeKind::BoolType ? "bool"
                                               : "int32",
          type->kind() == TypeKind::FloatType  ? "1.0"
          : type->kind() == TypeKind::BoolType ? "true"
                                               : "1");
    if (type->kind() == TypeKind::StringType)
      return makeError(Code::InputType,
                       "{0}'s argument '{1}' has type {2} and no default; say what it is: --input "
                       "'{1}=\"…\"'",
                       method_, path, type->repr_str());
    if (auto list = type->cast<c10::ListType>(); list && isNumber(list->getElementType()))
      return makeError(Code::InputType,
                       "{0}'s argument '{1}' has type {2} and no default; say what it is: --input "
                       "'{1}=list[1, 2]'",
                       method_, path, type->repr_str());
    return makeError(Code::InputType,
                     "{0}'s argument '{1}' has type {2} and no default, which cannot be an input "
                     "of a Core ML function; wrap the model in a module that fixes it",
                     method_, path, type->repr_str());
  }

  /// A number of the method is an input by its name alone.
  static std::string numbersHint(const c10::FunctionSchema &schema) {
    for (const c10::Argument &argument : llvm::drop_begin(schema.arguments())) {
      TypePtr type = argument.type();
      if (auto optional = type->cast<c10::OptionalType>())
        type = optional->getElementType();
      if (isNumber(type))
        return "; a number is an input where this is called as its argument, '" + argument.name() +
               "'";
    }
    return "";
  }

  /// What the method does with the tensors of an argument, and what a trace in memory knows that
  /// they held, says which of them are integers.
  Error checkIntegers(size_t argument, ArgumentPlan &plan) const {
    auto inputs = torch::jit::toGraphFunction(function_).graph()->inputs();
    if (!checksTypes_ || argument + 1 >= inputs.size())
      return Error::success();
    std::vector<ElementKey> path;
    return checkIntegers(*inputs[argument + 1], path, plan);
  }

  Error checkIntegers(const torch::jit::Value &argument, std::vector<ElementKey> &path,
                      ArgumentPlan &plan) const {
    for (auto [i, element] : llvm::enumerate(plan.elements)) {
      path.push_back({i, plan.kind == Kind::Dict ? plan.keys[i].toStringRef() : ""});
      if (Error error = checkIntegers(argument, path, element))
        return error;
      path.pop_back();
    }
    if (plan.kind != Kind::Tensor)
      return Error::success();
    const InputSpec &spec = declared_[plan.inputs[0]];
    if (spec.image || (spec.dtype && !mil::isFloat(*spec.dtype)))
      return Error::success();
    std::optional<mil::DType> traced; // the type of a trace in memory
    auto type = path.empty() ? argument.type()->cast<c10::TensorType>() : nullptr;
    if (type && type->scalarType() && at::isIntegralType(*type->scalarType(), true))
      traced = *type->scalarType() == at::kBool ? mil::DType::Bool : mil::DType::I32;
    IntegerUse use = integerUse(argument, path);
    if (!spec.dtype && use && (traced || !use.orBool)) {
      plan.integers = traced.value_or(mil::DType::I32);
      if (!traced)
        plan.integersFor = use.what;
    } else if (!spec.dtype && !use) {
      return Error::success(); // a counter may be traced with an integer and be given floats
    } else if (use) {
      return makeError(Code::InputType,
                       "{0} takes integers as '{1}', which {2} takes, and {3}; say --input "
                       "'{1}=int32[…]', or bool where it is a mask",
                       method_, plan.name, use.what,
                       spec.dtype ? "a floating-point input is declared"
                                  : "the input is declared without a type");
    } else if (traced) {
      return makeError(Code::InputType,
                       "{0} takes {1} as '{2}', and a floating-point input is declared; say "
                       "--input '{2}={3}[…]'",
                       method_, at::toString(*type->scalarType()), plan.name, mil::name(*traced));
    }
    return Error::success();
  }

  torch::jit::Function &function_;
  StringRef method_;
  llvm::ArrayRef<InputSpec> declared_;
  std::map<std::string, Constant> constants_; ///< that no argument has taken yet
  bool checksTypes_;
  std::vector<bool> isTaken_, isReserved_;
  llvm::StringSet<> texts_;
  /// Names that inputs can be called by, and what these are a part of.
  llvm::StringMap<std::string> paths_;
};

} // namespace

Expected<std::vector<ArgumentPlan>> planArguments(const torch::jit::Module &module,
                                                  const ModelFunction &declared, bool checksTypes) {
  return Planner(module, declared, checksTypes).run();
}

std::map<std::string, std::string> constantsIn(llvm::ArrayRef<ArgumentPlan> plans) {
  std::map<std::string, std::string> constants;
  for (const ArgumentPlan &plan : plans) {
    if (!plan.said.empty())
      constants[plan.name] = plan.said;
    constants.merge(constantsIn(plan.elements));
  }
  return constants;
}

// ---- Values ------------------------------------------------------------------------------------

static c10::IValue makeArgument(const ArgumentPlan &plan, llvm::ArrayRef<at::Tensor> tensors) {
  std::vector<c10::IValue> elements;
  for (const ArgumentPlan &element : plan.elements)
    elements.push_back(makeArgument(element, tensors));
  switch (plan.kind) {
  case Kind::Tensor:
    return tensors[plan.inputs[0]];
  case Kind::Complex:
    return at::complex(tensors[plan.inputs[0]], tensors[plan.inputs[1]]);
  case Kind::Number: {
    const at::Tensor &tensor = tensors[plan.inputs[0]];
    return plan.type->kind() == TypeKind::IntType     ? c10::IValue(tensor.item().toLong())
           : plan.type->kind() == TypeKind::FloatType ? c10::IValue(tensor.item().toDouble())
           : plan.type->kind() == TypeKind::BoolType  ? c10::IValue(tensor.item().toBool())
                                                      : c10::IValue(tensor.item());
  }
  case Kind::Known:
    return plan.known;
  case Kind::Tuple: {
    auto tuple = plan.type->expect<c10::TupleType>();
    return tuple->name() ? c10::ivalue::Tuple::createNamed(std::move(elements), tuple)
                         : c10::ivalue::Tuple::create(std::move(elements));
  }
  case Kind::List: {
    c10::impl::GenericList list(plan.type->expect<c10::ListType>()->getElementType());
    for (c10::IValue &element : elements)
      list.push_back(std::move(element));
    return list;
  }
  case Kind::Dict: {
    auto type = plan.type->expect<c10::DictType>();
    c10::impl::GenericDict dict(type->getKeyType(), type->getValueType());
    for (auto [key, element] : llvm::zip(plan.keys, elements))
      dict.insert(key, std::move(element));
    return dict;
  }
  }
  return {};
}

std::vector<c10::IValue> makeArguments(llvm::ArrayRef<ArgumentPlan> plans,
                                       llvm::ArrayRef<at::Tensor> tensors) {
  std::vector<c10::IValue> arguments;
  for (const ArgumentPlan &plan : plans)
    arguments.push_back(makeArgument(plan, tensors));
  return arguments;
}

ArgumentMaker argumentMaker(std::shared_ptr<torch::jit::Module> module,
                            std::map<std::string, std::string> constants) {
  return [module = std::move(module), constants = std::move(constants)](
             std::vector<c10::IValue> &arguments, llvm::ArrayRef<std::string> names) -> Error {
    ModelFunction declared;
    const c10::FunctionSchema &schema = module->get_method("forward").function().getSchema();
    for (const auto &[name, text] : constants) {
      auto constant = parseConstant(text);
      // A trace that was made with a constant has no such argument.
      bool isArgument = llvm::any_of(schema.arguments(), [&, &path = name](const auto &argument) {
        return StringRef(path).starts_with(argument.name());
      });
      if (constant && isArgument)
        declared.constants.emplace(name, std::move(*constant));
    }
    std::vector<at::Tensor> tensors;
    for (size_t i = 0; i < names.size(); ++i) {
      tensors.push_back(arguments[i].toTensor());
      InputSpec &spec = declared.inputs.emplace_back();
      spec.name = names[i];
      for (int64_t size : tensors[i].sizes())
        spec.shape.push_back({size, size});
    }
    auto plans = planArguments(*module, declared, /*checksTypes=*/false);
    if (!plans)
      return plans.takeError();
    arguments = makeArguments(*plans, tensors);
    return Error::success();
  };
}

} // namespace plait::frontend
