// --author, --license, --version-string, --description, --meta.
#include "driver/MetadataOptions.h"

namespace plait::driver {

constexpr Option authorOption{"author", "TEXT", "who made the model"};
constexpr Option licenseOption{"license", "TEXT", "the license"};
constexpr Option versionOption{"version-string", "TEXT", "the model's version"};
constexpr Option descriptionOption{"description", "TEXT", "what the model does"};
constexpr Option metaOption{"meta", "KEY=VALUE", "a field of your own; repeatable", 0, Scope::Many};

llvm::ArrayRef<const Option *> metadataOptions() {
  static constexpr const Option *options[] = {&authorOption, &licenseOption, &versionOption,
                                              &descriptionOption, &metaOption};
  return options;
}

Error readMetadata(const Arguments &arguments, mil::Metadata &metadata) {
  const std::pair<const Option *, std::string *> fields[] = {
      {&authorOption, &metadata.author},
      {&licenseOption, &metadata.license},
      {&versionOption, &metadata.version},
      {&descriptionOption, &metadata.description}};
  for (auto [option, field] : fields)
    if (auto value = arguments.value(*option))
      *field = *value;
  for (const std::string &given : arguments.values(metaOption)) {
    auto pair = splitPair(metaOption, given);
    if (!pair)
      return pair.takeError();
    metadata.userDefined[pair->first] = pair->second;
  }
  return Error::success();
}

} // namespace plait::driver
