// Tensors of the model that live from call to call. A state is read once, at the function's
// beginning. What is written to it is stored before the next read, and read from there:
//
//     k[2:4] = a                   %r = read_state(input = %k)
//     k[4:6] = b                   %u = slice_update(x = slice_update(x = %r, …), …)
//     return k * 2                 write_state(input = %k, data = %u)
//                                  %s = read_state(input = %k)
//                                  mul(x = %s, …)
//
// So Core ML updates the written part in place, and the content is never needed twice. In branches
// and loops that are decided at run time, contents are values like those of other tensors. They
// come out as results, and are stored afterwards.
#include "frontend/engine/Engine.h"

namespace plait::frontend {

using mil::DType;
using mil::OpKind;

std::vector<std::string> Engine::stateNames() const {
  std::vector<std::string> names;
  if (options_.states)
    for (const StatePlan::Kept &kept : options_.states->kept()) {
      names.push_back(kept.name);
      if (kept.asInput)
        names.push_back(kept.output());
    }
  return names;
}

void Engine::declareStates() {
  if (!options_.states)
    return;
  for (const StatePlan::Kept &kept : options_.states->kept()) {
    at::ScalarType type = kept.tensor.scalar_type();
    KeptState state{&kept, nullptr, nullptr, {}};
    mil::Value *content;
    if (kept.asInput) {
      DType inner = milTypeOf(type);
      content = state.input = function_.addInput(
          mil::Type::tensor(mil::isFloat(inner) ? options_.states->floatType() : inner,
                            mil::Shape(kept.tensor.sizes().begin(), kept.tensor.sizes().end())),
          kept.name);
    } else {
      state.input = function_.addInput(
          mil::Type::state(mil::Type::tensor(DType::F16, kept.stateShape())), kept.name);
      content = readState(state.input, kept.tensor.dim() == 0);
    }
    state.cell = makeTensor(castTo(content, milTypeOf(type)), type).tensor()->cell;
    state.initial = state.cell;
    if (!kept.asInput)
      state.cell->state = state.input;
    states_.push_back(std::move(state));
  }
}

Engine::KeptState *Engine::keptState(const at::Tensor &tensor) {
  const StatePlan::Kept *kept = options_.states ? options_.states->find(tensor) : nullptr;
  for (KeptState &state : states_)
    if (state.kept == kept)
      return &state;
  return nullptr;
}

bool Engine::mayWrite(const std::shared_ptr<Cell> &cell) {
  for (KeptState &state : states_)
    state.isWritten |= state.initial == cell;
  if (cell->attribute.empty())
    return true;
  if (at::isComplexType(cell->dtype) && options_.states && !options_.states->forgets()) {
    fail(makeError(Code::StateImpossible,
                   "the model writes to its complex attribute '{0}', which no state can hold; keep "
                   "its real and imaginary part in two attributes",
                   cell->attribute));
    return false;
  }
  if (!options_.states) {
    fail(makeError(Code::WritesLost,
                   "the model writes to its attribute '{0}', which the next call would not see",
                   cell->attribute));
    return false;
  }
  if (options_.states->forgets())
    return true;
  for (const auto &[first, cells] : attributeCells_)
    for (const auto &[tensor, known] : cells)
      if (known == cell)
        options_.states->wrote(cell->attribute, tensor, "", builder_.location());
  return true;
}

bool Engine::mayChange(const std::string &attribute, llvm::StringRef kind) {
  if (attribute.empty() || (options_.states && options_.states->forgets()))
    return true;
  fail(makeError(Code::WritesLost,
                 "the model changes its {0} '{1}', which the next call would not see; write into "
                 "the tensors that it holds, or begin each call with what the model holds: "
                 "--states none",
                 kind, attribute));
  return false;
}

// ---- Reading and storing -----------------------------------------------------------------------

mil::Value *Engine::readState(mil::Value *state, bool isScalar) {
  mil::Value *content = builder_.emit(OpKind::read_state, {{mil::read_state::input, state}},
                                      state->name.str() + "_read");
  return isScalar ? reshape(content, {}) : content;
}

void Engine::store(mil::Value *state, mil::Value *content) {
  content = reshape(castTo(content, DType::F16), state->type.shape());
  builder_.create(OpKind::write_state,
                  {{mil::write_state::input, state}, {mil::write_state::data, content}},
                  state->name.str() + "_write");
}

void Engine::store(Cell &cell) {
  store(cell.state, cellValue(cell));
  cell.content = castTo(readState(cell.state, cell.shape.empty()), milTypeOf(cell.dtype));
  cell.version = nextVersion_++;
  cell.unstored = false;
}

void Engine::storeAll() {
  if (!isOutermost())
    return;
  for (KeptState &state : states_)
    if (state.cell->unstored)
      store(*state.cell);
}

// ---- Attributes --------------------------------------------------------------------------------

void Engine::readFrom(c10::ivalue::Object &object, size_t index, const Val &value) {
  auto tensor = value.tensor();
  for (KeptState &state : states_) {
    std::pair<c10::ivalue::Object *, size_t> place{&object, index};
    if (tensor && tensor->cell == state.initial && !llvm::is_contained(state.places, place))
      state.places.push_back(place);
  }
}

void Engine::assignAttribute(c10::ivalue::Object &object, size_t index, const std::string &path,
                             const Val &before, const Val &value) {
  const c10::IValue &original = object.getSlot(index);
  KeptState *state = original.isTensor() ? keptState(original.toTensor()) : nullptr;
  if (!state && !options_.states)
    return fail(makeError(Code::WritesLost,
                          "the model assigns to its attribute '{0}', which the next call would not "
                          "see",
                          path));
  if (!state && !options_.states->forgets())
    options_.states->wrote(path, original.isTensor() ? original.toTensor() : at::Tensor(),
                           original.isNone() ? "None at first" : "no tensor", builder_.location());
  // A region that does not assign the attribute leaves it as it is.
  if (!slot(object, index))
    keepSlot(object, index, before);
  writeSlot(object, index, value);
  auto tensor = value.tensor();
  if (!state || !tensor || !isOutermost() || state->kept->asInput)
    return;
  // From here on the tensor is the state's content, unless it may belong to another one. Later
  // reads read the state.
  Cell &cell = *tensor->cell;
  bool isOwn = tensor->view.empty() && cell.attribute.empty() && !cell.state &&
               !cell.mayBeAliased && std::holds_alternative<mil::Value *>(cell.content);
  if (!isOwn || cell.dtype != state->cell->dtype ||
      llvm::ArrayRef<Dim>(cell.shape) != llvm::ArrayRef<Dim>(state->cell->shape))
    return;
  state->cell->state = nullptr;
  state->cell->unstored = false;
  state->cell = tensor->cell;
  cell.state = state->input;
  cell.unstored = true;
}

void Engine::detachState(const std::pair<c10::ivalue::Object *, size_t> &place) {
  for (KeptState &state : states_)
    if (isOutermost() && state.places.size() == 1 && state.places[0] == place &&
        state.cell->state) {
      const Val *now = slot(*place.first, place.second);
      auto tensor = now ? now->tensor() : nullptr;
      if (!tensor || tensor->cell == state.cell)
        continue;
      state.cell->state = nullptr;
      state.cell->unstored = false;
    }
}

std::vector<std::pair<std::string, Val>> Engine::finishStates() {
  std::vector<std::pair<std::string, Val>> outputs;
  if (!problems_.empty()) // a tensor to be kept may be one that could not be made
    return outputs;
  std::vector<std::pair<KeptState *, mil::Value *>> assigned;
  std::vector<std::pair<const KeptState *, const Cell *>> last;
  // All are read before any is stored, because one state may be assigned the content of another.
  for (KeptState &state : states_) {
    std::optional<Val> now;
    for (auto [object, index] : state.places) {
      const Val *written = slot(*object, index);
      Val here = written ? *written : Val(makeObject(state.initial));
      auto tensor = here.tensor();
      if (!tensor) {
        fail(makeError(Code::StateImpossible, "'{0}' is assigned what is no tensor",
                       state.kept->path));
        return {};
      }
      auto other = now ? now->tensor() : nullptr;
      if (other && (other->cell != tensor->cell || !other->view.empty() || !tensor->view.empty())) {
        fail(makeError(Code::StateImpossible,
                       "'{0}' has two names in the model, and one of them is assigned to; write "
                       "to it in place",
                       state.kept->path));
        return {};
      }
      now = here;
    }
    if (!now)
      now = Val(makeObject(state.initial));
    auto tensor = now->tensor();
    // In LibTorch two of one memory stay so in the next call.
    auto near = connected(tensor->cell.get(), links_);
    for (const auto &[other, cell] : last)
      if (llvm::is_contained(near, cell) && (state.isWritten || other->isWritten)) {
        fail(makeError(Code::StateImpossible,
                       "'{0}' and '{1}' may be one tensor after a call, and the next one writes to "
                       "it in place; each state has its own memory: assign a clone",
                       other->kept->path, state.kept->path));
        return {};
      }
    last.emplace_back(&state, tensor->cell.get());
    if (llvm::ArrayRef<Dim>(tensor->shape) != llvm::ArrayRef<Dim>(state.initial->shape)) {
      fail(makeError(Code::StateImpossible,
                     "'{0}' is assigned a tensor of shape {1} and begins with {2}; what is kept "
                     "has one shape",
                     state.kept->path, mil::str(tensor->shape), mil::str(state.initial->shape)));
      return {};
    }
    Val cast = castTensor(tensor, state.initial->dtype);
    if (state.kept->asInput)
      outputs.emplace_back(state.kept->output(), cast);
    else if (tensor->cell != state.cell || !tensor->view.empty())
      assigned.emplace_back(&state, read(*cast.tensor()));
  }
  for (auto [state, content] : assigned) {
    state->cell->unstored = false;
    store(state->input, content);
  }
  storeAll();
  return outputs;
}

} // namespace plait::frontend
