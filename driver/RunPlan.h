// The calls that one `plait run` makes, one after the other on the same states.
//
//   plan := {"steps": [step (',' step)*]}
//   step := {"function": NAME, "inputs": {NAME: source, …}, "repeat": N}
//           the function is the command's and repeat is 1 where not said
//   source := "FILE.npy" | "FILE.png" | "FILE.jpg"          relative to the plan's folder
//           | {"output": NAME}                              what the call before gave
//
// A folder is a step too: its NAME.npy is the array of the input NAME. A number is that many calls
// on the arrays that hold for all.
#pragma once

#include "driver/CommandLine.h"
#include "mil/IR.h"
#include "runtime/Runner.h"

#include <map>

namespace plait::driver {

/// Where one call takes an input from.
struct StepInput {
  bool fromOutput = false;
  std::string name; ///< a file, or an output of the call before
};

struct RunStep {
  std::string function = {}; ///< "": the command's
  std::map<std::string, StepInput> inputs;
  uint64_t repeat = 1;
};

/// The steps of a folder of arrays (one step), of a JSON plan, or so many alike.
Expected<std::vector<RunStep>> readSteps(llvm::StringRef path, const mil::Function &function);

/// What the call takes: `common` arrays, and the step's own, which have the last word. `previous`
/// holds the outputs of the call before. `resize` is for images. Every array is converted to its
/// input's element type.
Expected<std::vector<runtime::NamedTensor>>
stepInputs(const RunStep &step, const mil::Function &function,
           llvm::ArrayRef<runtime::NamedTensor> common,
           llvm::ArrayRef<runtime::NamedResult> previous, bool resize = false);

} // namespace plait::driver
