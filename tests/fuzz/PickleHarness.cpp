// The check of pickles, which LibTorch then reads.
#include "tests/fuzz/Harness.h"

#include "frontend/archive/PickleCheck.h"

#include "llvm/ADT/StringExtras.h"

namespace plait::fuzz {

void pickle(llvm::ArrayRef<uint8_t> input) {
  llvm::StringRef bytes = llvm::toStringRef(input);
  bool isRefused = llvm::errorToBool(checkPickle(bytes));
  auto plain = withPlainDictionaries(bytes);
  require(isRefused == !plain, "the two checks disagree");
  if (!plain)
    return llvm::consumeError(plain.takeError());
  auto again = withPlainDictionaries(*plain);
  require(bool(again), "what was accepted is refused");
  require(*again == *plain, "an OrderedDict is left");
}

} // namespace plait::fuzz
