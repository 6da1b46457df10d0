// Marks what goes into modules and what comes out of them (mil/ModuleTree.h), and gives parameters
// that a function is lowered with in place of the model's.
#pragma once

#include "frontend/script/ModuleHook.h"
#include "mil/ModuleTree.h"

#include <map>
#include <set>

namespace plait::frontend {

class ModuleBorders : public ModuleHook {
public:
  /// The numbers of modules are those of `tree`, which describes `root`.
  ModuleBorders(const c10::ivalue::Object &root, const mil::ModuleTree &tree,
                llvm::ArrayRef<mil::BorderedModule> bordered,
                llvm::ArrayRef<mil::GivenParameter> given,
                std::function<mil::Origin(const at::Tensor &)> originOf);

  std::vector<Val> call(Engine &engine, const Object &module, std::vector<Val> arguments,
                        Base base) override;
  std::optional<Val> attribute(Engine &engine, const Object &module, llvm::StringRef name,
                               llvm::StringRef path) override;

  /// The given parameters that were read, by module and name.
  const std::set<std::pair<unsigned, std::string>> &read() const { return read_; }

private:
  struct State {
    unsigned number = 0;
    const mil::BorderedModule *bordered = nullptr;
    llvm::SmallVector<const mil::GivenParameter *, 2> given;
    unsigned active = 0; ///< calls of its forward that are being lowered
  };

  State &stateOf(const c10::ivalue::Object &root, const mil::ModuleTree &tree, unsigned number);
  Val give(Engine &engine, const Object &module, State &state,
           const mil::GivenParameter &parameter);
  std::vector<Val> run(Engine &engine, const Object &module, State &state,
                       std::vector<Val> arguments, Base base);
  bool isParameter(const Val &argument, const at::Tensor &parameter) const;
  std::optional<size_t> inputOf(const Object &module, const mil::BorderedModule &bordered,
                                llvm::ArrayRef<Val> arguments) const;

  std::function<mil::Origin(const at::Tensor &)> originOf_;
  llvm::DenseMap<const Object *, State> states_;
  /// By cell: what given parameters were read as, and where the model has them.
  llvm::DenseMap<const Cell *, std::pair<Val, const void *>> cells_;
  std::set<std::pair<unsigned, std::string>> read_;
  unsigned calls_ = 0;
};

} // namespace plait::frontend
