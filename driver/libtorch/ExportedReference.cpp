// A thin face over the evaluation.
#include "driver/libtorch/ExportedReference.h"

namespace plait::driver {

using frontend::ExportedEvaluation;
using mil::TensorData;

static std::vector<TensorData> valuesOf(llvm::ArrayRef<runtime::NamedTensor> inputs) {
  std::vector<TensorData> values;
  for (const runtime::NamedTensor &input : inputs)
    values.push_back(input.value);
  return values;
}

namespace {

class ExportedReference final : public runtime::Reference::Impl {
public:
  explicit ExportedReference(std::shared_ptr<ExportedEvaluation> evaluation)
      : evaluation_(std::move(evaluation)) {}

  Expected<std::vector<TensorData>> call(llvm::ArrayRef<runtime::NamedTensor> inputs) override {
    return evaluation_->call(valuesOf(inputs));
  }
  void reset() override { evaluation_->reset(); }
  void undo() override { evaluation_->undo(); }
  std::vector<std::string> resetBut(llvm::ArrayRef<std::string> kept) override {
    return evaluation_->resetBut(kept);
  }
  Expected<std::optional<TensorData>> attribute(llvm::StringRef name) override {
    return evaluation_->attribute(name);
  }

private:
  std::shared_ptr<ExportedEvaluation> evaluation_;
};

} // namespace

runtime::Reference exportedReference(std::shared_ptr<ExportedEvaluation> evaluation) {
  return runtime::Reference(std::make_shared<ExportedReference>(std::move(evaluation)));
}

runtime::ReferenceTracer exportedTracer(std::shared_ptr<ExportedEvaluation> evaluation) {
  return [evaluation](llvm::ArrayRef<runtime::NamedTensor> inputs)
             -> Expected<std::vector<runtime::ReferenceStep>> {
    evaluation->reset();
    auto traced = evaluation->trace(valuesOf(inputs));
    if (!traced)
      return traced.takeError();
    std::vector<runtime::ReferenceStep> steps;
    for (ExportedEvaluation::Step &step : *traced)
      steps.push_back({std::move(step.operation), std::move(step.module), std::move(step.source),
                       std::move(step.value), std::move(step.operands), step.isOutput});
    return steps;
  };
}

} // namespace plait::driver
