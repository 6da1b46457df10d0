// A folder of inputs that an app would really give: `--inputs FOLDER`.
//
//   folder/x.npy  folder/mask.npy            one set: a file for each input, by its name
//   folder/first/x.npy  folder/second/x.npy  a set for each folder in it
//   folder/first.npz  folder/second.npz      a set for each file, arrays by the names of inputs
//   folder/cat.jpg  folder/dog.jpg           a set for each file, where the function has one input
//
// Images are PNG or JPEG. An input that a set has nothing for is drawn.
#pragma once

#include "driver/PackageFunctions.h"

namespace plait::driver {

using InputSet = std::vector<runtime::NamedTensor>;

/// The sets in the order of their names; an error where there is none, and for a file that belongs
/// to no input. Images of another size are made the default one of their input.
Expected<std::vector<InputSet>> readInputSets(llvm::StringRef folder,
                                              const mil::Function &function);

} // namespace plait::driver
