// Python's syntax into PCRE2's, and matches within limits.
#include "adapters/PythonRegex.h"

#include "llvm/ADT/StringExtras.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace plait::adapters {

using llvm::StringRef;

namespace {

constexpr size_t kMaxPattern = 4096, kMaxText = 2048;
constexpr unsigned kMaxRepeat = 1000;
// PCRE2 keeps the state of a match on the heap: the depth limits its memory, not the stack.
constexpr uint32_t kMaxGroupDepth = 50, kMaxSteps = 200000, kMaxDepth = 20000, kMaxHeapKib = 32768;

/// Goes through a pattern once; what both languages read alike is copied.
class Translator {
public:
  explicit Translator(StringRef pattern) : rest_(pattern) {}

  Expected<std::string> run() {
    while (!rest_.empty() && problem_.empty()) {
      char c = rest_.front();
      if (c == '\\')
        escape(/*inClass=*/false);
      else if (c == '[')
        characterClass();
      else if (c == '(')
        group();
      else if (c == '{')
        braces();
      else
        copy(1);
    }
    if (!problem_.empty())
      return makeError(Code::AdapterConfig, "{0}", problem_);
    return std::move(out_);
  }

private:
  void refuse(const llvm::Twine &what) { problem_ = what.str(); }
  void copy(size_t count) {
    out_ += rest_.take_front(count);
    rest_ = rest_.drop_front(count);
  }
  void put(StringRef text, size_t taken) {
    out_ += text;
    rest_ = rest_.drop_front(taken);
  }

  void escape(bool inClass) {
    if (rest_.size() < 2)
      return refuse("it ends in a backslash");
    char c = rest_[1];
    if (c == 'Z' && !inClass)
      return put("\\z", 2);
    if (c == 'v')
      return put("\\x0b", 2);
    if (c == 'u' || c == 'U') {
      size_t digits = c == 'u' ? 4 : 8;
      StringRef code = rest_.substr(2, digits);
      if (code.size() < digits || !llvm::all_of(code, llvm::isHexDigit))
        return refuse("\\" + llvm::Twine(c) + " needs " + llvm::Twine(digits) +
                      " hexadecimal digits");
      return put("\\x{" + code.str() + "}", 2 + digits);
    }
    // Python refuses the letters that it gives no meaning, and has these alone.
    StringRef letters = inClass ? "abfnrtxdDsSwW" : "abfnrtxdDsSwWBA";
    if (llvm::isAlpha(c) && !letters.contains(c))
      return refuse("the escape \\" + llvm::Twine(c) + " is not supported");
    copy(2);
  }

  void characterClass() {
    copy(1);
    if (rest_.starts_with("^"))
      copy(1);
    if (rest_.starts_with("]"))
      put("\\]", 1);
    while (!rest_.empty() && rest_.front() != ']' && problem_.empty())
      if (rest_.front() == '\\')
        escape(/*inClass=*/true);
      else if (rest_.front() == '[') // no class of POSIX begins here
        put("\\[", 1);
      else
        copy(1);
    if (problem_.empty() && rest_.empty())
      return refuse("a set of characters does not end");
    if (!rest_.empty())
      copy(1);
  }

  void group() {
    if (rest_.starts_with("(*"))
      return refuse("nothing to repeat");
    if (!rest_.starts_with("(?"))
      return copy(1);
    for (StringRef start :
         {"(?:", "(?=", "(?!", "(?>", "(?#", "(?(", "(?P<", "(?P=", "(?<=", "(?<!"})
      if (rest_.starts_with(start))
        return copy(start.size());
    size_t length = rest_.drop_front(2).find_first_not_of("imsu-");
    StringRef flags = rest_.substr(2, length);
    StringRef after = rest_.drop_front(std::min(rest_.size(), 2 + flags.size()));
    if (flags.empty() || !(after.starts_with(")") || after.starts_with(":")))
      return refuse("the group '" + rest_.take_front(4) + "…' is not supported");
    // Text is Unicode for both: u says nothing new, and PCRE2 does not have it.
    std::string kept = flags.str();
    llvm::erase(kept, 'u');
    put("(?" + kept, 2 + flags.size());
  }

