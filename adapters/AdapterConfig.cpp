// Reading the members that decide what an adapter computes, refusing those that plait does not
// know.
#include "adapters/AdapterConfig.h"

#include "adapters/MlxConfig.h"
#include "support/Json.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"

#include <cmath>

namespace plait::adapters {

namespace json = llvm::json;
using llvm::StringRef;

StringRef name(AdapterKind kind) {
  switch (kind) {
  case AdapterKind::Lora:
    return "LoRA";
  case AdapterKind::Ia3:
    return "(IA)3";
  case AdapterKind::Loha:
    return "LoHa";
  case AdapterKind::Lokr:
    return "LoKr";
  case AdapterKind::Vera:
    return "VeRA";
  case AdapterKind::LnTuning:
    return "LN tuning";
  }
  return "";
}

Expected<bool> ModuleChoice::contains(StringRef path) const {
  if (pattern) {
    auto match = pattern->fullmatch(path);
    if (!match)
      return match.takeError();
    return match->has_value();
  }
  return llvm::any_of(names, [&](StringRef name) {
    return path == name || (path.ends_with(name) && path.drop_back(name.size()).ends_with("."));
  });
}

Expected<bool> ModuleChoice::endsIn(StringRef path) const {
  if (pattern)
    return contains(path);
  return llvm::any_of(names, [&](StringRef name) { return path.ends_with(name); });
}

Expected<bool> AdapterConfig::adapts(StringRef path) const {
  auto isExcluded = excluded.contains(path);
  if (!isExcluded)
    return isExcluded.takeError();
  if (*isExcluded)
    return false;
  for (const PythonRegex &regex : saved) {
    auto match = regex.match(path);
    if (!match)
      return match.takeError();
    if (*match)
      return false;
  }
  if (!targets.given || targets.allLinear)
    return true;
  auto chosen = targets.contains(path);
  if (!chosen || !*chosen || targets.pattern || !layers || llvm::is_contained(targets.names, path))
    return chosen;
  for (const PythonRegex &regex : layerPatterns) {
    auto match = regex.match(path);
    if (!match)
      return match.takeError();
    if (!*match)
      continue;
    int64_t layer;
    return !StringRef((**match)["idx"]).getAsInteger(10, layer) &&
           llvm::is_contained(*layers, layer);
  }
  return false;
}

static Expected<double> firstMatch(llvm::ArrayRef<std::pair<PythonRegex, double>> patterns,
                                   StringRef path, double otherwise) {
  for (const auto &[regex, value] : patterns) {
    auto match = regex.match(path);
    if (!match)
      return match.takeError();
    if (*match)
      return value;
  }
  return otherwise;
}

Expected<double> AdapterConfig::alphaOf(StringRef path) const {
  return firstMatch(alphas, path, alpha);
}

Expected<int64_t> AdapterConfig::rankOf(StringRef path) const {
  auto value = firstMatch(ranks, path, double(rank));
  if (!value)
    return value.takeError();
  return int64_t(*value);
}

const std::vector<int64_t> *AdapterConfig::tokensOf(StringRef path) const {
  for (const auto &[name, indices] : tokens)
    if (name.empty() || path == name || path.ends_with("." + name))
      return &indices;
  return nullptr;
}

// ---- Parsing -----------------------------------------------------------------------------------

namespace {

bool isSet(const json::Value *value) {
  if (!value || value->kind() == json::Value::Null)
    return false;
  if (auto flag = value->getAsBoolean())
    return *flag;
  if (const json::Array *array = value->getAsArray())
    return !array->empty();
  if (const json::Object *object = value->getAsObject())
    return !object->empty();
  return true;
}

/// Options that change what is computed in ways that plait does not know, and what to do instead.
struct Refused {
  const char *member, *advice;
};
constexpr const char *kTrace = "trace the adapted model and give it as --function NAME=MODEL.pt";
constexpr Refused kRefused[] = {
    {"layer_replication", "load base and adapter in PEFT and trace the model that it gives"},
    {"megatron_config", "save the adapter from a model without Megatron's parallel layers"},
    {"alora_invocation_tokens", "an activated LoRA depends on the tokens seen; trace the adapted "
                                "model"},
    {"target_parameters", "adapt modules (target_modules) instead, or trace the adapted model"},
    {"use_qalora", kTrace},
    {"use_bdlora", kTrace},
    {"arrow_config", kTrace},
    {"kasa_config", kTrace},
    {"monteclora_config", kTrace},
    {"enable_lora", kTrace},
};

/// Members that are read, or that say how the adapter was trained and change nothing of what it
/// computes. `kRefused` is known too.
bool isKnown(StringRef member) {
  static const llvm::StringSet<> known = {
      // Of every kind.
      "peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision",
      "inference_mode", "peft_version", "modules_to_save", "target_modules", "exclude_modules",
      "layers_to_transform", "layers_pattern", "fan_in_fan_out", "bias", "r", "alpha",
      "rank_pattern", "alpha_pattern", "init_weights", "rank_dropout", "module_dropout",
      "rank_dropout_scale",
      // LoRA, and AdaLoRA with its schedule.
      "lora_alpha", "lora_dropout", "lora_bias", "use_rslora", "use_dora", "init_lora_weights",
      "loftq_config", "eva_config", "corda_config", "lora_ga_config", "velora_config",
      "runtime_config", "megatron_core", "qalora_group_size", "ensure_weight_tying",
      "trainable_token_indices", "merge_weights", "target_r", "init_r", "tinit", "tfinal", "deltaT",
      "beta1", "beta2", "orth_reg_weight", "total_step",
      // The others. Of LoKr and LoHa the tensors show how they were decomposed.
      "feedforward_modules", "init_ia3_weights", "use_effective_conv2d", "decompose_both",
      "decompose_factor", "projection_prng_key", "save_projection", "vera_dropout", "d_initial"};
  return known.contains(member) ||
         llvm::any_of(kRefused, [&](const Refused &refused) { return member == refused.member; });
}

/// "none" and zero as well: what newer versions write where an option is not used.
bool saysSomething(const json::Value &value) {
  if (auto text = value.getAsString())
    return !text->empty() && *text != "none";
  if (auto number = value.getAsNumber())
    return *number != 0;
  return isSet(&value);
}

class Reader {
public:
  /// `prefix` is before every member in the text.
  Reader(const json::Object &object, StringRef text, StringRef prefix = "")
      : object_(object), text_(text), prefix_("\"" + prefix.str()) {}

