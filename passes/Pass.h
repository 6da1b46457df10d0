// A pass: a function over a whole program that returns whether it changed anything.
//
// A pass never fails: it leaves alone what it does not recognise. It keeps the interface of every
// function, the names and types of its inputs and outputs; only legalize-interface and
// legalize-names change what no package could hold. It replaces weights by lazy transforms and
// never reads one whole.
#pragma once

#include "mil/Evaluator.h"
#include "mil/IR.h"
#include "mil/LoraMode.h"

#include "support/Format.h"
#include <functional>

namespace plait::passes {

enum class Precision : uint8_t { F16, F32 };

struct Options {
  Precision precision = Precision::F16;
  mil::LoraMode lora = mil::LoraMode::Keep;
  /// The mode of functions that differ from the others.
  llvm::StringMap<mil::LoraMode> loraOf;
  /// Weights of several functions are kept equal: no pass replaces one unless all its users change
  /// alike. Off: each function is optimised by itself.
  bool share = true;
  /// Whether layers of one input become one (join-linears).
  bool joinLinears = true;
  /// Of a layer: a number for what becomes of its weight once all passes ran, such as the scheme
  /// that compresses it. Only layers of one number are joined. Empty: the same for all.
  std::function<uint64_t(const mil::Op &layer)> treatmentOf;
  /// Whether the package that the functions are added to has what looks like this weight. Empty:
  /// there is none.
  std::function<bool(const mil::TensorData &weight)> isStored;
  /// With F16: operations that are computed in fp32 all the same; empty for none. Asked once of
  /// each operation that could be computed in fp16.
  std::function<bool(const mil::Op &)> keepFloat32;
  /// Large weights that lie in files are read as well, for values beyond fp16: some were found.
  bool readsWeights = false;
  /// What functions are written for.
  mil::Opset target = mil::kDefaultOpset;
};

struct PassContext {
  /// Computes small constants; null leaves them lazy. Borrowed.
  mil::Evaluator *evaluator = nullptr;
  Options options;
  /// Called with one line a warning; empty drops them.
  std::function<void(const Warning &)> warn;

  template <typename... Args>
  void warning(Code code, fmt::format_string<Args...> format, Args &&...args) {
    if (warn)
      warn({code, fmt::format(format, std::forward<Args>(args)...)});
  }
  mil::LoraMode lora(llvm::StringRef function) const {
    auto it = options.loraOf.find(function);
    return it == options.loraOf.end() ? options.lora : it->second;
  }
};

using PassFn = bool (*)(mil::Program &, PassContext &);

#define PASS(FUNCTION, NAME, SUMMARY) bool FUNCTION(mil::Program &program, PassContext &context);
#include "passes/Passes.def"

struct PassInfo {
  llvm::StringRef name;
  llvm::StringRef summary;
  PassFn run;
};

/// All passes, in the order of Passes.def.
llvm::ArrayRef<PassInfo> allPasses();
/// Null when there is none of that name.
const PassInfo *findPass(llvm::StringRef name);

} // namespace plait::passes
