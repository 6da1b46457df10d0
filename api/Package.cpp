// Merging, removing and packing: the driver's functions.
#include "api/Impl.h"

#include "driver/AdapterMap.h"
#include "driver/Merge.h"
#include "driver/Remove.h"

namespace plait::inline v0 {

Report merge(const std::string &path, const std::vector<MergeSource> &sources,
             const MergeOptions &options) {
  driver::MergeOptions merge;
  merge.output = path;
  for (const MergeSource &source : sources)
    merge.sources.push_back({source.package, source.function, source.name});
  merge.defaultFunction = options.defaultFunction;
  merge.share = options.share;
  merge.expectShared = checkedShare(options.expectShared);
  merge.allow = options.allow;
  merge.threads = options.threads;
  merge.metadata = toMetadata(options.author, options.license, options.versionString,
                              options.description, options.meta);
  checkPackageName(path);
  std::vector<Warning> warnings;
  merge.warn = [&](const Warning &warning) { warnings.push_back(warning); };
  Report report = toReport(valueOrRaise(driver::merge(merge)));
  setWarnings(report, warnings);
  return report;
}

void remove(const std::string &path, const std::vector<std::string> &functions,
            const RemoveOptions &options) {
  driver::RemoveOptions remove;
  remove.package = path;
  remove.functions = functions;
  remove.defaultFunction = options.defaultFunction;
  remove.compact = options.compact;
  remove.threads = options.threads;
  if (functions.empty() && !options.compact)
    refuse(Code::OptionMissing, path + ": no function is named that is to be taken out");
  if (llvm::Error error = driver::remove(remove).takeError())
    raise(std::move(error));
}

std::map<std::string, Array> packAdapter(const std::string &adapter, const std::string &map,
                                         const std::string &function,
                                         std::optional<double> loraAlpha,
                                         std::optional<double> loraScale) {
  auto packed = valueOrRaise(
      driver::packAdapter({adapter, 1, givenScale(loraAlpha, loraScale)}, map,
                          function.empty() ? std::nullopt : std::optional<std::string>(function)));
  std::map<std::string, Array> arrays;
  for (const adapters::PackedInput &input : packed)
    arrays[input.name] = toArray(input.value);
  return arrays;
}

} // namespace plait::inline v0
