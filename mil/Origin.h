// Which parameter of the model the elements of a constant are.
#pragma once

#include "mil/Name.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

namespace plait::mil {

/// How MIL text spells an origin, as an attribute of a const.
inline constexpr llvm::StringLiteral parameterAttribute = "param",
                                     computedFromAttribute = "computed_from";
/// Whether a text from outside can be the path of a parameter.
bool isParameterPath(llvm::StringRef text);

/// A set of paths of parameters or buffers ("encoder.layer.0.weight"), one pointer long and
/// interned. Where the model has a parameter under several names, all of them are paths of its
/// origin.
class Origin {
public:
  /// No parameter: a literal, a mask, a table that the code makes.
  Origin() = default;
  /// The elements are the parameter's own, or some of them.
  static Origin parameter(llvm::ArrayRef<std::string> paths) { return Origin(paths, false); }
  /// The elements were computed from these parameters while the model was lowered.
  static Origin computed(llvm::ArrayRef<std::string> paths) { return Origin(paths, true); }
  /// A parameter of which nobody knows the name: floating-point constants of the weight file of a
  /// package, or of a text, that names none.
  static Origin unnamed();

  explicit operator bool() const { return !text_.empty(); }
  bool isComputed() const { return llvm::StringRef(text_).starts_with(computedMark); }
  /// Sorted; none where it is unnamed.
  llvm::SmallVector<llvm::StringRef, 2> paths() const;
  /// The paths of both: of elements that are one constant's and equal, or (where one is) computed.
  Origin with(const Origin &other) const;
  /// Of what is computed from elements of this origin.
  Origin asComputed() const;

  friend bool operator==(const Origin &a, const Origin &b) { return a.text_ == b.text_; }

private:
  Origin(llvm::ArrayRef<std::string> paths, bool isComputed);
  static constexpr char computedMark = '\1', unnamedMark = '\2', separator = '\0';
  /// The paths one after another; the text lives as long as the origin.
  Name text_;
};

} // namespace plait::mil
