// One page for all commands: each is a subsection, each option a tagged paragraph.
#include "driver/shell/ManPage.h"

#include "driver/Commands.h"
#include "driver/ExitStatus.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

namespace {

/// Text as roff prints it: a dash that can be searched for, no escapes, no requests.
std::string escaped(StringRef text) {
  std::string result;
  for (char c : text) {
    if (c == '\\')
      result += "\\e";
    else if (c == '-')
      result += "\\-";
    else if ((c == '.' || c == '\'') && (result.empty() || result.back() == '\n'))
      result += std::string("\\&") + c;
    else
      result += c;
  }
  return result;
}

/// Lines as they are, in the order of their breaks.
void printLines(StringRef text, llvm::raw_ostream &out) {
  out << ".nf\n";
  for (StringRef line : llvm::split(text.rtrim('\n'), '\n'))
    out << escaped(line) << '\n';
  out << ".fi\n";
}

void printOption(const Option &option, llvm::raw_ostream &out) {
  out << ".TP\n";
  if (option.letter)
    out << "\\fB\\-" << option.letter << "\\fR, ";
  out << "\\fB" << escaped(spelling(option)) << "\\fR";
  if (option.argument)
    out << " \\fI" << escaped(option.argument) << "\\fR";
  out << '\n' << escaped(option.help) << '\n';
}

void printCommand(const Command &command, llvm::raw_ostream &out) {
  out << ".SS \"plait " << command.name << "\"\n" << escaped(command.summary) << ".\n.PP\n";
  std::string usage;
  for (StringRef line : command.usage)
    usage += ("plait " + llvm::Twine(command.name) + " " + line).str() + "\n";
  printLines(usage, out);
  for (const Section &section : command.sections) {
    out << ".PP\n" << escaped(section.title) << ":\n";
    for (const Option *option : section.options)
      printOption(*option, out);
  }
  if (*command.notes) {
    out << ".PP\n";
    printLines(command.notes, out);
  }
}

} // namespace

void printManPage(llvm::raw_ostream &out) {
  out << ".\\\" Written by `plait help --man`.\n"
         ".TH PLAIT 1 \"\" \"plait " PLAIT_VERSION "\" \"plait\"\n"
         ".SH NAME\nplait \\- PyTorch models into one Core ML program\n"
         ".SH SYNOPSIS\n.B plait\n.I command\n[\\fIoptions\\fR] [\\fIoperands\\fR]\n"
         ".SH DESCRIPTION\n"
         "TorchScript files, archives of torch.export and LoRA adapters become one Core ML "
         "package, "
         "whose functions share every identical weight. Packages are inspected, verified, run and "
         "changed on any system.\n"
         ".PP\n"
         "A value follows its option behind a space or an equals sign. Everything behind a bare "
         "\\fB\\-\\-\\fR is an operand. Errors and warnings go to the standard error.\n"
         ".SH COMMANDS\n";
  for (const Command *command : commands())
    printCommand(*command, out);
  out << ".SH \"EXIT STATUS\"\n";
  for (const ExitStatusInfo &row : exitStatuses())
    out << ".TP\n.B " << escaped(row.status) << '\n' << escaped(row.meaning) << ".\n";
}

} // namespace plait::driver
