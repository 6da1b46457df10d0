// The side file as JSON.
#include "backend/DebugInfo.h"

#include "support/Json.h"
#include "support/NewFile.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

namespace plait {

namespace json = llvm::json;
using llvm::StringRef;
using mil::Op;

namespace {

const mil::Name &nameOf(const Op &op) {
  return op.numResults() && !op.result()->name.empty() ? op.result()->name : op.name;
}

std::string utf8(StringRef text) { return json::isUTF8(text) ? text.str() : json::fixUTF8(text); }

json::Object entryOf(mil::Function &function) {
  llvm::MapVector<const void *, mil::Location> places;
  json::Object operations, parameters, computed;
  mil::walk(function.body(), [&](Op &op) {
    if (op.location && !op.is(mil::OpKind::const_)) {
      auto [place, fresh] = places.insert({op.location.id(), op.location});
      operations[nameOf(op).str()] = int64_t(place - places.begin());
    }
    const mil::TensorData *tensor = op.is(mil::OpKind::const_) ? op.val().tensor() : nullptr;
    if (!tensor || mil::isInlineOnly(op))
      return;
    mil::Origin origin = originOf(*tensor);
    json::Array paths;
    for (StringRef path : origin.paths())
      paths.push_back(utf8(path));
    if (!paths.empty())
      (origin.isComputed() ? computed : parameters)[nameOf(op).str()] = std::move(paths);
  });
  json::Array table;
  for (const auto &[id, place] : places)
    table.push_back(json::Array{utf8(place.module()), utf8(place.source()), utf8(place.op())});
  return json::Object{{"places", std::move(table)},
                      {"operations", std::move(operations)},
                      {"parameters", std::move(parameters)},
                      {"computed", std::move(computed)}};
}

std::string text(json::Object functions) {
  json::Object file{{"version", 1}, {"functions", std::move(functions)}};
  return jsonText(json::Value(std::move(file)), 1) + "\n";
}

json::Object entriesOf(const mil::Program &program) {
  json::Object functions;
  for (const auto &function : program.functions())
    functions[function->name] = entryOf(*function);
  return functions;
}

/// The entry "functions" of the file at `path`.
Expected<json::Object> readFile(StringRef path) {
  auto damaged = [&](StringRef what) {
    return makeError(Code::SideFile,
                     "'{0}' is no side file of plait ({1}); a package does not need it: delete it",
                     path, what);
  };
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer)
    return makeError(Code::FileUnreadable, "{0}: {1}", path, buffer.getError().message());
  auto parsed = parseJson((*buffer)->getBuffer());
  if (!parsed)
    return damaged(llvm::toString(parsed.takeError()));
  json::Object *file = parsed->getAsObject();
  const json::Value *version = file ? file->get("version") : nullptr;
  if (!version || jsonInteger(*version) != 1)
    return damaged("its version is not 1");
  json::Object *functions = file->getObject("functions");
  if (!functions)
    return damaged("it has no functions");
  return std::move(*functions);
}

std::vector<mil::Location> decodePlaces(const json::Array *table) {
  std::vector<mil::Location> places;
  if (table)
    for (const json::Value &value : *table) {
      const json::Array *place = value.getAsArray();
      auto part = [&](size_t i) -> StringRef {
        return place && i < place->size() ? (*place)[i].getAsString().value_or("") : "";
      };
      places.emplace_back(part(0), part(1), part(2));
    }
  return places;
}

mil::Origin decodeOrigin(const json::Object *known, StringRef name, bool isComputed) {
  const json::Array *paths = known ? known->getArray(name) : nullptr;
  std::vector<std::string> names;
  if (paths)
    for (const json::Value &path : *paths)
      if (auto text = path.getAsString(); text && mil::isParameterPath(*text))
        names.push_back(text->str());
  return isComputed ? mil::Origin::computed(names) : mil::Origin::parameter(names);
}

void applyEntry(const json::Object &entry, mil::Function &function) {
  std::vector<mil::Location> places = decodePlaces(entry.getArray("places"));
  const json::Object *operations = entry.getObject("operations");
  mil::walk(function.body(), [&](Op &op) {
    const mil::Name &name = nameOf(op);
    auto place = operations ? operations->getInteger(StringRef(name)) : std::nullopt;
    if (place && *place >= 0 && *place < int64_t(places.size()))
      op.location = places[*place];
    const mil::TensorData *tensor = op.is(mil::OpKind::const_) ? op.val().tensor() : nullptr;
    if (!tensor || tensor->kind() != mil::TensorData::Kind::Strided)
      return;
    mil::Origin origin = decodeOrigin(entry.getObject("parameters"), name, false);
    if (!origin)
      origin = decodeOrigin(entry.getObject("computed"), name, true);
    // Where the file speaks of a function, it knows all of its weights.
    op.setVal(tensor->withOrigin(origin));
  });
}

} // namespace

std::string debugInfoPath(StringRef modelPath) {
  llvm::SmallString<256> path(llvm::sys::path::parent_path(modelPath));
  llvm::sys::path::append(path, "plait-debug.json");
  return path.str().str();
}

bool hasDebugInfo(const mil::Program &program) {
  bool found = false;
  for (const auto &function : program.functions())
    mil::walk(function->body(), [&](Op &op) {
      const mil::TensorData *tensor = op.is(mil::OpKind::const_) ? op.val().tensor() : nullptr;
      found |= op.location || (tensor && !originOf(*tensor).paths().empty());
    });
  return found;
}

std::string encodeDebugInfo(const mil::Program &program) { return text(entriesOf(program)); }

Error readDebugInfo(StringRef modelPath, mil::Program &program) {
  std::string path = debugInfoPath(modelPath);
  if (!llvm::sys::fs::exists(path))
    return Error::success();
  auto functions = readFile(path);
  if (!functions)
    return functions.takeError();
  for (const auto &function : program.functions())
    if (const json::Object *entry = functions->getObject(function->name))
      applyEntry(*entry, *function);
  return Error::success();
}

Error editDebugInfo(FileSystem &files, StringRef modelPath, const mil::Program *added,
                    llvm::ArrayRef<std::string> removed) {
  std::string path = debugInfoPath(modelPath);
  json::Object functions;
  if (llvm::sys::fs::exists(path)) {
    auto known = readFile(path);
    if (!known)
      return known.takeError();
    functions = std::move(*known);
  } else if (!added) {
    return Error::success();
  }
  for (const std::string &name : removed)
    functions.erase(name);
  if (added)
    for (auto &[name, entry] : entriesOf(*added))
      functions[name] = std::move(entry);
  return writeNewFile(path, text(std::move(functions)), /*flush=*/true, files);
}

} // namespace plait
