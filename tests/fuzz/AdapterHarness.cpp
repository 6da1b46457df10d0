// The readers of adapters' files that need no LibTorch: safetensors, and adapter_config.json with
// its regular expressions.
#include "tests/fuzz/Harness.h"

#include "adapters/AdapterConfig.h"
#include "adapters/AdapterKeys.h"
#include "adapters/ForeignKeys.h"
#include "adapters/Safetensors.h"

#include "llvm/ADT/StringExtras.h"

namespace plait::fuzz {

using namespace adapters;

/// Reads every member of a configuration, as applying it to modules does.
static void use(const AdapterConfig &config) {
  for (const char *path : {"", "lm_head", "model.layers.1.self_attn.q_proj", "h.11.mlp.c_proj"}) {
    if (auto adapts = config.adapts(path); !adapts)
      llvm::consumeError(adapts.takeError());
    if (auto alpha = config.alphaOf(path); !alpha)
      llvm::consumeError(alpha.takeError());
    if (auto rank = config.rankOf(path); !rank)
      llvm::consumeError(rank.takeError());
    if (auto feedforward = config.feedforward.endsIn(path); !feedforward)
      llvm::consumeError(feedforward.takeError());
  }
}

void config(llvm::ArrayRef<uint8_t> input) {
  if (auto config = AdapterConfig::parse(llvm::toStringRef(input)))
    use(*config);
  else
    llvm::consumeError(config.takeError());
  auto parts = AdapterConfig::parseDiffusers(llvm::toStringRef(input));
  if (!parts)
    return llvm::consumeError(parts.takeError());
  for (const auto &[part, config] : *parts)
    use(config);
}

void safetensors(llvm::ArrayRef<uint8_t> input) {
  auto read = Safetensors::read(input);
  if (!read)
    return llvm::consumeError(read.takeError());
  unsigned sum = 0;
  const uint8_t *end = nullptr;
  for (const SafetensorsEntry &entry : read->entries) {
    require(entry.bytes.begin() >= input.begin() + 8 && entry.bytes.end() <= input.end(),
            "a tensor reaches out of the file");
    require(!end || entry.bytes.begin() == end, "tensors overlap or leave a gap");
    end = entry.bytes.end();
    for (uint8_t byte : entry.bytes)
      sum += byte;
    uint64_t count = 1, largest = 1;
    for (int64_t size : entry.shape) {
      require(size >= 0, "a size is negative");
      count *= uint64_t(size);
      require(largest <= UINT64_MAX / 2 / std::max<uint64_t>(uint64_t(size), 1),
              "strides overflow");
      largest *= std::max<uint64_t>(uint64_t(size), 1);
    }
    require(!entry.dtype || count * mil::bitWidth(*entry.dtype) / 8 == entry.bytes.size(),
            "a tensor has another size than its shape");
    likelyTool(entry.name);
    for (KeyForm form : {KeyForm::Other, KeyForm::Peft, KeyForm::Mlx}) {
      AdapterKey key = parseAdapterKey(entry.name, form);
      size_t longest = entry.name.size();
      if (form == KeyForm::Mlx) // whose "m" is PEFT's "lora_magnitude_vector"
        longest += llvm::StringRef("lora_magnitude_vector").size();
      require(key.module.size() + key.factor.size() + key.attribute.size() <=
                  longest + llvm::StringRef(".bias").size(),
              "a key's parts are longer than the key");
    }
  }
  require(!end || end == input.end(), "bytes at the end belong to no tensor");
  volatile unsigned used = sum;
  (void)used;
}

} // namespace plait::fuzz
