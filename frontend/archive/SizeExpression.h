// Sizes as torch.export writes them: expressions of SymPy over symbols. Since PyTorch 2.6 as calls,
// before as formulas; one grammar reads both.
//
//   Add(Mul(Integer(2), Symbol('s77', positive=True, integer=True)), Integer(1))
//   2*s77 + 1
//
//   sum     := product (("+" | "-") product)*
//   product := power (("*" | "//" | "%") power)*
//   power   := ["-"] atom ["**" number]
//   atom    := number | symbol | function "(" [argument ("," argument)*] ")" | "(" sum ")"
//   argument:= sum | 'text' | name "=" (True | False)
#pragma once

#include "mil/Dim.h"
#include "support/Error.h"

#include "llvm/ADT/STLFunctionalExtras.h"

namespace plait::exported {

/// The expression over Dims that symbols stand for; an error where it is malformed, has a symbol
/// that `symbolOf` does not know, or is nothing that a Dim can be (a fraction, a condition).
Expected<mil::Dim>
parseSize(llvm::StringRef text,
          llvm::function_ref<std::optional<mil::Dim>(llvm::StringRef name)> symbolOf);

/// The name of the symbol, where the expression is one and nothing else; "" where it is not.
std::string symbolName(llvm::StringRef text);

} // namespace plait::exported
