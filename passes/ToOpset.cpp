// to-opset: brings functions into the forms that the target's opset has.
//
//   func main<ios16>(…) { %y = gather(x = %x, indices = %i, axis = 0, batch_dims = 0) }      before
//
//   func main<ios18>(…) {                                                                     after
//     %j = select(cond = less(x = %i, y = 0), a = add(x = %i, y = 5), b = %i)
//     %y = gather(x = %x, indices = %j, axis = 0, batch_dims = 0, validate_indices = false)
//   }
//
// A function is brought there as a whole or stays what it is: then checkOpset() says why.
#include "passes/Opsets.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/StringExtras.h"

namespace plait::passes {

using namespace mil;

namespace {

constexpr size_t kMaxMessages = 10;

std::string whyNot(const Op &op, Opset target) {
  return op.opset() < target ? whyNotNewer(op, target) : whyNotOlder(op, target);
}

/// Messages about the function's interface and operations; at most kMaxMessages.
llvm::SmallVector<std::string> obstacles(const Function &function, Opset target) {
  llvm::SmallVector<std::string> messages;
  auto add = [&](std::string message) {
    if (messages.size() < kMaxMessages)
      messages.push_back(std::move(message));
  };
  const OpsetInfo &row = info(target);
  for (const auto &input : function.inputs())
    if (input->type.isState() && !row.states)
      add(fmt::format("input '{0}' is a state, which {1} does not have", input->name, row.name));
    else if (input->type.isTensor() && info(function.opset).interface != row.interface &&
             contains(info(function.opset).interface, input->type.dtype()) &&
             !contains(row.interface, input->type.dtype()))
      add(fmt::format("input '{0}' is {1}, which {2} does not take", input->name, input->type.str(),
                      row.name));
  mil::walk(const_cast<Function &>(function).body(), [&](Op &op) {
    std::string why = whyNot(op, target);
    if (!why.empty())
      add(fmt::format("operation '{0}' ({1}): {2}", op.name, op.info().name, why));
  });
  return messages;
}

bool upgrade(Function &function, Opset target) {
  if (!obstacles(function, target).empty())
    return false;
  Opset before = std::exchange(function.opset, target);
  mil::walk(function.body(), [&](Op &op) { makeNewer(op, before); });
  return true;
}

bool downgrade(Function &function, Opset target, const PassContext &context) {
  bool changed = false;
  mil::walk(function.body(), [&](Op &op) { changed |= prepareOlder(op, target, context); });
  if (!obstacles(function, target).empty())
    return changed;
  mil::walk(function.body(), [&](Op &op) { makeOlder(op, target); });
  function.opset = target;
  return true;
}

} // namespace

bool toOpset(Program &program, PassContext &context) {
  Opset target = context.options.target;
  bool changed = false;
  for (const auto &function : program.functions())
    if (function->opset < target)
      changed |= upgrade(*function, target);
    else if (function->opset > target)
      changed |= downgrade(*function, target, context);
  return changed;
}

Error checkOpset(const Program &program, Opset target) {
  Error error = Error::success();
  for (const auto &function : program.functions()) {
    if (function->opset == target)
      continue;
    for (const std::string &message : obstacles(*function, target))
      error =
          llvm::joinErrors(std::move(error), makeError(Code::OpsetMismatch, "function '{0}': {1}",
                                                       function->name, message));
  }
  return error;
}

} // namespace plait::passes
