// plait explain: the page of a code, or the row of a rule and the page of its code.
#include "driver/Commands.h"
#include "driver/Explain.h"
#include "driver/JsonOutput.h"

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
constexpr const Option *options[] = {&jsonOption};
constexpr Section sections[] = {{"Options", options}};

void list(const Arguments &arguments) {
  llvm::json::Array codes;
  for (const CodePage *page = codePages; page->code; ++page)
    codes.push_back(llvm::json::Object{{"code", page->code}, {"title", titleOf(*page)}});
  if (arguments.has(jsonOption)) {
    arguments.reply()["codes"] = std::move(codes);
    return;
  }
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

/// What a word stands for; the rule is null where it is a code.
using Shown = std::pair<const mil::Rule *, const CodePage *>;

void reply(llvm::ArrayRef<Shown> shown, const Arguments &arguments) {
  llvm::json::Array pages;
  for (auto [rule, page] : shown) {
    llvm::json::Object entry{{"code", page->code},
                             {"title", titleOf(*page)},
                             {"text", StringRef(page->text).trim('\n')}};
    if (rule) {
      llvm::json::Array sources;
      for (StringRef source : llvm::split(rule->source, ' '))
        sources.push_back(source);
      entry["rule"] = llvm::json::Object{{"rule", rule->id},
                                         {"severity", mil::name(rule->severity)},
                                         {"text", rule->text},
                                         {"remedy", rule->remedy},
                                         {"sources", std::move(sources)}};
    }
    pages.push_back(std::move(entry));
  }
  arguments.reply()["pages"] = std::move(pages);
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
    list(arguments);
  // Nothing is shown where one of them is a mistake.
  std::vector<Shown> shown;
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
  if (arguments.has(jsonOption)) {
    if (!shown.empty())
      reply(shown, arguments);
    return 0;
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
    sections,
    "Every error and warning ends its first line in a code, such as [P0301]. The pages are those "
    "of\n"
    "docs/codes. Without a code, all are listed. A rule is one of `plait doctor --list-rules`.\n",
    {},
    run};

} // namespace plait::driver
