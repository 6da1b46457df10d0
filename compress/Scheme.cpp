// Reading and printing schemes.
#include "compress/Scheme.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::compress {

using llvm::StringRef;

std::string Grain::str() const {
  switch (kind) {
  case Kind::Tensor:
    return "tensor";
  case Kind::Channel:
    return "channel";
  case Kind::Group:
    return fmt::format("group {0}", size);
  case Kind::Block:
    break;
  }
  return fmt::format("block {0}", size);
}

std::string Scheme::str() const {
  llvm::SmallVector<std::string, 3> parts;
  if (prune)
    parts.push_back(prune->of ? fmt::format("prune{0}:{1}", prune->zeros, prune->of)
                              : fmt::format("prune{0}%", prune->percent));
  if (palette)
    parts.push_back(fmt::format("palette{0}[{1}{2}{3}]", palette->bits, palette->grain.str(),
                                palette->tableInt8 ? ", table int8" : "",
                                palette->vector > 1 ? fmt::format(", vector {0}", palette->vector)
                                                    : std::string()));
  if (linear)
    parts.push_back(fmt::format("{0}int{1}[{2}]", linear->hasZeroPoint ? "u" : "", linear->bits,
                                linear->grain.str()));
  if (lowRank)
    parts.push_back(fmt::format("lowrank{0}", lowRank));
  return parts.empty() ? "none" : llvm::join(parts, "+");
}

static Error wrong(StringRef text, const llvm::Twine &why) {
  return makeError(Code::CompressionScheme,
                   "scheme '{0}': {1}; schemes are none, q8, q6, q4, int8, int4[block 32], "
                   "palette4[group 16], prune50%, prune2:4 and sums such as prune50%+palette4 and "
                   "q4+lowrank16",
                   text, why.str());
}

/// "group 16"; nullopt where it is none.
static std::optional<Grain> parseGrain(StringRef text) {
  if (text == "tensor")
    return Grain{Grain::Kind::Tensor};
  if (text == "channel")
    return Grain{Grain::Kind::Channel};
  for (auto [word, kind] :
       {std::pair("group", Grain::Kind::Group), {"block", Grain::Kind::Block}}) {
    StringRef rest = text;
    int64_t size = 0;
    if (rest.consume_front(word) && !rest.trim().getAsInteger(10, size) && size > 0)
      return size == 1 && kind == Grain::Kind::Group ? Grain{Grain::Kind::Channel}
                                                     : Grain{kind, size};
  }
  return std::nullopt;
}

static Error parsePrune(StringRef whole, StringRef rest, Scheme &scheme) {
  Scheme::Prune prune;
  if (rest.consume_back("%")) {
    if (rest.trim().getAsDouble(prune.percent) || !(prune.percent > 0) || prune.percent >= 100)
      return wrong(whole, "'" + rest + "%' is no share above 0% and below 100%");
  } else {
    auto [zeros, of] = rest.split(':');
    if (zeros.trim().getAsInteger(10, prune.zeros) || of.trim().getAsInteger(10, prune.of) ||
        prune.zeros == 0 || prune.zeros >= prune.of || prune.of > 1024)
      return wrong(whole, "what is pruned is a share, prune50%, or N of every M, prune2:4");
  }
  scheme.prune = prune;
  return Error::success();
}

static Error parsePalette(StringRef whole, StringRef bits, StringRef options, Scheme &scheme) {
  Scheme::Palette palette;
  if (bits.getAsInteger(10, palette.bits) ||
      !llvm::is_contained({1u, 2u, 3u, 4u, 6u, 8u}, palette.bits))
    return wrong(whole, "a palette has 1, 2, 3, 4, 6 or 8 bits");
  llvm::SmallVector<StringRef, 4> words;
  options.split(words, ',', -1, /*KeepEmpty=*/false);
  for (StringRef word : words) {
    word = word.trim();
    if (auto grain = parseGrain(word)) {
      if (grain->kind == Grain::Kind::Block)
        return wrong(whole, "a palette is for the tensor, a channel or a group of channels");
      palette.grain = *grain;
    } else if (word == "table int8") {
      palette.tableInt8 = true;
    } else if (StringRef rest = word; rest.consume_front("vector")) {
      if (rest.trim().getAsInteger(10, palette.vector) || palette.vector < 2 || palette.vector > 16)
        return wrong(whole, "a vector has 2 to 16 numbers");
    } else {
      return wrong(whole, "'" + word + "' is no option of a palette");
    }
  }
  if (palette.vector > 1 && (palette.tableInt8 || palette.grain.kind != Grain::Kind::Tensor))
    return wrong(whole, "vectors have one table for the tensor, and no scales");
  scheme.palette = palette;
  return Error::success();
}

