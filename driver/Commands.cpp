// Finds the subcommand, runs it, turns errors into an exit status. `help` and `version` live here.
#include "driver/Commands.h"

#include "driver/Diagnostics.h"
#include "driver/ExitStatus.h"
#include "driver/JsonOutput.h"
#include "driver/shell/ManPage.h"
#include "driver/shell/Shells.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

llvm::ArrayRef<const Command *> commands() {
  static const Command *const all[] = {
      &compileCommand,    &inspectCommand, &verifyCommand,   &runCommand,     &mergeCommand,
      &addCommand,        &removeCommand,  &compressCommand, &adapterCommand, &reportCommand,
      &doctorCommand,     &explainCommand, &diffCommand,     &patchCommand,   &optCommand,
      &completionCommand, &helpCommand,    &versionCommand};
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
  return usageError(Code::UnknownOption, "unknown command '{0}'{1}; there are {2}", name,
                    didYouMean(name, names), llvm::join(names, ", "));
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
      return usageError(Code::OptionValue,
                        "--man is the page of all commands; without it: plait help {0}", topics[0]);
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

static constexpr const Option *versionOptions[] = {&jsonOption};
static constexpr Section versionSections[] = {{"Options", versionOptions}};

static Expected<int> runVersion(const Arguments &arguments) {
  if (!arguments.operands().empty())
    return usageError(Code::OptionValue, "version takes no arguments");
  // With --json it is in the head of the object.
  if (!arguments.has(jsonOption))
    llvm::outs() << "plait " PLAIT_VERSION "\n";
  return 0;
}

static const char *const helpUsage[] = {"[COMMAND ...]", "--man"};
const Command helpCommand = {
    "help", "what a command does and takes", helpUsage, helpSections, "", {}, runHelp};
static const char *const versionUsage[] = {"[--json]"};
const Command versionCommand = {
    "version", "the version of plait", versionUsage, versionSections, "", {}, runVersion};

llvm::ArrayRef<ExitStatusInfo> exitStatuses() {
  static const ExitStatusInfo all[] = {
      {"0", "done; what was to be checked is right"},
      {"1", "the input cannot be compiled, does not match or has a fault; stderr says which"},
      {"2", "the command was called wrongly; stderr says how"},
      {"128+N", "signal N ended it (Ctrl-C: 130); what was to be written is as it was"},
  };
  return all;
}

/// Whether a word before a bare `--` asks for help.
static bool asksForHelp(llvm::ArrayRef<const char *> arguments) {
  for (StringRef argument : arguments) {
    if (argument == "--")
      return false;
    if (argument == "--help" || argument == "-h")
      return true;
  }
  return false;
}

/// Runs the command; `reply` takes what it says with --json.
static Expected<int> run(const Command &command, llvm::ArrayRef<const char *> arguments,
                         llvm::json::Object &reply) {
  auto parsed = Arguments::parse(command, arguments);
  if (!parsed)
    return parsed.takeError();
  Expected<int> status = command.run(*parsed);
  reply = std::move(parsed->reply());
  return status;
}

/// The exit status; errors are printed.
static int statusOf(Expected<int> result) {
  if (result)
    return *result;
  Error error = result.takeError();
  int status = error.isA<UsageError>() ? kMisused : kFailed;
  llvm::outs().flush();
  printError(std::move(error));
  return status;
}

static int dispatch(llvm::ArrayRef<const char *> arguments) {
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
    return statusOf(unknownCommand(first));
  arguments = arguments.drop_front();
  if (asksForHelp(arguments)) {
    printHelp(*command, llvm::outs());
    return kDone;
  }
  llvm::json::Object reply;
  takeMessages();
  int status = statusOf(run(*command, arguments, reply));
  if (asksForJson(*command, arguments))
    printJson(*command, status, std::move(reply), llvm::outs());
  return status;
}

int runCommandLine(llvm::ArrayRef<const char *> arguments) {
  int status = dispatch(arguments);
  llvm::outs().flush();
  if (llvm::outs().has_error()) {
    printError(makeError(Code::FileUnwritable, "cannot write to the standard output: {0}",
                         llvm::outs().error().message()));
    llvm::outs().clear_error();
    status = std::max<int>(status, kFailed);
  }
  return status;
}

} // namespace plait::driver
