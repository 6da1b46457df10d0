// Parsing adapters; the grammar opens the header.
#include "driver/AdapterSyntax.h"

#include <cmath>

namespace plait::driver {

using llvm::StringRef;

const Option adapterRootOption{"adapter-root", "PATH",
                               "the module of the base that was adapted, where the adapter "
                               "fits several",
                               0, Scope::Function};
const Option allowUnmatchedOption{"allow-unmatched", nullptr,
                                  "go on without the tensors of an adapter that belong to no "
                                  "module of the base",
                                  0, Scope::Function};
const Option loraAlphaOption{
    "lora-alpha", "ALPHA", "the alpha of an adapter whose files do not say it", 0, Scope::Function};
const Option loraScaleOption{"lora-scale", "SCALE",
                             "the scale (alpha / rank) of an adapter whose files do not say it", 0,
                             Scope::Function};

/// The position of the colon before a weight that ends at '+' or at the end; npos where there is
/// none.
static size_t findWeight(StringRef text, double &weight, size_t &end) {
  for (size_t colon = text.find(':'); colon != StringRef::npos; colon = text.find(':', colon + 1)) {
    // A '+' may belong to the number: 1e+3.
    for (size_t plus = text.find('+', colon);; plus = text.find('+', plus + 1)) {
      StringRef number = text.slice(colon + 1, plus);
      if (!number.getAsDouble(weight) && std::isfinite(weight) && colon > 0) {
        end = plus == StringRef::npos ? text.size() : plus;
        return colon;
      }
      if (plus == StringRef::npos)
        break;
    }
  }
  return StringRef::npos;
}

Expected<std::vector<adapters::AdapterSpec>> parseAdapters(StringRef text) {
  std::vector<adapters::AdapterSpec> adapters;
  if (text.empty())
    return makeError(Code::OptionValue, "the adapter's folder is missing");
  for (StringRef rest = text; !rest.empty();) {
    double weight = 1;
    size_t end = 0, colon = findWeight(rest, weight, end);
    if (colon == StringRef::npos) {
      if (!adapters.empty())
        return makeError(Code::OptionValue, "'{0}' has no weight; a blend is DIR:WEIGHT+DIR:WEIGHT",
                         rest);
      adapters.push_back({rest.str(), 1});
      break;
    }
    adapters.push_back({rest.take_front(colon).str(), weight});
    if (end + 1 == rest.size())
      return makeError(Code::OptionValue, "nothing follows the last '+'");
    rest = rest.drop_front(std::min(end + 1, rest.size()));
  }
  return adapters;
}

Expected<adapters::GivenScale> parseScale(bool isAlpha, StringRef text) {
  adapters::GivenScale scale{isAlpha, 0};
  if (!text.getAsDouble(scale.value) && std::isfinite(scale.value))
    return scale;
  return makeError(Code::OptionValue, "'{0}' is no number", text);
}

Error addScale(const Option &option, bool isAlpha, StringRef text,
               std::optional<adapters::GivenScale> &scale) {
  auto given = parseScale(isAlpha, text);
  if (!given)
    return usageError(given.takeError(), spelling(option));
  if (scale)
    return usageError(Code::OptionConflict, "{0}: the scale of the adapter is given already",
                      spelling(option));
  scale = *given;
  return Error::success();
}

Expected<bool> AdapterChoices::take(const Arguments::Item &item) {
  if (item.option == &adapterRootOption) {
    if (root)
      return usageError(Code::OptionConflict, "--adapter-root is given twice");
    root = item.value;
  } else if (item.option == &allowUnmatchedOption) {
    allowUnmatched = true;
  } else if (item.option == &loraAlphaOption || item.option == &loraScaleOption) {
    if (Error error = addScale(*item.option, item.option == &loraAlphaOption, item.value, scale))
      return error;
  } else {
    return false;
  }
  return true;
}

void AdapterChoices::inherit(const AdapterChoices &from) {
  if (!root)
    root = from.root;
  allowUnmatched |= from.allowUnmatched;
  if (!scale)
    scale = from.scale;
}

void setScale(std::vector<adapters::AdapterSpec> &adapters,
              const std::optional<adapters::GivenScale> &scale) {
  for (adapters::AdapterSpec &adapter : adapters)
    adapter.scale = scale;
}

Error checkLora(const FunctionOptions &function) {
  if (function.lora != mil::LoraMode::Inputs || !function.adapters.specs.empty())
    return Error::success();
  return makeError(Code::AdapterInputs,
                   "function '{0}' is no --adapter: only an adapter's matrices can be inputs",
                   function.name);
}

} // namespace plait::driver
