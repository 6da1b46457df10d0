// Reading recipes: a walk over the nodes of LLVM's YAML parser, so that every complaint can point
// at its place and unknown or repeated keys are found.
#include "driver/Recipe.h"
#include "driver/AdapterSyntax.h"
#include "driver/ClassLabels.h"

#include "driver/CommandLine.h"
#include "driver/CompressionOptions.h"
#include "driver/DeviceRules.h"
#include "driver/InputDeclarations.h"
#include "driver/Sharing.h"
#include "driver/StateSyntax.h"
#include "driver/Target.h"
#include "driver/Unreadable.h"
#include "mil/OperationPattern.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/YAMLParser.h"

namespace plait::driver {

using llvm::StringRef;
namespace yaml = llvm::yaml;

namespace {

constexpr const char *kEmpty = "the recipe is empty; docs/command.md says what one holds";

/// Reads one document. The first complaint is kept; after it everything reads as empty.
class Reader {
public:
  Reader(StringRef text, StringRef path)
      : path_(path), folder_(llvm::sys::path::parent_path(path)),
        stream_(llvm::MemoryBufferRef(text, path), sources_, /*ShowColors=*/false) {
    sources_.setDiagHandler(
        [](const llvm::SMDiagnostic &diagnostic, void *self) {
          static_cast<Reader *>(self)->complain(
              diagnostic.getLineNo(), diagnostic.getColumnNo() + 1, diagnostic.getMessage());
        },
        this);
  }

  Expected<CompileOptions> read() {
    auto document = stream_.begin();
    yaml::Node *root = document != stream_.end() ? document->getRoot() : nullptr;
    if (!root) // a directive and nothing behind it; of mistakes in the text the parser has
               // complained
      complain(1, 1, kEmpty);
    else
      readRecipe(*root);
    if (complaint_.empty() && ++document != stream_.end())
      if (yaml::Node *second = document->getRoot())
        complain(*second, "a recipe is one YAML document");
    if (!complaint_.empty())
      return makeError(Code::Recipe, "{0}", complaint_);
    return std::move(options_);
  }

private:
  void complain(unsigned line, unsigned column, const llvm::Twine &message) {
    if (complaint_.empty())
      complaint_ = fmt::format("{0}:{1}:{2}: {3}", path_, line, column, message.str());
  }
  void complain(const yaml::Node &node, const llvm::Twine &message) {
    llvm::SMLoc start = node.getSourceRange().Start;
    if (!sources_.FindBufferContainingLoc(start)) // an empty node, which lies nowhere
      return complain(1, 1, message);
    auto [line, column] = sources_.getLineAndColumn(start);
    complain(line, column, message);
  }

  using Handlers = llvm::ArrayRef<std::pair<const char *, std::function<void(yaml::Node &)>>>;

  /// Calls `entry` for each key and value of a mapping; a key may come once.
  void
  eachEntry(yaml::Node &node, const char *what,
            llvm::function_ref<void(yaml::Node &key, StringRef name, yaml::Node &value)> entry) {
    auto *mapping = llvm::dyn_cast<yaml::MappingNode>(&node);
    if (!mapping)
      return complain(node, llvm::Twine(what) + " is a mapping, `key: value`");
    llvm::StringSet<> seen;
    for (yaml::KeyValueNode &pair : *mapping) {
      yaml::Node *key = pair.getKey();
      std::string name = key ? text(*key, "a key") : "";
      if (!complaint_.empty())
        return;
      if (!seen.insert(name).second)
        return complain(*key, "the key '" + name + "' comes twice");
      yaml::Node *value = pair.getValue();
      if (value)
        entry(*key, name, *value);
      if (stream_.failed() || !complaint_.empty())
        return;
    }
  }

  /// A mapping whose keys are those of `handlers`.
  void fields(yaml::Node &node, const char *what, Handlers handlers) {
    eachEntry(node, what, [&](yaml::Node &key, StringRef name, yaml::Node &value) {
      llvm::SmallVector<StringRef, 12> known;
      for (auto &[word, handler] : handlers) {
        if (name == word)
          return handler(value);
        known.push_back(word);
      }
      complain(key, "unknown key '" + name + "'" + didYouMean(name, known) + "; " + what + " has " +
                        llvm::join(known, ", "));
    });
  }

