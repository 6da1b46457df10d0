// Goes through an exported program: names and what they stand for, arguments by schema, functions
// on numbers, and operators that take graphs. What a value is, and what becomes of an operation, is
// for whoever derives from it: the engine's values are lowered (EngineRun.h), LibTorch's are
// computed with (Evaluation.cpp).
#pragma once

#include "frontend/archive/ExportSchema.h"
#include "frontend/engine/Held.h"
#include "frontend/exported/SchemaTypes.h"
#include "frontend/exported/Targets.h"
#include "support/Format.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/Support/SaveAndRestore.h"

#include <ATen/core/jit_type.h>

namespace plait::frontend {

template <typename V> class ProgramRun {
public:
  using Values = std::vector<V>;
  using Thunk = llvm::function_ref<Values()>;
  using BodyFn = llvm::function_ref<Values(llvm::ArrayRef<V>)>;
  using Argument = exported::Argument;
  using Kind = Argument::Kind;

  virtual ~ProgramRun() = default;

protected:
  /// A graph that is being run.
  struct Frame {
    const exported::Graph *graph;
    llvm::StringMap<V> values;
  };

  // ---- what a value is ----
  virtual V constant(c10::IValue value) = 0;
  virtual V list(const c10::TypePtr &elementType, Values values) = 0;
  virtual Values elementsOf(const V &list) = 0;
  /// Where it is known.
  virtual std::optional<int64_t> knownInteger(const V &value) = 0;
  virtual bool isInteger(const V &value) = 0;
  virtual bool isTensor(const V &value) = 0;
  /// What a type of the archive is taken for.
  virtual at::ScalarType scalarType(at::ScalarType type) { return type; }

  // ---- what is done ----
  /// Stands around each node.
  virtual Values atNode(const exported::Node &node, Thunk run) = 0;
  virtual Values operation(const exported::Node &node, const torch::jit::Operator &op,
                           Values arguments) = 0;
  /// An operation that is a part of what a node does.
  virtual Values part(const torch::jit::Operator &op, Values arguments) = 0;
  /// The two bodies take nothing.
  virtual Values branch(const V &condition, BodyFn then, BodyFn otherwise) = 0;
  /// The body maps (turn, carried…) to (condition, carried…).
  virtual Values loop(const V &trips, const V &condition, Values carried, BodyFn body,
                      size_t operations) = 0;
  /// Runs operations as autocast does.
  virtual Values autocast(std::optional<at::ScalarType> type, bool enabled, Thunk run) = 0;
  [[noreturn]] virtual void unsupported(const std::string &name) = 0;

  // ---- running ----
  Values runGraph(const exported::Graph &graph, llvm::ArrayRef<V> inputs) {
    Frame frame{&graph, {}};
    if (inputs.size() != graph.inputs.size())
      throw Refusal(Code::UnsupportedForm, fmt::format("a graph takes {0} values, and is given {1}",
                                                       graph.inputs.size(), inputs.size()));
    for (auto [argument, value] : llvm::zip(graph.inputs, inputs))
      if (argument.kind == Kind::Name)
        frame.values[argument.text] = value;
    return runFrame(frame);
  }

  Values runFrame(Frame &frame) {
    llvm::SaveAndRestore here(frame_, &frame);
    for (size_t i = 0; i < frame.graph->nodes.size(); ++i) {
      beforeNode(i);
      const exported::Node &node = frame.graph->nodes[i];
      Values results = atNode(node, [&] { return runNode(node); });
      bind(node, std::move(results));
      afterNode(i);
    }
    Values outputs;
    for (const Argument &output : frame.graph->outputs)
      outputs.push_back(convert(output, nullptr));
    return outputs;
  }

  virtual void beforeNode(size_t index) {}
  virtual void afterNode(size_t index) {}
  Frame &frame() { return *frame_; }

  const V &lookup(llvm::StringRef name) {
    auto it = frame_->values.find(name);
    if (it == frame_->values.end())
      throw Refusal(Code::UnsupportedForm,
                    fmt::format("the program reads '{0}' before anything gives it", name));
    return it->second;
  }

  /// An argument of a type of LibTorch's; of what has no schema the type is null.
  V convert(const Argument &argument, c10::TypePtr type, std::optional<int32_t> count = {}) {
    if (auto optional = type ? type->cast<c10::OptionalType>() : nullptr)
      type = optional->getElementType();
    auto listType = type ? type->cast<c10::ListType>() : nullptr;
    bool isOne =
        argument.kind == Kind::Int || argument.kind == Kind::Float || argument.kind == Kind::Bool;
    if (listType && isOne) // one number for all axes
      return list(
          listType->getElementType(),
          Values(std::max(count.value_or(1), 1), convert(argument, listType->getElementType())));
    switch (argument.kind) {
    case Kind::None:
      return constant(c10::IValue());
    case Kind::Name:
      return lookup(argument.text);
    case Kind::Int:
      if (type && type->kind() == c10::TypeKind::FloatType)
        return constant(c10::IValue(double(argument.integer)));
      return constant(c10::IValue(argument.integer));
    case Kind::Float:
      return constant(c10::IValue(argument.number));
    case Kind::Bool:
      return constant(c10::IValue(argument.integer != 0));
    case Kind::String:
      return constant(c10::IValue(argument.text));
    case Kind::Complex:
      return constant(c10::IValue(c10::complex<double>(argument.number, argument.imaginary)));
    case Kind::ScalarType:
      if (auto number = exportedScalarType(argument.integer))
        return constant(c10::IValue(int64_t(scalarType(*number))));
      break;
    case Kind::MemoryFormat:
      if (auto number = exportedMemoryFormat(argument.integer))
        return constant(c10::IValue(int64_t(*number)));
      break;
    case Kind::Layout: {
      constexpr int64_t strided = 7;
      if (argument.integer == strided)
        return constant(c10::IValue(int64_t(at::kStrided)));
      throw Refusal(Code::UnsupportedType,
                    "a tensor is not strided (sparse, or of another library), and Core ML has "
                    "strided ones alone");
    }
    case Kind::Device: // a model exported on another device runs on this one
      return constant(c10::IValue(c10::Device(c10::kCPU)));
    case Kind::List: {
      c10::TypePtr element = listType ? listType->getElementType() : elementTypeOf(argument);
      Values values;
      for (const Argument &one : argument.elements)
        values.push_back(convert(one, element));
      return list(element, std::move(values));
    }
    case Kind::CustomObject:
      throw Refusal(Code::UnsupportedType,
                    fmt::format("it takes an object of the class '{0}', which Core ML has nothing "
                                "like; export the model without it",
                                argument.text));
    case Kind::Operator:
    case Kind::Graph:
    case Kind::Unknown:
      break;
    }
    throw Refusal(Code::UnsupportedForm,
                  fmt::format("it has an argument '{0}' that plait does not know, or not with this "
                              "value",
                              argument.member));
  }

private:
  static c10::TypePtr elementTypeOf(const Argument &argument) {
    llvm::StringRef member = argument.member;
    if (member == "as_ints" || member == "as_sym_ints")
      return c10::IntType::get();
    if (member == "as_floats" || member == "as_sym_floats")
      return c10::FloatType::get();
    if (member == "as_bools" || member == "as_sym_bools")
      return c10::BoolType::get();
    if (member == "as_strings")
      return c10::StringType::get();
    if (member == "as_optional_tensors")
      return c10::OptionalType::ofTensor();
    return c10::TensorType::get();
  }

  void bind(const exported::Node &node, Values results) {
    // A list of tensors is one result of an operator, and all results of one that takes graphs.
    bool isHigherOrder = !higherOrderName(node.target).empty();
    if (isHigherOrder && node.outputs.size() == 1 && node.outputs[0].kind == Kind::List) {
      bindEach(node.outputs[0].elements, std::move(results));
      return;
    }
    results.resize(node.outputs.size());
    for (auto [output, result] : llvm::zip(node.outputs, results)) {
      if (output.kind == Kind::List)
        bindEach(output.elements, elementsOf(result));
      else if (output.kind == Kind::Name)
        frame_->values[output.text] = std::move(result);
    }
  }
  void bindEach(llvm::ArrayRef<Argument> outputs, Values results) {
    results.resize(outputs.size());
    for (auto [output, result] : llvm::zip(outputs, results))
      if (output.kind == Kind::Name)
        frame_->values[output.text] = std::move(result);
  }

  Values runNode(const exported::Node &node) {
    if (llvm::StringRef name = higherOrderName(node.target); !name.empty())
      return higherOrder(node, name);
    if (llvm::StringRef(node.target).starts_with("torch.ops.")) {
      if (auto twin = inWordsOfAten(node))
        return runNode(*twin);
      auto op = operatorOfTarget(node.target);
      if (!op)
        unsupported(targetName(node.target));
      return callOperator(node, std::move(op));
    }
    if (llvm::StringRef(node.target).starts_with("#"))
      throw Refusal(Code::UnsupportedForm,
                    fmt::format("'{0}' is an operator of a library that extends torch.export, and "
                                "the archive does not say what it computes; export the model "
                                "without it",
                                node.target));
    return numbers(node);
  }

  // ---- Operators ----

  Values callOperator(const exported::Node &node, std::shared_ptr<torch::jit::Operator> op) {
    // Python takes a number for a tensor; operators have overloads of their own for it.
    for (const exported::NamedArgument &input : node.inputs)
      for (const c10::Argument &argument : op->schema().arguments())
        if (argument.name() == input.name && argument.type()->kind() == c10::TypeKind::TensorType &&
            isNumber(input.value))
          if (auto twin = scalarTwin(op->schema(), input.name)) {
            op = std::move(twin);
            break;
          }
    const c10::FunctionSchema &schema = op->schema();
    Values arguments;
    size_t found = 0;
    for (const c10::Argument &argument : schema.arguments()) {
      const exported::NamedArgument *given = nullptr;
      for (const exported::NamedArgument &input : node.inputs)
        if (input.name == argument.name())
          given = &input;
      found += given != nullptr;
      if (given && argument.type()->kind() == c10::TypeKind::TensorType && isNumber(given->value))
        arguments.push_back(tensorOf(given->value));
      else if (given)
        arguments.push_back(convert(given->value, argument.type(), argument.N()));
      else if (argument.default_value())
        arguments.push_back(constant(*argument.default_value()));
      else if (argument.type()->kind() == c10::TypeKind::OptionalType)
        arguments.push_back(constant(c10::IValue()));
      else
        throw Refusal(Code::UnsupportedForm,
                      fmt::format("it lacks the argument '{0}'", argument.name()));
    }
    if (found != node.inputs.size())
      throw Refusal(Code::UnsupportedForm,
                    "it has an argument that LibTorch's operator does not have: the archive was "
                    "written by another PyTorch; export the model with one that is nearer to the "
                    "LibTorch of this plait");
    return operation(node, *op, std::move(arguments));
  }

  bool isNumber(const Argument &argument) {
    if (argument.kind == Kind::Name)
      return llvm::StringRef(argument.member).starts_with("as_sym_") ||
             !isTensor(lookup(argument.text));
    return argument.kind == Kind::Int || argument.kind == Kind::Float ||
           argument.kind == Kind::Bool;
  }

  V tensorOf(const Argument &number) {
    return one("prim::NumToTensor", "Scalar", {convert(number, nullptr)});
  }

  static std::shared_ptr<torch::jit::Operator> need(const char *name, const char *overload) {
    auto op = operatorNamed(name, overload);
    if (!op)
      throw Refusal(Code::UnsupportedForm,
                    fmt::format("this LibTorch has no operator {0}.{1}", name, overload));
    return op;
  }

  V one(const char *name, const char *overload, Values arguments) {
    Values results = part(*need(name, overload), std::move(arguments));
    return results.empty() ? V() : results[0];
  }

  Values numbers(const exported::Node &node) {
    NumberFunction function = numberFunction(node.target);
    if (function.kind == NumberFunction::None)
      unsupported(node.target);
    Values arguments;
    for (const exported::NamedArgument &input : node.inputs)
      arguments.push_back(convert(input.value, nullptr));
    auto takes = [&](size_t count) {
      if (arguments.size() != count)
        throw Refusal(Code::UnsupportedForm,
                      fmt::format("'{0}' has {1} arguments", node.target, arguments.size()));
    };
    switch (function.kind) {
    case NumberFunction::Operator: {
      auto op = need(function.name, function.overload);
      takes(op->schema().arguments().size());
      return operation(node, *op, std::move(arguments));
    }
    case NumberFunction::Power: {
      takes(2);
      auto exponent = knownInteger(arguments[1]);
      // An integer stays one.
      if (isInteger(arguments[0]) && exponent && *exponent > 0 && *exponent < 16) {
        V value = arguments[0];
        for (int64_t i = 1; i < *exponent; ++i)
          value = one("aten::mul", "", {value, arguments[0]});
        return {value};
      }
      bool integers = isInteger(arguments[0]) && isInteger(arguments[1]);
      return operation(node, *need("aten::pow", integers ? "int_to_int" : "Scalar_Scalar"),
                       std::move(arguments));
    }
    case NumberFunction::Same:
      takes(1);
      return arguments;
    case NumberFunction::Choice:
      takes(3);
      return branch(
          arguments[0], [&](llvm::ArrayRef<V>) { return Values{arguments[1]}; },
          [&](llvm::ArrayRef<V>) { return Values{arguments[2]}; });
    case NumberFunction::Sum: {
      takes(1);
      Values terms = elementsOf(arguments[0]);
      V sum = constant(c10::IValue(int64_t(0)));
      for (const V &term : terms)
        sum = one("aten::add", "", {sum, term});
      return {sum};
    }
    case NumberFunction::None:
      break;
    }
    return {};
  }

  // ---- Operators that take graphs ----

  const exported::Graph &graphAt(const exported::Node &node, size_t index) {
    if (index >= node.inputs.size() || node.inputs[index].value.kind != Kind::Graph)
      throw Refusal(Code::UnsupportedForm, fmt::format("its argument {0} is no graph", index));
    return *node.inputs[index].value.graph;
  }
  /// Of the arguments from `index` on, lists spread out.
  Values operandsFrom(const exported::Node &node, size_t index) {
    Values operands;
    for (const exported::NamedArgument &input :
         llvm::drop_begin(node.inputs, std::min(index, node.inputs.size())))
      if (input.name.empty())
        addOperands(input.value, operands);
    return operands;
  }
  Values operandsAt(const exported::Node &node, size_t index) {
    Values operands;
    if (index < node.inputs.size())
      addOperands(node.inputs[index].value, operands);
    return operands;
  }
  void addOperands(const Argument &argument, Values &operands) {
    if (argument.kind != Kind::List) {
      operands.push_back(convert(argument, nullptr));
      return;
    }
    for (const Argument &element : argument.elements)
      operands.push_back(convert(element, nullptr));
  }
  static Values joined(Values first, llvm::ArrayRef<V> second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
  }
  static size_t operationsOf(const exported::Graph &graph) {
    size_t count = graph.nodes.size();
    for (const exported::Node &node : graph.nodes)
      for (const exported::NamedArgument &input : node.inputs)
        if (input.value.kind == Kind::Graph)
          count += operationsOf(*input.value.graph);
    return count;
  }
  /// A condition as a bool.
  V truth(const V &condition) {
    return isTensor(condition) ? one("aten::Bool", "Tensor", {condition}) : condition;
  }

  Values higherOrder(const exported::Node &node, llvm::StringRef name) {
    if (name == "cond")
      return conditional(node);
    if (name == "while_loop")
      return whileLoop(node);
    if (name == "scan")
      return scan(node, operandsAt(node, 1), operandsAt(node, 2),
                  operandsFrom(node, 3 + directionsOfScan(node)));
    if (name == "map_impl")
      return scan(node, {}, operandsAt(node, 1), operandsFrom(node, 2));
    if (name == "wrap_with_set_grad_enabled")
      return runGraph(graphAt(node, 1), operandsFrom(node, 2));
    if (name == "invoke_subgraph")
      return runGraph(graphAt(node, 0), operandsFrom(node, 2));
    if (name == "strict_mode")
      return runGraph(graphAt(node, 0), operandsFrom(node, 1));
    if (name == "wrap_with_autocast") {
      // device, type, enabled, cache, graph, operands
      const exported::Graph &graph = graphAt(node, 4);
      Values operands = operandsFrom(node, 5);
      const Argument &type = node.inputs[1].value, &enabled = node.inputs[2].value;
      auto number = type.kind == Kind::ScalarType ? exportedScalarType(type.integer) : std::nullopt;
      return autocast(number, enabled.kind != Kind::Bool || enabled.integer != 0,
                      [&] { return runGraph(graph, operands); });
    }
    unsupported(name.str());
    return {};
  }

  /// How many arguments behind the sequences say the way through them: the axis and whether it is
  /// gone backwards, in programs of torch 2.5 and 2.6; later ones go forwards along the first.
  static size_t directionsOfScan(const exported::Node &node) {
    if (node.inputs.size() < 5 || node.inputs[3].value.kind != Kind::Int)
      return 0;
    if (node.inputs[3].value.integer != 0 || node.inputs[4].value.integer != 0)
      throw Refusal(
          Code::UnsupportedForm,
          "it goes backwards, or along another axis than the first, as PyTorch before 2.7 "
          "writes it; export the model with a later release");
    return 2;
  }

  Values conditional(const exported::Node &node) {
    if (node.inputs.size() < 3)
      throw Refusal(Code::UnsupportedForm, "it lacks a condition or a branch");
    V condition = truth(convert(node.inputs[0].value, nullptr));
    Values operands = operandsFrom(node, 3);
    const exported::Graph &then = graphAt(node, 1), &otherwise = graphAt(node, 2);
    return branch(
        condition, [&](llvm::ArrayRef<V>) { return runGraph(then, operands); },
        [&](llvm::ArrayRef<V>) { return runGraph(otherwise, operands); });
  }

  Values whileLoop(const exported::Node &node) {
    const exported::Graph &condition = graphAt(node, 0), &body = graphAt(node, 1);
    Values carried = operandsAt(node, 2), constants = operandsAt(node, 3);
    auto goesOn = [&](llvm::ArrayRef<V> values) {
      Values result = runGraph(condition, joined(values.vec(), constants));
      return result.empty() ? V() : truth(result[0]);
    };
    V first = goesOn(carried);
    return loop(
        constant(c10::IValue(std::numeric_limits<int64_t>::max())), first, carried,
        [&](llvm::ArrayRef<V> values) {
          Values after = runGraph(body, joined(values.drop_front().vec(), constants));
          after.insert(after.begin(), goesOn(after));
          return after;
        },
        operationsOf(body) + operationsOf(condition));
  }

  /// One turn for each element of `sequences` along their first axis; results behind the carried
  /// ones are gathered along a new first axis.
  Values scan(const exported::Node &node, Values carried, const Values &sequences,
              const Values &constants) {
    const exported::Graph &body = graphAt(node, 0);
    if (sequences.empty() || body.outputs.size() < carried.size())
      throw Refusal(Code::UnsupportedForm, "it has nothing to go through, or too few results");
    auto integer = [&](int64_t value) { return constant(c10::IValue(value)); };
    V length = one("aten::size", "int", {sequences[0], integer(0)});
    size_t states = carried.size(), gathered = body.outputs.size() - states;
    auto turn = [&](const V &index, llvm::ArrayRef<V> values) {
      Values inputs = values.vec();
      for (const V &sequence : sequences)
        inputs.push_back(one("aten::select", "int", {sequence, integer(0), index}));
      return runGraph(body, joined(std::move(inputs), constants));
    };
    auto count = knownInteger(length);
    int64_t operations = int64_t(operationsOf(body)) + 1;
    if (count && *count > 0 && *count <= unrollable_ / operations) {
      llvm::SaveAndRestore inside(unrollable_, unrollable_ / *count);
      std::vector<Values> columns(gathered);
      for (int64_t i = 0; i < *count; ++i) {
        Values results = turn(integer(i), carried);
        carried.assign(results.begin(), results.begin() + states);
        for (size_t k = 0; k < gathered; ++k)
          columns[k].push_back(results[states + k]);
      }
      for (Values &column : columns)
        carried.push_back(
            one("aten::stack", "", {list(c10::TensorType::get(), std::move(column)), integer(0)}));
      return carried;
    }
    // A place for each turn's results, which the loop writes to.
    Values places;
    for (size_t k = 0; k < gathered; ++k)
      places.push_back(placeFor(body, body.outputs[states + k], length));
    Values after = loop(
        length, constant(c10::IValue(true)), carried,
        [&](llvm::ArrayRef<V> values) {
          Values results = turn(values[0], values.drop_front());
          for (size_t k = 0; k < gathered; ++k)
            one("aten::copy_", "",
                {one("aten::select", "int", {places[k], integer(0), values[0]}),
                 results[states + k], constant(c10::IValue(false))});
          results.resize(states);
          results.insert(results.begin(), constant(c10::IValue(true)));
          return results;
        },
        operationsOf(body));
    after.insert(after.end(), places.begin(), places.end());
    return after;
  }

  V placeFor(const exported::Graph &body, const Argument &output, const V &length) {
    auto meta = output.kind == Kind::Name ? body.tensors.find(output.text) : body.tensors.end();
    auto type = meta == body.tensors.end() ? std::nullopt : exportedScalarType(meta->second.dtype);
    if (!type)
      throw Refusal(Code::UnsupportedForm, "a result that is gathered is no tensor");
    Values sizes{length};
    for (const exported::Size &size : meta->second.sizes) {
      if (!size.number)
        throw Refusal(Code::NotKnown,
                      "it gathers tensors whose size is not known, for a number of turns that is "
                      "only known at run time; export it with fixed sizes there");
      sizes.push_back(constant(c10::IValue(*size.number)));
    }
    return one("aten::zeros", "",
               {list(c10::IntType::get(), std::move(sizes)),
                constant(c10::IValue(int64_t(scalarType(*type)))), constant(c10::IValue()),
                constant(c10::IValue()), constant(c10::IValue())});
  }

  Frame *frame_ = nullptr;
  /// Operations that one scan here may become; within one that is unrolled fewer.
  int64_t unrollable_ = 20000;
};

} // namespace plait::frontend
