// From JSON to structs. The first thing that is not of the schema ends the reading with its place.
#include "frontend/archive/ExportSchema.h"

#include "support/Json.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"

#include <limits>

namespace plait::exported {
namespace {

namespace json = llvm::json;
using llvm::StringRef;

class SchemaReader {
public:
  Expected<Program> program(const json::Value &root) {
    Program program;
    const json::Object &top = object(&root, "the program");
    readVersion(top, program);
    if (!problem_.empty())
      return takeError();
    const json::Object &module = object(top.get("graph_module"), "graph_module");
    program.graph = graph(module.get("graph"));
    const json::Object &signature = object(module.get("signature"), "signature");
    for (const json::Value &spec : array(signature.get("input_specs"), "input_specs"))
      program.inputs.push_back(inputSpec(spec));
    for (const json::Value &spec : array(signature.get("output_specs"), "output_specs"))
      program.outputs.push_back(outputSpec(spec));
    if (program.inputs.size() != program.graph.inputs.size() ||
        program.outputs.size() != program.graph.outputs.size())
      fail("the signature has other inputs or outputs than the graph");
    if (const json::Value *ranges = present(top, "range_constraints"))
      for (const auto &[name, range] : object(ranges, "range_constraints"))
        program.ranges[StringRef(name).str()] = readRange(range);
    readOutputKeys(module, program);
    if (!problem_.empty())
      return takeError();
    return program;
  }

  Expected<std::vector<PayloadEntry>> payloads(const json::Value &root) {
    std::vector<PayloadEntry> entries;
    const json::Object &top = object(&root, "the list of payloads");
    for (const auto &[name, value] : object(top.get("config"), "config")) {
      where_ = StringRef(name).str();
      const json::Object &entry = object(&value, "an entry");
      PayloadEntry payload{where_, text(entry, "path_name"), boolean(entry, "use_pickle"), {}};
      if (const json::Value *meta = present(entry, "tensor_meta"))
        payload.meta = tensorMeta(*meta);
      else
        payload.pickled = true; // an object
      entries.push_back(std::move(payload));
    }
    if (!problem_.empty())
      return takeError();
    // The parser keeps no order.
    llvm::sort(entries, [](const auto &a, const auto &b) { return a.name < b.name; });
    return entries;
  }

private:
  static constexpr unsigned kMaxGraphs = 6; ///< one within another
  static constexpr int64_t kOldest = 5, kNewest = 8;

  Error takeError() { return makeError(Code::ArchiveVersion, "{0}", problem_); }

  void fail(const llvm::Twine &what) {
    if (problem_.empty())
      problem_ = (where_.empty() ? what : what + " (at '" + where_ + "')").str();
  }

  // ---- Values ----

  /// Null where it is missing or null.
  static const json::Value *present(const json::Object &object, StringRef key) {
    const json::Value *value = object.get(key);
    return value && value->kind() != json::Value::Null ? value : nullptr;
  }
  const json::Object &object(const json::Value *value, const llvm::Twine &what) {
    static const json::Object none;
    const json::Object *found = value ? value->getAsObject() : nullptr;
    if (!found)
      fail(what + " is no object");
    return found ? *found : none;
  }
  const json::Array &array(const json::Value *value, const llvm::Twine &what) {
    static const json::Array none;
    const json::Array *found = value ? value->getAsArray() : nullptr;
    if (!found)
      fail(what + " is no list");
    return found ? *found : none;
  }
  int64_t integer(const json::Value *value, const llvm::Twine &what) {
    auto found = value ? jsonInteger(*value) : std::nullopt;
    if (!found)
      fail(what + " is no integer");
    return found.value_or(0);
  }
  std::string text(const json::Value *value, const llvm::Twine &what) {
    auto found = value ? value->getAsString() : std::nullopt;
    if (!found)
      fail(what + " is no text");
    return found.value_or("").str();
  }
  std::string text(const json::Object &object, StringRef key) { return text(object.get(key), key); }
  bool boolean(const json::Value *value, const llvm::Twine &what) {
    auto found = value ? value->getAsBoolean() : std::nullopt;
    if (!found)
      fail(what + " is neither true nor false");
    return found.value_or(false);
  }
  bool boolean(const json::Object &object, StringRef key) { return boolean(object.get(key), key); }
  double real(const json::Value *value, const llvm::Twine &what) {
    if (auto number = value ? value->getAsNumber() : std::nullopt)
      return *number;
    StringRef word = value ? value->getAsString().value_or("") : "";
    if (word == "Infinity")
      return std::numeric_limits<double>::infinity();
    if (word == "-Infinity")
      return -std::numeric_limits<double>::infinity();
    if (word == "NaN")
      return std::numeric_limits<double>::quiet_NaN();
    fail(what + " is no number");
    return 0;
  }
  /// The case of a union and what it holds.
  std::pair<StringRef, const json::Value *> oneOf(const json::Value &value,
                                                  const llvm::Twine &what) {
    const json::Object &members = object(&value, what);
    if (members.size() != 1) {
      fail(what + " has " + llvm::Twine(members.size()) + " cases, and is to have one");
      return {"", nullptr};
    }
    return {StringRef(members.begin()->first), &members.begin()->second};
  }

