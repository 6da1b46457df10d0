// How inputs and outputs are declared in text, on the command line and in recipes alike.
//
//   input   := (name '=')? (dtype? shapes ('default' '=' number)? | image pixels)
//   output  := name ('=' ('fp16' | 'fp32' | 'image' '[' format (',' dim)* ']'))?
//   dtype   := 'fp16' | 'fp32' | 'int32' | 'int8' | 'bool' | 'int64'   the last one means int32
//   shapes  := shape | '{' shape (',' shape)* '}'
//   shape   := '[' dim (',' dim)* ']'
//   dim     := range | name ':' range | name                      a name is one size everywhere
//   range   := size | size '..' size
//   image   := 'image' (colours | '{' colours (',' colours)* '}')
//   colours := '[' format (',' dim)* ']'
//   format  := 'rgb' | 'bgr' | 'gray' | 'gray16'
//   pixels  := ('scale' '=' numbers)? ('bias' '=' numbers)?       in either order
//   numbers := number | '[' number (',' number)* ']'              for all channels, or one for each
//   number  := decimal ('/' decimal)?
//
//   x=[1, 6000]           floating-point of the compiled precision
//   tokens=int32[1, 1..128]      from 1 to 128
//   tokens=int32[1, n:1..512], mask=[1, n]       both of one size
//   bias=fp16[8] default=0       where the app gives none, all elements are 0
//   x=fp16{[1,3,224,224],[1,3,512,512]}   one of these; the first is the default
//   photo=image[rgb, 1, 3, 224, 224] scale=1/255 bias=[-0.485, -0.456, -0.406]
//
// Spaces mean nothing. Without a name the input keeps that of the method's argument. An argument
// that is no input but the same in every call is declared likewise, 'scale=2.0' or 'mask=none':
// InputDeclarations.h.
#pragma once

#include "frontend/Frontend.h"
#include "support/Error.h"

namespace plait::driver {

struct InputSyntax {
  /// "x" and "x=int32" are inputs too: their shapes are those of examples.
  bool mayLeaveOutShape = false;
  /// Takes what is read as something else; null: nobody wants to know.
  std::vector<Warning> *notes = nullptr;
};

/// Errors quote the text and say what was wanted where. A size that is a name alone has the range
/// 0..0 until resolveSizes().
Expected<frontend::InputSpec> parseInput(llvm::StringRef text, const InputSyntax &syntax = {});

/// The inverse of parseInput(), in the spelling above.
std::string inputText(const frontend::InputSpec &input);

/// Whether the name is a legal one is for whoever has the text.
Expected<frontend::OutputSpec> parseOutput(llvm::StringRef text);
/// The inverse.
std::string outputText(const frontend::OutputSpec &output);

/// `pixels` of the grammar: what is said of an image behind its shape.
Expected<mil::PixelArithmetic> parsePixels(llvm::StringRef text);

} // namespace plait::driver