  Expected<AdapterConfig> read() {
    if (Error error = readKind())
      return error;
    if (Error error = checkOptions())
      return error;
    if (Error error = checkInitialisation())
      return error;
    if (Error error = flag("use_rslora", config_.rankScaled))
      return error;
    if (Error error = flag("use_dora", config_.dora))
      return error;
    if (Error error = flag("ensure_weight_tying", config_.tiesWeights))
      return error;
    if (Error error = readRanks())
      return error;
    if (config_.kind == AdapterKind::Vera)
      if (Error error = readSeed())
        return error;
    if (Error error = choice("target_modules", config_.targets))
      return error;
    if (Error error = choice("exclude_modules", config_.excluded))
      return error;
    if (Error error = choice("feedforward_modules", config_.feedforward))
      return error;
    if (Error error = readLayers())
      return error;
    if (Error error = readSaved())
      return error;
    if (Error error = readTokens())
      return error;
    return std::move(config_);
  }

private:
  Error readKind() {
    auto type = object_.getString("peft_type");
    if (!type)
      return makeError(Code::AdapterConfig,
                       "'peft_type' is {0}: this is no configuration of a PEFT adapter",
                       object_.get("peft_type") ? "no text" : "missing");
    auto kind = llvm::StringSwitch<std::optional<AdapterKind>>(*type)
                    .Cases("LORA", "ADALORA", AdapterKind::Lora)
                    .Case("IA3", AdapterKind::Ia3)
                    .Case("LOHA", AdapterKind::Loha)
                    .Case("LOKR", AdapterKind::Lokr)
                    .Case("VERA", AdapterKind::Vera)
                    .Case("LN_TUNING", AdapterKind::LnTuning)
                    .Default(std::nullopt);
    if (!kind)
      return makeError(Code::AdapterKind,
                       "adapters of the kind {0} are not supported (LORA, ADALORA, IA3, LOHA, "
                       "LOKR, VERA and LN_TUNING are); {1}",
                       *type, kTrace);
    config_.kind = *kind;
    config_.adaptive = *type == "ADALORA";
    return Error::success();
  }

