// The side file of a package (AdapterMap.h) while the package changes: it is read and made anew
// under the package's lock, before anything is replaced, and takes its place right after the
// package has.
#pragma once

#include "backend/PackageWriter.h"
#include "driver/AdapterMap.h"
#include "support/NewFile.h"

namespace plait::driver {

class SideFile : public Companion {
public:
  /// What becomes of the entries that are there.
  enum class Former {
    Dropped,  ///< those of a package that is replaced. A file that is none of plait's stays
    Kept,     ///< those of other functions stay
    Required, ///< the same, and a file that is none of plait's is an error
  };
  /// For a package whose functions `changed` are new or gone; `entries` are of the new ones.
  SideFile(llvm::StringRef package, AdapterMap entries, Former former,
           std::vector<std::string> changed, std::function<void(const Warning &)> warn)
      : package_(package), entries_(std::move(entries)), former_(former),
        changed_(std::move(changed)), warn_(std::move(warn)) {}

  Error prepare() override;
  /// What fails here is a warning: the package is in place.
  void finish() override;

private:
  std::string package_;
  AdapterMap entries_;
  Former former_;
  std::vector<std::string> changed_;
  std::function<void(const Warning &)> warn_;

  std::string path_;
  std::optional<NewFile> fresh_;
  bool remove_ = false;
};

} // namespace plait::driver
