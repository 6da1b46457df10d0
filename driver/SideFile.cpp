// JSON beside its target, renamed at the end.
#include "driver/SideFile.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

namespace fs = llvm::sys::fs;
namespace json = llvm::json;

namespace plait::driver {

static std::string textOf(const AdapterMap &map) {
  std::string text;
  llvm::raw_string_ostream out(text);
  json::OStream to(out, 2);
  to.object([&] {
    to.attributeObject("functions", [&] {
      for (const auto &[name, inputs] : map.functions)
        to.attributeArray(name, [&, &inputs = inputs] {
          for (const adapters::AdapterInput &input : inputs)
            to.object([&] {
              to.attribute("input", input.name);
              to.attribute("key", input.key);
              to.attribute("kind", input.kind);
              to.attributeArray("shape", [&] {
                for (int64_t size : input.shape)
                  to.value(size);
              });
              to.attribute("dtype", "fp16");
            });
        });
    });
  });
  out << '\n';
  return text;
}

Error SideFile::prepare() {
  path_ = adapterMapPath(package_);
  if (!entries_.functions.empty())
    if (Error error = checkAdapterMap(package_))
      return error;
  bool exists = fs::exists(path_);
  AdapterMap map = entries_;
  if (exists) {
    auto there = readAdapterMap(path_);
    if (!there) {
      if (former_ == Former::Required)
        return there.takeError();
      if (former_ == Former::Dropped)
        warn_({Code::SideFile, toString(there.takeError()) + "; it stays where it is"});
      else
        consumeError(there.takeError());
      return Error::success();
    }
    // Entries of functions that are only added now were left by an interrupted command.
    bool isStale = former_ == Former::Dropped;
    for (const std::string &name : changed_)
      isStale |= there->functions.erase(name) != 0;
    if (entries_.functions.empty() && !isStale)
      return Error::success();
    if (former_ != Former::Dropped)
      map.functions.merge(there->functions);
  }
  if (map.functions.empty()) {
    remove_ = exists;
    return Error::success();
  }
  collectAbandoned(llvm::sys::path::parent_path(path_));
  auto file = NewFile::create(path_);
  if (!file)
    return file.takeError();
  fresh_.emplace(std::move(*file));
  if (Error error = fresh_->file().writeAt(0, textOf(map)))
    return error;
  return fresh_->file().flush();
}

void SideFile::finish() {
  Error error = Error::success();
  if (fresh_)
    error = fresh_->commit(/*flush=*/true);
  else if (std::error_code ec = remove_ ? fs::remove(path_) : std::error_code())
    error = makeError(Code::FileUnwritable, "cannot remove '{0}': {1}", path_, ec.message());
  if (error)
    warn_({Code::SideFile, "'" + package_ + "' is in place, but its side file is not: " +
                               toString(std::move(error)) +
                               "; make the package again once that is mended"});
}

} // namespace plait::driver
