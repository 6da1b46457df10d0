// How inputs are declared in text, on the command line and in recipes alike.
//
//   input  := (name '=')? dtype? shapes
//   dtype  := 'fp16' | 'fp32' | 'int32' | 'bool'
//   shapes := shape | '{' shape (',' shape)* '}'
//   shape  := '[' dim (',' dim)* ']'
//   dim    := size | size '..' size
//
//   x=[1, 6000]           floating-point of the compiled precision
//   tokens=int32[1, 1..128]      from 1 to 128
//   image=fp16{[1,3,224,224],[1,3,512,512]}   one of these; the first is the default
//
// Spaces mean nothing. Without a name the input keeps that of the method's argument.
#pragma once

#include "frontend/Frontend.h"
#include "support/Error.h"

namespace plait::driver {

/// Errors quote the text and say what was wanted where.
Expected<frontend::InputSpec> parseInput(llvm::StringRef text);

/// The inverse of parseInput(), in the spelling above.
std::string inputText(const frontend::InputSpec &input);

} // namespace plait::driver
