// The sizes of an exported program's inputs. The program states them as expressions over symbols,
// and what a symbol may be; declarations narrow that.
//
//   x: [s0, 4]   y: [2*s0 + 1]   s0 in 2..64     --input 'x=[2..8, 4]'
//
//   x: [x_0, 4]  y: [2*x_0 + 1]  x_0 in 2..8
#pragma once

#include "frontend/Frontend.h"
#include "frontend/archive/ExportSchema.h"
#include "frontend/engine/Interface.h"

namespace plait::frontend {

using SymbolRanges = std::map<std::string, exported::Range>;

/// A size over the program's symbols, each with its range; an error where it cannot be read.
Expected<Dim> sizeOf(const exported::Size &size, const SymbolRanges &ranges);

/// A tensor that the program takes.
struct ProgramInput {
  std::string name;
  const exported::TensorMeta *meta; ///< null of a number
  const exported::Argument *argument;
};

/// Those that the user gives, in order.
Expected<std::vector<ProgramInput>> programInputs(const exported::Program &program);

/// The program's ranges where some inputs are declared; null of one that is not. What contradicts
/// the program narrows nothing.
Expected<SymbolRanges> narrowedRanges(const exported::Program &program,
                                      llvm::ArrayRef<ProgramInput> inputs,
                                      llvm::ArrayRef<const InputSpec *> declared);

/// The shape of each input, as declared, over symbols of the interface: the user's names, or
/// INPUT_AXIS of the first dimension that is the symbol. An error where declarations contradict
/// what the program says sizes have in common. Of an input with enumerated shapes it is empty.
Expected<std::vector<InputShape>> declaredShapes(llvm::ArrayRef<ProgramInput> inputs,
                                                 llvm::ArrayRef<InputSpec> declared);

} // namespace plait::frontend
