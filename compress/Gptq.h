// Integers of a weight one input after the other, each of which makes up for the errors of those
// before it (GPTQ: Frantar, Ashkboos, Hoefler & Alistarh 2022).
//
//   least e' H e over what can be stored,    e the errors of one row, H the products of the inputs
//
// H = U D U' with ones on the diagonal of the upper triangular U. So e' H e is the sum over j of
// D_j (e_j + sum over i < j of U_ij e_i)^2, and with e_0 to e_(j-1) known the best stored number is
// the one that is nearest to w_j + sum over i < j of U_ij e_i. That is GPTQ without the inverse of
// H: both are Babai's nearest plane (Chen, Shabanzadeh, Crncevic, Hoefler & Alistarh 2025). Inputs
// with large squares go first.
#pragma once

#include "support/Error.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"

#include <vector>

namespace plait::compress {

class Gptq {
public:
  /// Of sums of products [inputs, inputs]. A hundredth of the mean of the diagonal is added to it,
  /// without which inputs that always go together would have no answer. n^3 / 3 multiplications.
  static Expected<Gptq> create(llvm::ArrayRef<float> products, unsigned threads);

  size_t inputs() const { return order_.size(); }
  /// Chooses what is stored of a row: `store` is called once for each input, with the number that
  /// is wanted in its place, and gives what is stored. `scratch` has any content.
  void round(llvm::ArrayRef<float> row, llvm::function_ref<float(size_t input, float wanted)> store,
             std::vector<float> &scratch) const;

private:
  std::vector<uint32_t> order_; ///< inputs, in the order in which they are rounded
  std::vector<float> upper_;    ///< U, in that order
};

} // namespace plait::compress
