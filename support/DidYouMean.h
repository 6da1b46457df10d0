// What somebody may have meant who named something that does not exist. Every layer that looks
// names up says it in its messages.
#pragma once

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

#include <concepts>
#include <string>
#include <vector>

namespace plait {

/// " (did you mean 'x'?)" for the nearest of `candidates`, or "" where none is near. Of words with
/// dots, such as paths of modules, that are longer than `word`, their last parts are compared too.
std::string didYouMean(llvm::StringRef word, llvm::ArrayRef<llvm::StringRef> candidates);
template <std::same_as<std::vector<std::string>> Names>
std::string didYouMean(llvm::StringRef word, const Names &candidates) {
  return didYouMean(word, std::vector<llvm::StringRef>(candidates.begin(), candidates.end()));
}

/// The same for a file or folder that does not exist: among what lies beside it. The answer is a
/// path as `path` is one.
std::string didYouMeanFile(llvm::StringRef path);

} // namespace plait
