// Lets something outside the engine stand between a module and what its forward computes, without
// the engine knowing of it: ModuleBorders marks what goes in and what comes out.
//
// Modules are told apart by their object, not by path: one module may be reached by several names.
#pragma once

#include "frontend/engine/Val.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace plait::frontend {

class Engine;

class ModuleHook {
public:
  using Object = c10::ivalue::Object;
  /// Runs the module's own code on arguments (self first).
  using Base = llvm::function_ref<std::vector<Val>(std::vector<Val> arguments)>;

  virtual ~ModuleHook() = default;

  /// A call of the module's forward. A trace calls the second and later uses of one module
  /// forward1, forward2 …; they come here too. What it gives is what the call gives; a hook that
  /// does not care gives `base(arguments)`. Operations are added with Engine::call. Problems go to
  /// Engine::fail.
  virtual std::vector<Val> call(Engine &engine, const Object &module, std::vector<Val> arguments,
                                Base base) = 0;

  /// What reading an attribute of the module gives; nullopt: what the model holds. `path` is the
  /// attribute's whole name.
  virtual std::optional<Val> attribute(Engine &engine, const Object &module, llvm::StringRef name,
                                       llvm::StringRef path) = 0;
};

} // namespace plait::frontend
