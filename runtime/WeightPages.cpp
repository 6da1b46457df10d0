// Finding mapped weights, and an observer of LibTorch's dispatcher that follows their use.
#include "runtime/WeightPages.h"

#include "mil/MappedStorage.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/Process.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <sys/mman.h>
#include <torch/script.h>

namespace plait::runtime {

namespace {

/// Smaller weights are not worth the call.
constexpr size_t kLarge = 1 << 20;

thread_local WeightPages *inUse = nullptr;

} // namespace

std::shared_ptr<WeightPages> WeightPages::of(const torch::jit::Module &module) {
  auto pages = std::make_shared<WeightPages>();
  for (const at::Tensor &parameter : module.parameters()) {
    if (!parameter.defined() || !parameter.has_storage())
      continue;
    const auto *data = static_cast<const uint8_t *>(parameter.storage().data());
    size_t size = parameter.storage().nbytes();
    // Only of a file can a page be read again.
    if (size >= kLarge && data && MappedFile::fileAt(data) &&
        MappedFile::fileAt(data) == MappedFile::fileAt(data + size - 1))
      pages->ranges_.push_back({uintptr_t(data), uintptr_t(data) + size});
  }
  llvm::sort(pages->ranges_, [](const Range &a, const Range &b) { return a.begin < b.begin; });
  return pages;
}

WeightPages::Range *WeightPages::find(const void *data) {
  auto after = llvm::upper_bound(ranges_, uintptr_t(data),
                                 [](uintptr_t at, const Range &range) { return at < range.begin; });
  if (after == ranges_.begin() || std::prev(after)->end <= uintptr_t(data))
    return nullptr;
  return &*std::prev(after);
}

/// Whole pages inside of the range: those at its ends may be those of a tensor beside it, too.
void WeightPages::release(const Range &range) {
  static const uintptr_t page = llvm::sys::Process::getPageSizeEstimate();
  uintptr_t begin = llvm::alignTo(range.begin, page), end = llvm::alignDown(range.end, page);
  if (!range.written && begin < end)
    ::madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
}

void WeightPages::release(const void *data, size_t size) const {
  if (const Range *range = const_cast<WeightPages *>(this)->find(data))
    release({uintptr_t(data), std::min(uintptr_t(data) + size, range->end), range->written});
}

void WeightPages::begin(const at::RecordFunction &call) {
  const Range *read = nullptr;
  for (size_t i = 0; i < call.inputs().size(); ++i) {
    const c10::IValue &input = call.inputs()[i];
    if (!input.isTensor() || !input.toTensor().defined() || !input.toTensor().has_storage())
      continue;
    Range *range = find(input.toTensor().storage().data());
    if (!range)
      continue;
    read = range;
    auto name = call.operator_name();
    auto op = name ? c10::Dispatcher::singleton().findSchema(*name) : std::nullopt;
    if (!op || !op->hasSchema())
      continue;
    const auto &arguments = op->schema().arguments();
    if (i < arguments.size() && arguments[i].alias_info() && arguments[i].alias_info()->isWrite())
      range->written = true;
  }
  if (!read || read == current_)
    return;
  if (current_)
    release(*current_);
  current_ = read;
}

WeightPages::Use::Use(WeightPages &pages) {
  inUse = &pages;
  handle_ = at::addThreadLocalCallback(
      at::RecordFunctionCallback(
          [](const at::RecordFunction &call) -> std::unique_ptr<at::ObserverContext> {
            if (inUse) // not on a thread that the model starts
              inUse->begin(call);
            return nullptr;
          })
          .needsInputs(true)
          .scopes({at::RecordScope::FUNCTION}));
}

WeightPages::Use::~Use() {
  at::removeCallback(handle_);
  if (inUse->current_)
    release(*inUse->current_);
  inUse->current_ = nullptr;
  inUse = nullptr;
}

mil::TensorData releasable(const mil::TensorData &tensor,
                           std::shared_ptr<const WeightPages> pages) {
  const mil::TensorData::Node &node = tensor.node();
  llvm::ArrayRef<uint8_t> bytes = node.storage->bytes;
  auto storage = mil::keptStorage(bytes, node.storage);
  storage->release = [pages = std::move(pages), bytes](size_t offset, size_t size) {
    pages->release(bytes.data() + offset, size);
  };
  return mil::TensorData::view(std::move(storage), node.byteOffset, node.dtype, node.shape,
                               node.strides, node.origin);
}

void releasePages(const mil::TensorData &tensor) {
  if (tensor.byteSize() < kLarge)
    return;
  mil::forEachLeaf(tensor, [](const mil::TensorData::Node &leaf) {
    if (!leaf.storage->release)
      return;
    int64_t last = 0; // whatever the order of the axes
    for (auto [size, stride] : llvm::zip(leaf.shape, leaf.strides))
      last += (size - 1) * stride;
    leaf.storage->release(leaf.byteOffset, mil::byteSize(leaf.dtype, last + 1));
  });
}

/// What a constant reads, through constexpr_* operations too.
static void releasePages(const mil::Value *value) {
  if (!value || !mil::isCompileTime(value))
    return;
  const mil::Op &def = *value->def();
  for (const mil::Operand &operand : def.operands())
    releasePages(operand.get());
  if (def.is(mil::OpKind::const_))
    if (const mil::TensorData *tensor = def.val().tensor())
      releasePages(*tensor);
}

void releasePages(const mil::Op &op) {
  for (const mil::Operand &operand : op.operands())
    releasePages(operand.get());
  for (const auto &block : op.blocks())
    for (const mil::Op &inner : *block)
      releasePages(inner);
}

} // namespace plait::runtime
