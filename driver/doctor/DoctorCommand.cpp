// plait doctor: what is wrong with a package, why, and the way out.
#include "driver/Commands.h"
#include "driver/Diagnostics.h"
#include "driver/JsonOutput.h"
#include "driver/doctor/DoctorReport.h"
#include "driver/doctor/Repair.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using llvm::StringRef;

namespace {

constexpr Option formatOption{"format", "text|json|github",
                              "how to say it; github: as annotations of a workflow (text)"};
constexpr Option ignoreOption{"ignore", "RULE", "says nothing of a rule", 0, Scope::Many};
constexpr Option failOption{"fail-on", "refused|risky|elsewhere|nothing",
                            "the mildest finding that makes the exit status 1 (refused)"};
constexpr Option allOption{"all", nullptr, "every place, not only the first 5 of each rule"};
constexpr Option fixOption{"fix", nullptr,
                           "rewrites what can be rewritten into what computes the same; -o says "
                           "where to. What is said is of the package that was written"};
constexpr Option outOption{"o", "OUT.mlpackage", "of --fix: the package to write; may be PKG"};
constexpr Option threadsOption{"threads", "N", "of --fix: for writing weights (one a processor)"};
constexpr Option listOption{"list-rules", nullptr,
                            "lists all rules, with their sources; --format json too"};
constexpr const Option *options[] = {&formatOption, &jsonOption,    &ignoreOption,
                                     &failOption,   &allOption,     &fixOption,
                                     &outOption,    &threadsOption, &listOption};
const Section sections[] = {{"Options", options}};

enum Format : unsigned { TextFormat, JsonFormat, GitHubFormat };

Expected<Format> formatOf(const Arguments &arguments) {
  auto format = arguments.choice(formatOption, {"text", "json", "github"}, TextFormat);
  if (!format)
    return format.takeError();
  if (!arguments.has(jsonOption))
    return Format(*format);
  if (arguments.has(formatOption) && *format != JsonFormat)
    return usageError(Code::OptionConflict, "--json and --format exclude each other");
  return JsonFormat;
}

Expected<std::vector<std::string>> ignoredRules(const Arguments &arguments) {
  std::vector<std::string> names = arguments.values(ignoreOption);
  llvm::SmallVector<StringRef, 96> known;
  for (const mil::Rule &rule : mil::listRules())
    known.push_back(rule.id);
  for (StringRef name : names)
    if (!llvm::is_contained(known, name))
      return usageError(Code::NothingMatches,
                        "--ignore: there is no rule '{0}'{1}; `plait doctor --list-rules` lists "
                        "them",
                        name, didYouMean(name, known));
  return names;
}

Expected<RepairOptions> repairOptions(const Arguments &arguments, StringRef package) {
  RepairOptions repair;
  repair.package = package.str();
  auto output = arguments.required(outOption);
  if (!output)
    return output.takeError();
  if (!StringRef(*output).rtrim('/').ends_with(".mlpackage"))
    return usageError(Code::PackageName, "-o {0}: the name of a package ends in .mlpackage",
                      *output);
  repair.output = *output;
  auto threads = arguments.number(threadsOption, 0, 1024);
  if (!threads)
    return threads.takeError();
  repair.threads = unsigned(*threads);
  repair.warn = printWarning;
  return repair;
}

int listRules(Format format, llvm::json::Object &reply) {
  if (format == JsonFormat)
    reply = toJson(mil::listRules());
  else
    printRules(mil::listRules(), llvm::outs());
  return 0;
}

Expected<int> run(const Arguments &arguments) {
  auto format = formatOf(arguments);
  if (!format)
    return format.takeError();
  if (arguments.has(listOption))
    return listRules(*format, arguments.reply());
  auto path = arguments.operand("PKG");
  if (!path)
    return path.takeError();
  auto ignored = ignoredRules(arguments);
  if (!ignored)
    return ignored.takeError();
  auto failOn = arguments.choice(failOption, {"refused", "risky", "elsewhere", "nothing"},
                                 unsigned(mil::Rule::Refused));
  if (!failOn)
    return failOn.takeError();
  for (const Option *option : {&outOption, &threadsOption})
    if (arguments.has(*option) && !arguments.has(fixOption))
      return usageError(Code::OptionConflict, "{0} belongs to --fix", spelling(*option));

  auto diagnosis = [&]() -> Expected<Diagnosis> {
    if (!arguments.has(fixOption))
      return diagnose(*path);
    auto options = repairOptions(arguments, *path);
    if (!options)
      return options.takeError();
    return repair(*options);
  }();
  if (!diagnosis)
    return diagnosis.takeError();
  llvm::erase_if(diagnosis->findings,
                 [&](const Finding &f) { return llvm::is_contained(*ignored, f.rule->id); });
  if (*format == JsonFormat)
    arguments.reply() = toJson(*diagnosis);
  else if (*format == GitHubFormat)
    printAnnotations(*diagnosis, llvm::outs());
  else
    printDiagnosis(*diagnosis, arguments.has(allOption) ? SIZE_MAX : 5, llvm::outs());
  constexpr unsigned nothing = 3;
  bool failed = *failOn != nothing && llvm::any_of(diagnosis->findings, [&](const Finding &f) {
    return f.rule->severity <= *failOn;
  });
  return failed ? 1 : 0;
}

constexpr const char *usage[] = {"PKG.mlpackage|MODEL.mlmodelc [options]",
                                 "PKG.mlpackage --fix -o OUT.mlpackage", "--list-rules"};

} // namespace

const Command doctorCommand = {
    "doctor",
    "what Core ML refuses, gets wrong or runs elsewhere in a package, and the way out",
    usage,
    sections,
    "The package may come from any tool. \"refused\" is what does not load or compile, \"risky\" "
    "what fails or is\nwrong on some systems, \"elsewhere\" what is right but does not run on the "
    "Neural Engine, or takes more\nroom than it need. docs/rules.md has the rules and their "
    "sources. The exit status is 1 where something\nis found that --fail-on names, and where the "
    "package cannot be looked at.\n",
    {},
    run};

} // namespace plait::driver
