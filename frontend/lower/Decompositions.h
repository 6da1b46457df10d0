// The functions of decompositions/*.py, which are part of the program as text. A file is functions
// in TorchScript's language, each under a comment that names its operators, which need not be
// ATen's:
//
//     # aten::logaddexp2
//     # What it computes, and from where the formula is.
//     def logaddexp2(self, x: Tensor, y: Tensor) -> Tensor:
//         return self.helper(x, y)
//
// `self` gives access to the other functions; what follows are the schema's arguments in order. A
// line `# complex aten::…` names operators that the function is for where a tensor is complex.
// Numbers are 0-d tensors there. A line `# selected aten::…` names operators that the function is
// for where a tensor is what a run-time mask selects: source and mask stand in its place. `raise
// AssertionError(…)` refuses the call: the one exception that LibTorch knows without Python.
#pragma once

#include <string>
#include <vector>

namespace plait::frontend {

struct DecompositionText {
  std::string function;                                  ///< its name
  std::string family;                                    ///< the file
  std::vector<std::string> operators, complex, selected; ///< full schema names
  std::string source;                                    ///< from `def` on
};

/// All of them; parsed once.
const std::vector<DecompositionText> &decompositionTexts();

/// The contents of the files, with their names; the last is null. Written by CMake.
struct DecompositionFile {
  const char *family, *text;
};
extern const DecompositionFile decompositionFiles[];

} // namespace plait::frontend
