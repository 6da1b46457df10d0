// Where a node of an exported program comes from, as Python wrote it into the archive.
//
//   module stack   "L__self__,,m.Model;L__self___encoder,encoder,m.Encoder;140…@1,encoder.fc,
//                   torch.nn.modules.linear.Linear": the modules that were being called, the
//                   outermost first: the call, the module's path, its class
//   stack trace    a traceback: 'File "/home/u/model.py", line 12, in forward', the line of code
#pragma once

#include "frontend/archive/ExportSchema.h"
#include "mil/Location.h"

#include "llvm/ADT/SmallVector.h"

namespace plait::frontend {

/// A call of a module that a node is part of.
struct ModuleCallName {
  llvm::StringRef call; ///< differs between two calls of one module
  std::string path;     ///< "encoder.fc"; "" of the model itself
  llvm::StringRef type; ///< its class without the module: "Linear"
};
/// Pointing into the text.
llvm::SmallVector<ModuleCallName, 8> moduleStackOf(llvm::StringRef text);

/// The places of one program's nodes. Texts are kept as they are until somebody asks.
class Places {
public:
  Places();
  /// `op` is what messages call the operator.
  mil::Location locate(const exported::Node &node, const mil::Name &op);

private:
  class Table;
  std::shared_ptr<Table> table_;
  llvm::StringMap<uint64_t> known_;    ///< traces
  llvm::StringMap<mil::Name> modules_; ///< innermost paths by stack
};

/// "model.py:12 in forward: y = …" of the innermost line that is not PyTorch's; "" of none.
std::string describeTrace(llvm::StringRef trace);

} // namespace plait::frontend
