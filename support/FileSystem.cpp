// The system's files.
#include "support/FileSystem.h"

#include "support/Flush.h"
#include "support/OutputFile.h"
#include "llvm/Support/FileSystem.h"

#include <cerrno>
#include <cstdio>

namespace plait {

namespace {

class SystemFiles : public FileSystem {
public:
  Expected<std::unique_ptr<WritableFile>> create(const std::string &path) override {
    return owned(OutputFile::create(path));
  }
  Expected<std::unique_ptr<WritableFile>> openExisting(const std::string &path) override {
    return owned(OutputFile::openExisting(path));
  }
  Error rename(const std::string &from, const std::string &to) override {
    if (::rename(from.c_str(), to.c_str()) != 0)
      return makeError(Code::FileUnwritable, "cannot put '{0}' in place: {1}", to,
                       std::generic_category().message(errno));
    return Error::success();
  }
  Error remove(const std::string &path) override {
    if (std::error_code ec = llvm::sys::fs::remove(path))
      return makeError(Code::FileUnwritable, "cannot remove '{0}': {1}", path, ec.message());
    return Error::success();
  }
  Error flushFolder(const std::string &folder) override {
    if (std::error_code ec = flushPath(folder))
      return makeError(Code::FileUnwritable, "cannot flush '{0}': {1}", folder, ec.message());
    return Error::success();
  }

private:
  static Expected<std::unique_ptr<WritableFile>> owned(Expected<OutputFile> file) {
    if (!file)
      return file.takeError();
    return std::make_unique<OutputFile>(std::move(*file));
  }
};

} // namespace

FileSystem &FileSystem::system() {
  static SystemFiles files;
  return files;
}

} // namespace plait
