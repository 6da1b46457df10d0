// One table for each text of a model.
#include "frontend/script/libtorch/ScriptSources.h"
#include "frontend/script/libtorch/SourceLocation.h"

#include <torch/csrc/jit/ir/ir.h>

namespace plait::libtorch {

namespace {

/// Places are the two ends of a range in the text.
class ScriptText : public mil::SourceTable {
public:
  explicit ScriptText(std::shared_ptr<torch::jit::Source> text) : text_(std::move(text)) {}

  static uint64_t position(const torch::jit::SourceRange &range) {
    return uint64_t(range.start()) << 32 | uint32_t(range.end());
  }
  std::string describe(uint64_t position) const override {
    auto location = locate(torch::jit::SourceRange(text_, position >> 32, uint32_t(position)));
    return location ? location->str() : std::string();
  }

private:
  std::shared_ptr<torch::jit::Source> text_;
};

} // namespace

mil::Location ScriptSources::locate(const torch::jit::Node &node, const mil::Name &modulePath) {
  torch::jit::SourceRange range = node.sourceRange();
  mil::Name op = node.kind().toQualString();
  if (!range.source())
    return mil::Location(modulePath, mil::Name(), op);
  auto &text = texts_[range.source().get()];
  if (!text)
    text = std::make_shared<ScriptText>(range.source());
  return mil::Location(modulePath, text, ScriptText::position(range), op);
}

} // namespace plait::libtorch
