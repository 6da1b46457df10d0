// Findings as text, as JSON and as annotations.
#include "driver/doctor/DoctorReport.h"

#include "driver/Terminal.h"
#include "support/Failure.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

namespace json = llvm::json;
using llvm::StringRef;

namespace {

/// A damaged package may hold text that is none; JSON may not.
std::string clean(StringRef text) { return json::fixUTF8(text); }

json::Array sourcesOf(const mil::Rule &rule) {
  json::Array sources;
  for (StringRef address : llvm::split(rule.source, ' '))
    sources.push_back(address);
  return sources;
}

std::string plural(size_t count, StringRef what) {
  return fmt::format("{0} {1}{2}", count, what.str(), count == 1 ? "" : "s");
}

std::string counts(const Diagnosis &diagnosis) {
  return fmt::format("{0} refused, {1} risky, {2} elsewhere", diagnosis.count(mil::Rule::Refused),
                     diagnosis.count(mil::Rule::Risky), diagnosis.count(mil::Rule::Elsewhere));
}

/// As the values of a workflow command are written; properties also escape their separators.
std::string escaped(StringRef text, bool property) {
  std::string result;
  for (char c : clean(text)) {
    if (c == '%' || c == '\n' || c == '\r' || (property && (c == ':' || c == ',')))
      result += fmt::format("%{0:02X}", unsigned(c));
    else
      result += c;
  }
  return result;
}

void printRule(const mil::Rule &rule, llvm::raw_ostream &out) {
  static constexpr Tone tones[] = {Tone::Bad, Tone::Doubtful, Tone::Mild};
  printToned(out, tones[rule.severity], name(rule.severity));
  out.indent(unsigned(10 - name(rule.severity).size()))
      << withCode(mil::codeOf(rule), fmt::format("{0}: {1}", rule.id, rule.text)) << '\n';
}

void printWayOut(const mil::Rule &rule, StringRef indent, llvm::raw_ostream &out) {
  const char *fix = rule.repair == mil::Rule::Exact     ? " (--fix does)"
                    : rule.repair == mil::Rule::Rounded ? " (--fix does, up to rounding)"
                                                        : "";
  out << indent << "way out: " << rule.remedy << fix << '\n';
  for (StringRef address : llvm::split(rule.source, ' '))
    out << indent << address << '\n';
}

} // namespace

void printDiagnosis(const Diagnosis &diagnosis, size_t places, llvm::raw_ostream &out) {
  out << clean(diagnosis.path) << ": ";
  if (diagnosis.functions)
    out << plural(diagnosis.functions, "function") << ", "
        << plural(diagnosis.operations, "operation") << ": ";
  out << counts(diagnosis) << '\n';
  llvm::ArrayRef<Finding> rest = diagnosis.findings;
  while (!rest.empty()) {
    const mil::Rule &rule = *rest.front().rule;
    auto same = rest.take_while([&](const Finding &f) { return f.rule == &rule; });
    rest = rest.drop_front(same.size());
    out << '\n';
    printRule(rule, out);
    for (const Finding &finding : same.take_front(places)) {
      std::string where = finding.where();
      out << "  " << clean(where) << (where.empty() ? "" : ": ") << clean(finding.what) << '\n';
    }
    if (same.size() > places)
      out << "  and " << same.size() - places << " more (--all lists them)\n";
    printWayOut(rule, "    ", out);
  }
}

json::Object toJson(const Diagnosis &diagnosis) {
  json::Array findings;
  for (const Finding &finding : diagnosis.findings) {
    const mil::Rule &rule = *finding.rule;
    json::Object entry{{"rule", rule.id},
                       {"code", plait::name(mil::codeOf(rule))},
                       {"severity", name(rule.severity)},
                       {"message", clean(finding.what)},
                       {"text", rule.text},
                       {"remedy", rule.remedy},
                       {"fixable", rule.repair != mil::Rule::None},
                       {"sources", sourcesOf(rule)}};
    for (auto [key, value] :
         {std::pair("function", &finding.function), std::pair("operation", &finding.operation),
          std::pair("type", &finding.kind), std::pair("module", &finding.module),
          std::pair("source", &finding.source)})
      if (!value->empty())
        entry[key] = clean(*value);
    auto [file, line] = sourceLine(finding.source);
    if (line) {
      entry["file"] = clean(file);
      entry["line"] = line;
    }
    findings.push_back(std::move(entry));
  }
  return json::Object{{"package", clean(diagnosis.path)},
                      {"form", name(diagnosis.form)},
                      {"functions", int64_t(diagnosis.functions)},
                      {"operations", int64_t(diagnosis.operations)},
                      {"refused", int64_t(diagnosis.count(mil::Rule::Refused))},
                      {"risky", int64_t(diagnosis.count(mil::Rule::Risky))},
                      {"elsewhere", int64_t(diagnosis.count(mil::Rule::Elsewhere))},
                      {"findings", std::move(findings)}};
}

void printAnnotations(const Diagnosis &diagnosis, llvm::raw_ostream &out) {
  static constexpr const char *levels[] = {"error", "warning", "notice"};
  for (const Finding &finding : diagnosis.findings) {
    const mil::Rule &rule = *finding.rule;
    auto [file, line] = sourceLine(finding.source);
    out << "::" << levels[rule.severity] << " file=" << escaped(line ? file : diagnosis.path, true);
    if (line)
      out << ",line=" << line;
    out << ",title=" << escaped(withCode(mil::codeOf(rule), rule.id), true) << "::";
    std::string where = finding.where();
    out << escaped(where + (where.empty() ? "" : ": ") + finding.what + "; way out: " + rule.remedy,
                   false)
        << '\n';
  }
}

void printRules(llvm::ArrayRef<mil::Rule> rules, llvm::raw_ostream &out) {
  for (const mil::Rule &rule : rules) {
    printRule(rule, out);
    printWayOut(rule, "          ", out);
  }
}

json::Object toJson(llvm::ArrayRef<mil::Rule> rules) {
  static constexpr const char *found[] = {"interface", "operation", "package"};
  json::Array entries;
  for (const mil::Rule &rule : rules)
    entries.push_back(json::Object{{"rule", rule.id},
                                   {"code", plait::name(mil::codeOf(rule))},
                                   {"severity", name(rule.severity)},
                                   {"compile", rule.level == mil::Rule::Profile},
                                   {"found", found[rule.found]},
                                   {"text", rule.text},
                                   {"remedy", rule.remedy},
                                   {"fixable", rule.repair != mil::Rule::None},
                                   {"sources", sourcesOf(rule)}});
  return json::Object{{"rules", std::move(entries)}};
}

} // namespace plait::driver
