// Sizes as text. torch.export writes expressions of SymPy over symbols: since PyTorch 2.6 as calls,
// before as formulas; packages have what Dim::str() prints. One grammar reads all.
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

namespace plait::mil {

/// The expression over Dims that symbols stand for; an error where it is malformed, has a symbol
/// that `symbolOf` does not know, or is nothing that a Dim can be (a fraction, a condition).
Expected<Dim> parseSize(llvm::StringRef text,
                        llvm::function_ref<std::optional<Dim>(llvm::StringRef name)> symbolOf);

/// The name of the symbol, where the expression is one and nothing else; "" where it is not.
std::string symbolName(llvm::StringRef text);

} // namespace plait::mil
