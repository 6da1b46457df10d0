// What is done to packages that exist. Their functions may come from any tool.
#pragma once

#include <plait/compile.h>
#include <plait/run.h>

#ifdef PLAIT_CXX20
namespace plait {
inline namespace v0 {

/// Functions of one package.
struct MergeSource {
  std::string package; ///< the .mlpackage
  /// One of its functions; "" takes all under their own names, or, with a new name, the default.
  std::string function = {};
  /// The new name; "" keeps the function's own.
  std::string name = {};
};

struct MergeOptions {
  /// The function that runs where none is named (--default); "" takes the first.
  std::string defaultFunction = {};
  /// Whether functions share equal weights.
  bool share = true;
  /// As PackageOptions::expectShared.
  std::optional<double> expectShared = {};
  /// As PackageOptions::allow.
  std::vector<std::string> allow = {};
  /// For writing weights; 0: one a processor.
  unsigned threads = 0;
  // Metadata of the new package.
  std::string author = {}, license = {}, versionString = {}, description = {};
  std::map<std::string, std::string> meta = {};
};

/// Writes functions of packages as one package at `path` (*.mlpackage), which is replaced where it
/// is a package; it may be one of the sources. Functions for systems older than iOS 18 and macOS 15
/// are rewritten for these; what these cannot say is an exception that names it. After an exception
/// nothing was written, and what was there is untouched. Any thread.
PLAIT_API Report merge(const std::string &path, const std::vector<MergeSource> &sources,
                       const MergeOptions &options = {});

struct RemoveOptions {
  /// The function that runs from now on where none is named (--default); "" leaves it as it is.
  std::string defaultFunction = {};
  /// Whether to write the package anew, without the weights that no function uses any more.
  bool compact = false;
  /// For writing weights; 0: one a processor.
  unsigned threads = 0;
};

/// Takes functions out of the package at `path`, which is valid at every moment. One must stay, and
/// the default among them. None may be named where `compact` is all that is wanted. After an
/// exception the package is as it was, but for functions that are out where compacting failed. Any
/// thread.
PLAIT_API void remove(const std::string &path, const std::vector<std::string> &functions,
                      const RemoveOptions &options = {});

/// The matrices of the adapter (a PEFT folder or a safetensors file) as arrays for the inputs of a
/// function that was compiled with Lora::inputs: fp16, with the adapter's scale in them, to be
/// given to Session::run() beside the other inputs. `map` is Report::adapterMap; `function` "" is
/// the only one there. `loraAlpha` and `loraScale` are as FunctionOptions has them. Throws where
/// the adapter has other modules or ranks than the function. Any thread.
PLAIT_API std::map<std::string, Array>
packAdapter(const std::string &adapter, const std::string &map, const std::string &function = "",
            std::optional<double> loraAlpha = {}, std::optional<double> loraScale = {});

} // namespace v0
} // namespace plait
#endif
