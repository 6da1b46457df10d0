// Finds the subcommand, runs it, turns errors into an exit status. `help` and `version` live here.
#include "driver/Commands.h"

#include "driver/Diagnostics.h"
#include "driver/ExitStatus.h"
#include "driver/shell/ManPage.h"
#include "driver/shell/Shells.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

llvm::ArrayRef<const Command *> commands() {
  static const Command *const all[] = {
      &compileCommand, &inspectCommand, &verifyCommand,   &runCommand,     &mergeCommand,
      &addCommand,     &removeCommand,  &compressCommand, &adapterCommand, &reportCommand,
      &doctorCommand,  &diffCommand,    &patchCommand,    &optCommand,     &completionCommand,
      &helpCommand,    &versionCommand};
  return all;
}

const Command *findCommand(StringRef name) {
  for (const Command *command : commands())
    if (name == command->name)
      return command;
  return nullptr;
}

Error unknownCommand(StringRef name) {
  llvm::SmallVector<StringRef, 8> names;
  for (const Command *command : commands())
    names.push_back(command->name);
  return usageError("unknown command '{0}'{1}; there are {2}", name, didYouMean(name, names),
                    llvm::join(names, ", "));
}

void printOverview(llvm::raw_ostream &out) {
  out << "plait: PyTorch models into one Core ML program\n\nusage: plait COMMAND ...\n\n";
  for (const Command *command : commands())
    out << fmt::format("  {0:<12}{1}\n", command->name, command->summary);
  out << "\n`plait help COMMAND` tells more.\n\nexit status:\n";
  for (const ExitStatusInfo &row : exitStatuses())
    out << fmt::format("  {0:<12}{1}\n", row.status, row.meaning);
}

static constexpr Option manOption{"man", nullptr,
                                  "the man page of all commands: plait help --man | man -l -"};
static constexpr const Option *helpOptions[] = {&manOption};
static constexpr Section helpSections[] = {{"Options", helpOptions}};

static Expected<int> runHelp(const Arguments &arguments) {
  std::vector<std::string> topics = arguments.operands();
  if (arguments.has(manOption)) {
    if (!topics.empty())
      return usageError("--man is the page of all commands; without it: plait help {0}", topics[0]);
    printManPage(llvm::outs());
    return 0;
  }
  if (topics.empty())
    printOverview(llvm::outs());
  for (const std::string &topic : topics) {
    const Command *command = findCommand(topic);
    if (!command)
      return unknownCommand(topic);
    printHelp(*command, llvm::outs());
  }
  return 0;
}

static Expected<int> runVersion(const Arguments &arguments) {
  if (!arguments.items().empty())
    return usageError("version takes no arguments");
  llvm::outs() << "plait " PLAIT_VERSION "\n";
  return 0;
}

static const char *const helpUsage[] = {"[COMMAND ...]", "--man"};
const Command helpCommand = {
    "help", "what a command does and takes", helpUsage, helpSections, "", {}, runHelp};
static const char *const versionUsage[] = {""};
const Command versionCommand = {"version", "the version of plait", versionUsage, {}, "", {},
                                runVersion};

llvm::ArrayRef<ExitStatusInfo> exitStatuses() {
  static const ExitStatusInfo all[] = {
      {"0", "done; what was to be checked is right"},
      {"1", "the input cannot be compiled, does not match or has a fault; stderr says which"},
      {"2", "the command was called wrongly; stderr says how"},
      {"128+N", "signal N ended it (Ctrl-C: 130); what was to be written is as it was"},
  };
  return all;
}

static Expected<int> dispatch(llvm::ArrayRef<const char *> arguments) {
  if (arguments.empty()) {
    printOverview(llvm::errs());
    return kMisused;
  }
  StringRef first = arguments[0];
  if (first == "--version")
    first = "version";
  if (first == "--help" || first == "-h")
    first = "help";
  const Command *command = findCommand(first);
  if (!command)
    return unknownCommand(first);
  for (StringRef argument : arguments.drop_front()) {
    if (argument == "--")
      break;
    if (argument == "--help" || argument == "-h") {
      printHelp(*command, llvm::outs());
      return 0;
    }
  }
  auto parsed = Arguments::parse(*command, arguments.drop_front());
  if (!parsed)
    return parsed.takeError();
  return command->run(*parsed);
}

int runCommandLine(llvm::ArrayRef<const char *> arguments) {
  int status = kFailed;
  if (auto result = dispatch(arguments)) {
    status = *result;
  } else {
    Error error = result.takeError();
    if (error.isA<UsageError>())
      status = kMisused;
    llvm::outs().flush();
    printError(std::move(error));
  }
  llvm::outs().flush();
  if (llvm::outs().has_error()) {
    printError(
        makeError("cannot write to the standard output: {0}", llvm::outs().error().message()));
    llvm::outs().clear_error();
    status = std::max<int>(status, kFailed);
  }
  return status;
}

} // namespace plait::driver
