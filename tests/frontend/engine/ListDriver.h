// A walk that is no TorchScript: a function is a list of calls, each a schema's name and arguments,
// with lists inside for the branches of an `if` and the body of a loop. It is what another frontend
// does with the engine, and as little as that takes.
//
//     {{"y"}, "aten::mul.Scalar", {"x", 2.0}},
//     {{}, "aten::add_.Tensor", {"y", "x", 1}},
//     {{"z"}, "if", {"p"}, {Block{{}, {…}, {"y"}}, Block{{}, {…}, {"x"}}}},
//     {{"z"}, "loop", {"trips", true, "z"}, {Block{{"i", "a"}, {…}, {"go", "b"}}}},
#pragma once

#include "frontend/engine/Engine.h"

#include <map>

namespace plait::frontend {

/// The name of a value, or a literal.
class Argument {
public:
  Argument(const char *name) : name_(name) {}
  Argument(int number) : literal_(int64_t(number)) {}
  Argument(double number) : literal_(number) {}
  Argument(bool flag) : literal_(flag) {}
  Argument(std::nullptr_t) {}
  Argument(at::IntArrayRef numbers) : literal_(numbers) {}

  const std::string &name() const { return name_; } ///< "" of a literal
  const c10::IValue &literal() const { return literal_; }

private:
  std::string name_;
  c10::IValue literal_;
};

struct Step;
struct ListBlock {
  std::vector<std::string> inputs;
  std::vector<Step> steps;
  std::vector<std::string> outputs;
};
struct Step {
  std::vector<std::string> results;
  std::string op; ///< "aten::softmax.int", "if" or "loop"
  std::vector<Argument> arguments;
  std::vector<ListBlock> blocks = {};
};

/// What LibTorch's own operators give.
std::vector<c10::IValue> runList(const ListBlock &function, std::vector<c10::IValue> inputs);

/// Lowers the function by the engine's interface for walks alone.
class ListDriver {
public:
  explicit ListDriver(Engine &engine) : engine_(engine) {}
  std::vector<Val> run(const ListBlock &block, llvm::ArrayRef<Val> inputs);

private:
  void run(const Step &step);
  Val value(const Argument &argument);

  Engine &engine_;
  std::map<std::string, Val> values_;
  /// How often each name is read, for which results of a call are used.
  std::map<std::string, unsigned> uses_;
};

} // namespace plait::frontend
