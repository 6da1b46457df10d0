// What `plait doctor` says: for people, for programs, and as annotations of a GitHub workflow.
#pragma once

#include "driver/doctor/Doctor.h"

#include "llvm/Support/JSON.h"

namespace llvm {
class raw_ostream;
}

namespace plait::driver {

/// Rule by rule: the places, the way out and the sources. At most `places` places a rule.
void printDiagnosis(const Diagnosis &diagnosis, size_t places, llvm::raw_ostream &out);

/// What `plait doctor --json` adds to the head: {"package", "form", "functions", "operations",
///  "refused", "risky", "elsewhere", "findings": [{"rule", "code", "severity", "function",
///  "operation", "type", "module", "source", "message", "text", "remedy", "fixable",
///  "sources": [address, ...]}, ...]}; what is not known is left out.
llvm::json::Object toJson(const Diagnosis &diagnosis);

/// One workflow command a finding: `::error file=…,line=…,title=…::…`.
void printAnnotations(const Diagnosis &diagnosis, llvm::raw_ostream &out);

/// The table of rules.
void printRules(llvm::ArrayRef<mil::Rule> rules, llvm::raw_ostream &out);
llvm::json::Object toJson(llvm::ArrayRef<mil::Rule> rules);

} // namespace plait::driver
