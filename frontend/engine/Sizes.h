// Shapes that check the rank by themselves: asking for a dimension that does not exist refuses the
// operation that is being lowered.
#pragma once

#include "mil/Type.h"

namespace plait::frontend {

using mil::Dim;

/// Refuses the operation because a shape has too few dimensions.
[[noreturn]] void refuseRank(llvm::ArrayRef<Dim> shape);

/// A reference to a shape.
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
