// Texts of LibTorch's failed internal checks.
#include "support/TorchMessage.h"

namespace plait {

std::string torchMessage(llvm::StringRef text) {
  static constexpr llvm::StringRef mark = "INTERNAL ASSERT FAILED",
                                   plea = "please report a bug to PyTorch.";
  if (!text.contains(mark)) // of other checks that LibTorch's authors wrote no text for
    return text.split("(Could this error message be improved?").first.rtrim().str();
  llvm::StringRef why = text.split(plea).second.trim().split('\n').first.rtrim(". ");
  return why.empty() ? "LibTorch cannot do this" : "LibTorch cannot do this (" + why.str() + ")";
}

} // namespace plait
