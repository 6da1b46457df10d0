// What is said of a compile before a model is opened. Needs no LibTorch.
#include "driver/Compiler.h"

#include "backend/Inspect.h"
#include "backend/Manifest.h"
#include "backend/PackageEdit.h"
#include "driver/DeviceRules.h"
#include "frontend/archive/ExportArchive.h"
#include "mil/IR.h"
#include "support/DidYouMean.h"
#include "support/Failure.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

namespace plait::driver {

using llvm::StringRef;
namespace fs = llvm::sys::fs;
namespace path = llvm::sys::path;

/// Inputs and outputs of one function have distinct names, and names that Core ML can hold.
static Error checkInterface(const FunctionOptions &function) {
  llvm::StringSet<> names;
  auto add = [&](StringRef kind, StringRef name) -> Error {
    if (!mil::isLegalName(name))
      return makeError(Code::IllegalName,
                       "function '{0}': the {1} name '{2}' cannot be one in Core ML: {3}",
                       function.name, kind, name, mil::whyIllegal(name));
    if (!names.insert(name).second)
      return makeError(Code::NameTaken,
                       "function '{0}': two of its inputs and outputs are called '{1}'; give each "
                       "a name of its own",
                       function.name, name);
    return Error::success();
  };
  for (const frontend::InputSpec &input : function.inputs)
    if (!input.name.empty())
      if (Error error = add("input", input.name))
        return error;
  for (const frontend::OutputSpec &output : function.outputs)
    if (Error error = add("output", output.name))
      return error;
  if (function.classes)
    for (const std::string &name : {function.classes->label, function.classes->label + "_probs"})
      if (Error error = add("output", name))
        return error;
  return Error::success();
}

Error checkModel(const FunctionOptions &function) {
  if (function.module)
    return Error::success();
  std::string file = splitModelPath(function.model).file;
  fs::file_status status;
  if (std::error_code ec = fs::status(file, status))
    return makeFailure(
        FailureKind::File, Code::FileUnreadable,
        fmt::format("{0}: {1}", file,
                    fs::exists(status) ? ec.message() : "no such file" + didYouMeanFile(file)));
  if (fs::is_directory(status))
    return makeFailure(FailureKind::File, Code::NotAModel,
                       fmt::format("{0}: this is a folder; a TorchScript file, as torch.jit.save "
                                   "writes it, or an archive of torch.export.save is wanted",
                                   file));
  return Error::success();
}

Error checkFunction(const FunctionOptions &function) {
  if (!mil::isLegalName(function.name))
    return makeError(Code::IllegalName, "'{0}' cannot name a function: {1}", function.name,
                     mil::whyIllegal(function.name));
  return checkInterface(function);
}

/// What is said of the package.
static Error checkOptions(const CompileOptions &options) {
  if (Error error = checkRuleNames(options.allow))
    return error;
  if (options.functions.empty())
    return makeError(Code::OptionMissing, "{0}: a package has at least one function",
                     options.output);
  if (options.multifunction && !options.append && !mil::info(options.target).functions)
    return makeError(
        Code::OpsetMismatch,
        "{0}: a package of named functions needs {1} or later ({2}); leave --target {3} "
        "out, or compile one model without --function and --adapter",
        options.output, mil::name(mil::kDefaultOpset), mil::info(mil::kDefaultOpset).systems,
        mil::name(options.target));
  llvm::StringSet<> names;
  for (const FunctionOptions &function : options.functions) {
    if (Error error = checkFunction(function))
      return error;
    // The opset of a package that is added to is found when it is read.
    for (const frontend::InputSpec &input : function.inputs)
      if (input.dtype == mil::DType::I8 && !options.append &&
          !contains(mil::info(options.target).interface, mil::DType::I8))
        return makeError(Code::IllegalName,
                         "function '{0}': input '{1}' is int8, which inputs can be from {2} on "
                         "({3}); add --target {2}, or declare int32",
                         function.name, input.name, mil::name(mil::Opset::iOS26),
                         mil::info(mil::Opset::iOS26).systems);
    if (!names.insert(function.name).second)
      return makeError(Code::NameTaken,
                       "two functions are called '{0}'; give each a name of its own",
                       function.name);
  }
  // A package that is added to may have the default function already; the backend knows.
  if (!options.append && !options.defaultFunction.empty() &&
      !names.contains(options.defaultFunction)) {
    llvm::SmallVector<StringRef, 8> known;
    for (const FunctionOptions &function : options.functions)
      known.push_back(function.name);
    return makeError(Code::DefaultFunction,
                     "the default function '{0}' is none of the functions: {1}{2}",
                     options.defaultFunction, llvm::join(known, ", "),
                     didYouMean(options.defaultFunction, known));
  }
  return Error::success();
}

Error check(const CompileOptions &options) {
  if (Error error = checkOptions(options))
    return classify(std::move(error), FailureKind::Option);
  for (const FunctionOptions &function : options.functions)
    if (Error error = checkModel(function))
      return error;
  return classify(options.append ? findRootModel(options.output).takeError()
                                 : checkOutput(options.output),
                  FailureKind::File);
}

Expected<passes::Precision> precisionOf(StringRef package) {
  auto summary = inspectPackage(package);
  if (!summary)
    return summary.takeError();
  uint64_t half = 0, single = 0;
  for (const PackageSummary::Blob &blob : summary->blobs)
    (blob.dtype == mil::DType::F32 ? single : half) += blob.bytes;
  return single > half ? passes::Precision::F32 : passes::Precision::F16;
}

Error checkOutput(StringRef output) {
  StringRef target = output.rtrim('/');
  StringRef parent = path::parent_path(target);
  if (parent.empty())
    parent = ".";
  fs::file_status status;
  if (fs::status(parent, status) || !fs::exists(status))
    return makeError(Code::FileUnwritable,
                     "cannot write '{0}': there is no folder '{1}'{2}; make it first", output,
                     parent, didYouMeanFile(parent));
  if (!fs::is_directory(status))
    return makeError(Code::FileUnwritable, "cannot write '{0}': '{1}' is no folder", output,
                     parent);
  if (std::error_code ec = fs::access(parent, fs::AccessMode::Write))
    return makeError(Code::FileUnwritable, "cannot write '{0}': folder '{1}': {2}", output, parent,
                     ec.message());
  if (fs::status(target, status) || !fs::exists(status))
    return Error::success();
  bool emptyFolder = false;
  if (fs::is_directory(status)) {
    std::error_code ec;
    emptyFolder = fs::directory_iterator(target, ec) == fs::directory_iterator() && !ec;
  }
  if (!emptyFolder && !isPackage(target))
    return makeError(Code::OutputInTheWay,
                     "cannot write '{0}': it exists and is not a package; remove it or choose "
                     "another name",
                     output);
  return Error::success();
}

} // namespace plait::driver
