// Choosing states, and saying why not.
#include "frontend/engine/StatePlan.h"

#include "support/DidYouMean.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <ATen/Functions.h>

namespace plait::frontend {

using Others = StatesRequest::Others;

mil::Shape StatePlan::Kept::stateShape() const {
  if (tensor.dim() == 0)
    return {mil::Dim(1)};
  return mil::Shape(tensor.sizes().begin(), tensor.sizes().end());
}

/// The same elements in the same form, whatever object is at hand.
static bool isSame(const at::Tensor &a, const at::Tensor &b) {
  return a.unsafeGetTensorImpl() == b.unsafeGetTensorImpl() ||
         (a.numel() > 0 && a.const_data_ptr() == b.const_data_ptr() &&
          a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
          a.strides() == b.strides());
}

const StatePlan::Kept *StatePlan::find(const at::Tensor &tensor) const {
  for (const Kept &kept : kept_)
    if (isSame(kept.tensor, tensor))
      return &kept;
  return nullptr;
}

std::map<std::string, std::string> StatePlan::handedOn() const {
  std::map<std::string, std::string> outputs;
  for (const Kept &kept : kept_)
    if (kept.asInput)
      outputs[kept.name] = kept.output();
  return outputs;
}

static std::string shapeText(const at::Tensor &tensor) {
  if (tensor.dim() == 0)
    return "[1]";
  return "[" +
         llvm::join(llvm::map_range(tensor.sizes(), [](int64_t n) { return std::to_string(n); }),
                    ", ") +
         "]";
}

/// Why the tensor can be neither a state nor an input; "" if it can be an input.
static std::string inputObstacle(const at::Tensor &tensor, const std::string &overlapping) {
  if (!overlapping.empty())
    return "it shares memory with '" + overlapping +
           "', which is another view of it: register it once, and make the views in forward";
  if (tensor.numel() == 0)
    return "it has no elements";
  if (tensor.dim() > 5)
    return "it has " + std::to_string(tensor.dim()) + " dimensions, and Core ML takes at most 5";
  if (tensor.layout() != at::kStrided || tensor.is_complex())
    return "Core ML has no tensors of its kind";
  return "";
}

/// Why the tensor can be an input and no state; "" if it can be a state.
static std::string stateObstacle(const at::Tensor &tensor) {
  if (!tensor.is_floating_point())
    return std::string("it holds ") + at::toString(tensor.scalar_type()) +
           ", and a state of Core ML holds fp16";
  if (tensor.count_nonzero().item<int64_t>() != 0)
    return "it begins with other numbers than zeros, and a state of Core ML begins with zeros";
  return "";
}

Error StatePlan::add(const std::string &path, const at::Tensor &tensor, bool asInput) {
  Kept kept{mil::legalName(path), path, tensor, asInput};
  for (const Kept &other : kept_)
    if (other.name == kept.name)
      return makeError(Code::NameTaken,
                       "'{0}' and '{1}' would both be called '{2}'; rename one in the model",
                       other.path, path, kept.name);
  kept_.push_back(std::move(kept));
  return Error::success();
}

Error StatePlan::begin() {
  for (const StateSpec &spec : request_.named) {
    std::string path = spec.attribute;
    at::Tensor tensor = model_.tensorAt(path);
    std::vector<std::string> known;
    if (!tensor.defined()) {
      known = model_.tensorPaths();
      for (const std::string &other : known)
        if (mil::legalName(other) == path) {
          path = other;
          tensor = model_.tensorAt(other);
          break;
        }
    }
    if (!tensor.defined()) {
      std::string near = didYouMean(path, known);
      bool many = known.size() > 12;
      known.resize(std::min<size_t>(known.size(), 12));
      return makeError(
          Code::NoSuchState, "--states {0}: the model has no tensor of that name{1}; it has {2}{3}",
          spec.attribute, near, known.empty() ? "none" : llvm::join(known, ", "), many ? " …" : "");
    }
    if (find(tensor))
      return makeError(Code::NoSuchState,
                       "--states {0}: it is '{1}' under another name; name it once", spec.attribute,
                       find(tensor)->path);
    if (spec.kind == StateSpec::Kind::Forget) {
      forgotten_.push_back(tensor);
      continue;
    }
    std::string why = inputObstacle(tensor, model_.overlapping(tensor));
    if (!why.empty())
      return makeError(Code::StateImpossible, "'{0}' cannot be kept from call to call: {1}", path,
                       why);
    bool asInput = spec.kind == StateSpec::Kind::Input;
    if (!asInput) {
      mil::Shape shape = Kept{"", "", tensor}.stateShape();
      if (spec.shape && mil::Shape(spec.shape->begin(), spec.shape->end()) != shape)
        return makeError(Code::StateImpossible, "--states {0}: in the model it is {1}",
                         spec.attribute, shapeText(tensor));
      why = stateObstacle(tensor);
      if (!why.empty() && !request_.inputs)
        return makeError(Code::StateImpossible,
                         "'{0}' can be no state: {1}. --states {2}=input makes it an input and an "
                         "output, which the app hands on from call to call",
                         path, why, path);
      asInput = !why.empty();
    }
    if (Error error = add(path, tensor, asInput))
      return error;
  }
  return Error::success();
}

void StatePlan::wrote(const std::string &path, const at::Tensor &tensor, const std::string &kind,
                      const mil::Location &location) {
  bool isForgotten = tensor.defined() && llvm::any_of(forgotten_, [&](const at::Tensor &other) {
                       return isSame(other, tensor);
                     });
  bool known = isForgotten || llvm::any_of(writes_, [&](const Write &write) {
                 return tensor.defined() && write.tensor.defined() ? isSame(write.tensor, tensor)
                                                                   : write.path == path;
               });
  if (!known)
    writes_.push_back({path, tensor, kind, location});
}

Expected<bool> StatePlan::settle() {
  if (writes_.empty())
    return false;
  std::vector<Write> writes = std::exchange(writes_, {});
  if (request_.others != Others::Keep) {
    std::vector<const Write *> all;
    for (const Write &write : writes)
      all.push_back(&write);
    return refuse(all);
  }
  std::vector<const Write *> impossible;
  for (const Write &write : writes) {
    bool can = write.tensor.defined() &&
               inputObstacle(write.tensor, model_.overlapping(write.tensor)).empty();
    bool asInput = can && !stateObstacle(write.tensor).empty();
    // Nobody asked for fp16 where the package computes in fp32.
    bool rounds = can && !asInput && floatType_ == mil::DType::F32;
    if (!can || (asInput && !request_.inputs) || rounds)
      impossible.push_back(&write);
    else if (Error error = add(write.path, write.tensor, asInput))
      return error;
  }
  if (!impossible.empty())
    return refuse(impossible);
  return true;
}

Error StatePlan::refuse(llvm::ArrayRef<const Write *> writes) const {
  std::string what, why, options;
  bool anyInput = false, possible = true;
  for (const Write *write : writes) {
    what += (what.empty() ? "'" : ", '") + write->path + "'";
    std::string reason = !write->tensor.defined()
                             ? "it is " + write->kind +
                                   ", and tensors alone live on: make it a "
                                   "tensor, by register_buffer"
                             : inputObstacle(write->tensor, model_.overlapping(write->tensor));
    if (!reason.empty()) {
      possible = false;
      why += "\n  '" + write->path + "': " + reason;
      continue;
    }
    reason = stateObstacle(write->tensor);
    if (!reason.empty())
      why += "\n  '" + write->path + "' can be no state: " + reason;
    else if (floatType_ == mil::DType::F32)
      why += "\n  '" + write->path +
             "': a state of Core ML holds fp16, and the package computes in "
             "fp32; what is kept would be rounded";
    anyInput |= !reason.empty();
    options += " --states '" + write->path + "=" +
               (reason.empty() ? "fp16" + shapeText(write->tensor) : "input") + "'";
  }
  const Write &first = *writes.front();
  std::string module = first.location.module().str(), source = first.location.source();
  std::string where = (module.empty() ? "" : " in module '" + module + "'") +
                      (source.empty() ? "" : " at " + source);
  std::string text =
      fmt::format("the model writes to its own {0}{1}, which the next call would not "
                  "see{2}",
                  what, where, why);
  if (possible) {
    bool automatic = request_.others != Others::Keep && floatType_ != mil::DType::F32;
    text +=
        fmt::format("\nto keep {0} from call to call{1}:{2}", writes.size() == 1 ? "it" : "them",
                    anyInput ? " (an input becomes an input and an output, which the app hands "
                               "on)"
                             : "",
                    options);
    if (automatic)
      text += anyInput ? ", or all such tensors: --states auto --state-init input"
                       : ", or all such tensors: --states auto";
  }
  return makeError(Code::WritesLost,
                   "{0}\nto begin each call with what the model holds: --states none", text);
}

} // namespace plait::frontend
