// Written under another name, renamed at the end.
#include "support/NewFile.h"

#include "support/Unfinished.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace plait {

Expected<NewFile> NewFile::create(llvm::StringRef target, FileSystem &files) {
  llvm::sys::fs::file_status status;
  if (!llvm::sys::fs::status(target, status) && !llvm::sys::fs::is_regular_file(status))
    return makeError(Code::OutputInTheWay, "cannot write '{0}': it is there and no regular file",
                     target);
  NewFile made(target.str(), files);
  Error error = Error::success();
  llvm::ErrorAsOutParameter isChecked(&error);
  auto temporary = Temporary::create(target, [&](const std::string &path) -> std::error_code {
    consumeError(std::exchange(error, Error::success()));
    Expected<std::unique_ptr<WritableFile>> file = files.create(path);
    if (!file) {
      error = file.takeError();
      return llvm::sys::fs::exists(path) ? std::make_error_code(std::errc::file_exists)
                                         : std::make_error_code(std::errc::io_error);
    }
    made.open = std::move(*file);
    return {};
  });
  if (error) {
    // Of the folder, where that is why: nobody asked for the temporary file.
    llvm::StringRef folder = llvm::sys::path::parent_path(target);
    std::error_code why =
        llvm::sys::fs::access(folder.empty() ? "." : folder, llvm::sys::fs::AccessMode::Write);
    if (!why)
      return error;
    consumeError(std::move(error));
    return makeError(Code::FileUnwritable, "cannot write '{0}': folder '{1}': {2}", target, folder,
                     why.message());
  }
  if (!temporary)
    return makeError(Code::FileUnwritable, "cannot write '{0}': {1}", target,
                     temporary.getError().message());
  made.temporary.emplace(std::move(*temporary));
  return made;
}

NewFile::~NewFile() {
  if (!temporary)
    return;
  open.reset();
  consumeError(files->remove(temporary->path));
  Unfinished::end(temporary->path, [] { return std::error_code(); });
}

Error NewFile::commit(bool flush, llvm::function_ref<Error()> check) {
  if (flush)
    if (Error error = open->flush())
      return error;
  if (Error error = open->close())
    return error;
  Error error = Error::success();
  llvm::ErrorAsOutParameter isChecked(&error);
  Unfinished::end(temporary->path, [&] {
    if (check)
      error = check();
    if (!error)
      error = files->rename(temporary->path, target);
    return error ? std::make_error_code(std::errc::io_error) : std::error_code();
  });
  if (error)
    return error;
  temporary.reset();
  llvm::StringRef folder = llvm::sys::path::parent_path(target);
  return flush ? files->flushFolder(folder.empty() ? "." : folder.str()) : Error::success();
}

Error writeNewFile(llvm::StringRef target, llvm::StringRef text, bool flush, FileSystem &files) {
  Expected<NewFile> file = NewFile::create(target, files);
  if (!file)
    return file.takeError();
  if (Error error = file->file().writeAt(0, text))
    return error;
  return file->commit(flush);
}

} // namespace plait
