// The records of an archive that say where in the user's Python its code came from, and places told
// from LibTorch's ranges.
//
// LibTorch keeps, for each node, a range of the text of code/….py in the archive. The record
// code/….py.debug_pkl says what each stretch of that text was made from. It is unpickled only when
// a location is asked for: models that compile cleanly never read it.
//
//   debug_pkl := ("FORMAT_WITH_STRING_TABLE", (string*), rows)      since PyTorch 1.12
//              | rows                                               before
//   rows      := (row*), by ascending offset
//   row       := (offset, range) | (offset, range, tag) | (offset, tag, range)
//                offset: first byte of the stretch in code/….py
//   range     := (source, begin, end)         bytes in the source's text
//   source    := ([string index*], file name index, first line)     text: those strings one after
//   another
//              | (text, file name or None, first line)
//
// A scripted method's source is the text of the function. A traced node's text is the Python stack
// at its recording, innermost first, one "FILE(LINE): FUNCTION" a line.
#pragma once

#include "frontend/script/libtorch/Internals.h"
#include "frontend/script/libtorch/SourceLocation.h"

#include <torch/csrc/jit/frontend/source_range.h>
#include <torch/csrc/jit/serialization/source_range_serialization.h>

#include <functional>
#include <mutex>

namespace plait::libtorch {

/// Of a traced node, the innermost frame outside of the torch package; nothing for a node made by
/// hand.
std::optional<SourceLocation> locateRange(const torch::jit::SourceRange &range);

/// The lazily read debug_pkl of one code file; give it to that file's torch::jit::Source.
class DebugRanges final : public torch::jit::SourceRangeUnpickler {
public:
  /// `read` returns the pickle's bytes, or none. It is called at most once.
  explicit DebugRanges(std::function<std::optional<std::string>()> read) : read(std::move(read)) {}

  std::optional<torch::jit::SourceRange>
  findSourceRangeThatGenerated(const torch::jit::SourceRange &range) override;

private:
  struct Row {
    int64_t offset;
    c10::IValue range;
  };
  void load();
  torch::jit::SourceRange decode(const c10::IValue &range) const;

  std::function<std::optional<std::string>()> read;
  std::once_flag once;
  std::vector<c10::IValue> strings;
  std::vector<Row> rows;
};

} // namespace plait::libtorch
