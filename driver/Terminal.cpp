// LLVM's colours, under the conventions that users set in their environment.
#include "driver/Terminal.h"

#include "llvm/Support/Process.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

namespace plait::driver {

using llvm::StringRef;

static StringRef environment(const char *name) {
  const char *value = std::getenv(name);
  return value ? value : "";
}

bool showsColours(const llvm::raw_ostream &out) {
  return environment("NO_COLOR").empty() && environment("CLICOLOR") != "0" &&
         environment("TERM") != "dumb" && out.has_colors();
}

void printToned(llvm::raw_ostream &out, Tone tone, StringRef text) {
  if (!showsColours(out)) {
    out << text;
    return;
  }
  using Colours = llvm::raw_ostream::Colors;
  static constexpr Colours colours[] = {Colours::RED, Colours::GREEN, Colours::YELLOW,
                                        Colours::CYAN};
  out.changeColor(colours[unsigned(tone)], /*Bold=*/true);
  out << text;
  out.resetColor();
}

bool errorsCanBeOverwritten() {
  StringRef terminal = environment("TERM");
  return !terminal.empty() && terminal != "dumb" && llvm::sys::Process::StandardErrIsDisplayed();
}

unsigned errorColumns() {
  winsize size; // LLVM knows COLUMNS alone, which shells do not pass on
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
    return size.ws_col;
  unsigned columns = llvm::sys::Process::StandardErrColumns();
  return columns ? columns : 80;
}

} // namespace plait::driver