  std::string text(yaml::Node &node, const llvm::Twine &what) {
    llvm::SmallString<64> storage;
    if (auto *scalar = llvm::dyn_cast<yaml::ScalarNode>(&node))
      return scalar->getValue(storage).str();
    if (auto *block = llvm::dyn_cast<yaml::BlockScalarNode>(&node))
      return block->getValue().rtrim('\n').str();
    complain(node, what + " is text; write it in 'quotes' where it starts with [ or {");
    return "";
  }

  /// The index of the node's text among `words`.
  unsigned word(yaml::Node &node, const char *what, llvm::ArrayRef<const char *> words) {
    std::string given = text(node, what);
    for (unsigned i = 0; i < words.size(); ++i)
      if (given == words[i])
        return i;
    complain(node, fmt::format("{0}: '{1}' is none of {2}", what, given, llvm::join(words, ", ")));
    return 0;
  }
  bool flag(yaml::Node &node, const char *what) {
    return word(node, what, {"off", "on", "false", "true"}) % 2;
  }
  mil::LoraMode lora(yaml::Node &node) {
    return mil::LoraMode(word(node, "lora", mil::kLoraModes));
  }

  /// A sequence of texts, or one text alone.
  void texts(yaml::Node &node, const char *what,
             llvm::function_ref<void(yaml::Node &, std::string)> each) {
    auto *sequence = llvm::dyn_cast<yaml::SequenceNode>(&node);
    if (!sequence)
      return each(node, text(node, what));
    for (yaml::Node &element : *sequence) {
      std::string value = text(element, what);
      if (!complaint_.empty())
        return;
      each(element, std::move(value));
    }
  }

  void inputs(yaml::Node &node, frontend::ModelFunction &to) {
    texts(node, "an input", [&](yaml::Node &element, std::string value) {
      if (Error error = addDeclaration(to, value, {.notes = &options_.notes}))
        complain(element, toString(std::move(error)));
    });
  }
  std::vector<frontend::OutputSpec> outputs(yaml::Node &node) {
    std::vector<frontend::OutputSpec> result;
    texts(node, "an output name", [&](yaml::Node &element, std::string value) {
      auto output = parseOutput(value);
      if (!output)
        return complain(element, toString(output.takeError()));
      if (complaint_.empty() && !mil::isLegalName(output->name))
        complain(element, "the output name '" + output->name +
                              "' cannot be one in Core ML: " + mil::whyIllegal(output->name));
      result.push_back(std::move(*output));
    });
    return result;
  }
  void describe(yaml::Node &node, std::map<std::string, std::string> &to) {
    eachEntry(node, "describe", [&](yaml::Node &, StringRef name, yaml::Node &value) {
      to[name.str()] = text(value, name);
    });
  }
  /// A file, or a mapping that also says which output holds the probabilities and what the label is
  /// called.
  void classes(yaml::Node &node, FunctionOptions &to) {
    std::string path, label, scores;
    if (!llvm::isa<yaml::MappingNode>(node))
      path = file(node, "classes");
    else
      fields(node, "classes",
             {{"file", [&](yaml::Node &n) { path = file(n, "file"); }},
              {"label", [&](yaml::Node &n) { label = text(n, "label"); }},
              {"output", [&](yaml::Node &n) { scores = text(n, "output"); }}});
    if (complaint_.empty() && path.empty())
      complain(node, "classes has no `file:`");
    if (!complaint_.empty())
      return;
    auto read = readClasses(path, label);
    if (!read)
      return complain(node, toString(read.takeError()));
    read->scores = scores;
    to.classes = std::move(*read);
    to.classesFile = path;
  }
  /// Where the function has none of its own.
  static void addClasses(FunctionOptions &to, const FunctionOptions &from) {
    if (to.classes)
      return;
    to.classes = from.classes;
    to.classesFile = from.classesFile;
  }
  void states(yaml::Node &node, frontend::StatesRequest &to) {
    texts(node, "a state", [&](yaml::Node &element, std::string value) {
      if (Error error = addStates(to, value))
        complain(element, toString(std::move(error)));
    });
  }
  bool stateInputs(yaml::Node &node) { return word(node, "state_init", {"zeros", "input"}) == 1; }
  std::string file(yaml::Node &node, const char *what) {
    std::string file = text(node, what);
    if (file.empty())
      complain(node, llvm::Twine(what) + " is empty");
    return fromFolder(file);
  }
  /// A path relative to the recipe's folder.
  std::string fromFolder(StringRef file) {
    if (!llvm::sys::path::is_absolute(file) && !folder_.empty()) {
      llvm::SmallString<256> whole(folder_);
      llvm::sys::path::append(whole, file);
      return whole.str().str();
    }
    return file.str();
  }

