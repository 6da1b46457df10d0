// Results of a call as files.
#include "driver/RunOutputs.h"

#include "driver/JsonOutput.h"
#include "runtime/arrays/ImageFile.h"
#include "runtime/arrays/Npy.h"
#include "support/Folders.h"
#include "support/Json.h"
#include "support/NewFile.h"
#include "support/Temporary.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"

namespace plait::driver {

using llvm::StringRef;
namespace json = llvm::json;

/// A value's name as that of a file: packages of other tools have names with slashes.
static std::string fileIn(StringRef folder, StringRef name, StringRef ending) {
  std::string file = name.str();
  for (char &c : file)
    if (!llvm::isAlnum(c) && c != '_' && c != '-' && c != '.')
      c = '_';
  llvm::SmallString<256> whole(folder);
  llvm::sys::path::append(whole, file + ending.str());
  return whole.str().str();
}

/// As NumPy can hold it: narrow and brain floats and sub-byte integers in the next type that can.
static mil::TensorData forNumPy(const mil::TensorData &value) {
  if (value.dtype() == mil::DType::BF16)
    return value.cast(mil::DType::F32);
  if (mil::isSubByte(value.dtype()))
    return value.cast(mil::isUnsigned(value.dtype()) ? mil::DType::U8 : mil::DType::I8);
  return value;
}

static void add(std::vector<WrittenFile> &files, StringRef name, StringRef file, StringRef kind,
                const llvm::Twine &said, json::Object more) {
  more["name"] = jsonString(name);
  more["file"] = jsonString(file);
  more["kind"] = kind;
  files.push_back({(file + ":" + said).str(), std::move(more)});
}

Error writeArray(StringRef folder, StringRef name, const mil::TensorData &value,
                 std::vector<WrittenFile> &files, const std::string &place) {
  std::string file = fileIn(folder, name, ".npy");
  if (Error error = runtime::writeNpy(file, forNumPy(value)))
    return error;
  json::Object more{{"type", value.type().str()}};
  if (!place.empty())
    more["place"] = jsonString(place);
  add(files, name, file, "array", " " + value.type().str() + (place.empty() ? "" : ", " + place),
      std::move(more));
  return Error::success();
}

/// Where in the model each value comes from, as far as the package says.
static llvm::StringMap<std::string> placesOf(mil::Function &function) {
  llvm::StringMap<std::string> places;
  mil::walk(function.body(), [&](mil::Op &op) {
    for (const auto &result : op.results())
      places[StringRef(result->name)] = op.location.str();
  });
  return places;
}

/// A label of a classifier, a string or an integer.
static Expected<std::string> labelText(const mil::Attr &label) {
  if (const std::string *text = label.string())
    return llvm::json::fixUTF8(*text);
  auto number = label.tensor()->intValues();
  if (!number)
    return number.takeError();
  return std::to_string(number->front());
}

/// The likeliest label, or the probability of each, of which the five largest are shown.
static Error writeClasses(StringRef folder, const runtime::NamedResult &output,
                          std::vector<WrittenFile> &files) {
  constexpr size_t mostShown = 5;
  json::Value content(nullptr);
  std::string shown;
  if (const mil::Attr::Dict *dict = output.value.dict()) {
    json::Object object;
    std::vector<std::pair<double, std::string>> all;
    for (const auto &[label, probability] : *dict) {
      auto text = labelText(label);
      auto value = probability.tensor()->floatValues();
      if (!text || !value)
        return joinErrors(text.takeError(), value.takeError());
      all.emplace_back(value->front(), *text);
      object[*text] = value->front();
    }
    llvm::stable_sort(all, [](const auto &a, const auto &b) { return a.first > b.first; });
    for (const auto &[value, label] : llvm::ArrayRef(all).take_front(mostShown))
      shown += fmt::format("\n  {0:>10.6f}  {1}", value, label);
    content = std::move(object);
  } else {
    auto label = labelText(output.value);
    if (!label)
      return label.takeError();
    shown = " " + *label;
    content = *label;
  }
  std::string file = fileIn(folder, output.name, ".json");
  if (Error error = writeNewFile(file, jsonText(content, 2) + "\n", /*flush=*/false))
    return error;
  add(files, output.name, file, "classes", shown, json::Object{{"content", std::move(content)}});
  return Error::success();
}

static Error writeImage(StringRef folder, StringRef name, const mil::TensorData &value,
                        mil::PixelFormat format, std::vector<WrittenFile> &files) {
  std::string file = fileIn(folder, name, ".png");
  if (Error error = runtime::writePng(file, value, format))
    return error;
  int64_t width = value.shape()[3], height = value.shape()[2];
  add(files, name, file, "image", fmt::format(" {0} x {1} pixels", width, height),
      json::Object{{"width", width}, {"height", height}});
  return Error::success();
}

static Error writeOutput(StringRef folder, const runtime::NamedResult &output,
                         const mil::Value &declared, const mil::OutputInfo &info,
                         std::vector<WrittenFile> &files) {
  if (declared.def() && declared.def()->is(mil::OpKind::classify))
    return writeClasses(folder, output, files);
  // A gray16 image holds numbers that no PNG does.
  if (info.image && *info.image != mil::PixelFormat::Gray16 && output.value.tensor())
    return writeImage(folder, output.name, *output.value.tensor(), *info.image, files);
  if (const mil::TensorData *value = output.value.tensor())
    return writeArray(folder, output.name, *value, files);
  return makeError(Code::ArrayMismatch, "output '{0}' is {1}; only tensors can be written as .npy",
                   output.name, output.value.type().str());
}

Error writeResults(mil::Function &function, StringRef folder,
                   llvm::ArrayRef<runtime::NamedResult> outputs,
                   llvm::ArrayRef<runtime::NamedTensor> traced, std::vector<WrittenFile> &files) {
  if (std::error_code ec = makeFolders(folder))
    return makeError(Code::FileUnwritable, "cannot make the folder '{0}': {1}", folder,
                     ec.message());
  collectAbandoned(folder);
  for (auto [i, output] : llvm::enumerate(outputs))
    if (Error error = writeOutput(folder, output, *function.outputs()[i].get(),
                                  function.infoOfOutput(i), files))
      return error;
  llvm::StringMap<std::string> places;
  if (!traced.empty())
    places = placesOf(function);
  for (const runtime::NamedTensor &value : traced)
    if (llvm::none_of(outputs, [&](const auto &output) { return output.name == value.name; }))
      if (Error error =
              writeArray(folder, value.name, value.value, files, places.lookup(value.name)))
        return error;
  return Error::success();
}

} // namespace plait::driver
