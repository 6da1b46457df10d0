// See DrawnArguments.h: any schema by its types, and the elements of tensors.
#include "DrawnArguments.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>

namespace plait::frontend {

Drawer::Drawer(const c10::FunctionSchema &schema, uint64_t seed, int64_t size)
    : random_(seed), contents_(seed), size_(size) {
  at::manual_seed(seed);
  static const std::vector<int64_t> shapes[] = {{},        {4},       {2, 3},         {3, 3},
                                                {1, 4},    {2, 3, 4}, {2, 1, 3},      {1, 2, 4, 5},
                                                {2, 3, 4}, {3, 2},    {1, 2, 3, 4, 4}};
  base_ = shapes[draw(std::size(shapes))];
  integers_ = draw(5) == 0;
  edges_ = draw(3) == 0;
  auto plan = planLayer(schema, random_);
  bool ranged = draw(4) == 0;
  if (plan) {
    integers_ = false;
    if (ranged && !plan->axes.empty())
      axis = plan->axes[draw(plan->axes.size())];
  } else if (ranged && !base_.empty()) {
    axis = draw(base_.size());
  }
  for (const c10::Argument &argument : schema.arguments()) {
    auto shape = plan ? plan->shapes.find(argument.name()) : decltype(plan->shapes.end())();
    auto value = plan ? plan->values.find(argument.name()) : decltype(plan->values.end())();
    if (plan && shape != plan->shapes.end()) {
      bool has = axis >= 0 && plan->ranged == argument.name();
      if (has && size_)
        shape->second[axis] = size_;
      at::Tensor result = elements(argument.name(), shape->second);
      if (has)
        rangedAxes[result.unsafeGetTensorImpl()] = axis;
      values.emplace_back(std::move(result));
    } else if (plan && value != plan->values.end()) {
      values.push_back(value->second);
    } else {
      values.push_back(of(argument.real_type(), argument.name()));
    }
  }
}

at::Tensor Drawer::tensor(llvm::StringRef name) {
  std::vector<int64_t> shape = base_;
  if (draw(4) == 0) // what broadcasts, or does not fit
    for (int64_t &size : shape)
      if (draw(3) == 0)
        size = 1;
  bool isThere = axis >= 0 && axis < int64_t(shape.size());
  int64_t at = isThere && shape[axis] == base_[axis] ? axis : -1;
  if (draw(6) == 0 && !shape.empty()) {
    shape.erase(shape.begin());
    --at;
  }
  if (at >= 0 && size_)
    shape[at] = size_;
  at::Tensor result = elements(name, shape);
  if (at >= 0)
    rangedAxes[result.unsafeGetTensorImpl()] = at;
  return result;
}

at::Tensor Drawer::elements(llvm::StringRef name, at::IntArrayRef shape) {
  auto contents = [&](unsigned n) { return unsigned(contents_() % n); };
  auto generator = at::detail::createCPUGenerator(contents_());
  if (name.contains("ind") || name == "target" || name == "repeats")
    return at::randint(0, 2, shape, generator, at::kLong);
  if (name.contains("mask") || name == "condition")
    return at::randint(0, 2, shape, generator, at::kLong).to(at::kBool);
  if (name == "boundaries" || name == "sorted_sequence" || name == "bins")
    return std::get<0>(at::sort(at::randn(shape, generator)));
  if (integers_)
    return at::randint(-4, 5, shape, generator, edges_ && contents(2) ? at::kInt : at::kLong);
  at::Tensor values = at::randn(shape, generator);
  if (!edges_ || name == "grid") // halfway between two pixels either is the nearest
    return values;
  // Ties, zeros of both signs, whole and half numbers, what is small and what is large.
  static const float special[] = {0.0F, -0.0F, 1.0F,  -1.0F, 0.5F,   -0.5F,  1.5F, 2.0F,
                                  2.5F, -2.0F, 1e-3F, 30.0F, -30.0F, 100.0F, 3.0F, 1e-6F};
  at::Tensor flat = values.view({-1});
  for (int64_t i = 0; i < flat.numel(); ++i)
    if (contents(3) != 0)
      flat[i] = special[contents(std::size(special))];
  return values;
}

c10::IValue Drawer::of(const c10::TypePtr &type, llvm::StringRef name) {
  int64_t rank = base_.size();
  bool isAxis = name.starts_with("dim") || name.starts_with("axis") || name == "source" ||
                name == "destination";
  switch (type->kind()) {
  case c10::TypeKind::TensorType:
    return tensor(name);
  case c10::TypeKind::IntType:
  case c10::TypeKind::SymIntType:
    if (isAxis)
      return int64_t(draw(2 * rank + 1)) - rank;
    if (name == "reduction")
      return int64_t(draw(3));
    if (name == "dtype") // LibTorch follows the number without a look at it
      return int64_t(at::kFloat);
    return pick<int64_t>({0, 1, 1, 2, 2, 3, -1});
  case c10::TypeKind::ScalarTypeType:
    return edges_ ? int64_t(pick<at::ScalarType>(
                        {at::kFloat, at::kInt, at::kLong, at::kBool, at::kHalf, at::kDouble}))
                  : int64_t(at::kFloat);
  case c10::TypeKind::LayoutType:
  case c10::TypeKind::DeviceObjType:
  case c10::TypeKind::MemoryFormatType:
    return c10::IValue();
  case c10::TypeKind::NumberType:
    if (edges_)
      return draw(2) ? c10::IValue(pick<int64_t>({0, 1, 2, 3, -1, -2, 5, 100}))
                     : c10::IValue(pick<double>({0.0, 0.1, -1.5, 1.0, -2.0, 1e-3, 30.0}));
    return draw(2) ? c10::IValue(pick<int64_t>({0, 1, 2, 3, -1}))
                   : c10::IValue(pick<double>({0.5, 2.0, -1.5, 1.0}));
  case c10::TypeKind::FloatType:
    if (name == "eps") // 0 would divide by the deviation of one value
      return pick<double>({1e-5, 1e-3, 0.1});
    if (name == "p") // the root of a tiny order is noise
      return pick<double>({0.5, 1.0, 2.0, 3.0, 0.0});
    return pick<double>({0.5, 1.0, 2.0, 0.0, 1e-5});
  case c10::TypeKind::BoolType:
    if (name == "assume_unique") // what is drawn is not
      return false;
    return draw(2) == 1;
  case c10::TypeKind::StringType:
    return pick<const char *>({"none", "mean", "sum", "reflect", "constant", "replicate", "floor",
                               "trunc", "linear", "tanh", "prod", "amax", "amin", "ij", "right",
                               "left", "fro"});
  case c10::TypeKind::OptionalType: {
    auto inner = type->expect<c10::OptionalType>()->getElementType();
    return draw(2) ? c10::IValue() : of(inner, name);
  }
  case c10::TypeKind::ListType: {
    c10::TypePtr element = type->expect<c10::ListType>()->getElementType();
    c10::impl::GenericList list(element);
    unsigned count = isAxis ? draw(rank + 1) : pick<unsigned>({1, 2, 2, 3});
    for (unsigned i = 0; i < count; ++i)
      list.push_back(of(element, name));
    return list;
  }
  default:
    return c10::IValue();
  }
}

} // namespace plait::frontend
