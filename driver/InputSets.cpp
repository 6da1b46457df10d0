// Names of files decide what they are for.
#include "driver/InputSets.h"

#include "driver/Unreadable.h"
#include "frontend/archive/ZipDirectory.h"
#include "runtime/arrays/Npy.h"
#include "support/Inflate.h"
#include "support/MappedFile.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace plait::driver {

using llvm::StringRef;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

namespace {

/// What a folder holds, sorted; names that begin with a dot are the system's.
Expected<std::vector<std::string>> entriesOf(StringRef folder) {
  std::vector<std::string> entries;
  std::error_code ec;
  for (fs::directory_iterator it(folder, ec), end; it != end && !ec; it.increment(ec))
    if (!path::filename(it->path()).starts_with("."))
      entries.push_back(it->path());
  if (ec)
    return unreadable(folder, ec);
  llvm::sort(entries);
  return entries;
}

bool isFileOfInput(StringRef file) {
  return llvm::is_contained({".npy", ".png", ".jpg", ".jpeg"},
                            StringRef(path::extension(file).lower()));
}

class SetReader {
public:
  explicit SetReader(const mil::Function &function) : function_(function) {
    for (const auto &input : function.inputs())
      if (!input->type.isState())
        names_.push_back(input->name.str());
  }

  Expected<std::vector<InputSet>> read(StringRef folder);

private:
  bool isInput(StringRef name) const { return llvm::is_contained(names_, name); }

  Error add(InputSet &set, StringRef name, StringRef file) {
    auto input = findInput(function_, name);
    if (!input)
      return addContext(input.takeError(), file);
    auto array = readArray(**input, file, /*resize=*/true);
    if (!array)
      return array.takeError();
    set.push_back({name.str(), std::move(*array)});
    return Error::success();
  }

  Expected<InputSet> readFolder(StringRef folder) {
    auto entries = entriesOf(folder);
    if (!entries)
      return entries.takeError();
    InputSet set;
    for (const std::string &file : *entries)
      if (Error error = isFileOfInput(file) ? add(set, path::stem(file), file) : strange(file))
        return error;
    return set;
  }

  Expected<InputSet> readNpz(const std::string &file) {
    auto mapped = MappedFile::open(file);
    if (!mapped)
      return mapped.takeError();
    llvm::ArrayRef<uint8_t> bytes = (*mapped)->bytes();
    auto zip =
        ZipDirectory::read(StringRef(reinterpret_cast<const char *>(bytes.data()), bytes.size()));
    if (!zip)
      return addContext(zip.takeError(), file);
    InputSet set;
    for (const ZipRecord &record : zip->records()) {
      StringRef name = record.name;
      name.consume_back(".npy");
      auto input = findInput(function_, name);
      if (!input)
        return addContext(input.takeError(), file);
      std::string place = fmt::format("{0}: {1}", file, record.name);
      llvm::ArrayRef<uint8_t> packed = bytes.slice(record.offset, record.packedSize);
      auto whole = record.compressed ? inflate(packed, record.size)
                                     : Expected<std::vector<uint8_t>>(packed.vec());
      if (!whole)
        return addContext(whole.takeError(), place);
      auto owner = std::make_shared<const std::vector<uint8_t>>(std::move(*whole));
      auto array = runtime::parseNpy(*owner, owner);
      if (!array)
        return addContext(array.takeError(), place);
      auto converted = convertArray(std::move(*array), **input, place);
      if (!converted)
        return converted.takeError();
      set.push_back({name.str(), std::move(*converted)});
    }
    return set;
  }

  Error strange(StringRef file) const {
    return makeError(Code::ArrayMismatch,
                     "{0}: this belongs to no input of function '{1}'; {2}.npy, a folder of such "
                     "files or an .npz file is wanted{3}",
                     file, function_.name, names_.empty() ? "NAME" : StringRef(names_.front()),
                     names_.size() == 1 ? ", or one .npy, PNG or JPEG a set" : "");
  }

  const mil::Function &function_;
  std::vector<std::string> names_;
};

Expected<std::vector<InputSet>> SetReader::read(StringRef folder) {
  auto entries = entriesOf(folder);
  if (!entries)
    return entries.takeError();
  InputSet together; // of the files that are called as inputs are
  std::vector<InputSet> sets;
  for (const std::string &entry : *entries) {
    bool isFolder = fs::is_directory(entry);
    StringRef stem = path::stem(entry);
    if (!isFolder && isFileOfInput(entry) && isInput(stem)) {
      if (Error error = add(together, stem, entry))
        return error;
      continue;
    }
    if (!isFolder && isFileOfInput(entry) && names_.size() == 1) {
      if (Error error = add(sets.emplace_back(), names_.front(), entry))
        return error;
      continue;
    }
    auto set = isFolder                                   ? readFolder(entry)
               : path::extension(entry).lower() == ".npz" ? readNpz(entry)
                                                          : Expected<InputSet>(strange(entry));
    if (!set)
      return set.takeError();
    sets.push_back(std::move(*set));
  }
  if (!together.empty())
    sets.insert(sets.begin(), std::move(together));
  if (sets.empty())
    return makeError(Code::ArrayMismatch,
                     "{0}: the folder is empty; it holds inputs of function '{1}': {2}", folder,
                     function_.name, llvm::join(names_, ", "));
  return sets;
}

} // namespace

Expected<std::vector<InputSet>> readInputSets(StringRef folder, const mil::Function &function) {
  if (!fs::is_directory(folder))
    return makeError(Code::ArrayMismatch, "{0}: a folder of inputs is wanted", folder);
  return SetReader(function).read(folder);
}

} // namespace plait::driver
