// The program of a torch.export archive as plain structs: what torch/_export/serde/schema.py says,
// as far as a compiler needs it. Written as JSON: a dataclass is an object, a union an object with
// one member that names the case, an enumeration its number.
//
//   ExportedProgram := {graph_module: {graph, signature, module_call_graph}, range_constraints,
//                       schema_version: {major, minor}, verifiers, torch_version}
//   graph           := {inputs: [argument], outputs: [argument], nodes: [node], tensor_values,
//                       is_single_tensor_return}
//   node            := {target, inputs: [{name, arg}], outputs: [argument], metadata: {text: text}}
//   argument        := {as_tensor: {name}} | {as_int: 1} | {as_graph: {name, graph}} | …
//
// What is not of this form is an error. What plait does not know (a union's new member) is kept by
// name, so that whoever meets it can refuse it there.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/StringMap.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace plait::exported {

struct Graph;

/// A number, or an expression over symbols (mil/SizeExpression.h).
struct Size {
  std::optional<int64_t> number;
  std::string expression;
};

struct TensorMeta {
  int64_t dtype = 0; ///< numbered as ScalarType of the schema
  std::vector<Size> sizes, strides;
  Size offset; ///< in elements
  int64_t layout = 0;
};

struct Argument {
  enum class Kind : uint8_t {
    None,
    Name, ///< `text` is a tensor or number of the graph
    Int,
    Float,
    Bool,
    String,
    ScalarType, ///< `integer`, as are the next two; numbered by the schema
    MemoryFormat,
    Layout,
    Device,   ///< `text`
    Complex,  ///< `number` and `imaginary`
    Operator, ///< `text` is a target
    Graph,
    CustomObject, ///< `text` is its class
    List,         ///< `elements`
    Unknown,
  } kind = Kind::None;
  std::string member; ///< how the union calls it: "as_tensor"
  std::string text;
  int64_t integer = 0; ///< also of Bool
  double number = 0, imaginary = 0;
  std::vector<Argument> elements;
  std::shared_ptr<const exported::Graph> graph;
};

struct NamedArgument {
  std::string name; ///< of the schema; "" for a higher-order operator's
  Argument value;
};

struct Node {
  std::string target; ///< "torch.ops.aten.add.Tensor"
  std::vector<NamedArgument> inputs;
  /// A result each; a list is one result of several names. None is an unused or undefined one.
  std::vector<Argument> outputs;
  std::string stackTrace, moduleStack; ///< as Python wrote them; may be ""
};

struct Graph {
  std::vector<Argument> inputs, outputs;
  std::vector<Node> nodes;
  llvm::StringMap<TensorMeta> tensors;
};

struct InputSpec {
  enum class Kind : uint8_t { User, Parameter, Buffer, Constant, CustomObject, Token, Fixed } kind;
  std::string target; ///< the path of a parameter, buffer or constant
  bool persistent = true;
};

struct OutputSpec {
  enum class Kind : uint8_t { User, BufferMutation, InputMutation, ParameterMutation, Other } kind;
  std::string target; ///< the buffer's path, or the name of the input
  std::string member; ///< how the union calls it
};

struct Range {
  std::optional<int64_t> lower, upper; ///< inclusive; nothing: no bound
};

struct Program {
  Graph graph;
  std::vector<InputSpec> inputs;   ///< one for each of the graph's
  std::vector<OutputSpec> outputs; ///< likewise
  std::map<std::string, Range> ranges;
  int64_t major = 0, minor = 0;
  std::string dialect; ///< "ATEN", "TRAINING"; "" in old files
  std::string torchVersion;
  /// Keys of results that stand in dictionaries, in the order of the user's outputs; "" of others.
  std::vector<std::string> outputKeys;
};

/// Reads the JSON of a program. Messages do not name the file.
Expected<Program> readProgram(llvm::StringRef json);

/// What the archive says of one weight or constant (…_weights_config.json).
struct PayloadEntry {
  std::string name;   ///< the tensor's path
  std::string record; ///< within the folder of weights or constants
  bool pickled = false;
  TensorMeta meta;
};
Expected<std::vector<PayloadEntry>> readPayloads(llvm::StringRef json);

} // namespace plait::exported