  void readRecipe(yaml::Node &root) {
    if (llvm::isa<yaml::NullNode>(root))
      return complain(1, 1, kEmpty);
    frontend::ModelFunction commonArguments;
    std::vector<frontend::OutputSpec> commonOutputs;
    std::map<std::string, std::string> commonDescriptions;
    FunctionOptions commonClasses; // of which nothing else is used
    frontend::StatesRequest commonStates;
    std::string single;
    yaml::Node *defaultNode = nullptr, *keepNode = nullptr, *snrNode = nullptr;
    double minSnr = 0;
    std::optional<std::string> commonRoot;
    bool commonUnmatched = false;
    std::optional<adapters::GivenScale> commonScale;
    fields(
        root, "a recipe",
        {{"output", [&](yaml::Node &n) { options_.output = file(n, "output"); }},
         {"functions", [&](yaml::Node &n) { readFunctions(n); }},
         {"model", [&](yaml::Node &n) { single = file(n, "model"); }},
         {"inputs", [&](yaml::Node &n) { inputs(n, commonArguments); }},
         {"outputs", [&](yaml::Node &n) { commonOutputs = outputs(n); }},
         {"describe", [&](yaml::Node &n) { describe(n, commonDescriptions); }},
         {"classes", [&](yaml::Node &n) { classes(n, commonClasses); }},
         {"states", [&](yaml::Node &n) { states(n, commonStates); }},
         {"state_init", [&](yaml::Node &n) { commonStates.inputs = stateInputs(n); }},
         {"default",
          [&](yaml::Node &n) {
            options_.defaultFunction = text(n, "default");
            defaultNode = &n;
          }},
         {"precision",
          [&](yaml::Node &n) {
            unsigned precision = word(n, "precision", {"fp16", "fp32", "auto"});
            options_.precision = precision == 1 ? passes::Precision::F32 : passes::Precision::F16;
            if (precision == 2)
              options_.autoPrecision.emplace();
          }},
         {"keep_fp32",
          [&](yaml::Node &n) {
            texts(n, "what is kept in fp32", [&](yaml::Node &element, std::string pattern) {
              if (Error error = mil::OperationPattern::parse(pattern).takeError())
                complain(element, "keep_fp32: " + toString(std::move(error)));
              options_.keepFloat32.push_back(std::move(pattern));
            });
            keepNode = &n;
          }},
         {"min_snr",
          [&](yaml::Node &n) {
            double snr = 0;
            if (StringRef(text(n, "min_snr")).getAsDouble(snr) || !(snr > 0 && snr <= 140))
              complain(n, "min_snr: decibels between 0 and 140 are wanted");
            minSnr = snr;
            snrNode = &n;
          }},
         {"target",
          [&](yaml::Node &n) {
            if (auto target = parseTarget(text(n, "target")))
              options_.target = *target;
            else
              complain(n, "target: '" + text(n, "target") + "' is none of " + targetNames());
          }},
         {"lora", [&](yaml::Node &n) { options_.lora = lora(n); }},
         {"base", [&](yaml::Node &n) { readBases(n); }},
         {"adapter_root", [&](yaml::Node &n) { commonRoot = text(n, "adapter_root"); }},
         {"allow_unmatched", [&](yaml::Node &n) { commonUnmatched = flag(n, "allow_unmatched"); }},
         {"lora_alpha", [&](yaml::Node &n) { scale(n, /*isAlpha=*/true, commonScale); }},
         {"lora_scale", [&](yaml::Node &n) { scale(n, /*isAlpha=*/false, commonScale); }},
         {"share", [&](yaml::Node &n) { options_.share = flag(n, "share"); }},
         {"join_linears", [&](yaml::Node &n) { options_.joinLinears = flag(n, "join_linears"); }},
         {"debug_info", [&](yaml::Node &n) { options_.debugInfo = flag(n, "debug_info"); }},
         {"compress",
          [&](yaml::Node &n) {
            texts(n, "a rule of compression", [&](yaml::Node &element, std::string text) {
              auto rule = compress::parseRule(text);
              if (rule)
                options_.compress.push_back(std::move(*rule));
              else
                complain(element, "compress: " + toString(rule.takeError()));
            });
          }},
         {"require_coverage",
          [&](yaml::Node &n) {
            std::string given = text(n, "require_coverage");
            options_.requireCoverage = parseShare(given);
            if (!options_.requireCoverage)
              complain(n, "require_coverage: '" + given +
                              "' is no percentage; one from 0% to 100% is wanted");
          }},
         {"size_budget",
          [&](yaml::Node &n) {
            std::string given = text(n, "size_budget");
            options_.goal.sizeBudget = parseBytes(given);
            if (!options_.goal.sizeBudget)
              complain(n, "size_budget: '" + given +
                              "' is no number of bytes, such as 900MB or 1.5GiB");
          }},
         {"measure_on", [&](yaml::Node &n) { options_.goal.inputs = file(n, "measure_on"); }},
         {"calibrate", [&](yaml::Node &n) { options_.goal.calibration = file(n, "calibrate"); }},
         {"gptq", [&](yaml::Node &n) { options_.goal.gptq = flag(n, "gptq"); }},
         {"expect_shared",
          [&](yaml::Node &n) {
            std::string given = text(n, "expect_shared");
            options_.expectShared = parseShare(given);
            if (!options_.expectShared)
              complain(n, "expect_shared: '" + given +
                              "' is no percentage; one from 0% to 100% is wanted");
          }},
         {"allow",
          [&](yaml::Node &n) {
            texts(n, "a rule", [&](yaml::Node &element, std::string rule) {
              if (Error error = checkRuleNames({rule}))
                complain(element, "allow: " + toString(std::move(error)));
              options_.allow.push_back(std::move(rule));
            });
          }},
         {"threads",
          [&](yaml::Node &n) {
            if (StringRef(text(n, "threads")).getAsInteger(10, options_.threads) ||
                options_.threads > 1024)
              complain(n, "threads: a number from 0 to 1024 is wanted");
          }},
         {"metadata", [&](yaml::Node &n) { readMetadata(n); }}});
    if (!complaint_.empty())
      return;
    if (keepNode && options_.precision == passes::Precision::F32)
      return complain(*keepNode, "keep_fp32 is for `precision: fp16`; in fp32 everything is kept");
    CompressionGoal &goal = options_.goal;
    if (snrNode && options_.autoPrecision)
      options_.autoPrecision->minSnr = minSnr;
    else if (snrNode)
      goal.minSnr = minSnr;
    if (options_.autoPrecision)
      options_.autoPrecision->inputs = goal.inputs;
    if (snrNode && goal.minSnr && goal.inputs.empty() && goal.calibration.empty())
      return complain(*snrNode, "min_snr is of `precision: auto`; without that it chooses how "
                                "weights are compressed, and needs inputs that the functions are "
                                "run on: measure_on");
    bool compresses = !options_.compress.empty() || goal.chooses() || !goal.calibration.empty();
    if (options_.autoPrecision && !compresses)
      goal.inputs.clear();
    else if (Error error = checkGoal(goal, options_.compress, kGoalKeys))
      return complain(root, toString(std::move(error)));
    if (single.empty() == options_.functions.empty())
      return complain(root, "a recipe has either `model:`, for a package of one function, or "
                            "`functions:`");
    if (!single.empty()) {
      options_.multifunction = false;
      options_.functions.push_back({{"main", single}});
    }
    if (!applyBases(root))
      return;
    if (defaultNode && llvm::none_of(options_.functions, [&](const FunctionOptions &function) {
          return function.name == options_.defaultFunction;
        }))
      return complain(*defaultNode, "the default function '" + options_.defaultFunction +
                                        "' is none of the functions");
    for (FunctionOptions &function : options_.functions) {
      inheritDeclarations(function, commonArguments);
      if (Error error = resolveSizes(function.inputs))
        return complain(root, "function '" + function.name + "': " + toString(std::move(error)));
      if (function.outputs.empty())
        function.outputs = commonOutputs;
      function.descriptions.insert(commonDescriptions.begin(), commonDescriptions.end());
      addClasses(function, commonClasses);
      function.states.addDefaults(commonStates);
      if (function.adapters.specs.empty())
        continue;
      if (!function.adapters.root)
        function.adapters.root = commonRoot;
      function.adapters.allowUnmatched |= commonUnmatched;
      if (!function.adapters.specs[0].scale)
        setScale(function.adapters.specs, commonScale);
    }
  }

