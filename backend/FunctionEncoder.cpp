// MIL functions to messages.
#include "backend/ProtoFunction.h"

#include "MIL.pb.h"
#include "mil/ConstantArguments.h"
#include "mil/DefaultValues.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#if GOOGLE_PROTOBUF_VERSION < 4022000
#include <google/protobuf/stubs/logging.h>
#endif

namespace plait {

using mil::Op;
using mil::Value;

// ---- Wire format --------------------------------------------------------------------------------

static void appendVarint(std::string &out, uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out.push_back(char(value | 0x80));
  out.push_back(char(value));
}

void appendLengthField(std::string &out, unsigned field, uint64_t length) {
  appendVarint(out, uint64_t(field) << 3 | 2);
  appendVarint(out, length);
}

void appendStringField(std::string &out, unsigned field, llvm::StringRef value) {
  appendLengthField(out, field, value.size());
  out.append(value.begin(), value.end());
}

namespace {

/// Protobuf before its version 22 reports damaged text on stderr by itself; the error that callers
/// return says enough.
struct QuietProtobuf {
#if GOOGLE_PROTOBUF_VERSION < 4022000
  google::protobuf::LogSilencer silencer;
#endif
};

} // namespace

bool parseMessage(google::protobuf::MessageLite &message, llvm::StringRef bytes) {
  [[maybe_unused]] QuietProtobuf quiet;
  return message.ParseFromArray(bytes.data(), int(bytes.size()));
}

void appendDeterministic(std::string &out, const google::protobuf::MessageLite &message) {
  // Not through protobuf's stream over a string, which fills its whole capacity with zeros each
  // time. What is too large for protobuf only takes its space: the caller checks sizes.
  size_t begin = out.size(), size = message.ByteSizeLong();
  out.resize(begin + size);
  if (size > size_t(INT32_MAX))
    return;
  google::protobuf::io::ArrayOutputStream stream(out.data() + begin, int(size));
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeWithCachedSizes(&coded);
}

void appendMessageField(std::string &out, unsigned field,
                        const google::protobuf::MessageLite &message) {
  appendLengthField(out, field, message.ByteSizeLong());
  appendDeterministic(out, message);
}

// ---- Operations ---------------------------------------------------------------------------------

namespace {

class FunctionEncoder {
public:
  FunctionEncoder(const mil::Function &function, const BlobOffsets &offsets,
                  mil::Evaluator *evaluator)
      : function(function), offsets(offsets), evaluator(evaluator) {}

  Expected<std::string> encode();

private:
  Error encodeOp(const Op &op, wire::Operation &out);
  Error encodeConst(const Op &op, wire::Value &out);
  /// The value bound to a parameter that takes literals.
  Error encodeLiteral(const Op &user, const Value &value, wire::Value &out);
  Error encodeBlock(const mil::Block &block, wire::Block &out);

