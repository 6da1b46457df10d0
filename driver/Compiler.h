// The compiler as a library: models in, one package out. The `plait` command is a thin layer on it.
//
//     CompileOptions options;
//     options.output = "heads.mlpackage";
//     options.functions = {{{"classifier", "classifier.pt", {*parseInput("image=[1, 3, 64,
//     64]")}}},
//                          {{"regressor", "regressor.pt", {*parseInput("image=[1, 3, 64, 64]")}}}};
//     Expected<CompileReport> report = compile(options);
//
// Weights are never loaded. They stay slices of the mapped model files until the package is
// written, and each distinct one is then read, converted and written once. The TorchScript graph of
// a model is freed before the next model is opened.
#pragma once

#include "adapters/Adapter.h"
#include "compress/Program.h"
#include "driver/CompressionGoal.h"
#include "frontend/Frontend.h"
#include "passes/Pipeline.h"
#include "support/Error.h"

namespace plait::driver {

/// One function of the package: a model's, with adapters applied to it.
struct FunctionOptions : frontend::ModelFunction {
  adapters::AdapterOptions adapters = {};
  /// Where it differs from the package's. Inputs: adapterMapPath() tells which is which.
  std::optional<mil::LoraMode> lora = {};
  std::string classesFile = {}; ///< that `classes` were read from
};

/// `--precision auto`: the least of the operations that have to be in fp32 are found by running the
/// functions.
struct AutoPrecision {
  /// What every output of every function reaches, in decibels of signal over noise, beside the same
  /// function in fp32.
  double minSnr = 50;
  /// A folder of inputs (driver/InputSets.h); "" draws them.
  std::string inputs;
  /// Of drawn floats: their standard deviation.
  double inputScale = 1;
};

struct CompileOptions {
  std::string output; ///< the .mlpackage
  /// Whether the functions are added to `output`, a package that exists. Its content stays, and is
  /// shared.
  bool append = false;
  std::vector<FunctionOptions> functions;
  /// The form of the package: false for one function, `main`, described by the model itself, as a
  /// package that knows no functions has it.
  bool multifunction = true;
  std::string defaultFunction; ///< "" takes the first
  passes::Precision precision = passes::Precision::F16;
  /// With fp16: operations that are computed in fp32 all the same (mil/OperationPattern.h), and
  /// whether more of them are looked for.
  std::vector<std::string> keepFloat32{};
  std::optional<AutoPrecision> autoPrecision{};
  mil::LoraMode lora = mil::LoraMode::Keep;
  bool share = true;
  /// Whether linear layers of one input become one where no sharing is lost.
  bool joinLinears = true;
  /// Whether the package tells where its operations come from, in a file of its own
  /// (backend/DebugInfo.h).
  bool debugInfo = false;
  /// What the package is for; of one that is added to, that package's own, and at least ios18.
  mil::Opset target = mil::kDefaultOpset;
  /// The least percentage of its weights' bytes that each function must share with another one of
  /// the package; below it nothing is written.
  std::optional<double> expectShared{};
  /// Rules that devices refuse and that are a warning all the same, by name (mil::listRules()).
  std::vector<std::string> allow{};
  /// How weights are compressed; none: not at all.
  std::vector<compress::Rule> compress{};
  /// The least percentage of the numbers of weights that is compressed; below it nothing is
  /// written.
  std::optional<double> requireCoverage{};
  /// What compression is to reach, and what it goes by.
  CompressionGoal goal{};
  unsigned threads = 0; ///< 0: one a processor
  mil::Metadata metadata;
  /// Everything but writing: the report says what would be written.
  bool dryRun = false;
  /// Warnings of reading the options: what was read as something else.
  std::vector<Warning> notes{};
  /// Look at the program between passes.
  passes::PipelineHooks hooks{};

  mil::LoraMode loraOf(const FunctionOptions &function) const {
    return function.lora.value_or(lora);
  }
};

/// What `--precision auto` found.
struct PrecisionReport {
  /// Decibels of the worst output with everything in fp16 (minus infinity where it overflows), and
  /// with what is kept in fp32.
  double before = 0, after = 0;
  struct Kept {
    std::string pattern; ///< as --keep-fp32 takes it
    size_t operations = 0;
    double without = 0; ///< decibels of the worst output where these are in fp16
  };
  std::vector<Kept> kept;
  size_t operations = 0; ///< of all functions
  size_t wide = 0;       ///< those of them that compute in fp32
  unsigned trials = 0;
};

/// What compiling found and wrote.
struct CompileReport {
  struct Function {
    std::string name;
    size_t operations = 0;
    uint64_t ownBytes = 0;             ///< of weights that no other function uses
    uint64_t sharedBytes = 0;          ///< of weights that another function uses too
    std::vector<std::string> states{}; ///< "k_cache [1, 8, 512, 64]"
    /// Inputs that the app hands on from call to call, and the outputs that they come from.
    std::map<std::string, std::string> handedOn{};
  };
  std::vector<Function> functions;
  std::optional<PrecisionReport> precision{};
  uint64_t weightFileBytes = 0;
  uint64_t packageBytes = 0; ///< all files
  /// Where weights were to be compressed.
  std::optional<compress::ProgramResult> compressed{};
  std::vector<FunctionSnr> outputs{}; ///< where outputs were measured
};

/// Hears of what happens. Called from the thread that called compile(), but for proceed() and
/// phase().
class CompileObserver {
public:
  virtual ~CompileObserver() = default;
  /// "lowering adapter_1 (2 of 8)"
  virtual void progress(const llvm::Twine &what) {}
  virtual void warning(const Warning &warning) {}
  /// Asked between operations and passes, and by several threads while weights are written, with
  /// how much of the work is done, from 0 to 1; false ends it with an error. 1 comes once, when all
  /// is written and takes its place next.
  virtual bool proceed(double done) { return true; }
  /// The work goes from one phase to the next: "read", "lower", "passes", "compress", "share",
  /// "write"; `of` is the function that it is about, or nothing. From any thread.
  virtual void phase(llvm::StringRef name, llvm::StringRef of) {}
  /// All weights were read. What is warned of here is warned of in time.
  virtual void finishing() {}
};

/// What can be said without opening a model: names, the default function, the output's place.
Error check(const CompileOptions &options);
/// Of that what concerns one function: its own name, and those of its interface.
Error checkFunction(const FunctionOptions &function);
/// Whether its model is a file; one in memory is good as it is.
Error checkModel(const FunctionOptions &function);

/// Compiles and writes the package. On error there is no output: what was at the target is as it
/// was. `equal`, where there is one, has been comparing the files of the models; it is stopped when
/// they are lowered.
Expected<CompileReport> compile(const CompileOptions &options, CompileObserver &observer,
                                EqualRecords *equal = nullptr);

/// The precision of most of a package's floating-point weights, by bytes: the default for functions
/// that are added to it.
Expected<passes::Precision> precisionOf(llvm::StringRef package);

/// Whether a package can be written at `path`: its folder exists and can be written to, and nothing
/// but a package would be replaced.
Error checkOutput(llvm::StringRef path);

} // namespace plait::driver