  // ---- Structs ----

  void readVersion(const json::Object &top, Program &program) {
    const json::Object &version = object(top.get("schema_version"), "schema_version");
    program.major = integer(version.get("major"), "major");
    program.minor = integer(version.get("minor"), "minor");
    if (const json::Value *torch = present(top, "torch_version"))
      program.torchVersion = text(torch, "torch_version");
    if (const json::Value *verifiers = present(top, "verifiers")) {
      const json::Array &list = array(verifiers, "verifiers");
      if (!list.empty())
        program.dialect = text(&list[0], "a verifier");
    } else if (const json::Value *dialect = present(top, "dialect")) {
      program.dialect = text(dialect, "dialect");
    }
    if (!problem_.empty())
      return;
    std::string by =
        program.torchVersion.empty() ? "" : " (written by torch " + program.torchVersion + ")";
    if (program.major < kOldest || program.major > kNewest)
      fail(fmt::format("the program is of version {0}.{1} of the schema{2}, and plait reads {3} to "
                       "{4}; export the model with another release of PyTorch",
                       program.major, program.minor, by, kOldest, kNewest));
    else if (!program.dialect.empty() && program.dialect != "ATEN" && program.dialect != "TRAINING")
      fail(fmt::format("the program is of the dialect '{0}'{1}, and plait reads ATEN and TRAINING; "
                       "save what torch.export.export gives",
                       program.dialect, by));
  }

  Size size(const json::Value *value, const llvm::Twine &what) {
    Size size;
    if (!value) {
      fail(what + " is missing");
      return size;
    }
    auto [kind, held] = oneOf(*value, what);
    if (kind == "as_int")
      size.number = integer(held, what);
    else if (kind == "as_expr")
      size.expression = text(object(held, what), "expr_str");
    else if (held)
      fail(what + " is a '" + kind + "', which plait does not know");
    return size;
  }

  TensorMeta tensorMeta(const json::Value &value) {
    const json::Object &meta = object(&value, "a tensor's description");
    TensorMeta tensor;
    tensor.dtype = integer(meta.get("dtype"), "dtype");
    tensor.layout = integer(meta.get("layout"), "layout");
    for (const json::Value &one : array(meta.get("sizes"), "sizes"))
      tensor.sizes.push_back(size(&one, "a size"));
    for (const json::Value &one : array(meta.get("strides"), "strides"))
      tensor.strides.push_back(size(&one, "a stride"));
    if (tensor.sizes.size() != tensor.strides.size())
      fail("a tensor has other strides than sizes");
    // Older files have {"as_int": 0}, or no such member.
    if (const json::Value *offset = present(meta, "storage_offset"))
      tensor.offset = size(offset, "storage_offset");
    else
      tensor.offset.number = 0;
    return tensor;
  }

  Argument list(StringRef member, const json::Value *held, StringRef element) {
    Argument result;
    result.kind = Argument::Kind::List;
    result.member = member.str();
    for (const json::Value &one : array(held, member))
      result.elements.push_back(valueOf(element, &one));
    return result;
  }

