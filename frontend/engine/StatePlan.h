// Which tensors of a model a function keeps from call to call, and how. The plan outlives a
// lowering: a tensor that one lowering finds to be written to may be kept by the next.
//
//     states auto       forward writes k_cache         lowered again, with k_cache as a state
//     nothing said      forward writes k_cache         refused, with the options that accept it
//     states none       forward writes k_cache         each call begins with what the model holds
#pragma once

#include "frontend/Frontend.h"

#include <ATen/core/Tensor.h>

#include <functional>

namespace plait::frontend {

class StatePlan {
public:
  /// A tensor of the model that lives from call to call.
  struct Kept {
    std::string name; ///< of the state or the input
    std::string path; ///< of the attribute
    at::Tensor tensor;
    bool asInput = false;          ///< an input and an output of the function, not a state
    mil::Shape stateShape() const; ///< that of the tensor; of one without dimensions [1]
    /// Of an input: the output that the app hands on.
    std::string output() const { return name + "_out"; }
  };

  /// What the plan asks of the model. Paths are full ones.
  struct Model {
    /// The tensor at a path; undefined where there is none.
    std::function<at::Tensor(llvm::StringRef path)> tensorAt;
    /// Another tensor of the model that has some of this one's memory, as another view of it; "".
    std::function<std::string(const at::Tensor &)> overlapping;
    /// For messages: the tensors that there are.
    std::function<std::vector<std::string>()> tensorPaths;
  };

  StatePlan(const StatesRequest &request, mil::DType floatType, Model model)
      : request_(request), floatType_(floatType), model_(std::move(model)) {}

  /// The tensors that the request names.
  Error begin();

  llvm::ArrayRef<Kept> kept() const { return kept_; }
  /// Inputs that the app hands on, and the outputs that they come from.
  std::map<std::string, std::string> handedOn() const;
  /// How a tensor of the model is kept; null if it is a constant.
  const Kept *find(const at::Tensor &tensor) const;
  mil::DType floatType() const { return floatType_; } ///< of inputs
  /// Whether written tensors are forgotten after the call.
  bool forgets() const { return request_.others == StatesRequest::Others::Forget; }

  /// `path` is written to, and it is none of kept(). `tensor` is undefined where it is no tensor;
  /// `kind` then says what it is.
  void wrote(const std::string &path, const at::Tensor &tensor, const std::string &kind,
             const mil::Location &location);
  /// To be called after a lowering. Whether the plan keeps more tensors now, because they were
  /// written to, so that the function has to be lowered again. An error if writes are refused.
  Expected<bool> settle();

private:
  struct Write {
    std::string path;
    at::Tensor tensor;
    std::string kind;
    mil::Location location;
  };
  Error add(const std::string &path, const at::Tensor &tensor, bool asInput);
  Error refuse(llvm::ArrayRef<const Write *> writes) const;

  const StatesRequest &request_;
  mil::DType floatType_;
  Model model_;
  std::vector<Kept> kept_;
  std::vector<at::Tensor> forgotten_; ///< writes to them are no matter
  std::vector<Write> writes_;
};

} // namespace plait::frontend
