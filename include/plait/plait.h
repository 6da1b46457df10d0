// plait as a library: models in, one Core ML package out; and packages run again, on any system.
// This header needs the standard library alone. <plait/torch.h> adds what takes LibTorch's types:
// modules in memory and live torch::nn::Modules.
//
//     plait::Compiler compiler;
//     compiler.addFile("classifier", "classifier.pt", {.input = {"image=[1, 3, 64, 64]"}});
//     compiler.addFile("regressor", "regressor.pt", {.input = {"image=[1, 3, 64, 64]"}});
//     plait::Report report = compiler.write("heads.mlpackage");
//
// Errors. Everything here reports failure by throwing plait::Exception, whose text is what the
// `plait` command prints: in lower case, what went wrong, where, and what to do. No other exception
// leaves the library but those of the caller's own functions and std::bad_alloc.
//
// Threads. Different objects may be used from different threads at once, several exports included.
// One object is used by one thread at a time; Compiler::cancel() alone may be called from any.
//
// Names. Options are called as the options of the command are (docs/command.md), and mean the same.
#pragma once

#include <plait/export.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace plait {

/// The version of the interface: its number changes when a program has to be compiled anew.
inline namespace v0 {

/// "0.1.0"
PLAIT_API std::string_view version();

/// The one type of error.
class PLAIT_API Exception : public std::runtime_error {
public:
  enum class Reason {
    Failed,    ///< the input cannot be compiled, read, written or run
    Cancelled, ///< Compiler::cancel()
  };
  explicit Exception(const std::string &message, Reason reason = Reason::Failed)
      : std::runtime_error(message), reason_(reason) {}
  ~Exception() override;

  Reason reason() const noexcept { return reason_; }

private:
  Reason reason_;
};

// ---- Compiling ---------------------------------------------------------------------------------

/// What to compute and store in.
enum class Precision { fp16, fp32 };
/// Low-rank adapters beside their weight, so that functions share it, or merged into it.
enum class Lora { keep, fold };

/// One function of the package.
struct FunctionOptions {
  /// The tensor arguments in order, as --input has them: "x=fp16[1, 6000]",
  /// "tokens=int32[1, 1..128]", "image={[1,3,224,224],[1,3,512,512]}". A name may be left out ("[1,
  /// 6000]"). Where a module is traced with examples, they may be left out altogether: the
  /// examples' shapes are taken.
  std::vector<std::string> input = {};
  /// Names of the results in order; missing ones get names of their own.
  std::vector<std::string> output = {};
  /// Where it differs from the package's.
  std::optional<Lora> lora = {};
  /// An adapter on the model, as --adapter has it after the name: a PEFT folder, or several with
  /// weights. "" is none.
  std::string adapter = {};
  /// The method of a TorchScript module.
  std::string method = "forward";
};

struct PackageOptions {
  /// The function that runs where none is named (--default); "" takes the first.
  std::string defaultFunction = {};
  Precision precision = Precision::fp16;
  Lora lora = Lora::keep;
  /// Whether functions share equal weights.
  bool share = true;
  /// For reading and writing weights; 0: one a processor. The package does not depend on it.
  unsigned threads = 0;
  /// false: a package without functions, described by its one model, whose name is "main".
  bool multifunction = true;
  // Metadata.
  std::string author = {}, license = {}, versionString = {}, description = {};
  std::map<std::string, std::string> meta = {};
};

/// What was written.
struct Report {
  struct Function {
    std::string name;
    std::size_t operations = 0;
    std::uint64_t ownBytes = 0;    ///< of weights that no other function uses
    std::uint64_t sharedBytes = 0; ///< of weights that another function uses too
  };
  std::vector<Function> functions;
  std::uint64_t weightFileBytes = 0;
  std::uint64_t packageBytes = 0;    ///< all files
  std::vector<std::string> warnings; ///< all of them, whether a log took them or not
};

/// How far an export is.
struct Progress {
  std::string what; ///< "lowering adapter_1 (2 of 8)"
  double done = 0;  ///< of the whole, from 0 to 1; never goes back
};

/// Collects functions and writes them as one package.
class PLAIT_API Compiler {
public:
  explicit Compiler(PackageOptions options = {});
  /// What a recipe says (docs/command.md); more may be added. Its `output` is ignored.
  static Compiler fromRecipe(const std::string &path);
  Compiler(Compiler &&) noexcept;
  Compiler &operator=(Compiler &&) noexcept;
  ~Compiler();

  /// Adds a function made of a TorchScript file. The file is opened by write() and stays as it is
  /// until that returns. <plait/torch.h> has add() for modules in memory.
  void addFile(const std::string &name, const std::string &path, FunctionOptions options = {});

  /// Compiles what was added and writes `path` (*.mlpackage), which is replaced where it is a
  /// package. After an exception nothing was written, and what was there is untouched. May be
  /// called again, for instance with another precision.
  Report write(const std::string &path);

  PackageOptions &options();

  /// Ends a running write(), or the next one, with Exception::Reason::Cancelled. Any thread, also
  /// from the callbacks. It takes effect within one step: at most one function's lowering or one
  /// tile of weights.
  void cancel() noexcept;

  /// Called by write(), never twice at once, but from threads of its own too.
  void onProgress(std::function<void(const Progress &)> callback);
  /// Hears warnings, a line or more each, as they are found: by write(), and by add() where it
  /// traces. Without it they are only in the report.
  void onWarning(std::function<void(std::string_view)> callback);

  struct Impl;
  /// For <plait/torch.h>.
  Impl &impl() { return *impl_; }

private:
  std::unique_ptr<Impl> impl_;
};

// ---- Running -----------------------------------------------------------------------------------

/// A value of a function's interface.
struct ValueInfo {
  std::string name;
  std::string type; ///< as in MIL: "fp16", "fp32", "int32", "bool" …
  /// Bounds of each dimension, equal where it is fixed.
  struct Range {
    std::int64_t lower, upper;
  };
  std::vector<Range> shape;
};

struct FunctionInfo {
  std::string name;
  std::vector<ValueInfo> inputs, outputs, states;
};

/// Elements in row-major order, of a type named as in MIL, in the machine's byte order; bool is one
/// byte an element.
struct Array {
  std::string type;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;

  template <typename T>
  static Array of(std::string type, std::vector<std::int64_t> shape, const std::vector<T> &values) {
    auto *bytes = reinterpret_cast<const std::byte *>(values.data());
    return {std::move(type), std::move(shape), {bytes, bytes + values.size() * sizeof(T)}};
  }
  template <typename T> std::vector<T> values() const {
    std::vector<T> result(data.size() / sizeof(T));
    auto *bytes = reinterpret_cast<std::byte *>(result.data());
    for (std::size_t i = 0; i < result.size() * sizeof(T); ++i)
      bytes[i] = data[i];
    return result;
  }
};

class Session;

/// A package, opened to be run in the reference interpreter: what `plait run` does. Weights stay in
/// the mapped file. Packages that other tools wrote are read too, as far as MIL operations go.
class PLAIT_API Program {
public:
  explicit Program(const std::string &path);
  Program(Program &&) noexcept;
  Program &operator=(Program &&) noexcept;
  ~Program();

  const std::vector<FunctionInfo> &functions() const;
  /// "" where the package names none.
  const std::string &defaultFunction() const;

  /// A function ready to run; "" takes the default function, or the only one. The session keeps
  /// what it needs of the program alive.
  Session session(const std::string &function = "") const;

  struct Impl;

private:
  std::shared_ptr<Impl> impl_;
};

/// One function with its states, which live from run to run. fp16 operations are computed in fp32
/// and rounded, each. Several sessions of one program do not share states and may run in different
/// threads.
class PLAIT_API Session {
public:
  Session(Session &&) noexcept;
  Session &operator=(Session &&) noexcept;
  ~Session();

  const FunctionInfo &function() const;

  /// Every input by name; floating-point types are converted to the input's own, and integers that
  /// fit. The results by name.
  std::map<std::string, Array> run(const std::map<std::string, Array> &inputs);

  /// The states as they are now.
  std::map<std::string, Array> states() const;
  /// All states are zeros again.
  void resetStates();

  struct Impl;
  /// For <plait/torch.h>.
  Impl &impl() { return *impl_; }
  const Impl &impl() const { return *impl_; }

private:
  friend class Program;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace v0
} // namespace plait