  /// What `adapter:` says, with its folders relative to the recipe's.
  std::vector<adapters::AdapterSpec> adapters(yaml::Node &node) {
    auto specs = parseAdapters(text(node, "adapter"));
    if (!specs) {
      complain(node, toString(specs.takeError()));
      return {};
    }
    for (adapters::AdapterSpec &spec : *specs)
      spec.path = fromFolder(spec.path);
    return std::move(*specs);
  }

  void scale(yaml::Node &node, bool isAlpha, std::optional<adapters::GivenScale> &to) {
    if (to)
      return complain(node, "lora_alpha and lora_scale say the same: one of them is wanted");
    auto given = parseScale(isAlpha, text(node, isAlpha ? "lora_alpha" : "lora_scale"));
    if (given)
      to = *given;
    else
      complain(node, toString(given.takeError()));
  }

  /// `base: MODEL.pt`, or a mapping of phases to models.
  void readBases(yaml::Node &node) {
    if (!llvm::isa<yaml::MappingNode>(node)) {
      bases_.push_back({{"", file(node, "base")}});
      return;
    }
    eachEntry(node, "base", [&](yaml::Node &key, StringRef name, yaml::Node &value) {
      FunctionOptions base{{name.str(), ""}};
      if (!mil::isLegalName(name))
        return complain(key, "'" + name + "' cannot be part of a function's name");
      if (llvm::isa<yaml::ScalarNode>(value))
        base.model = file(value, "base");
      else
        fields(value, "a base",
               {{"model", [&](yaml::Node &n) { base.model = file(n, "model"); }},
                {"inputs", [&](yaml::Node &n) { inputs(n, base); }},
                {"outputs", [&](yaml::Node &n) { base.outputs = outputs(n); }},
                {"describe", [&](yaml::Node &n) { describe(n, base.descriptions); }},
                {"classes", [&](yaml::Node &n) { classes(n, base); }},
                {"states", [&](yaml::Node &n) { states(n, base.states); }},
                {"state_init", [&](yaml::Node &n) { base.states.inputs = stateInputs(n); }},
                {"lora", [&](yaml::Node &n) { base.lora = lora(n); }},
                {"adapter_root",
                 [&](yaml::Node &n) { base.adapters.root = text(n, "adapter_root"); }}});
      if (complaint_.empty() && base.model.empty())
        complain(key, "the base '" + name + "' has no `model:`");
      bases_.push_back(std::move(base));
    });
  }

