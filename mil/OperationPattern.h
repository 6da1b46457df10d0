// Choosing operations by a pattern: what `--keep-fp32` takes.
//
//   softmax                  every softmax
//   aten::pow                everything that was lowered from this operator of PyTorch
//   layers.*.norm            every operation of these modules, and of the modules in them
//   layers.*.fc1.weight      every operation that takes one of these parameters
//   %layers_0_norm_mul       the operation whose result has this name
//   square at layers.*.norm  the operations of this kind or operator in these modules
//   * at layers.**.mlp       all operations there
//
//   pattern := what [' at ' path] | '%' part
//   path    := part ('.' part)*     `**` stands for any number of parts
//   part    := text in which `*` stands for any characters but the dot, and `?` for one of them
#pragma once

#include "mil/IR.h"
#include "support/Error.h"

#include "llvm/Support/GlobPattern.h"

namespace plait::mil {

class OperationPattern {
public:
  /// An error says what is wrong with the text.
  static Expected<OperationPattern> parse(llvm::StringRef text);

  bool matches(const Op &op) const;
  const std::string &text() const { return text_; }

private:
  /// A dotted path of globs; nullopt is `**`.
  class Path {
  public:
    static Expected<Path> parse(llvm::StringRef text);
    bool matches(llvm::StringRef path) const;
    /// The path itself, or what lies beneath it.
    bool covers(llvm::StringRef path) const;

  private:
    bool matches(llvm::ArrayRef<llvm::StringRef> parts, size_t from, bool beneath) const;
    std::vector<std::optional<llvm::GlobPattern>> parts_;
  };

  std::string text_;
  llvm::StringRef what() const { return llvm::StringRef(text_).take_front(whatLength_); }
  size_t whatLength_ = 0;
  std::optional<Path> what_;   ///< as a path; nothing of `*`
  std::optional<Path> module_; ///< behind `at`
  bool isName_ = false;        ///< of a result
};

} // namespace plait::mil