  void braces() {
    auto [bounds, after] = rest_.drop_front().split('}');
    bool isClosed = rest_.contains('}');
    auto [low, high] = bounds.split(',');
    bool hasComma = bounds.contains(',');
    auto isNumber = [](StringRef text) { return llvm::all_of(text, llvm::isDigit); };
    if (!isClosed || bounds.empty() || !isNumber(low) || !isNumber(high) ||
        (!hasComma && low.empty()))
      return put("\\{", 1); // a brace like any other character
    for (StringRef bound : {low, high})
      if (unsigned count = 0;
          !bound.empty() && (bound.getAsInteger(10, count) || count > kMaxRepeat))
        return refuse("a repetition of more than " + llvm::Twine(kMaxRepeat));
    if (low.empty()) // in PCRE2 such braces are characters
      return put(high.empty() ? "*" : "{0," + high.str() + "}", bounds.size() + 2);
    copy(bounds.size() + 2);
  }

  StringRef rest_;
  std::string out_, problem_;
};

PCRE2_SPTR unitsOf(StringRef text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string messageOf(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char *>(text);
}

template <typename T, void (*Free)(T *)> auto owned(T *pointer) {
  struct Deleter {
    void operator()(T *p) const { Free(p); }
  };
  return std::unique_ptr<T, Deleter>(pointer);
}

} // namespace

Expected<PythonRegex> PythonRegex::compile(StringRef pattern) {
  if (pattern.size() > kMaxPattern)
    return makeError(Code::AdapterConfig, "a regular expression of {0} characters is too long",
                     pattern.size());
  auto context = [&](Error error) {
    return addContext(std::move(error), "the regular expression '" + pattern + "'");
  };
  auto translated = Translator(pattern).run();
  if (!translated)
    return context(translated.takeError());
  auto options = owned<pcre2_compile_context, pcre2_compile_context_free>(
      pcre2_compile_context_create(nullptr));
  pcre2_set_parens_nest_limit(options.get(), kMaxGroupDepth);
  pcre2_set_newline(options.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code *code = pcre2_compile(unitsOf(*translated), translated->size(), PCRE2_UTF | PCRE2_UCP,
                                   &error, &at, options.get());
  if (!code)
    return context(makeError(Code::AdapterConfig, "{0}", messageOf(error)));
  PythonRegex regex;
  regex.pattern_ = pattern.str();
  regex.code_ =
      std::shared_ptr<void>(code, [](void *p) { pcre2_code_free(static_cast<pcre2_code *>(p)); });
  return regex;
}

Expected<std::optional<PythonRegex::Groups>> PythonRegex::run(StringRef text, bool whole) const {
  if (text.size() > kMaxText)
    return makeError(Code::AdapterConfig, "the name '{0}…' is too long", text.take_front(80));
  auto *code = static_cast<pcre2_code *>(code_.get());
  auto limits =
      owned<pcre2_match_context, pcre2_match_context_free>(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(limits.get(), kMaxSteps);
  pcre2_set_depth_limit(limits.get(), kMaxDepth);
  pcre2_set_heap_limit(limits.get(), kMaxHeapKib);
  auto found = owned<pcre2_match_data, pcre2_match_data_free>(
      pcre2_match_data_create_from_pattern(code, nullptr));
  int status =
      pcre2_match(code, unitsOf(text), text.size(), 0,
                  PCRE2_ANCHORED | (whole ? PCRE2_ENDANCHORED : 0), found.get(), limits.get());
  if (status == PCRE2_ERROR_NOMATCH)
    return std::nullopt;
  if (status == PCRE2_ERROR_MATCHLIMIT || status == PCRE2_ERROR_DEPTHLIMIT ||
      status == PCRE2_ERROR_HEAPLIMIT)
    return makeError(Code::AdapterConfig, "the regular expression '{0}' takes too long on '{1}'",
                     pattern_, text);
  if (status < 0)
    return makeError(Code::AdapterConfig, "the regular expression '{0}' on '{1}': {2}", pattern_,
                     text, messageOf(status));
  Groups groups;
  uint32_t count = 0, entrySize = 0;
  PCRE2_SPTR table = nullptr;
  pcre2_pattern_info(code, PCRE2_INFO_NAMECOUNT, &count);
  pcre2_pattern_info(code, PCRE2_INFO_NAMEENTRYSIZE, &entrySize);
  pcre2_pattern_info(code, PCRE2_INFO_NAMETABLE, &table);
  const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(found.get());
  for (uint32_t i = 0; i < count; ++i) {
    // An entry is the group's number in two bytes and its name.
    PCRE2_SPTR entry = table + i * entrySize;
    uint32_t number = entry[0] << 8 | entry[1];
    if (number < uint32_t(status) && ends[2 * number] != PCRE2_UNSET)
      groups[reinterpret_cast<const char *>(entry + 2)] =
          text.slice(ends[2 * number], ends[2 * number + 1]).str();
  }
  return groups;
}

} // namespace plait::adapters
