// Checking examples, and drawing other inputs.
#include "frontend/live/TraceInputs.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <ATen/Functions.h>

#include <cmath>
#include <map>
#include <set>

namespace plait::frontend {

using Range = InputSpec::Range;

static std::string shapeText(at::IntArrayRef sizes) {
  return "[" +
         llvm::join(llvm::map_range(sizes, [](int64_t n) { return std::to_string(n); }), ", ") +
         "]";
}

std::string shapesText(llvm::ArrayRef<at::Tensor> tensors) {
  return llvm::join(
      llvm::map_range(tensors, [](const at::Tensor &t) { return shapeText(t.sizes()); }), ", ");
}

// ---- Examples ----------------------------------------------------------------------------------

/// Core ML's limit.
static constexpr int64_t kMaxRank = 5;

static Expected<InputSpec> completed(size_t index, const InputSpec &declared,
                                     const at::Tensor &example) {
  std::string which = declared.name.empty() ? "example input " + std::to_string(index)
                                            : "the example of input '" + declared.name + "'";
  if (!example.defined())
    return makeError(
        Code::ExampleMismatch,
        "{0} is undefined; it has to be a tensor. Where the model is to be called with None "
        "there, leave it out and give a lambda that does",
        which);
  auto refuse = [&](const std::string &why) {
    return makeError(Code::ExampleMismatch, "{0}, of shape {1}, {2}", which,
                     shapeText(example.sizes()), why);
  };
  if (example.is_meta())
    return refuse("is on the meta device, where there are no values; make one on the host");
  if (example.layout() != at::kStrided || example.is_quantized() || example.is_nested())
    return refuse("is sparse, quantized or nested; Core ML takes dense arrays alone");
  if (example.is_complex())
    return refuse("is complex; give the real and the imaginary part as two inputs");
  InputSpec spec = declared;
  if (spec.shape.empty() && spec.enumerated.empty()) {
    if (example.dim() == 0)
      return refuse("has no dimensions, and Core ML has no such inputs; give one of shape [1] and "
                    "take its squeeze(0) in forward()");
    if (example.dim() > kMaxRank)
      return refuse("has more dimensions than the 5 that Core ML takes");
    if (example.numel() == 0)
      return refuse("has no elements; Core ML's sizes begin at 1");
    for (int64_t size : example.sizes())
      spec.shape.push_back({size, size});
    if (!spec.dtype && example.scalar_type() == at::kBool)
      spec.dtype = mil::DType::Bool;
    else if (!spec.dtype && at::isIntegralType(example.scalar_type(), false))
      spec.dtype = mil::DType::I32;
  }
  if (spec.dtype ? mil::isFloat(*spec.dtype) != at::isFloatingType(example.scalar_type())
                 : !at::isFloatingType(example.scalar_type()))
    return refuse(std::string("is ") + at::toString(example.scalar_type()) + " where " +
                  (spec.dtype ? name(*spec.dtype).str() : "a floating-point type") +
                  " is declared");
  if (!spec.enumerated.empty()) {
    for (const auto &sizes : spec.enumerated)
      if (llvm::equal(sizes, example.sizes()))
        return spec;
    return refuse("is none of the declared shapes");
  }
  if (spec.shape.size() != size_t(example.dim()))
    return refuse("has another rank than what is declared");
  for (auto [range, size] : llvm::zip(spec.shape, example.sizes()))
    if (size < range.lower || size > range.upper)
      return refuse("lies outside of what is declared");
  return spec;
}

Expected<std::vector<InputSpec>> inputsOf(llvm::ArrayRef<InputSpec> declared,
                                          llvm::ArrayRef<at::Tensor> examples) {
  if (examples.empty())
    return makeError(Code::ExampleMismatch,
                     "there are no examples; a function of Core ML takes at least one tensor, and "
                     "each input needs an example");
  if (!declared.empty() && declared.size() != examples.size())
    return makeError(Code::ExampleMismatch,
                     "{0} inputs are declared and {1} examples given; each input needs one",
                     declared.size(), examples.size());
  std::vector<InputSpec> inputs;
  for (auto [index, example] : llvm::enumerate(examples)) {
    auto spec = completed(index, declared.empty() ? InputSpec() : declared[index], example);
    if (!spec)
      return spec.takeError();
    inputs.push_back(std::move(*spec));
  }
  return inputs;
}

// ---- Values ------------------------------------------------------------------------------------

/// Numbers of values that valuesLike() gives.
static size_t countOfValues(const at::Tensor &example) {
  return example.numel() == 0 ? 1 : example.scalar_type() == at::kBool ? 3 : 4;
}

/// The first is turned around: no element stays as it is, and yet indices stay indices.
static at::Tensor valuesLike(const at::Tensor &example, size_t which) {
  if (example.numel() == 0)
    return example;
  if (example.scalar_type() == at::kBool)
    return which == 0 ? example.logical_not() : at::full_like(example, which == 1 ? 0 : 1);
  bool isFloat = at::isFloatingType(example.scalar_type());
  switch (which) {
  case 0: {
    at::Tensor turned = example.flatten().flip(0).view(example.sizes());
    return isFloat ? turned * -0.75 + 0.125 : turned;
  }
  case 1:
    return at::zeros_like(example);
  case 2:
    return isFloat ? -1 - example.abs() : at::full_like(example, example.min().item());
  default:
    return isFloat ? (example.abs() + 1) * 1000 : at::full_like(example, example.max().item());
  }
}

std::vector<Draw> otherValues(llvm::ArrayRef<at::Tensor> examples) {
  size_t most = 0;
  for (const at::Tensor &example : examples)
    most = std::max(most, countOfValues(example));
  std::vector<Draw> draws;
  for (size_t i = 0; i < most; ++i)
    draws.push_back({[=] {
                       Tensors inputs;
                       for (const at::Tensor &example : examples)
                         inputs.push_back(
                             valuesLike(example, std::min(i, countOfValues(example) - 1)));
                       return inputs;
                     },
                     i > 0});
  if (examples.size() > 1)
    for (size_t index = 0; index < examples.size(); ++index)
      for (size_t i = 0; i < countOfValues(examples[index]); ++i)
        draws.push_back({[=] {
                           Tensors inputs = examples.vec();
                           inputs[index] = valuesLike(inputs[index], i);
                           return inputs;
                         },
                         true});
  return draws;
}

// ---- Sizes -------------------------------------------------------------------------------------

/// A trace of more than this many elements in its inputs is left out: attention over 4096 places
/// takes 64 MiB for every head.
static constexpr int64_t kMostElements = 16 << 20;

/// The example at other sizes: its elements, repeated.
static at::Tensor resized(const at::Tensor &example, llvm::ArrayRef<int64_t> sizes) {
  at::Tensor result = example;
  for (auto [axis, size] : llvm::enumerate(sizes))
    if (size != result.size(int64_t(axis)))
      result = result.index_select(
          int64_t(axis), at::arange(size, at::TensorOptions(at::kLong).device(example.device()))
                             .remainder(result.size(int64_t(axis))));
  return result;
}

/// Sizes to look at, the neighbour of the example's first.
static std::vector<int64_t> sizesIn(Range range, int64_t example) {
  std::vector<int64_t> sizes{example < range.upper ? example + 1 : example - 1};
  auto add = [&](int64_t size) {
    if (size >= range.lower && size <= range.upper && size != example &&
        !llvm::is_contained(sizes, size))
      sizes.push_back(size);
  };
  for (int64_t size : {range.lower, range.upper})
    add(size);
  if (range.upper - range.lower < 8) {
    for (int64_t size = range.lower; size <= range.upper; ++size)
      add(size);
    return sizes;
  }
  double middle = std::sqrt(double(range.lower) * double(range.upper));
  for (int64_t size : {int64_t(1), int64_t(2), int64_t(3), range.lower + 1, range.upper - 1,
                       int64_t(middle), (range.lower + range.upper) / 2})
    add(size);
  return sizes;
}

namespace {

using Shapes = std::vector<std::vector<int64_t>>;

class SizeDraws {
public:
  SizeDraws(llvm::ArrayRef<at::Tensor> examples, llvm::ArrayRef<InputSpec> inputs)
      : examples_(examples), inputs_(inputs) {
    for (const at::Tensor &example : examples) {
      given_.push_back(example.sizes().vec());
      elements_ += example.numel();
    }
    seen_.insert(given_);
  }

