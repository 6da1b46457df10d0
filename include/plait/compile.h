// Functions of models, written as one package or into one that exists.
#pragma once

#include <plait/exception.h>

#ifdef PLAIT_CXX20
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>
#include <version>
#ifdef __cpp_lib_jthread
#include <stop_token>
#endif

namespace plait {
inline namespace v0 {

/// What to compute and store in.
enum class Precision { fp16, fp32 };
/// Low-rank adapters beside their weight, so that functions share it; or merged into it; or, of a
/// function with FunctionOptions::adapter, their matrices as inputs of the function, which
/// packAdapter() makes arrays for.
enum class Lora { keep, fold, inputs };

/// The oldest systems that run the package: iOS 16 and macOS 13, iOS 17 and macOS 14, iOS 18 and
/// macOS 15, iOS 26 and macOS 26. Packages of several functions need ios18.
enum class Target { ios16, ios17, ios18, ios26 };

/// One function of the package.
struct FunctionOptions {
  /// The arguments in order, as --input has them: "x=fp16[1, 6000]", "tokens=int32[1, 1..128]",
  /// "x={[1,3,224,224],[1,3,512,512]}", "photo=image[rgb, 1, 3, 224, 224] scale=1/255". A name may
  /// be left out ("[1, 6000]"); "int64" is int32, since Core ML has no other integers there. Where
  /// examples are given, "x" and "x=int32" take the example's shape, and the whole list may be left
  /// out. "scale=2.0" and "mask=none" are what an argument of a file or a TorchScript module is in
  /// every call; a live module has no names of arguments (<plait/torch.h> says what to do).
  std::vector<std::string> input = {};
  /// Names of the results in order, as --output has them: "y", "y=fp32", "mask=image[gray]";
  /// missing ones get names of their own.
  std::vector<std::string> output = {};
  /// What people should know of inputs, outputs and states, by name.
  std::map<std::string, std::string> describe = {};
  /// A file of class labels, as --classes has it: "labels.txt", "label=labels.txt".
  std::string classes = {};
  /// The result that holds the probabilities of the classes, where several could.
  std::string classOutput = {};
  /// What becomes of tensors of the model that the method writes, as --states has it: "auto",
  /// "none", "k_cache=fp16[1, 8, 512, 64]", "position=input", "scratch=none". Nothing said: a model
  /// that writes to its tensors is refused.
  std::vector<std::string> states = {};
  /// Whether a written tensor that can be no state becomes an input and an output (--state-init
  /// input).
  bool stateInputs = false;
  /// Where it differs from the package's.
  std::optional<Lora> lora = {};
  /// An adapter on the model, as --adapter has it after the name: a PEFT folder or a safetensors
  /// file, or several blended by their weights, "DIR:0.7+DIR:0.3". "" is none: what --base-function
  /// is.
  std::string adapter = {};
  /// The path of the module that was adapted ("" is the model itself), where the adapter fits
  /// several.
  std::optional<std::string> adapterRoot = {};
  /// Whether to go on, with a warning, without the tensors of an adapter that belong to no module.
  bool allowUnmatched = false;
  /// The scale of an adapter whose files do not say it: alpha, which the rank divides, or the
  /// quotient itself.
  std::optional<double> loraAlpha = {}, loraScale = {};
  /// The method of a TorchScript module.
  std::string method = "forward";
};

struct PackageOptions {
  /// The function that runs where none is named (--default); "" takes the first, or, of a package
  /// that is added to, leaves it as it is.
  std::string defaultFunction = {};
  /// Default: fp16; when functions are added to a package, the precision of most of its weights.
  std::optional<Precision> precision = {};
  /// A package that is added to keeps its own, but becomes one of ios18 where it is older.
  Target target = Target::ios18;
  Lora lora = Lora::keep;
  /// Whether functions share equal weights. A package that is added to is always shared with.
  bool share = true;
  /// Whether linear layers of one input become one, such as queries, keys and values, where no
  /// function loses a shared weight by it.
  bool joinLinears = true;
  /// Whether the package tells where its operations come from, in a file that Core ML does not
  /// read.
  bool debugInfo = false;
  /// Write nothing, and throw, where a function shares less than this percentage of its weights'
  /// bytes with another function: from 0 to 100.
  std::optional<double> expectShared = {};
  /// Rules that Core ML is known to refuse and that are a warning here (`plait opt --list-rules`),
  /// such as "rank-limit". Another one that is broken is an exception, and nothing is written.
  std::vector<std::string> allow = {};
  /// With fp16: operations that are computed in fp32 all the same, as --keep-fp32 has them.
  std::vector<std::string> keepFp32 = {};
  /// For reading and writing weights; 0: one a processor. The package does not depend on it.
  unsigned threads = 0;
  /// false: a package without functions, described by its one model, whose name is "main".
  bool multifunction = true;
  // Metadata. A package that is added to keeps its own.
  std::string author = {}, license = {}, versionString = {}, description = {};
  std::map<std::string, std::string> meta = {};
};

/// What was written.
struct Report {
  struct Function {
    std::string name;
    std::size_t operations = 0;           ///< of MIL, constants not counted
    std::uint64_t ownBytes = 0;           ///< of weights that no other function uses
    std::uint64_t sharedBytes = 0;        ///< of weights that another function uses too
    std::vector<std::string> states = {}; ///< with their shapes: "k_cache [1, 8, 512, 64]"
  };
  std::vector<Function> functions; ///< those that were written now, in their order
  std::uint64_t weightFileBytes = 0;
  std::uint64_t packageBytes = 0;             ///< all files
  std::vector<std::string> warnings;          ///< all of them, whether a log took them or not
  std::vector<std::string> warningCodes = {}; ///< of each: "P0701" (`plait explain P0701`)
  /// The side file for packAdapter(), beside the package, where a function has Lora::inputs.
  std::string adapterMap;
};

/// How far an export is.
struct Progress {
  std::string what; ///< "lowering adapter_1 (2 of 8)"
  double done = 0;  ///< of the whole, from 0 to 1; never goes back
};

/// How much a message of the log matters. Errors are thrown, not logged.
enum class Severity {
  info,    ///< a step that begins
  warning, ///< the package may not be what is wanted: Report::warnings has it too
};

/// Collects functions and writes them as one package. What was added stays: it may be written again
/// and again, for instance with another precision.
class PLAIT_API Compiler {
public:
  explicit Compiler(PackageOptions options = {});
  /// What a recipe says (docs/command.md); more may be added. Its `output` is ignored.
  static Compiler fromRecipe(const std::string &path);
  /// A compiler that was moved from takes nothing but another one's content: all else throws.
  Compiler(Compiler &&) noexcept;
  Compiler &operator=(Compiler &&) noexcept;
  ~Compiler();

  /// Adds a function made of a TorchScript file or an archive of torch.export ("m.pt2", or
  /// "m.pt2:NAME" of several models). The file is opened and lowered now, to see that it has the
  /// method, that this takes the inputs, and that the results, states, classes, texts and adapters
  /// that the options speak of are there; write() does so again, and the file stays as it is until
  /// that returns. <plait/torch.h> has add() for modules in memory. Throws where the file cannot be
  /// opened, an option cannot be, or the name is taken; the compiler is then as before. What is
  /// left to write() is the model itself: an operator that has no lowering, a tensor that it writes
  /// to and `states` says nothing of; and of a model on another device the names of its results and
  /// states.
  void addFile(const std::string &name, const std::string &path, FunctionOptions options = {});
  /// Takes a function out again. Throws where there is none of that name.
  void removeFunction(const std::string &name);
  /// The names of what was added, in order.
  std::vector<std::string> functions() const;

  /// Compiles what was added and writes `path` (*.mlpackage), which is replaced where it is a
  /// package. After an exception nothing was written, and what was there is untouched.
  Report write(const std::string &path);

  /// The same into the package that is at `path`, whose weights the new functions share. It is
  /// valid at every moment, and after an exception as it was.
  Report addTo(const std::string &path);

#ifdef __cpp_lib_jthread
  /// The same, each ended by this token alone, as cancel() ends it.
  Report write(const std::string &path, std::stop_token stop) {
    return writeUnless(path, [stop] { return stop.stop_requested(); });
  }
  Report addTo(const std::string &path, std::stop_token stop) {
    return addToUnless(path, [stop] { return stop.stop_requested(); });
  }
#endif

  PackageOptions &options();
  const PackageOptions &options() const;

  /// Ends a running write(), addTo(), addFile() or plait::add(), or else the next write() or
  /// addTo(), with Exception::Reason::Cancelled. Any thread, also from the callbacks. It takes
  /// effect within one step: the lowering of an operation, a pass, a tile of weights; of
  /// plait::add(), which runs a live model several times, one operation of it. What is waited for:
  /// that operation (LibTorch's kernels cannot be interrupted, so it takes as long as the slowest
  /// one of forward() on the largest declared size), what forward() does between operations, what
  /// LibTorch does to a trace that is complete, and a file that is being flushed.
  void cancel() noexcept;

  /// Called by write() and addTo(), never twice at once, but from threads of their own too; for the
  /// last time before the package takes its place. What it throws ends the export and comes out of
  /// it. What is set meanwhile holds for the next export. Null: none.
  void onProgress(std::function<void(const Progress &)> callback);
  /// Takes the log, a line or more a message, without a line break at the end, as it comes: of
  /// write() and addTo() as onProgress() says, and of adding where that traces. Null: none.
  void onLog(std::function<void(Severity, std::string_view)> sink);

  struct PLAIT_HIDDEN Impl;
  /// For <plait/torch.h>. Throws where the compiler was moved from.
  Impl &impl() const;

private:
  Report writeUnless(const std::string &path, std::function<bool()> stopped);
  Report addToUnless(const std::string &path, std::function<bool()> stopped);

  std::unique_ptr<Impl> impl_;
};

} // namespace v0
} // namespace plait
#endif