  Argument named(StringRef member, const json::Value *held) {
    Argument result;
    result.kind = Argument::Kind::Name;
    result.member = member.str();
    result.text = text(object(held, member), "name");
    return result;
  }

  /// {as_name: "n"} | {as_int: 1} | …
  Argument symbolic(StringRef member, const json::Value *held) {
    if (!held)
      return {};
    auto [kind, inner] = oneOf(*held, member);
    if (kind != "as_name")
      return inner ? valueOf(kind, inner) : Argument();
    Argument result;
    result.kind = Argument::Kind::Name;
    result.member = member.str();
    result.text = text(inner, member);
    return result;
  }

  Argument device(const json::Value *held) {
    Argument result;
    result.kind = Argument::Kind::Device;
    const json::Object &device = object(held, "a device");
    result.text = text(device, "type");
    if (const json::Value *index = present(device, "index"))
      result.text += ":" + std::to_string(integer(index, "index"));
    return result;
  }

  Argument valueOf(StringRef member, const json::Value *held) {
    using Kind = Argument::Kind;
    static const llvm::StringMap<StringRef> lists = {{"as_tensors", "as_tensor"},
                                                     {"as_ints", "as_int"},
                                                     {"as_floats", "as_float"},
                                                     {"as_bools", "as_bool"},
                                                     {"as_strings", "as_string"},
                                                     {"as_sym_ints", "as_sym_int"},
                                                     {"as_sym_floats", "as_sym_float"},
                                                     {"as_sym_bools", "as_sym_bool"},
                                                     {"as_optional_tensors", "as_optional_tensor"},
                                                     {"as_nested_tensors", "as_tensors"},
                                                     {"as_int_lists", "as_ints"},
                                                     {"as_float_lists", "as_floats"}};
    static const llvm::StringMap<Kind> numbers = {{"as_int", Kind::Int},
                                                  {"as_scalar_type", Kind::ScalarType},
                                                  {"as_memory_format", Kind::MemoryFormat},
                                                  {"as_layout", Kind::Layout}};
    Argument result;
    result.member = member.str();
    if (auto it = lists.find(member); it != lists.end())
      return list(member, held, it->second);
    if (auto it = numbers.find(member); it != numbers.end()) {
      result.kind = it->second;
      result.integer = integer(held, member);
    } else if (member == "as_none") {
      result.kind = Kind::None;
    } else if (member == "as_tensor") {
      return named(member, held);
    } else if (member == "as_optional_tensor") {
      if (!held)
        return result;
      auto [kind, inner] = oneOf(*held, member);
      return kind == "as_none" || !inner ? result : named(member, inner);
    } else if (member == "as_sym_int" || member == "as_sym_float" || member == "as_sym_bool") {
      return symbolic(member, held);
    } else if (member == "as_float") {
      result.kind = Kind::Float;
      result.number = real(held, member);
    } else if (member == "as_bool") {
      result.kind = Kind::Bool;
      result.integer = boolean(held, member);
    } else if (member == "as_string" || member == "as_operator") {
      result.kind = member == "as_string" ? Kind::String : Kind::Operator;
      result.text = text(held, member);
    } else if (member == "as_device") {
      return device(held);
    } else if (member == "as_complex") {
      const json::Object &complex = object(held, member);
      result.kind = Kind::Complex;
      result.number = real(complex.get("real"), "real");
      result.imaginary = real(complex.get("imag"), "imag");
    } else if (member == "as_graph") {
      const json::Object &inner = object(held, member);
      result.kind = Kind::Graph;
      result.text = text(inner, "name");
      result.graph = std::make_shared<const Graph>(graph(inner.get("graph")));
    } else if (member == "as_custom_obj") {
      result.kind = Kind::CustomObject;
      result.text = text(object(held, member), "class_fqn");
    } else {
      result.kind = Kind::Unknown;
    }
    return result;
  }

  Argument argument(const json::Value &value) {
    auto [member, held] = oneOf(value, "an argument");
    return held ? valueOf(member, held) : Argument();
  }

