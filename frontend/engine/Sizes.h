// Shapes that refuse the operation where they are asked for a dimension that they have not: whether
// a lowering has looked at the rank first cannot be forgotten.
#pragma once

#include "mil/Type.h"

namespace plait::frontend {

using mil::Dim;

/// Refuses for a shape of too few dimensions.
[[noreturn]] void refuseRank(llvm::ArrayRef<Dim> shape);

/// A shape that somebody else holds.
class Sizes : public llvm::ArrayRef<Dim> {
public:
  using llvm::ArrayRef<Dim>::ArrayRef;
  Sizes(llvm::ArrayRef<Dim> shape) : llvm::ArrayRef<Dim>(shape) {}

  const Dim &operator[](size_t axis) const {
    if (axis >= size())
      refuseRank(*this);
    return data()[axis];
  }
  const Dim &front() const { return (*this)[0]; }
  const Dim &back() const { return (*this)[size() - 1]; }
};

/// A shape of its own.
class Shape : public mil::Shape {
public:
  using mil::Shape::SmallVector;
  Shape() = default;
  Shape(mil::Shape shape) : mil::Shape(std::move(shape)) {}

  Dim &operator[](size_t axis) {
    if (axis >= size())
      refuseRank(*this);
    return data()[axis];
  }
  const Dim &operator[](size_t axis) const { return Sizes(*this)[axis]; }
  const Dim &front() const { return (*this)[0]; }
  Dim &back() { return (*this)[size() - 1]; }
  const Dim &back() const { return (*this)[size() - 1]; }
};

} // namespace plait::frontend