  /// A function without a model of its own is made of each base; false after a complaint.
  bool applyBases(yaml::Node &root) {
    std::vector<FunctionOptions> all;
    for (FunctionOptions &function : options_.functions) {
      if (!function.model.empty()) {
        all.push_back(std::move(function));
        continue;
      }
      if (bases_.empty()) {
        complain(root, "the function '" + llvm::Twine(function.name) +
                           "' is made from `base:`, and the recipe has none");
        return false;
      }
      for (const FunctionOptions &base : bases_) {
        FunctionOptions made = function;
        if (!base.name.empty())
          made.name += "_" + base.name;
        made.model = base.model;
        inheritDeclarations(made, base);
        if (made.outputs.empty())
          made.outputs = base.outputs;
        made.descriptions.insert(base.descriptions.begin(), base.descriptions.end());
        addClasses(made, base);
        made.states.addDefaults(base.states);
        if (!made.lora && !made.adapters.specs.empty())
          made.lora = base.lora;
        if (!made.adapters.root)
          made.adapters.root = base.adapters.root;
        all.push_back(std::move(made));
      }
    }
    options_.functions = std::move(all);
    return true;
  }

  void readFunctions(yaml::Node &node) {
    eachEntry(node, "functions", [&](yaml::Node &key, StringRef name, yaml::Node &value) {
      FunctionOptions function;
      function.name = name.str();
      if (!mil::isLegalName(name))
        return complain(key, "'" + name + "' cannot name a function: " + mil::whyIllegal(name));
      bool ofBase = false;
      std::string ownBase;
      std::optional<adapters::GivenScale> given;
      if (llvm::isa<yaml::ScalarNode>(value)) {
        function.model = file(value, "model");
      } else {
        fields(value, "a function",
               {{"model", [&](yaml::Node &n) { function.model = file(n, "model"); }},
                {"base", [&](yaml::Node &n) { ownBase = file(n, "base"); }},
                {"adapter", [&](yaml::Node &n) { function.adapters.specs = adapters(n); }},
                {"bare_base", [&](yaml::Node &n) { ofBase = flag(n, "bare_base"); }},
                {"adapter_root",
                 [&](yaml::Node &n) { function.adapters.root = text(n, "adapter_root"); }},
                {"allow_unmatched",
                 [&](yaml::Node &n) {
                   function.adapters.allowUnmatched = flag(n, "allow_unmatched");
                 }},
                {"lora_alpha", [&](yaml::Node &n) { scale(n, /*isAlpha=*/true, given); }},
                {"lora_scale", [&](yaml::Node &n) { scale(n, /*isAlpha=*/false, given); }},
                {"inputs", [&](yaml::Node &n) { inputs(n, function); }},
                {"outputs", [&](yaml::Node &n) { function.outputs = outputs(n); }},
                {"describe", [&](yaml::Node &n) { describe(n, function.descriptions); }},
                {"classes", [&](yaml::Node &n) { classes(n, function); }},
                {"states", [&](yaml::Node &n) { states(n, function.states); }},
                {"state_init", [&](yaml::Node &n) { function.states.inputs = stateInputs(n); }},
                {"lora", [&](yaml::Node &n) { function.lora = lora(n); }}});
        ofBase |= !function.adapters.specs.empty();
        if (!ofBase && function.model.empty())
          complain(key, "the function '" + name + "' has no `model:`");
        if (ofBase && !function.model.empty())
          complain(key, "the function '" + name + "' has a `model:`, but is made from `base:`");
        if (!ownBase.empty() && function.adapters.specs.empty())
          complain(key, "the function '" + name + "' has a `base:`, and no `adapter:` for it");
        if (!ownBase.empty())
          function.model = ownBase;
        if (given && function.adapters.specs.empty())
          complain(key,
                   "the function '" + name + "' has the scale of an adapter, and no `adapter:`");
        setScale(function.adapters.specs, given);
        if (Error error = checkLora(function))
          complain(key, toString(std::move(error)));
      }
      options_.functions.push_back(std::move(function));
    });
  }

