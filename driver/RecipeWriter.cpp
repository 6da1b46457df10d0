// YAML by hand: keys in the order of the documentation, texts quoted where YAML asks for it.
#include "driver/RecipeWriter.h"

#include "driver/AdapterSyntax.h"
#include "driver/InputSyntax.h"
#include "driver/StateSyntax.h"
#include "frontend/archive/ExportArchive.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/YAMLParser.h"
#include "llvm/Support/YAMLTraits.h"
#include "llvm/Support/raw_ostream.h"

#include <filesystem>

namespace plait::driver {

using llvm::StringRef;
namespace path = llvm::sys::path;

namespace {

/// A scalar that reads back as `text`.
std::string scalar(StringRef text) {
  switch (llvm::yaml::needsQuotes(text)) {
  case llvm::yaml::QuotingType::None:
    return text.str();
  case llvm::yaml::QuotingType::Single: {
    std::string quoted = "'";
    for (char c : text)
      quoted += c == '\'' ? std::string("''") : std::string(1, c);
    return quoted + "'";
  }
  case llvm::yaml::QuotingType::Double:
    break;
  }
  return "\"" + llvm::yaml::escape(text, /*EscapePrintable=*/false) + "\"";
}

class Writer {
public:
  explicit Writer(StringRef recipe) : out_(text_) {
    StringRef folder = path::parent_path(recipe);
    realPath(folder.empty() ? "." : folder, folder_);
  }

  std::string write(const CompileOptions &options,
                    const std::optional<PrecisionReport> &precision) {
    out_ << "# Written by plait compile --save-recipe.\n";
    entry("output", fromFolder(options.output));
    package(options, precision);
    if (!options.multifunction) {
      function(options.functions[0]);
      return std::move(text_);
    }
    out_ << "functions:\n";
    for (const FunctionOptions &one : options.functions) {
      out_ << "  " << scalar(one.name) << ":\n";
      indent_ = 4;
      function(one);
    }
    return std::move(text_);
  }

private:
  void entry(StringRef key, StringRef value) {
    if (!value.empty())
      out_.indent(indent_) << key << ": " << scalar(value) << '\n';
  }
  /// A word or a number of the recipe's own.
  void word(StringRef key, StringRef value) {
    if (!value.empty())
      out_.indent(indent_) << key << ": " << value << '\n';
  }
  void list(StringRef key, llvm::ArrayRef<std::string> values) {
    if (values.empty())
      return;
    out_.indent(indent_) << key << ":\n";
    for (const std::string &value : values)
      out_.indent(indent_ + 2) << "- " << scalar(value) << '\n';
  }
  template <typename Map> void mapping(StringRef key, const Map &map) {
    if (map.empty())
      return;
    out_.indent(indent_) << key << ":\n";
    for (const auto &[name, value] : map)
      out_.indent(indent_ + 2) << scalar(name) << ": " << scalar(value) << '\n';
  }
  template <typename T, typename Text> void list(StringRef key, const T &values, Text &&textOf) {
    std::vector<std::string> texts;
    for (const auto &value : values)
      texts.push_back(textOf(value));
    list(key, texts);
  }

  void package(const CompileOptions &options, const std::optional<PrecisionReport> &precision) {
    entry("default", options.defaultFunction);
    word("precision", options.precision == passes::Precision::F32 ? "fp32" : "fp16");
    std::vector<std::string> kept = options.keepFloat32;
    if (precision)
      for (const PrecisionReport::Kept &one : precision->kept)
        kept.push_back(one.pattern);
    list("keep_fp32", kept);
    word("target", mil::name(options.target));
    word("lora", mil::kLoraModes[unsigned(options.lora)]);
    word("share", options.share ? "on" : "off");
    word("join_linears", options.joinLinears ? "on" : "off");
    word("debug_info", options.debugInfo ? "on" : "off");
    auto percentage = [](const std::optional<double> &percent) {
      return percent ? fmt::format("{0}%", *percent) : "";
    };
    word("expect_shared", percentage(options.expectShared));
    list("compress", options.compress, [](const compress::Rule &rule) {
      return rule.pattern.empty() ? rule.scheme.str() : rule.pattern + "=" + rule.scheme.str();
    });
    word("require_coverage", percentage(options.requireCoverage));
    const CompressionGoal &goal = options.goal;
    if (goal.sizeBudget)
      word("size_budget", std::to_string(*goal.sizeBudget));
    if (goal.minSnr)
      word("min_snr", fmt::format("{0}", *goal.minSnr));
    if (!goal.inputs.empty())
      entry("measure_on", fromFolder(goal.inputs));
    if (!goal.calibration.empty())
      entry("calibrate", fromFolder(goal.calibration));
    word("gptq", goal.gptq ? "on" : "");
    list("allow", options.allow);
    if (options.threads)
      word("threads", std::to_string(options.threads));
    metadata(options.metadata);
  }