  const mil::Function &function;
  const BlobOffsets &offsets;
  mil::Evaluator *evaluator;
};

bool isConstexpr(const Op &op) { return op.info().traits & mil::Constexpr; }

void encodeName(llvm::StringRef name, wire::Value &out) {
  out.mutable_type()->mutable_tensortype()->set_datatype(wire::STRING);
  out.mutable_immediatevalue()->mutable_tensor()->mutable_strings()->add_values(name.str());
}

void encodeNamed(const Value &value, wire::NamedValueType &out) {
  out.set_name(value.name.str());
  encodeType(value.type, *out.mutable_type());
}

Error FunctionEncoder::encodeConst(const Op &op, wire::Value &out) {
  if (auto it = offsets.find(&op); it != offsets.end()) {
    encodeBlob(op.val().type(), it->second, out);
    return Error::success();
  }
  return encodeImmediate(op.val(), evaluator, out);
}

Error FunctionEncoder::encodeLiteral(const Op &user, const Value &value, wire::Value &out) {
  if (!value.def() || !value.def()->is(mil::OpKind::const_))
    return makeError(Code::IllFormedProgram, "operation '{0}' ({1}): '{2}' must be a constant",
                     user.name, user.info().name, value.name);
  return encodeConst(*value.def(), out);
}

Error FunctionEncoder::encodeOp(const Op &op, wire::Operation &out) {
  const mil::OpInfo &info = op.info();
  out.set_type(info.name);
  auto &attributes = *out.mutable_attributes();
  encodeName(op.name, attributes["name"]);
  if (op.is(mil::OpKind::const_))
    if (Error error = encodeConst(op, attributes["val"]))
      return error;
  for (const auto &[name, value] : op.attributes)
    if (Error error = encodeImmediate(value, evaluator, attributes[name]))
      return error;

  // These have no inputs at all.
  bool asAttributes = mil::keepsOperandsInAttributes(op);
  for (unsigned param = 0; param < op.numParams(); ++param) {
    llvm::ArrayRef<mil::Operand> operands = op.operands(param);
    if (operands.empty())
      continue;
    const char *name = info.params[param].name;
    if (asAttributes) {
      if (Error error = encodeLiteral(op, *operands[0].get(), attributes[name]))
        return error;
      continue;
    }
    wire::Argument &argument = (*out.mutable_inputs())[name];
    for (const mil::Operand &operand : operands) {
      wire::Argument::Binding &binding = *argument.add_arguments();
      const Value &value = *operand.get();
      bool byName = !mil::writesInline(op, param) ||
                    (isConstexpr(op) && value.def() && isConstexpr(*value.def()));
      if (byName)
        binding.set_name(value.name.str());
      else if (Error error = encodeLiteral(op, value, *binding.mutable_value()))
        return error;
    }
  }

  for (const auto &result : op.results())
    encodeNamed(*result, *out.add_outputs());
  for (const auto &block : op.blocks())
    if (Error error = encodeBlock(*block, *out.add_blocks()))
      return error;
  return Error::success();
}

Error FunctionEncoder::encodeBlock(const mil::Block &block, wire::Block &out) {
  for (const auto &arg : block.args())
    encodeNamed(*arg, *out.add_inputs());
  for (const mil::Operand &output : block.outputs())
    out.add_outputs(output->name.str());
  for (const Op &op : block)
    if (!mil::isInlineOnly(op))
      if (Error error = encodeOp(op, *out.add_operations()))
        return error;
  return Error::success();
}

Expected<std::string> FunctionEncoder::encode() {
  // The body: a MILSpec.Block without inputs, which are the function's.
  std::string body;
  for (const mil::Operand &output : function.outputs())
    appendStringField(body, 2, output->name);
  wire::Operation message;
  for (const Op &op : function.body()) {
    if (mil::isInlineOnly(op))
      continue;
    message.Clear();
    if (Error error = encodeOp(op, message))
      return addContext(std::move(error), "function '" + function.name + "'");
    appendMessageField(body, 3, message);
  }

  std::string out;
  for (const auto &input : function.inputs()) {
    wire::NamedValueType named;
    encodeNamed(*input, named);
    appendMessageField(out, 1, named);
  }
  std::string opset = mil::info(function.opset).packageName;
  appendStringField(out, 2, opset);
  std::string entry;
  appendStringField(entry, 1, opset);
  appendLengthField(entry, 2, body.size());
  appendLengthField(out, 3, entry.size() + body.size());
  out += entry;
  out += body;
  for (const auto &[name, value] : function.attributes) {
    // A package's description and metadata say these.
    if (name == mil::defaultValuesAttribute || name == mil::constantArgumentsAttribute ||
        name == mil::handedInputsAttribute)
      continue;
    wire::Value encoded;
    if (Error error = encodeImmediate(value, evaluator, encoded))
      return addContext(std::move(error), "function '" + function.name + "'");
    std::string pair;
    appendStringField(pair, 1, name);
    appendMessageField(pair, 2, encoded);
    appendStringField(out, 4, pair);
  }
  return out;
}

} // namespace

Expected<std::string> encodeFunction(const mil::Function &function, const BlobOffsets &offsets,
                                     mil::Evaluator *evaluator) {
  return FunctionEncoder(function, offsets, evaluator).encode();
}

Expected<std::string> encodeFunctionField(const mil::Function &function, const BlobOffsets &offsets,
                                          mil::Evaluator *evaluator) {
  Expected<std::string> body = encodeFunction(function, offsets, evaluator);
  if (!body)
    return body.takeError();
  std::string entry, field;
  appendStringField(entry, 1, function.name);
  appendLengthField(entry, 2, body->size());
  appendLengthField(field, wire::Program::kFunctionsFieldNumber, entry.size() + body->size());
  field.reserve(field.size() + entry.size() + body->size());
  field += entry;
  field += *body;
  return field;
}

} // namespace plait