  OtherSizes run() {
    enumerated();
    ranges();
    return std::move(result_);
  }

private:
  void enumerated() {
    size_t most = 0;
    for (const InputSpec &input : inputs_)
      most = std::max(most, input.enumerated.size());
    // Those of several inputs belong together in their order, as far as anybody knows.
    for (size_t i = 0; i < most; ++i) {
      Shapes shapes = given_;
      for (auto [shape, input] : llvm::zip(shapes, inputs_))
        if (i < input.enumerated.size())
          shape.assign(input.enumerated[i].begin(), input.enumerated[i].end());
      add(std::move(shapes), false);
    }
  }

  void ranges() {
    struct Place {
      size_t input, axis;
    };
    // Declared alike and equal in the examples: presumably one and the same size.
    std::map<std::tuple<int64_t, int64_t, int64_t>, std::vector<Place>> alike;
    for (auto [index, input] : llvm::enumerate(inputs_))
      for (auto [axis, range] : llvm::enumerate(input.shape))
        if (range.lower != range.upper)
          alike[{range.lower, range.upper, given_[index][axis]}].push_back({index, axis});
    std::vector<std::pair<std::vector<Place>, std::vector<int64_t>>> sizes;
    size_t most = 0;
    for (auto &[key, places] : alike) {
      auto [lower, upper, example] = key;
      sizes.emplace_back(places, sizesIn({lower, upper}, example));
      most = std::max(most, sizes.back().second.size());
    }
    auto set = [](Shapes &shapes, llvm::ArrayRef<Place> places, int64_t size) {
      for (Place place : places)
        shapes[place.input][place.axis] = size;
    };
    for (size_t i = 0; i < most; ++i) {
      Shapes shapes = given_;
      for (auto &[places, of] : sizes)
        set(shapes, places, of[std::min(i, of.size() - 1)]);
      add(std::move(shapes), false);
    }
    if (sizes.size() > 1)
      for (auto &[places, of] : sizes)
        for (int64_t size : llvm::ArrayRef(of).take_front(3)) {
          Shapes shapes = given_;
          set(shapes, places, size);
          add(std::move(shapes), false);
        }
    // A model may want them equal after all.
    for (auto &[places, of] : sizes)
      if (places.size() > 1)
        for (Place place : places)
          for (int64_t size : llvm::ArrayRef(of).take_front(2)) {
            Shapes shapes = given_;
            set(shapes, place, size);
            add(std::move(shapes), true);
          }
  }

