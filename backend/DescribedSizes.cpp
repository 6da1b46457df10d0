// The sizes of inputs: what features say of ranges, and the notes of how they belong together.
#include "backend/Description.h"

#include "Model.pb.h"
#include "mil/InputSizes.h"
#include "mil/SizeExpression.h"

#include "llvm/ADT/STLExtras.h"

namespace plait {

using mil::Dim;
using mil::Type;

static const spec::FeatureDescription *describedInput(const spec::FunctionDescription &in,
                                                      llvm::StringRef name) {
  auto it = llvm::find_if(in.input(), [&](const auto &feature) { return feature.name() == name; });
  return it == in.input().end() ? nullptr : &*it;
}

/// The least and the largest of what `sizeOf` says of each entry.
template <typename Entries, typename SizeOf>
static std::pair<int64_t, int64_t> bounds(const Entries &entries, SizeOf sizeOf) {
  std::pair<int64_t, int64_t> result(INT64_MAX, 1);
  for (const auto &entry : entries) {
    int64_t size = std::clamp<int64_t>(sizeOf(entry), 1, INT64_MAX);
    result = {std::min(result.first, size), std::max(result.second, size)};
  }
  return result;
}

static std::pair<int64_t, int64_t> bounds(const spec::SizeRange &range) {
  int64_t lower = int64_t(std::clamp<uint64_t>(range.lowerbound(), 1, INT64_MAX));
  return {lower, range.upperbound() < 0 ? INT64_MAX : std::max(range.upperbound(), lower)};
}

/// What a feature says of one dimension that the program leaves open.
static std::pair<int64_t, int64_t> boundsOf(const spec::FeatureType &type, unsigned axis,
                                            unsigned rank) {
  if (type.has_imagetype() && rank == 4 && (axis == kHeight || axis == kWidth)) {
    const spec::ImageFeatureType &image = type.imagetype();
    if (image.has_imagesizerange())
      return bounds(axis == kHeight ? image.imagesizerange().heightrange()
                                    : image.imagesizerange().widthrange());
    if (image.enumeratedsizes().sizes_size() != 0)
      return bounds(image.enumeratedsizes().sizes(), [&](const auto &size) {
        return int64_t(axis == kHeight ? size.height() : size.width());
      });
  }
  const spec::ArrayFeatureType &array = type.multiarraytype();
  if (array.shaperange().sizeranges_size() == int(rank))
    return bounds(array.shaperange().sizeranges(int(axis)));
  if (array.enumeratedshapes().shapes_size() != 0)
    return bounds(array.enumeratedshapes().shapes(), [&](const auto &shape) {
      return axis < unsigned(shape.shape_size()) ? shape.shape(int(axis)) : 1;
    });
  return {1, INT64_MAX};
}

namespace {

/// What the notes say of sizes, held against the description.
class NotedSizes {
public:
  using Bounds = std::optional<std::pair<int64_t, int64_t>>;

  NotedSizes(const spec::FunctionDescription &in, const InterfaceNotes &notes) : in_(in) {
    eachNoted(notes, [&](llvm::StringRef, size_t, const std::string &text, Bounds bounds) {
      if (mil::isLegalName(text)) {
        alone_[text].push_back(bounds);
        return;
      }
      auto dim = mil::parseSize(text, [](llvm::StringRef symbol) { return Dim::symbol(symbol); });
      if (!dim)
        return llvm::consumeError(dim.takeError());
      if (auto form = mil::linearSize(*dim))
        derived_[form->symbol].push_back(bounds ? form->solve(bounds->first, bounds->second)
                                                : Bounds());
    });
  }

  SizesByInput read(const InterfaceNotes &notes) const {
    SizesByInput sizes;
    eachNoted(
        notes, [&](llvm::StringRef input, size_t axis, const std::string &text, Bounds bounds) {
          auto dim = mil::parseSize(text, [&](llvm::StringRef name) { return symbol(name); });
          if (!dim)
            return llvm::consumeError(dim.takeError());
          if (bounds && *bounds == std::pair(std::max<int64_t>(dim->lower(), 1), dim->upper()))
            sizes[{input.str(), axis}] = *dim;
        });
    return sizes;
  }

private:
  template <typename Visit> void eachNoted(const InterfaceNotes &notes, Visit visit) const {
    for (const auto &[input, texts] : notes.sizes) {
      const spec::FeatureDescription *feature = describedInput(in_, input);
      for (auto [axis, text] : llvm::enumerate(texts))
        if (!text.empty())
          visit(llvm::StringRef(input), axis, text,
                feature ? Bounds(boundsOf(feature->type(), unsigned(axis), unsigned(texts.size())))
                        : Bounds());
    }
  }

  /// With the bounds of the dimensions that are it, or else those that follow from dimensions that
  /// have it (2*n + 1); nothing where these differ.
  std::optional<Dim> symbol(llvm::StringRef name) const {
    for (const auto *all : {&alone_, &derived_}) {
      auto it = all->find(name);
      if (it == all->end())
        continue;
      const Bounds &first = it->second.front();
      if (!first || first->first < 1 || !llvm::all_equal(it->second))
        return std::nullopt;
      return Dim::symbol(name, first->first, first->second);
    }
    return std::nullopt;
  }

  const spec::FunctionDescription &in_;
  std::map<std::string, std::vector<Bounds>, std::less<>> alone_, derived_;
};

} // namespace

SizesByInput notedSizes(const spec::FunctionDescription &in, const InterfaceNotes &notes) {
  return NotedSizes(in, notes).read(notes);
}

mil::Type refineInput(const spec::FunctionDescription &in, const SizesByInput &sizes,
                      llvm::StringRef name, Type type) {
  if (!type.isTensor() || type.hasStaticShape())
    return type;
  static const spec::FeatureDescription nothing;
  const spec::FeatureDescription *feature = describedInput(in, name);
  mil::Shape shape(type.shape());
  for (unsigned i = 0; i < shape.size(); ++i) {
    if (shape[i].isConst())
      continue;
    auto bounds = boundsOf((feature ? *feature : nothing).type(), i, shape.size());
    auto noted = sizes.find({name.str(), i});
    shape[i] = noted != sizes.end()
                   ? noted->second
                   : Dim::symbol((name + "_" + llvm::Twine(i)).str(), bounds.first, bounds.second);
  }
  return Type::tensor(type.dtype(), shape);
}

} // namespace plait
