// Runs functions of decompositions/*.py: LibTorch compiles the text of those that are needed, when
// they are, and a walk of its own goes through their graphs. Everything that they make stands where
// the operation does.
#include "frontend/engine/Decomposition.h"

#include "frontend/lower/Decompositions.h"
#include "frontend/script/GraphWalk.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

#include <mutex>
#include <torch/csrc/jit/api/module.h>

namespace plait::frontend {

namespace {
/// One module for the process, with the functions as methods: they call one another as `self.name`.
class Library {
public:
  static Library &get() {
    static Library *library = new Library; // LibTorch may be gone before what is static
    return *library;
  }
  torch::jit::Function &find(llvm::StringRef function) {
    std::lock_guard lock(mutex_);
    define(function);
    return module_.get_method(function.str()).function();
  }
  c10::IValue self() const { return module_._ivalue(); }

private:
  /// With what it calls.
  void define(llvm::StringRef function) {
    std::string text;
    std::vector<llvm::StringRef> wanted{function};
    while (!wanted.empty()) {
      llvm::StringRef name = wanted.back();
      wanted.pop_back();
      auto found = llvm::find_if(decompositionTexts(), [&](const DecompositionText &candidate) {
        return candidate.function == name;
      });
      if (found == decompositionTexts().end() || !defined_.insert(name).second)
        continue;
      text += found->source;
      llvm::StringRef rest = found->source;
      while (!rest.empty()) {
        rest = rest.split("self.").second;
        wanted.push_back(rest.take_while([](char c) { return llvm::isAlnum(c) || c == '_'; }));
      }
    }
    if (!text.empty())
      module_.define(text);
  }

  std::mutex mutex_;
  torch::jit::Module module_{"Decompositions"};
  llvm::StringSet<> defined_;
};
} // namespace

Val runDecomposition(Engine &engine, llvm::StringRef function, const std::string &name,
                     std::vector<Val> arguments) {
  Library &library = Library::get();
  torch::jit::Function &method = library.find(function);
  mil::Location here = engine.builder().location();
  WalkOptions options{
      .locationOf = [here](const torch::jit::Node &, const mil::Name &) { return here; },
      .decomposed = name};
  return GraphWalk(engine, std::move(options)).run(library.self(), method, std::move(arguments));
}

c10::IValue computeDecomposition(llvm::StringRef function, std::vector<c10::IValue> arguments) {
  Library &library = Library::get();
  torch::jit::Function &method = library.find(function);
  arguments.insert(arguments.begin(), library.self());
  return method(std::move(arguments));
}

} // namespace plait::frontend
