// Model files and modules become functions of a mil::Program. No LibTorch type appears here.
#pragma once

#include "mil/ArgumentConstant.h"
#include "mil/IR.h"
#include "mil/ModuleTree.h"
#include "mil/RecordChecksum.h"

#include <map>
#include <set>

namespace torch::jit {
struct Module;
}

namespace plait {
class EqualRecords;
}

namespace plait::frontend {

using Constant = mil::ArgumentConstant;
using mil::parseConstant;

/// What the user declares of one of forward's tensor arguments.
struct InputSpec {
  /// The interface's name; "" takes the argument's own.
  std::string name;
  /// F16, F32, I32, I8 or Bool; nullopt: floating-point of the requested precision.
  std::optional<mil::DType> dtype;
  /// One dimension: fixed (lower = upper) or a range.
  struct Range {
    int64_t lower, upper;
    /// Of a size that inputs have in common: dimensions of one name are equal (mil/SizeNames.h).
    std::string name = {};
    bool operator==(const Range &) const = default;
  };
  llvm::SmallVector<Range, 5> shape;
  /// Several static shapes instead; the first is the default. Empty where `shape` says all.
  std::vector<llvm::SmallVector<int64_t, 5>> enumerated;
  /// An image of this format, whose pixels the model takes after the arithmetic.
  std::optional<mil::PixelFormat> image;
  mil::PixelArithmetic pixels;
  /// What every element is where the app gives no array.
  std::optional<double> defaultValue;

  bool operator==(const InputSpec &) const = default;
};

/// What the user declares of one result.
struct OutputSpec {
  OutputSpec(std::string name = "") : name(std::move(name)) {}
  OutputSpec(const char *name) : name(name) {}

  std::string name; ///< the interface's
  /// F16 or F32; nullopt: floating-point of the requested precision.
  std::optional<mil::DType> dtype;
  std::optional<mil::PixelFormat> image;
  llvm::SmallVector<InputSpec::Range, 5> shape; ///< of an image, to be checked; may be empty

  bool operator==(const OutputSpec &) const = default;
};

/// The classes that a result holds a probability of each of.
struct ClassLabels {
  /// One of the two is empty.
  std::vector<std::string> texts;
  std::vector<int64_t> numbers;
  std::string label = "classLabel"; ///< the output that names the likeliest class
  std::string scores;               ///< the result; "": the only one with as many elements

  size_t count() const { return texts.size() + numbers.size(); }
  bool operator==(const ClassLabels &) const = default;
};

/// What becomes of a tensor of the model that the function writes.
struct StateSpec {
  std::string attribute; ///< its path in the model, "layers.0.k_cache"
  /// As the user stated it; nullopt: the tensor's own.
  std::optional<llvm::SmallVector<int64_t, 5>> shape = {};
  enum class Kind {
    State,
    Input, ///< no state but an input and an output, which the app hands on from call to call
    Forget ///< each call begins with what the model holds
  } kind = Kind::State;

  bool operator==(const StateSpec &) const = default;
};

/// What becomes of tensors of the model that the method writes to.
struct StatesRequest {
  /// Of those that `named` does not have: refused; states; at the next call again what the model
  /// holds.
  enum class Others { Refuse, Keep, Forget } others = Others::Refuse;
  std::vector<StateSpec> named = {};
  /// What can be no state of Core ML becomes an input and an output.
  bool inputs = false;

  /// Where nothing is said of any tensor, what `defaults` says.
  void addDefaults(const StatesRequest &defaults) {
    inputs |= defaults.inputs;
    if (others == Others::Refuse && named.empty()) {
      others = defaults.others;
      named = defaults.named;
    }
  }
  bool operator==(const StatesRequest &) const = default;
};

/// One function of one model, as the user declares it.
struct ModelFunction {
  std::string name;
  std::string model; ///< the model file; of a module in memory: what errors call it
  std::vector<InputSpec> inputs = {};   ///< in the order of the method's tensor arguments
  std::vector<OutputSpec> outputs = {}; ///< in order; missing ones get default names
  /// Arguments that are the same in every call, by the names that inputs of them would have.
  std::map<std::string, Constant> constants = {};
  /// Whether `module` is a trace that was made with the constants: none is an argument of it.
  bool isTracedWithConstants = false;
  std::string method = "forward";
  StatesRequest states = {};
  std::optional<ClassLabels> classes = {};
  /// Texts for people, by the names of inputs, outputs and states.
  std::map<std::string, std::string> descriptions = {};
  /// A module in memory in place of the file. It is lowered in evaluation mode whatever mode it is
  /// in. Its tensors become the constants where they lie, kept alive by the program, and must not
  /// be written to while it is used; those of other devices are copied once, to mapped memory. The
  /// module is only read.
  std::shared_ptr<const torch::jit::Module> module = {};
};

/// What a lowering is told beside.
struct LoweringOptions {
  mil::DType floatType = mil::DType::F16; ///< of inputs and outputs that do not say: the precision
  /// Modules whose calls are marked, and parameters in place of the model's; by the numbers of
  /// Models::describe().
  std::vector<mil::BorderedModule> bordered;
  std::vector<mil::GivenParameter> given;
};

/// Module and name of parameters.
using ParameterNamesRead = std::set<std::pair<unsigned, std::string>>;

/// Models that have been opened: one mapping and one set of weights a file, however many functions
/// use it. LibTorch modules are freed once lowered; the mappings live as long as the weights that
/// point into them. One thread at a time uses an object; several objects do not know of one
/// another.
class Models {
public:
  /// `equal` compares records of the files meanwhile: weights are told what it finds.
  /// `checksumMemory` gives weights in memory a CRC, as those of files have one, so that passes see
  /// which are equal: worth a look at every byte where a program takes weights from both.
  explicit Models(const EqualRecords *equal = nullptr, bool checksumMemory = false);
  ~Models();

  /// Lowers one model to a function added to the program. On error the program is as before. Every
  /// operation that is not supported is reported in one error, with count, module path and source
  /// line.
  /// `readGiven` takes which of the given parameters were read.
  Error lower(mil::Program &program, const ModelFunction &declared, const LoweringOptions &options,
              std::vector<Warning> &warnings, ParameterNamesRead *readGiven = nullptr);

  /// The modules and parameters of the function's model.
  Expected<std::shared_ptr<const mil::ModuleTree>> describe(const ModelFunction &declared);

  /// Of the records of files that were opened so far; those that functions depend on are wanted.
  std::vector<std::shared_ptr<mil::RecordChecksum>> checksums() const;

private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The model at `path` with other values of some parameters, to be run by LibTorch; in fp32, where
/// the model has parameters of half precision. A parameter takes the values in its own type. The
/// other parameters stay in the file, which is mapped.
struct ParameterValue {
  std::string path; ///< "encoder.proj.weight"
  mil::TensorData value;
};
Expected<std::shared_ptr<torch::jit::Module>>
moduleWithParameters(llvm::StringRef path, std::vector<ParameterValue> values);

/// Success where the file at `path` loads as TorchScript; else what it is, and what to do.
Error checkModelFile(llvm::StringRef path);

} // namespace plait::frontend