  Node node(const json::Value &value) {
    const json::Object &fields = object(&value, "a node");
    Node node;
    node.target = text(fields, "target");
    if (depth_ == 1)
      where_ = node.target;
    for (const json::Value &one : array(fields.get("inputs"), "inputs")) {
      const json::Object &input = object(&one, "an input");
      const json::Value *held = input.get("arg");
      if (!held)
        fail("an input has no argument");
      node.inputs.push_back({text(input, "name"), held ? argument(*held) : Argument()});
    }
    for (const json::Value &one : array(fields.get("outputs"), "outputs"))
      node.outputs.push_back(argument(one));
    if (const json::Value *metadata = present(fields, "metadata")) {
      const json::Object &texts = object(metadata, "metadata");
      node.stackTrace = texts.getString("stack_trace").value_or("").str();
      node.moduleStack = texts.getString("nn_module_stack").value_or("").str();
    }
    return node;
  }

  Graph graph(const json::Value *value) {
    Graph graph;
    const json::Object &fields = object(value, "a graph");
    if (depth_ >= kMaxGraphs) {
      fail("graphs stand within graphs more than " + llvm::Twine(kMaxGraphs) + " deep");
      return graph;
    }
    ++depth_;
    for (const json::Value &one : array(fields.get("inputs"), "inputs"))
      graph.inputs.push_back(argument(one));
    for (const json::Value &one : array(fields.get("outputs"), "outputs"))
      graph.outputs.push_back(argument(one));
    for (const json::Value &one : array(fields.get("nodes"), "nodes")) {
      if (!problem_.empty())
        break;
      graph.nodes.push_back(node(one));
    }
    if (depth_ == 1)
      where_.clear();
    for (const auto &[name, meta] : object(fields.get("tensor_values"), "tensor_values"))
      graph.tensors[StringRef(name)] = tensorMeta(meta);
    --depth_;
    return graph;
  }

  InputSpec inputSpec(const json::Value &value) {
    using Kind = InputSpec::Kind;
    auto [member, held] = oneOf(value, "an input's specification");
    InputSpec spec{Kind::User, "", true};
    if (!held)
      return spec;
    const json::Object &fields = object(held, member);
    if (member == "parameter") {
      spec.kind = Kind::Parameter;
      spec.target = text(fields, "parameter_name");
    } else if (member == "buffer") {
      spec.kind = Kind::Buffer;
      spec.target = text(fields, "buffer_name");
      // Files before 2.4 have no such member: all were persistent.
      if (const json::Value *persistent = present(fields, "persistent"))
        spec.persistent = boolean(persistent, "persistent");
    } else if (member == "tensor_constant") {
      spec.kind = Kind::Constant;
      spec.target = text(fields, "tensor_constant_name");
    } else if (member == "custom_obj") {
      spec.kind = Kind::CustomObject;
      spec.target = text(fields, "custom_obj_name");
    } else if (member == "token") {
      spec.kind = Kind::Token;
    } else if (member == "constant_input") {
      spec.kind = Kind::Fixed;
      spec.target = text(fields, "name");
    } else if (member != "user_input") {
      fail("an input is a '" + member + "', which plait does not know");
    }
    return spec;
  }

  OutputSpec outputSpec(const json::Value &value) {
    using Kind = OutputSpec::Kind;
    auto [member, held] = oneOf(value, "an output's specification");
    OutputSpec spec{Kind::Other, "", member.str()};
    if (!held)
      return spec;
    const json::Object &fields = object(held, member);
    if (member == "user_output") {
      spec.kind = Kind::User;
    } else if (member == "buffer_mutation") {
      spec.kind = Kind::BufferMutation;
      spec.target = text(fields, "buffer_name");
    } else if (member == "parameter_mutation") {
      spec.kind = Kind::ParameterMutation;
      spec.target = text(fields, "parameter_name");
    } else if (member == "user_input_mutation") {
      spec.kind = Kind::InputMutation;
      spec.target = text(fields, "user_input_name");
    }
    return spec;
  }

  Range readRange(const json::Value &value) {
    const json::Object &fields = object(&value, "a range");
    Range range;
    // Some writers have numbers at the ends of 64 bits in place of null.
    constexpr int64_t none = int64_t(1) << 61;
    if (const json::Value *lower = present(fields, "min_val"))
      if (int64_t bound = integer(lower, "min_val"); bound > -none)
        range.lower = bound;
    if (const json::Value *upper = present(fields, "max_val"))
      if (int64_t bound = integer(upper, "max_val"); bound < none)
        range.upper = bound;
    return range;
  }

