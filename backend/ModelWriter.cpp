// The levels around the functions are small and made in memory; functions go by as they are.
#include "backend/ModelWriter.h"

#include "Model.pb.h"
#include "backend/ProtoFunction.h"

namespace plait {

Expected<uint64_t> writeModelFile(const WritableFile &file, const ModelFrame &frame,
                                  uint64_t functionBytes,
                                  llvm::function_ref<Error(Appender &)> functions) {
  wire::Program program;
  program.set_version(frame.programVersion);
  std::string version;
  appendDeterministic(version, program);
  std::string front = frame.head;
  appendLengthField(front, spec::Model::kMlProgramFieldNumber,
                    version.size() + functionBytes + frame.otherProgram.size());
  front += version;
  if (front.size() + functionBytes + frame.otherProgram.size() > maxModelBytes)
    return makeError(Code::TooLarge, "the model without its weights is larger than 2 GiB");

  Appender out(file);
  if (Error error = out.append(front))
    return error;
  if (Error error = functions(out))
    return error;
  if (Error error = out.append(frame.otherProgram))
    return error;
  return out.size;
}

} // namespace plait
