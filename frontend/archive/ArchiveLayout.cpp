// Telling a TorchScript archive from what else people have on their disks.
#include "frontend/archive/ArchiveLayout.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"

namespace plait {
namespace {

using llvm::StringRef;

constexpr const char *howToSave = "trace or script the model and write it with "
                                  "torch.jit.save(torch.jit.trace(model, inputs), path)";

/// A safetensors file: a little-endian length, then that many bytes of JSON.
bool isSafetensors(StringRef file) {
  if (file.size() < 10 || file[8] != '{')
    return false;
  uint64_t length = llvm::support::endian::read64le(file.data());
  return length >= 2 && length <= file.size() - 8;
}

bool isText(StringRef file) {
  // Bytes above 127 are letters of UTF-8.
  return llvm::all_of(file.take_front(512), [](unsigned char c) {
    return c >= 0x80 || llvm::isPrint(c) || llvm::isSpace(c);
  });
}

/// Why `file`, which does not begin as a zip file does, is no model.
Error explainNoZip(StringRef file) {
  if (file.empty())
    return makeError(Code::NotAModel, "the file is empty; save the model again: {0}", howToSave);
  if (file.size() > 1 && file[0] == '\x80' && file[1] >= 2 && file[1] <= 5)
    return makeError(
        Code::NotAModel,
        "this is a pickle (written by torch.save in its old format, or by Python's pickle): it "
        "holds objects or weights, but no program; {0}",
        howToSave);
  if (isSafetensors(file))
    return makeError(Code::NotAModel,
                     "this is a safetensors file: it holds weights, but no program; {0}",
                     howToSave);
  if (file.substr(4, 4) == "PTMF")
    return makeError(Code::NotAModel,
                     "this is a PyTorch Mobile flatbuffer, which has no TorchScript source; {0}",
                     howToSave);
  if (file.size() > 8 && file.substr(4, 4) == "ET12")
    return makeError(Code::NotAModel, "this is an ExecuTorch program, not TorchScript; {0}",
                     howToSave);
  if (isText(file))
    return makeError(Code::NotAModel, "this is a text file, not a TorchScript archive; {0}",
                     howToSave);
  return makeError(Code::NotAModel,
                   "this is not a TorchScript archive (it does not begin as a zip file); {0}",
                   howToSave);
}

/// Why a zip file that has no TorchScript in it is no model.
Error explainNoTorchScript(const ArchiveLayout &layout) {
  if (layout.find("archive_format") || layout.find("models/model.json") ||
      layout.find("serialized_exported_program.json") ||
      layout.directory.find("serialized_exported_program.json"))
    return makeError(Code::NotAModel, "this is a torch.export archive (.pt2), not TorchScript; {0}",
                     howToSave);
  if (layout.find(".data/python_version") || layout.find(".data/ts_code/0/data.pkl"))
    return makeError(Code::NotAModel, "this is a torch.package archive, not TorchScript; {0}",
                     howToSave);
  if (layout.find("data.pkl"))
    return makeError(
        Code::NotAModel,
        "this file was written by torch.save: it holds weights (a state_dict) or pickled Python "
        "objects, but no program (there is no code/ in it); load it into the model in "
        "Python, then {0}",
        howToSave);
  return makeError(Code::NotAModel,
                   "this is a zip file, but not a TorchScript archive (it has no data.pkl); {0}",
                   howToSave);
}

/// The stored bytes of a small record; empty when there is none.
StringRef storedText(StringRef file, const ArchiveLayout &layout, StringRef name) {
  const ZipRecord *record = layout.find(name);
  return record && !record->compressed ? file.substr(record->offset, record->size).trim() : "";
}

Error checkVersion(StringRef file, ArchiveLayout &layout, uint64_t maxVersion) {
  StringRef text = storedText(file, layout, ".data/version");
  if (text.empty())
    text = storedText(file, layout, "version");
  if (text.getAsInteger(10, layout.version))
    return makeError(Code::ArchiveDamaged,
                     "its record 'version' is {0}; the archive is damaged, save it again",
                     text.empty() ? "missing" : "not a number");
  if (layout.version > maxVersion)
    return makeError(Code::ArchiveVersion,
                     "it was saved by a newer PyTorch (archive format {0}; the LibTorch in this "
                     "plait reads up to "
                     "{1}); save it with an older PyTorch, or build plait with a newer LibTorch",
                     layout.version, maxVersion);
  if (storedText(file, layout, "byteorder") == "big")
    return makeError(Code::ArchiveVersion,
                     "it was saved on a big-endian machine; save it on a little-endian one");
  return Error::success();
}

} // namespace

Expected<ArchiveLayout> readArchiveLayout(StringRef file, uint64_t maxVersion) {
  if (!ZipDirectory::looksLikeZip(file))
    return explainNoZip(file);
  auto directory = ZipDirectory::read(file);
  if (!directory)
    return makeError(
        Code::ArchiveDamaged,
        "this zip archive is truncated or damaged: {0}; copy, download or save it again",
        llvm::toString(directory.takeError()));

  ArchiveLayout layout{std::move(*directory), {}, 0, false};
  if (!layout.directory.records().empty()) {
    StringRef first = layout.directory.records().front().name;
    layout.prefix = first.take_front(first.find('/') + 1).str();
  }
  layout.legacy = layout.find("model.json") != nullptr;
  bool hasCode = llvm::any_of(layout.directory.records(), [&](const ZipRecord &record) {
    return record.name.starts_with(layout.prefix + "code/");
  });
  bool isScript = layout.legacy || (layout.find("data.pkl") && hasCode);
  if (!isScript)
    return explainNoTorchScript(layout);
  if (!layout.legacy && !layout.find("constants.pkl"))
    return makeError(
        Code::ArchiveDamaged,
        "its record 'constants.pkl' is missing; the archive is damaged, save it again");
  if (auto error = checkVersion(file, layout, maxVersion))
    return error;
  return layout;
}

} // namespace plait
