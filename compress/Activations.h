// What weights are multiplied with, summed up over calibration inputs: which errors of a weight
// matter.
//
//   linear        x [.., in]                    conv   x [n, in, ..]
//   matmul(x, W)  x [.., in]                    an embedding is multiplied with nothing
//
// An error on the weights of an input channel is multiplied with that channel's numbers, so its
// square counts with their mean square. Errors of two channels may also cancel one another: how far
// they do, the products of channels say (the Gram matrix of the inputs), for who chooses integers
// one after the other (Gptq.h).
#pragma once

#include "mil/IR.h"

#include <vector>

namespace plait::compress {

/// A value that a weight is multiplied with.
struct Activation {
  const mil::Value *value;
  unsigned axis = 0;    ///< of the value, along which the channels lie
  int64_t groups = 1;   ///< of a convolution: channels of the value for each input of the weight
  bool isMatrix = true; ///< each output is a sum over the channels alone, not over places too
};
/// nullopt where the operation multiplies the weight with nothing, or nobody knows with what.
std::optional<Activation> activationOf(const mil::Op &user, const mil::Value *weight);

class InputSums {
public:
  /// Of a weight with so many inputs; `products`: the Gram matrix too, inputs^2 fp32 numbers.
  /// `alsoPlain`: it has users that multiply it with nothing known too (a head that is also the
  /// embedding), for which all errors count alike. They count as much as the others, and there are
  /// no products: what makes up for errors in sums makes the numbers themselves worse.
  InputSums(int64_t inputs, bool products, bool alsoPlain = false);

  /// Adds what a value holds in a run. An error where its sizes are not those of the weight.
  Error add(const mil::TensorData &tensor, const Activation &activation, unsigned threads);

  /// Numbers of each channel that were seen; 0: there is nothing to go by.
  int64_t seen() const { return seen_; }
  /// The mean square of each input by the mean over all inputs; 1 for each where all are zero. With
  /// users that multiply with nothing the mean of that and 1.
  std::vector<float> importance() const;
  /// The sums of products, [inputs, inputs]; empty where none were asked for, or where some user
  /// sums over places or multiplies with nothing.
  llvm::ArrayRef<float> products() const { return products_; }

private:
  Error addProducts(llvm::ArrayRef<float> rows, unsigned threads);

  int64_t inputs_, seen_ = 0;
  bool alsoPlain_;
  std::vector<double> squares_;
  std::vector<float> products_;
};

} // namespace plait::compress