  void metadata(const mil::Metadata &metadata) {
    if (metadata.author.empty() && metadata.license.empty() && metadata.version.empty() &&
        metadata.description.empty() && metadata.userDefined.empty())
      return;
    out_ << "metadata:\n";
    indent_ = 2;
    entry("author", metadata.author);
    entry("license", metadata.license);
    entry("version", metadata.version);
    entry("description", metadata.description);
    mapping("user", metadata.userDefined);
    indent_ = 0;
  }

  void function(const FunctionOptions &function) {
    const adapters::AdapterOptions &adapters = function.adapters;
    ModelPath model = splitModelPath(function.model);
    entry(adapters.specs.empty() ? "model" : "base",
          fromFolder(model.file) + (model.model.empty() ? "" : ":" + model.model));
    if (!adapters.specs.empty()) {
      entry("adapter", adapterText(adapters.specs));
      if (const auto &scale = adapters.specs[0].scale)
        word(scale->isAlpha ? "lora_alpha" : "lora_scale", fmt::format("{0}", scale->value));
      if (adapters.root)
        out_.indent(indent_) << "adapter_root: " << scalar(*adapters.root) << '\n';
      if (adapters.allowUnmatched)
        word("allow_unmatched", "on");
    }
    std::vector<std::string> arguments;
    for (const frontend::InputSpec &input : function.inputs)
      arguments.push_back(inputText(input));
    for (const auto &[name, constant] : function.constants)
      // Without the word a list of sizes is a shape.
      arguments.push_back(name + (constant.isList ? "=list" : "=") + constant.str());
    list("inputs", arguments);
    list("outputs", function.outputs, outputText);
    mapping("describe", function.descriptions);
    if (function.classes) {
      out_.indent(indent_) << "classes:\n";
      indent_ += 2;
      entry("file", fromFolder(function.classesFile));
      entry("label", function.classes->label);
      entry("output", function.classes->scores);
      indent_ -= 2;
    }
    list("states", statesTexts(function.states));
    if (function.states.inputs)
      word("state_init", "input");
    if (function.lora)
      word("lora", mil::kLoraModes[unsigned(*function.lora)]);
  }

  std::string adapterText(llvm::ArrayRef<adapters::AdapterSpec> specs) {
    std::string text = fromFolder(specs[0].path);
    if (auto alone = parseAdapters(text); specs.size() == 1 && specs[0].weight == 1 && alone &&
                                          alone->size() == 1 && (*alone)[0].path == text)
      return text;
    else
      llvm::consumeError(alone.takeError());
    text.clear();
    for (const adapters::AdapterSpec &spec : specs)
      text +=
          fmt::format("{0}{1}:{2}", text.empty() ? "" : "+", fromFolder(spec.path), spec.weight);
    return text;
  }

  static void realPath(StringRef folder, llvm::SmallVectorImpl<char> &to) {
    if (llvm::sys::fs::real_path(folder, to)) {
      to.assign(folder.begin(), folder.end());
      llvm::sys::fs::make_absolute(to);
    }
  }

  /// As the recipe's reader resolves it. What is below the last folder may be a link of its own.
  std::string fromFolder(StringRef file) const {
    // What a recipe in this folder names is in it as before; other absolute paths stay.
    if (path::is_absolute(file) && !file.starts_with((folder_ + "/").str()))
      return file.str();
    file = file.rtrim('/');
    llvm::SmallString<256> whole;
    StringRef parent = path::parent_path(file);
    realPath(parent.empty() ? "." : parent, whole);
    path::append(whole, path::filename(file));
    return std::filesystem::path(whole.str().str())
        .lexically_normal()
        .lexically_relative(folder_.str().str())
        .generic_string();
  }

  std::string text_;
  llvm::raw_string_ostream out_;
  llvm::SmallString<256> folder_;
  unsigned indent_ = 0;
};

} // namespace

std::string recipeText(const CompileOptions &options,
                       const std::optional<PrecisionReport> &precision, StringRef path) {
  return Writer(path).write(options, precision);
}

} // namespace plait::driver
