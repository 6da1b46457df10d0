// Finds the subcommand, runs it, turns errors into an exit status. `help` and `version` live here.
#include "driver/Commands.h"

#include "driver/Diagnostics.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

llvm::ArrayRef<const Command *> commands() {
  static const Command *const all[] = {
      &compileCommand, &inspectCommand, &verifyCommand,   &runCommand,     &mergeCommand,
      &addCommand,     &removeCommand,  &compressCommand, &adapterCommand, &reportCommand,
      &doctorCommand,  &diffCommand,    &patchCommand,    &optCommand,     &helpCommand,
      &versionCommand};
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
    out << fmt::format("  {0:<10}{1}\n", command->name, command->summary);
  out << "\n`plait help COMMAND` tells more. The exit status is 0 when done, 1 when the input "
         "cannot "
         "be\ncompiled or does not match, 2 when the command was called wrongly.\n";
}

static Expected<int> runHelp(const Arguments &arguments) {
  std::vector<std::string> topics = arguments.operands();
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

static const char *const helpUsage[] = {"[COMMAND]"};
const Command helpCommand = {"help", "what a command does and takes", helpUsage, {}, "", {},
                             runHelp};
static const char *const versionUsage[] = {""};
const Command versionCommand = {"version", "the version of plait", versionUsage, {}, "", {},
                                runVersion};

static Expected<int> dispatch(llvm::ArrayRef<const char *> arguments) {
  if (arguments.empty()) {
    printOverview(llvm::errs());
    return 2;
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
  int status = 1;
  if (auto result = dispatch(arguments)) {
    status = *result;
  } else {
    Error error = result.takeError();
    if (error.isA<UsageError>())
      status = 2;
    llvm::outs().flush();
    printError(std::move(error));
  }
  llvm::outs().flush();
  if (llvm::outs().has_error()) {
    printError(
        makeError("cannot write to the standard output: {0}", llvm::outs().error().message()));
    llvm::outs().clear_error();
    status = std::max(status, 1);
  }
  return status;
}

} // namespace plait::driver