static Error parseLinear(StringRef whole, StringRef bits, bool hasZeroPoint, StringRef options,
                         Scheme &scheme) {
  Scheme::Linear linear{bits == "4" ? 4u : 8u, hasZeroPoint,
                        bits == "4" ? Grain{Grain::Kind::Block, 32} : Grain{Grain::Kind::Channel}};
  if (bits != "4" && bits != "8")
    return wrong(whole, "integers have 4 or 8 bits");
  if (!options.empty()) {
    auto grain = parseGrain(options.trim());
    if (!grain || grain->kind == Grain::Kind::Group)
      return wrong(whole, "a scale is for the tensor, a channel or a block of inputs");
    linear.grain = *grain;
  }
  scheme.linear = linear;
  return Error::success();
}

static Error parseLowRank(StringRef whole, StringRef rank, Scheme &scheme) {
  if (rank.trim().getAsInteger(10, scheme.lowRank) || scheme.lowRank < 1 || scheme.lowRank > 256)
    return wrong(whole, "the rank of a correction is 1 to 256, lowrank16");
  if (!scheme.palette && !scheme.linear)
    return wrong(whole, "a correction is of the error of a palette or of integers, which come "
                        "before it");
  if (scheme.palette && scheme.palette->vector > 1)
    return wrong(whole, "tables of vectors have no correction");
  return Error::success();
}

/// What is left of a 16-bit weight, for the three sizes that people ask for.
static StringRef presetOf(StringRef part) {
  return part == "q8"   ? "int8"
         : part == "q6" ? "palette6"
         : part == "q4" ? "palette4[group 16]"
                        : part;
}

Expected<Scheme> parseScheme(StringRef text) {
  Scheme scheme;
  text = text.trim();
  if (text == "none")
    return scheme;
  llvm::SmallVector<StringRef, 3> parts;
  text.split(parts, '+');
  for (StringRef part : parts) {
    part = presetOf(part.trim());
    StringRef head = part, options;
    if (head.consume_back("]")) {
      std::tie(head, options) = head.split('[');
      if (options.empty())
        return wrong(text, "'" + part + "' has a ] without [");
    } else if (head.contains('[')) {
      return wrong(text, "'" + part + "' has a [ without ]");
    }
    head = head.trim();
    Error error = Error::success();
    bool repeated = scheme.linear || scheme.palette || scheme.lowRank;
    if (head.consume_front("lowrank")) {
      repeated = scheme.lowRank != 0;
      error = parseLowRank(text, head, scheme);
    } else if (head.consume_front("prune")) {
      repeated |= scheme.prune.has_value();
      error = parsePrune(text, head, scheme);
    } else if (head.consume_front("palette")) {
      error = parsePalette(text, head, options, scheme);
    } else if (head.consume_front("uint")) {
      error = parseLinear(text, head, true, options, scheme);
    } else if (head.consume_front("int")) {
      error = parseLinear(text, head, false, options, scheme);
    } else {
      error = wrong(text, "'" + part + "' is none");
    }
    if (error)
      return error;
    if (repeated)
      return wrong(text, "pruning comes first, then one palette or one kind of integers, then one "
                         "correction");
  }
  if (scheme.prune && scheme.palette && scheme.palette->vector > 1)
    return wrong(text, "pruned weights have palettes of single numbers");
  return scheme;
}

} // namespace plait::compress
