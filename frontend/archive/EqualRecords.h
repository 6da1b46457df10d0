// Which weights of several model files are the same bytes, found out on a thread of its own. A
// compile spends most of its time waiting for LibTorch to start; what the files hold alike can be
// compared meanwhile, for that needs no LibTorch.
#pragma once

#include "mil/TensorData.h"
#include "support/MappedFile.h"

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace plait {

class EqualRecords {
public:
  /// Begins to compare the records of these files (each once, whatever it is called) that are of
  /// one size and CRC-32. A file that is no archive is passed over; whoever loads it says what is
  /// wrong.
  explicit EqualRecords(std::vector<std::string> paths);
  /// Ends the comparison where it is.
  ~EqualRecords();

  /// Ends it too. What is found out by then stays known.
  void stop();

  /// What is known, and becomes known, of the record whose data begins at `offset` of a file; null
  /// where it is like no other. Thread-safe; waits for the directories of the files to be read.
  std::shared_ptr<const mil::Likeness> likeness(llvm::sys::fs::UniqueID file,
                                                uint64_t offset) const;

private:
  using Place = std::pair<std::pair<uint64_t, uint64_t>, uint64_t>; ///< device, file; offset

  struct Record {
    std::shared_ptr<const MappedFile> file;
    llvm::ArrayRef<uint8_t> bytes;
    std::shared_ptr<mil::Likeness> likeness;
  };
  /// Records of one size and CRC-32.
  using Group = std::vector<Record>;

  void readDirectories(llvm::ArrayRef<std::string> paths);
  void compare(Group &group);

  std::vector<Group> groups_;
  std::map<Place, std::shared_ptr<const mil::Likeness>> likenesses_;
  std::atomic<bool> stopped_ = false, isReady_ = false;
  std::thread thread_;
};

} // namespace plait