  Error checkOptions() const {
    for (const Refused &refused : kRefused)
      if (isSet(object_.get(refused.member)))
        return makeError(Code::AdapterKind, "the adapter uses '{0}', which is not supported; {1}",
                         refused.member, refused.advice);
    std::vector<StringRef> unknown;
    for (const auto &[member, value] : object_)
      if (!isKnown(member) && saysSomething(value))
        unknown.push_back(member);
    if (unknown.empty())
      return Error::success();
    llvm::sort(unknown);
    return makeError(Code::AdapterKind,
                     "plait does not know the option{0} '{1}', and cannot tell whether {2} what "
                     "the adapter computes; take {3} out of the file where {4} not, or trace the "
                     "adapted model and give it as --function NAME=MODEL.pt",
                     unknown.size() == 1 ? "" : "s", llvm::join(unknown, "', '"),
                     unknown.size() == 1 ? "it changes" : "they change",
                     unknown.size() == 1 ? "it" : "them",
                     unknown.size() == 1 ? "it does" : "they do");
  }

  Error readRanks() {
    if (Error error =
            number(config_.kind == AdapterKind::Lora ? "lora_alpha" : "alpha", config_.alpha))
      return error;
    if (config_.adaptive) {
      // What rank_pattern keeps has been taken out of the tensors.
      config_.rank = 12;
      return rank("init_r", config_.rank);
    }
    if (Error error = rank("r", config_.rank))
      return error;
    if (Error error = patterns("alpha_pattern", config_.alphas))
      return error;
    if (Error error = patterns("rank_pattern", config_.ranks))
      return error;
    for (const auto &[regex, value] : config_.ranks)
      if (Error error = checkRank("rank_pattern", value))
        return error;
    return Error::success();
  }

  Error readSeed() {
    bool saved = true;
    if (Error error = flag("save_projection", saved))
      return error;
    const json::Value *key = object_.get("projection_prng_key");
    if (saved || !key)
      return Error::success();
    config_.projectionSeed = key->getAsUINT64();
    if (config_.projectionSeed)
      return Error::success();
    return makeError(Code::AdapterConfig, "'projection_prng_key' is no seed: a number of 64 bits");
  }

  /// Some ways to initialise take part of the base's weights away; PEFT's saved adapter then
  /// belongs to that changed base.
  Error checkInitialisation() {
    if (config_.kind != AdapterKind::Lora)
      return Error::success();
    auto text = object_.getString("init_lora_weights");
    if (!text || llvm::any_of(llvm::ArrayRef<StringRef>{"gaussian", "eva", "orthogonal", "mica"},
                              [&](StringRef known) { return text->equals_insensitive(known); }))
      return Error::success();
    return makeError(Code::AdapterKind,
                     "the adapter was initialised with init_lora_weights '{0}', which changes the "
                     "base's weights; "
                     "save it with save_pretrained(…, path_initial_model_for_weight_conversion=…), "
                     "which makes a "
                     "plain LoRA of it, or trace the adapted model",
                     *text);
  }

