// Arguments of an operator, drawn from its schema by a seed: what RandomCallsTest calls it with.
#pragma once

#include <ATen/core/function_schema.h>
#include <ATen/core/ivalue.h>
#include <llvm/ADT/DenseMap.h>
#include <llvm/ADT/StringMap.h>

#include <random>

namespace plait::frontend {

/// What layers need of their arguments, which a draw from the types alone would not find: shapes of
/// tensors that belong together, and numbers that fit them.
struct LayerPlan {
  llvm::StringMap<std::vector<int64_t>> shapes; ///< tensors by their names
  llvm::StringMap<c10::IValue> values;          ///< the others
  std::string ranged;                           ///< the tensor that may have a ranged axis
  std::vector<int64_t> axes;                    ///< which ones may be
};

/// The plan of a schema; nothing where types alone will do.
std::optional<LayerPlan> planLayer(const c10::FunctionSchema &schema, std::mt19937_64 &random);

class Drawer {
public:
  /// With a size, the ranged axis has that one instead of the drawn one.
  Drawer(const c10::FunctionSchema &schema, uint64_t seed, int64_t size = 0);

  std::vector<c10::IValue> values;
  int64_t axis = -1;                                ///< the ranged one, before broadcasting
  llvm::DenseMap<const void *, int64_t> rangedAxes; ///< of tensors that have it

  /// Whether all is of common size, so that half precision holds it.
  bool isModerate() const { return !edges_; }
  /// Whether the next tensor is a constant of the program instead of an input.
  bool isConstant() { return draw(6) == 0; }

private:
  unsigned draw(unsigned n) { return random_() % n; }
  template <typename T> T pick(std::initializer_list<T> values) {
    return values.begin()[draw(values.size())];
  }
  at::Tensor tensor(llvm::StringRef name);
  at::Tensor elements(llvm::StringRef name, at::IntArrayRef shape);
  c10::IValue of(const c10::TypePtr &type, llvm::StringRef name);

  std::mt19937_64 random_, contents_; ///< of what an argument is, and of elements
  int64_t size_;
  std::vector<int64_t> base_;
  bool integers_ = false;
  bool edges_ = false; ///< values at which operators change what they do
};

} // namespace plait::frontend
