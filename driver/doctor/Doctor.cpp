// Opens what there is at the path and asks every rule.
#include "driver/doctor/Doctor.h"

#include "backend/Manifest.h"
#include "backend/TextModel.h"
#include "driver/doctor/PackageRules.h"
#include "mil/Verifier.h"
#include "support/DidYouMean.h"
#include "support/Failure.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace plait::driver {

namespace fs = llvm::sys::fs;
using llvm::StringRef;

std::string Finding::where() const {
  std::string text = function;
  if (operation.empty())
    return text;
  text += fmt::format(": operation '{0}' ({1})", operation, kind);
  if (!source.empty() || !module.empty())
    text += " at " + module + (module.empty() || source.empty() ? "" : " at ") + source;
  return text;
}

size_t Diagnosis::count(mil::Rule::Severity severity) const {
  return llvm::count_if(findings, [&](const Finding &f) { return f.rule->severity == severity; });
}

StringRef name(Diagnosis::Form form) {
  static constexpr const char *names[] = {"mlpackage", "mlmodelc", "mil"};
  return names[form];
}

namespace {

/// Whether `folder` holds a file or folder of the name.
bool holds(StringRef folder, StringRef name) {
  llvm::SmallString<256> path(folder);
  llvm::sys::path::append(path, name);
  return fs::exists(path);
}

/// What a folder without a manifest and without a program is.
Error refuseFolder(StringRef path) {
  if (holds(path, "model.espresso.net"))
    return makeError(Code::NoProgram,
                     "'{0}' is a compiled neural network (model.espresso.net), which holds no "
                     "program; convert the model again as an mlprogram",
                     path);
  if (holds(path, "model0"))
    return makeError(Code::NoProgram,
                     "'{0}' is a compiled pipeline; give the models that it holds one by one, such "
                     "as {0}/model0",
                     path);
  if (holds(path, "coremldata.bin"))
    return makeError(Code::NoProgram,
                     "'{0}' is a compiled model of a kind that holds no program (there is no "
                     "model.mil in it)",
                     path);
  return makeError(Code::NoPackage,
                   "'{0}' is neither a package (no Manifest.json) nor a compiled model (no "
                   "model.mil)",
                   path);
}

Expected<Diagnosis::Form> formOf(StringRef path) {
  if (!fs::exists(path))
    return makeError(Code::NoPackage, "'{0}': there is no such file or folder{1}", path,
                     didYouMeanFile(path));
  if (!fs::is_directory(path)) {
    if (path.ends_with(".mil"))
      return Diagnosis::Text;
    if (path.ends_with(".mlmodel"))
      return makeError(Code::NoProgram,
                       "'{0}' is a single file, as models were before there were packages; save it "
                       "as an .mlpackage",
                       path);
    return makeError(Code::NoPackage,
                     "'{0}' is no package, which is a folder that ends in .mlpackage", path);
  }
  if (isPackage(path) || path.rtrim('/').ends_with(".mlpackage"))
    return Diagnosis::Package;
  if (isCompiledModel(path))
    return Diagnosis::Compiled;
  return refuseFolder(path);
}

Finding toFinding(const mil::Violation &violation) {
  Finding finding{violation.rule, violation.function, violation.operation, violation.kind};
  if (violation.place) {
    finding.module = violation.place.module().str();
    finding.source = violation.place.source();
  }
  finding.what = violation.what;
  return finding;
}

} // namespace

Expected<Diagnosis> diagnose(StringRef path) {
  auto form = formOf(path);
  if (!form)
    return form.takeError();
  Diagnosis diagnosis{path.str(), *form};
  auto add = [&](mil::RuleId id, std::string what) {
    diagnosis.findings.push_back({&mil::rule(id), "", "", "", "", "", std::move(what)});
  };
  if (*form == Diagnosis::Package && !checkManifest(path, add))
    return diagnosis;
  auto package = openPackage(path);
  if (!package) {
    Failure failure = takeFailure(package.takeError());
    if (failure.kind == FailureKind::Unsupported)
      return makeFailure(std::move(failure));
    add(mil::RuleId::PackageReadable, std::move(failure.message));
    return diagnosis;
  }
  mil::Program &program = *package->program;
  diagnosis.functions = program.functions().size();
  for (const auto &function : program.functions())
    mil::walk(function->body(), [&](mil::Op &) { ++diagnosis.operations; });
  checkWeights(*package, add);
  if (Error error = mil::verify(program)) {
    std::string messages = toString(std::move(error));
    for (StringRef line : llvm::split(StringRef(messages), '\n'))
      add(mil::RuleId::WellFormed, line.str());
    return diagnosis;
  }
  for (const mil::Violation &violation : mil::checkDeviceProfile(program, mil::Rule::Doctor))
    diagnosis.findings.push_back(toFinding(violation));
  llvm::stable_sort(diagnosis.findings,
                    [](const Finding &a, const Finding &b) { return a.rule < b.rule; });
  return diagnosis;
}

} // namespace plait::driver