  void readMetadata(yaml::Node &node) {
    mil::Metadata &to = options_.metadata;
    fields(node, "metadata",
           {{"author", [&](yaml::Node &n) { to.author = text(n, "author"); }},
            {"license", [&](yaml::Node &n) { to.license = text(n, "license"); }},
            {"version", [&](yaml::Node &n) { to.version = text(n, "version"); }},
            {"description", [&](yaml::Node &n) { to.description = text(n, "description"); }},
            {"user", [&](yaml::Node &n) {
               eachEntry(n, "user", [&](yaml::Node &, StringRef name, yaml::Node &value) {
                 to.userDefined[name.str()] = text(value, name);
               });
             }}});
  }

  StringRef path_, folder_;
  /// The models that adapters are applied to: one without a name, or several, with what is said of
  /// their functions.
  std::vector<FunctionOptions> bases_;
  std::string complaint_;
  CompileOptions options_;
  llvm::SourceMgr sources_;
  yaml::Stream stream_;
};

} // namespace

bool isRecipe(StringRef path) { return path.ends_with(".yaml") || path.ends_with(".yml"); }

Expected<CompileOptions> parseRecipe(StringRef text, StringRef path) {
  return Reader(text, path).read();
}

Expected<CompileOptions> readRecipe(StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer)
    return unreadable(path, buffer.getError());
  return parseRecipe((*buffer)->getBuffer(), path);
}

} // namespace plait::driver