  void add(Shapes shapes, bool mayFail) {
    if (!seen_.insert(shapes).second)
      return;
    double elements = 0;
    for (const auto &shape : shapes) {
      double product = 1;
      for (int64_t size : shape)
        product *= double(size);
      elements += product;
    }
    if (elements > double(std::max(kMostElements, elements_))) {
      if (result_.warnings.empty())
        result_.warnings.push_back(
            {Code::TraceOfSizes, fmt::format("the model was not traced at the sizes {0}, where its "
                                             "inputs have {1:.0f} elements: "
                                             "what a size decides there is not found; declare "
                                             "smaller ones, or script the model",
                                             text(shapes), elements)});
      return;
    }
    result_.draws.push_back({[examples = examples_, shapes] {
                               Tensors inputs;
                               for (auto [example, shape] : llvm::zip(examples, shapes))
                                 inputs.push_back(resized(example, shape));
                               return inputs;
                             },
                             mayFail});
  }

  static std::string text(const Shapes &shapes) {
    std::vector<std::string> texts;
    for (const auto &shape : shapes)
      texts.push_back(shapeText(shape));
    return llvm::join(texts, ", ");
  }

  llvm::ArrayRef<at::Tensor> examples_;
  llvm::ArrayRef<InputSpec> inputs_;
  Shapes given_;
  int64_t elements_ = 0;
  std::set<Shapes> seen_;
  OtherSizes result_;
};

} // namespace

OtherSizes otherSizes(llvm::ArrayRef<at::Tensor> examples, llvm::ArrayRef<InputSpec> inputs) {
  return SizeDraws(examples, inputs).run();
}

} // namespace plait::frontend
