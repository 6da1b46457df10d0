// What a model gives, as the tensors in it.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <string>
#include <vector>

namespace plait::frontend {

struct Results {
  std::vector<at::Tensor> tensors;
  /// By the keys of dictionaries around a tensor: {"boxes": (a, b)} gives "boxes_0" and "boxes_1",
  /// {"encoder": {"last": a}} "encoder_last". "" where no dictionary is around it.
  std::vector<std::string> names;
};

/// The tensors in tuples, lists and dictionaries, in order; None and undefined ones are left out.
/// Throws c10::Error where there is something that is no tensor. `name` is that of a dictionary
/// around them.
Results flatten(const c10::IValue &result, const std::string &name = "");

} // namespace plait::frontend