  Error flag(StringRef member, bool &to) {
    const json::Value *value = object_.get(member);
    if (!value || value->kind() == json::Value::Null)
      return Error::success();
    auto given = value->getAsBoolean();
    if (!given)
      return makeError(Code::AdapterConfig, "'{0}' is neither true nor false", member);
    to = *given;
    return Error::success();
  }
  Error number(StringRef member, double &to) {
    const json::Value *value = object_.get(member);
    if (!value || value->kind() == json::Value::Null)
      return Error::success();
    auto given = value->getAsNumber();
    if (!given || !std::isfinite(*given))
      return makeError(Code::AdapterConfig, "'{0}' is no {1}", member,
                       given ? "finite number" : "number");
    to = *given;
    return Error::success();
  }
  static Error checkRank(StringRef member, double value) {
    if (value >= 1 && value <= 1 << 24 && value == std::floor(value))
      return Error::success();
    return makeError(Code::AdapterConfig, "'{0}' is {1}, which is no rank", member,
                     jsonText(value));
  }
  Error rank(StringRef member, int64_t &to) {
    double value = double(to);
    if (Error error = number(member, value))
      return error;
    if (Error error = checkRank(member, value))
      return error;
    to = int64_t(value);
    return Error::success();
  }

  Error patterns(StringRef member, std::vector<std::pair<PythonRegex, double>> &to) {
    const json::Value *value = object_.get(member);
    if (!value || value->kind() == json::Value::Null)
      return Error::success();
    const json::Object *object = value->getAsObject();
    if (!object)
      return makeError(Code::AdapterConfig, "'{0}' is no object", member);
    // The first match counts, so the order of the file does; the parser forgets it.
    StringRef after = text_.substr(text_.find((prefix_ + member + "\"").str()));
    std::vector<std::pair<size_t, StringRef>> keys;
    for (const auto &entry : *object) {
      StringRef key = entry.first;
      keys.emplace_back(after.find(jsonText(key)), key);
    }
    llvm::sort(keys);
    for (const auto &[place, key] : keys) {
      auto number = object->get(key)->getAsNumber();
      if (!number || !std::isfinite(*number))
        return makeError(Code::AdapterConfig, "'{0}' of '{1}' is no {2}", member, key,
                         number ? "finite number" : "number");
      auto regex = PythonRegex::compile(("(.*\\.)?(" + key + ")$").str());
      if (!regex)
        return addContext(regex.takeError(), member);
      to.emplace_back(std::move(*regex), *number);
    }
    return Error::success();
  }

  /// A text or a list of texts.
  Expected<std::vector<std::string>> texts(StringRef member) {
    std::vector<std::string> result;
    const json::Value *value = object_.get(member);
    if (!value || value->kind() == json::Value::Null)
      return result;
    if (auto text = value->getAsString()) {
      result.push_back(text->str());
      return result;
    }
    const json::Array *array = value->getAsArray();
    for (const json::Value &element : array ? *array : json::Array()) {
      auto text = element.getAsString();
      if (!text)
        array = nullptr;
      else
        result.push_back(text->str());
      if (!array)
        break;
    }
    if (!array)
      return makeError(Code::AdapterConfig, "'{0}' is neither a text nor a list of texts", member);
    return result;
  }

  Error choice(StringRef member, ModuleChoice &to) {
    auto names = texts(member);
    if (!names)
      return names.takeError();
    to.given = !names->empty();
    if (object_.getString(member)) {
      StringRef text = (*names)[0];
      to.allLinear = text.equals_insensitive("all-linear");
      if (to.allLinear)
        return Error::success();
      auto regex = PythonRegex::compile(text);
      if (!regex)
        return addContext(regex.takeError(), member);
      to.pattern = std::move(*regex);
      return Error::success();
    }
    to.names = std::move(*names);
    return Error::success();
  }

