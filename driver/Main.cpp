// The `plait` command.
#include "driver/Commands.h"
#include "driver/Interrupt.h"

#include "llvm/Support/raw_ostream.h"

#include <csignal>
#include <unistd.h>

int main(int argc, char **argv) {
  // A file-size limit shall be an error that is reported, not a signal that kills.
  std::signal(SIGXFSZ, SIG_IGN);
  plait::driver::handleSignals();
  int status = plait::driver::runCommandLine(llvm::ArrayRef<const char *>(argv + 1, argc - 1));
  llvm::outs().flush();
  llvm::errs().flush();
  // All files are closed and checked by now; LibTorch's own tear-down takes longer than compiling a
  // small model.
  ::_exit(status);
}
