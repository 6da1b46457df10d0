// Copies device storages to the host, piece by piece through an unlinked file.
#include "frontend/live/HostTensors.h"
#include "mil/MappedStorage.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>

#include <unistd.h>

namespace plait::frontend {

namespace fs = llvm::sys::fs;

static constexpr int64_t kPieceBytes = 4 << 20;

Expected<at::Tensor> HostTensors::copyStorage(const at::Tensor &tensor) {
  int fd = -1;
  llvm::SmallString<128> path;
  if (std::error_code ec = fs::createTemporaryFile("plait-weights", "bin", fd, path))
    return makeError(Code::FileUnwritable,
                     "cannot make a temporary file for weights that are on a device: {0}; TMPDIR "
                     "says where there is room",
                     ec.message());
  // Nobody else needs the name, and without one a process that is killed leaves nothing.
  fs::remove(path);
  auto close = llvm::make_scope_exit([&] { ::close(fd); });
  int64_t count = int64_t(tensor.storage().nbytes() / tensor.element_size());
  at::Tensor whole = tensor.as_strided({count}, {1}, 0);
  {
    llvm::raw_fd_ostream file(fd, /*shouldClose=*/false);
    int64_t step = std::max<int64_t>(1, kPieceBytes / int64_t(tensor.element_size()));
    for (int64_t begin = 0; begin < count && !file.has_error(); begin += step) {
      at::Tensor piece = whole.narrow(0, begin, std::min(step, count - begin)).cpu().contiguous();
      file.write(static_cast<const char *>(piece.const_data_ptr()), piece.nbytes());
    }
    file.flush();
    if (file.has_error()) {
      std::error_code ec = file.error();
      file.clear_error();
      return makeError(Code::FileUnwritable, "cannot copy the weights of a device to '{0}': {1}",
                       path, ec.message());
    }
  }
  auto mapped = MappedFile::map(fd, path);
  if (!mapped)
    return mapped.takeError();
  std::shared_ptr<const MappedFile> file = std::move(*mapped);
  void *data = const_cast<uint8_t *>(file->bytes().data());
  storages_[data] = mil::mappedStorage(file, file->bytes());
  return at::from_blob(data, {count}, [file](void *) {}, at::TensorOptions(tensor.scalar_type()));
}

Expected<at::Tensor> HostTensors::get(const at::Tensor &original) {
  if (!original.defined() || original.device().is_cpu())
    return original;
  if (original.is_meta())
    return makeError(Code::MetaDevice,
                     "a tensor of the model is on the meta device, where there are no values to "
                     "export; move the model to the host and load its weights first");
  at::NoGradGuard noGrad;
  if (original.layout() != at::kStrided || original.is_quantized() || original.numel() == 0 ||
      original.is_conj() || original.is_neg())
    return original.detach().resolve_conj().resolve_neg().cpu();
  at::Tensor tensor = original.detach();
  Copy &copy = copies_[{tensor.storage().unsafeGetStorageImpl(), tensor.scalar_type()}];
  if (!copy.whole.defined()) {
    auto whole = copyStorage(tensor);
    if (!whole)
      return whole.takeError();
    copy = {tensor, std::move(*whole)};
  }
  return copy.whole.as_strided(tensor.sizes(), tensor.strides(), tensor.storage_offset());
}

std::shared_ptr<const mil::Storage> HostTensors::storageOf(const at::Tensor &tensor) const {
  auto it = storages_.find(tensor.storage().data());
  return it == storages_.end() ? nullptr : it->second;
}

} // namespace plait::frontend
