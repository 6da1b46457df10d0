// Functions between MIL and Core ML's protobuf messages. Private to the backend.
#pragma once

#include "backend/PackageWriter.h"
#include "backend/ProtoValue.h"
#include "mil/IR.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace CoreML::Specification::MILSpec {
class Function;
} // namespace CoreML::Specification::MILSpec

namespace google::protobuf {
class MessageLite;
} // namespace google::protobuf

namespace plait {

/// The serialised MILSpec.Function. Operations are serialised one by one, so that no tree of the
/// whole exists.
Expected<std::string> encodeFunction(const mil::Function &function, const BlobOffsets &offsets,
                                     mil::Evaluator *evaluator);

/// The same as the field of MILSpec.Program that holds it: a map entry under the function's name.
Expected<std::string> encodeFunctionField(const mil::Function &function, const BlobOffsets &offsets,
                                          mil::Evaluator *evaluator);

/// Gives the type of an input: the message does not describe dynamic dimensions.
using RefineInput = llvm::function_ref<mil::Type(llvm::StringRef name, mil::Type type)>;

/// Adds what the message holds to an empty function. Values keep their names, except that a name
/// which is already taken in another block is made unique; literals become `const` operations.
Error decodeFunction(const wire::Function &in, mil::Function &out, WeightFiles &files,
                     RefineInput refine);

/// False where `bytes` are no such message. Nothing else reads messages, so that none is read
/// without a look at this.
[[nodiscard]] bool parseMessage(google::protobuf::MessageLite &message, llvm::StringRef bytes);

/// Protobuf's wire format, as far as it is written by hand: a field's key with the length of what
/// follows, and a field that holds a message, with map entries in order of their keys.
void appendLengthField(std::string &out, unsigned field, uint64_t length);
void appendStringField(std::string &out, unsigned field, llvm::StringRef value);
void appendMessageField(std::string &out, unsigned field,
                        const google::protobuf::MessageLite &message);
void appendDeterministic(std::string &out, const google::protobuf::MessageLite &message);

} // namespace plait
