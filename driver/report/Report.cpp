// Putting the page together.
#include "driver/report/Report.h"

#include "support/Json.h"
#include "support/NewFile.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Base64.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SHA256.h"

namespace plait::driver {

std::string scriptSafe(llvm::StringRef json) {
  std::string safe;
  safe.reserve(json.size());
  for (size_t i = 0; i < json.size(); ++i) {
    llvm::StringRef rest = json.substr(i);
    if (json[i] == '<') { // it stands in strings alone
      safe += "\\u003c";
    } else if (rest.starts_with("\xE2\x80\xA8") || rest.starts_with("\xE2\x80\xA9")) {
      safe += rest[2] == '\xA8' ? "\\u2028" : "\\u2029";
      i += 2;
    } else {
      safe += json[i];
    }
  }
  return safe;
}

static llvm::StringRef pageFile(llvm::StringRef name) {
  for (const PageFile *file = pageFiles; file->name; ++file)
    if (name == file->name)
      return file->text;
  llvm_unreachable("the page has a file that is not there");
}

/// As a Content-Security-Policy names a script or style that may be in the page.
static std::string hashSource(llvm::StringRef text) {
  auto digest = llvm::SHA256::hash(llvm::arrayRefFromStringRef(text));
  return "sha256-" + llvm::encodeBase64(digest);
}

Error writeReport(const ReportOptions &options) {
  auto data = reportData(options);
  if (!data)
    return data.takeError();
  std::string script;
  for (const char *name : {"data.js", "elements.js", "functions.js", "sharing.js", "operations.js",
                           "tree.js", "graph.js", "main.js"})
    script += pageFile(name);
  std::pair<llvm::StringRef, std::string> values[] = {
      {"style-hash", hashSource(pageFile("page.css"))},
      {"script-hash", hashSource(script)},
      {"style", pageFile("page.css").str()},
      {"data", scriptSafe(jsonText(*data))},
      {"script", script},
  };
  std::string page;
  llvm::StringRef rest = pageFile("page.html");
  while (!rest.empty()) {
    auto [before, behind] = rest.split("{{");
    page += before;
    auto [name, after] = behind.split("}}");
    for (const auto &[key, value] : values)
      if (name == key)
        page += value;
    rest = after;
  }
  collectAbandoned(llvm::sys::path::parent_path(options.output));
  return writeNewFile(options.output, page, /*flush=*/false);
}

} // namespace plait::driver
