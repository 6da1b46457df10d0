// Functions of a package held against the models that they were made from.
#pragma once

#include <plait/compile.h>
#include <plait/run.h>

#ifdef PLAIT_CXX20
#include <optional>

namespace plait {
inline namespace v0 {

struct VerifyOptions {
  /// An adapter that LibTorch merges into the model first, and how, as FunctionOptions has it. A
  /// function with Lora::inputs takes it too, by the side file of its package.
  std::string adapter = {};
  std::optional<std::string> adapterRoot = {};
  bool allowUnmatched = false;
  std::optional<double> loraAlpha = {}, loraScale = {};
  /// Arrays for inputs, by name, in place of random numbers.
  std::map<std::string, Array> input = {};
  /// The bounds, both included, of an input's random integers, by name; where not said 0 and 1, or
  /// the length of what they index.
  struct Range {
    std::int64_t low, high;
  };
  std::map<std::string, Range> range = {};
  /// What was said of an image's pixels when it was compiled, by name: "scale=1/255 bias=-0.5".
  std::map<std::string, std::string> image = {};
  Compute compute = Compute::fp32;
  /// Where one is said, outputs are judged by it alone: an error may be atol + rtol * (the output's
  /// largest absolute value). Where none is, by what rounding explains.
  std::optional<double> atol = {}, rtol = {};
  /// Of the random inputs, and how many sets of them, at least one.
  std::uint64_t seed = 0;
  unsigned draws = 1;
  /// Calls for each set, with other random inputs each, on the same states, which are compared with
  /// the model's tensors after each.
  unsigned steps = 1;
  /// After a failure, look for the operation where it begins.
  bool bisect = false;
  /// Called on this thread before the model and the function run. What it throws ends the
  /// verification and comes out of it.
  std::function<void(const Progress &)> onProgress = {};
};

/// How far a function is from its model.
struct Verification {
  struct Output {
    std::string name;
    bool passed = false;
    /// The largest error, and what rounding explains of it. Of an output that is wrong the error
    /// that is left when the function is run without rounding.
    double distance = 0, explained = 0;
    /// It is the model's, but rounding takes it further away than atol + rtol * peak.
    bool rounded = false;
    double maxAbsolute = 0;     ///< the largest error
    double maxRelative = 0;     ///< the largest quotient of error and reference
    double snr = 0;             ///< signal to noise in dB; infinite where nothing differs
    double cosine = 1;          ///< of the two as vectors
    std::int64_t nonFinite = 0; ///< elements that are NaN or infinite on one side only
    std::int64_t worst = -1;    ///< the element with the largest error, counted in row-major order
    unsigned draw = 0;          ///< the set of inputs in which it was worst, counted from 0
    unsigned step = 0;          ///< and the call, counted from 0
    bool isState = false;       ///< a state after the call, no output
  };
  bool passed = false;             ///< whether all outputs did
  double atol = 0, rtol = 0;       ///< the tolerance, or how far rounding may take an output
  std::vector<Output> outputs;     ///< in the order of the function, states last
  std::vector<std::string> bisect; ///< what VerifyOptions::bisect found, a sentence each
  /// The operations that draw random numbers; what depends on them is compared by distribution.
  std::vector<std::string> random;
};

/// Runs `function` ("" is the default function) in the interpreter and the model of the file
/// `against` (compile.h) in LibTorch, on the same inputs: what `plait verify` does. Throws where
/// they cannot be compared; a difference is no exception. Any thread; LibTorch's own settings, such
/// as its number of threads, are the process's.
PLAIT_API Verification verify(const Program &program, const std::string &function,
                              const std::string &against, const VerifyOptions &options = {});

namespace detail {
PLAIT_API Verification verifyUnless(const Program &program, const std::string &function,
                                    const std::string &against, const VerifyOptions &options,
                                    const std::function<bool()> &stopped);
} // namespace detail

#ifdef __cpp_lib_jthread
/// The same, ended by the token with Exception::Reason::Cancelled: before the next operation of the
/// model or of the function. One that runs is waited for, since LibTorch's kernels cannot be
/// interrupted.
inline Verification verify(const Program &program, const std::string &function,
                           const std::string &against, const VerifyOptions &options,
                           std::stop_token stop) {
  return detail::verifyUnless(program, function, against, options,
                              [stop] { return stop.stop_requested(); });
}
#endif

} // namespace v0
} // namespace plait
#endif