  Error readLayers() {
    const json::Value *value = object_.get("layers_to_transform");
    if (!isSet(value))
      return Error::success();
    config_.layers.emplace();
    if (auto one = jsonInteger(*value))
      config_.layers->push_back(*one);
    else if (const json::Array *array = value->getAsArray())
      for (const json::Value &element : *array) {
        auto layer = jsonInteger(element);
        if (!layer)
          return makeError(Code::AdapterConfig,
                           "'layers_to_transform' holds something other than integers");
        config_.layers->push_back(*layer);
      }
    else
      return makeError(Code::AdapterConfig,
                       "'layers_to_transform' is neither an integer nor a list of integers");
    auto given = texts("layers_pattern");
    if (!given)
      return given.takeError();
    std::vector<std::string> expressions;
    for (const std::string &pattern : *given)
      if (!pattern.empty())
        expressions.push_back("(?:^|.*?\\.)" + pattern + "\\.(?P<idx>\\d+)\\.");
    if (expressions.empty())
      expressions.push_back(".*?\\.[^.]*\\.(?P<idx>\\d+)\\.");
    for (const std::string &expression : expressions) {
      auto regex = PythonRegex::compile(expression);
      if (!regex)
        return addContext(regex.takeError(), "layers_pattern");
      config_.layerPatterns.push_back(std::move(*regex));
    }
    return Error::success();
  }

  Error readSaved() {
    auto names = texts("modules_to_save");
    if (!names)
      return names.takeError();
    for (const std::string &name : *names) {
      auto regex = PythonRegex::compile("(^|.*\\.)" + name + "($|\\..*)");
      if (!regex)
        return addContext(regex.takeError(), "modules_to_save");
      config_.saved.push_back(std::move(*regex));
    }
    return Error::success();
  }

  Error readTokens() {
    const json::Value *value = object_.get("trainable_token_indices");
    if (!isSet(value))
      return Error::success();
    auto read = [&](const json::Value &list, StringRef name) -> Error {
      const json::Array *array = list.getAsArray();
      for (const json::Value &element : array ? *array : json::Array()) {
        auto token = jsonInteger(element);
        if (!token)
          return makeError(Code::AdapterConfig,
                           "'trainable_token_indices' holds something other than integers");
        config_.tokens[name.str()].push_back(*token);
      }
      return array
                 ? Error::success()
                 : makeError(Code::AdapterConfig,
                             "'trainable_token_indices' is neither a list nor an object of lists");
    };
    const json::Object *object = value->getAsObject();
    if (!object)
      return read(*value, "");
    for (const auto &[name, list] : *object)
      if (Error error = read(list, name))
        return error;
    return Error::success();
  }

  const json::Object &object_;
  StringRef text_;
  std::string prefix_;
  AdapterConfig config_;
};

} // namespace

static Expected<json::Object> parseObject(StringRef text) {
  auto value = parseJson(text);
  if (!value)
    return value.takeError();
  json::Object *object = value->getAsObject();
  if (!object)
    return makeError(Code::AdapterConfig, "this is no JSON object");
  return std::move(*object);
}

Expected<AdapterConfig> AdapterConfig::parse(StringRef text) {
  auto object = parseObject(text);
  if (!object)
    return object.takeError();
  return isMlxConfig(*object) ? readMlxConfig(*object) : Reader(*object, text).read();
}

Expected<std::map<std::string, AdapterConfig>> AdapterConfig::parseDiffusers(StringRef text) {
  auto object = parseObject(text);
  if (!object)
    return object.takeError();
  std::map<std::string, json::Object> parts;
  for (auto &[key, value] : *object) {
    auto [name, member] = StringRef(key).split('.');
    if (member.empty())
      return makeError(Code::AdapterConfig, "the member '{0}' has no part of a pipeline before it",
                       StringRef(key));
    parts[name.str()][member] = std::move(value);
  }
  std::map<std::string, AdapterConfig> configs;
  for (auto &[part, members] : parts) {
    members.try_emplace("peft_type", "LORA");
    auto config = Reader(members, text, part + ".").read();
    if (!config)
      return addContext(config.takeError(), part);
    configs.emplace(part, std::move(*config));
  }
  return configs;
}

} // namespace plait::adapters
