// plait explain: the page of a code, or the row of a rule and the page of its code.
#include "driver/Commands.h"
#include "driver/Explain.h"

#include "mil/Rule.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

const CodePage *findCodePage(StringRef code) {
  unsigned number = 0;
  code.consume_front_insensitive("P");
  if (code.getAsInteger(10, number))
    return nullptr;
  std::string wanted = name(Code(number));
  for (const CodePage *page = codePages; page->code; ++page)
    if (wanted == page->code)
      return page;
  return nullptr;
}

StringRef titleOf(const CodePage &page) {
  return StringRef(page.text).split('\n').first.split(": ").second;
}

namespace {

constexpr const char *usage[] = {"[CODE|RULE] ..."};

void list() {
  for (const CodePage *page = codePages; page->code; ++page)
    llvm::outs() << fmt::format("{0}  {1}\n", page->code, titleOf(*page));
  llvm::outs()
      << "\n`plait explain CODE` tells more; so does `plait explain RULE` of a rule of Core "
         "ML's (`plait doctor --list-rules`)\n";
}

void print(const mil::Rule &rule) {
  llvm::outs() << fmt::format("# {0} ({1})\n\n{2}.\n\nThe way out: {3}.\n\nSources:\n", rule.id,
                              mil::name(rule.severity), rule.text, rule.remedy);
  for (StringRef source : llvm::split(rule.source, ' '))
    llvm::outs() << "  " << source << '\n';
  llvm::outs() << '\n';
}

Error unknown(StringRef word) {
  llvm::SmallVector<StringRef, 192> known;
  for (const CodePage *page = codePages; page->code; ++page)
    known.push_back(page->code);
  for (const mil::Rule &rule : mil::listRules())
    known.push_back(rule.id);
  return usageError(Code::NothingMatches,
                    "there is no code and no rule '{0}'{1}; `plait explain` lists the codes, "
                    "`plait doctor --list-rules` the rules",
                    word, didYouMean(word.starts_with("p0") ? word.upper() : word.str(), known));
}

Expected<int> run(const Arguments &arguments) {
  std::vector<std::string> words = arguments.operands();
  if (words.empty())
    list();
  // Nothing is shown where one of them is a mistake.
  std::vector<std::pair<const mil::Rule *, const CodePage *>> shown;
  for (StringRef word : words) {
    word = word.trim("[]"); // as it stands in messages
    const mil::Rule *rule =
        llvm::find_if(mil::listRules(), [&](const mil::Rule &r) { return word == r.id; });
    if (rule == mil::listRules().end())
      rule = nullptr;
    const CodePage *page = findCodePage(rule ? name(mil::codeOf(*rule)) : word);
    if (!page)
      return unknown(word);
    shown.emplace_back(rule, page);
  }
  for (auto [i, entry] : llvm::enumerate(shown)) {
    if (i)
      llvm::outs() << '\n';
    if (entry.first)
      print(*entry.first);
    llvm::outs() << StringRef(entry.second->text).trim('\n') << '\n';
  }
  return 0;
}

} // namespace

const Command explainCommand = {
    "explain",
    "what the code of a message means, with an example and the way out",
    usage,
    {},
    "Every error and warning ends its first line in a code, such as [P0301]. The pages are those "
    "of\n"
    "docs/codes. Without a code, all are listed. A rule is one of `plait doctor --list-rules`.\n",
    {},
    run};

} // namespace plait::driver
