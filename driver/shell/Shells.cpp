// plait completion: the scripts by which shells complete, and what they ask for at each tab. The
// scripts hold nothing of the tables; they hand the line to the command that stands on it.
#include "driver/shell/Shells.h"

#include "driver/shell/Completion.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Allocator.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/StringSaver.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option lineOption{"line", "TEXT",
                            "of candidates: the line up to the cursor, in place of words"};
constexpr Option breaksOption{"breaks", "CHARACTERS",
                              "of candidates: where the shell breaks words; what is behind the "
                              "last of these is completed"};
constexpr const Option *completionOptions[] = {&lineOption, &breaksOption};
constexpr Section completionSections[] = {{"Options", completionOptions}};

// bash 3.2, which macOS has, knows neither mapfile nor compopt.
constexpr const char *bashScript =
    R"(# bash completion for plait, written by `plait completion bash`.
_plait() {
  local text description home
  COMPREPLY=()
  while IFS=$'\t' read -r text description; do
    home=
    [[ $text == "~/"* ]] && home='~' text=${text#'~'}
    case $text in
    */ | *= | *,) printf -v text '%q' "$text" ;;
    *) printf -v text '%q ' "$text" ;;
    esac
    COMPREPLY+=("$home$text")
  done < <("$1" completion candidates --line "${COMP_LINE:0:$COMP_POINT}" \
    --breaks "$COMP_WORDBREAKS" 2> /dev/null)
}
complete -o nospace -F _plait plait
)";

constexpr const char *zshScript = R"(#compdef plait
# zsh completion for plait, written by `plait completion zsh`.
_plait() {
  local text description
  local -a whole wholeShown open openShown
  while IFS=$'\t' read -r text description; do
    if [[ $text == *[/=,] ]]; then
      open+=("$text")
      openShown+=("$text${description:+  -- $description}")
    else
      whole+=("$text")
      wholeShown+=("$text${description:+  -- $description}")
    fi
  done < <("${(Q)words[1]}" completion candidates -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" \
    2> /dev/null)
  local missing=1
  (( $#whole )) && compadd -l -d wholeShown -a whole && missing=0
  (( $#open )) && compadd -l -S '' -d openShown -a open && missing=0
  return missing
}
if [[ $funcstack[1] == _plait ]]; then
  _plait "$@"
else
  compdef _plait plait
fi
)";

constexpr const char *fishScript =
    R"(# fish completion for plait, written by `plait completion fish`.
function __plait_candidates
    set -l words (commandline -opc) (commandline -ct)
    $words[1] completion candidates -- $words[2..-1] 2>/dev/null
end
complete -c plait -f -a '(__plait_candidates)'
)";

/// Whether a quote is open at the end, or a backslash waits.
bool isQuoted(StringRef line) {
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && quote != '\'') {
      if (++i == line.size())
        return true;
    } else if (quote ? line[i] == quote : line[i] == '\'' || line[i] == '"') {
      quote = quote ? 0 : line[i];
    }
  }
  return quote;
}

/// The words of a line behind its first; the last is the one at the cursor.
std::vector<std::string> wordsOf(StringRef line) {
  llvm::BumpPtrAllocator memory;
  llvm::StringSaver saver(memory);
  llvm::SmallVector<const char *, 16> words;
  // A letter behind it makes a word of what may be none yet.
  llvm::cl::TokenizeGNUCommandLine((line + "x").str(), saver, words);
  std::vector<std::string> behind(words.begin() + 1, words.end());
  if (!behind.empty())
    behind.back().pop_back();
  return behind;
}

Expected<int> printCandidates(const Arguments &arguments) {
  std::vector<std::string> words = arguments.operands();
  words.erase(words.begin());
  if (auto line = arguments.value(lineOption)) {
    if (isQuoted(*line))
      return 0;
    words = wordsOf(*line);
  }
  std::string breaks = arguments.value(breaksOption).value_or("");
  size_t done = words.empty() ? 0 : StringRef(words.back()).find_last_of(breaks) + 1;
  for (const Candidate &candidate : complete(words)) {
    // A line break in a file's name would be two candidates.
    if (StringRef(candidate.text).find_first_of("\n\t") != StringRef::npos)
      continue;
    llvm::outs() << StringRef(candidate.text).drop_front(done);
    if (!candidate.description.empty())
      llvm::outs() << '\t' << candidate.description;
    llvm::outs() << '\n';
  }
  return 0;
}

Expected<int> runCompletion(const Arguments &arguments) {
  std::vector<std::string> operands = arguments.operands();
  StringRef what = operands.empty() ? StringRef() : operands.front();
  if (what == "candidates")
    return printCandidates(arguments);
  if (operands.size() != 1 || !arguments.values(lineOption).empty() || arguments.has(breaksOption))
    return usageError(Code::OptionMissing, "a shell is wanted: plait completion bash, zsh or fish");
  const char *script = what == "bash"   ? bashScript
                       : what == "zsh"  ? zshScript
                       : what == "fish" ? fishScript
                                        : nullptr;
  if (!script)
    return usageError(Code::UnknownOption,
                      "'{0}' is no shell that plait knows; there are bash, zsh, fish{1}", what,
                      didYouMean(what, {"bash", "zsh", "fish"}));
  llvm::outs() << script;
  return 0;
}

constexpr const char *completionUsage[] = {"bash|zsh|fish", "candidates [options] [-- WORD ...]"};

} // namespace

const Command completionCommand = {
    "completion",
    "a script by which bash, zsh or fish completes the command",
    completionUsage,
    completionSections,
    "For the shell that runs:\n"
    "  bash   source <(plait completion bash)\n"
    "  zsh    source <(plait completion zsh)\n"
    "  fish   plait completion fish | source\n"
    "For all later ones this line goes into ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish;\n"
    "cmake --install puts the scripts where shells look for them. Packages are read too: their\n"
    "functions, inputs and values. `candidates` is what the scripts ask at each tab.\n",
    {},
    runCompletion};

} // namespace plait::driver