  // ---- The tree of the results ----

  void addKeys(const json::Value &spec, StringRef key, std::vector<std::string> &keys,
               unsigned depth) {
    const json::Object *node = spec.getAsObject();
    const json::Array *children = node ? node->getArray("children_spec") : nullptr;
    if (!children || depth > 32 || keys.size() > 10000)
      return;
    auto type = node->getString("type");
    if (!type) {
      keys.push_back(key.str());
      return;
    }
    // A dictionary's context is the list of its keys, as text of its own; that of a class with
    // fields too.
    std::vector<std::string> names(children->size());
    auto context = parseJson(node->getString("context").value_or("null"));
    const json::Array *list = nullptr;
    if (context) {
      list = context->getAsArray();
      if (const json::Object *fields = context->getAsObject())
        for (StringRef member : {"keys", "field_names"})
          if (const json::Array *found = fields->getArray(member))
            list = found;
    } else {
      llvm::consumeError(context.takeError());
    }
    if (list && list->size() == names.size())
      for (auto [name, one] : llvm::zip(names, *list))
        name = one.getAsString().value_or("").str();
    for (auto [name, child] : llvm::zip(names, *children))
      addKeys(child, name.empty() ? key : StringRef(name), keys, depth + 1);
  }

  /// Keys are names for people: what cannot be read leaves none.
  void readOutputKeys(const json::Object &module, Program &program) {
    const json::Array *calls = module.getArray("module_call_graph");
    for (const json::Value &call : calls ? *calls : json::Array()) {
      const json::Object *entry = call.getAsObject();
      const json::Object *signature = entry && entry->getString("fqn") == StringRef("")
                                          ? entry->getObject("signature")
                                          : nullptr;
      auto text = signature ? signature->getString("out_spec") : std::nullopt;
      auto spec = text ? parseJson(*text) : makeError(Code::ArchiveVersion, "none");
      if (!spec) {
        llvm::consumeError(spec.takeError());
        continue;
      }
      const json::Array *pair = spec->getAsArray();
      if (pair && pair->size() == 2)
        addKeys((*pair)[1], "", program.outputKeys, 0);
    }
    size_t results = llvm::count_if(program.outputs, [](const OutputSpec &spec) {
      return spec.kind == OutputSpec::Kind::User;
    });
    if (program.outputKeys.size() != results)
      program.outputKeys.assign(results, "");
  }

  std::string where_, problem_;
  unsigned depth_ = 0;
};

/// PyTorch before 2.6 writes NaN, Infinity and -Infinity as Python prints them, which is no JSON:
/// the text with quotes around them, as later releases have it.
std::string quotedNumbers(StringRef json) {
  std::string text;
  bool inString = false;
  for (size_t i = 0; i < json.size(); ++i) {
    char c = json[i];
    if (inString && c == '\\' && i + 1 < json.size()) {
      text += c;
      text += json[++i];
      continue;
    }
    inString ^= c == '"';
    StringRef word = inString ? "" : json.substr(i);
    StringRef found = word.starts_with("-Infinity")  ? "-Infinity"
                      : word.starts_with("Infinity") ? "Infinity"
                      : word.starts_with("NaN")      ? "NaN"
                                                     : "";
    if (found.empty()) {
      text += c;
      continue;
    }
    text += '"' + found.str() + '"';
    i += found.size() - 1;
  }
  return text;
}

} // namespace

Expected<Program> readProgram(llvm::StringRef json) {
  std::string quoted;
  if (json.contains("Infinity") || json.contains("NaN")) {
    quoted = quotedNumbers(json);
    json = quoted;
  }
  auto value = parseJson(json);
  return value ? SchemaReader().program(*value) : value.takeError();
}

Expected<std::vector<PayloadEntry>> readPayloads(llvm::StringRef json) {
  auto value = parseJson(json);
  return value ? SchemaReader().payloads(*value)
               : Expected<std::vector<PayloadEntry>>(value.takeError());
}

} // namespace plait::exported
