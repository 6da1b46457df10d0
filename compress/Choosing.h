// Chooses a scheme for each weight that no rule fits: by what errors of that weight do to the
// outputs of all functions, as measured.
//
// Each weight is compressed once in every form of a ladder, from 2 to 8 bits. What its error does
// is measured with one of them in the place of the weight and everything else as it was. From there
// it is taken to grow with the squared error, and that of several weights to add up (Choice.h).
//
// That is an estimate: noises may cancel one another, and the same error in other channels does
// other things. So what was chosen is measured as a whole. For a signal-to-noise ratio it is chosen
// anew where it is not close to what was asked for; for a size, beside it one scheme for all
// weights is measured, and then changes of a single weight that others pay for, as long as they
// make it better.
#pragma once

#include "compress/Weights.h"

namespace plait::compress {

/// What became of a weight: an Outcome without either part is left as it is.
using Choice = Outcome;

/// For each of `weights`, which are of `program`, a form. What rules fit is replaced already.
Expected<std::vector<Choice>> chooseSchemes(const mil::Program &program,
                                            llvm::ArrayRef<const Weight *> weights,
                                            const MeasuredOptions &options);

} // namespace plait::compress
