// MIL text to programs: the syntax of the model.mil of compiled Core ML models, program versions
// 1.0 to 1.3.
//
//   program   := "program" "(" NUMBER ")" attrs? "{" function* "}"
//   function  := "func" ID "<" OPSET ">" params attrs? body
//   params    := "(" (type ID attrs?),* ")"
//   body      := "{" statement* "}" "->" "(" ID,* ")" ";"
//   statement := results? ID "(" (ID "=" operand),* ")" attrs? blocks? ";"
//   results   := (type ID),+ "=" | "(" (type ID),* ")" "="
//   operand   := ID | literal | "(" operand,* ")"
//   attrs     := "[" (ID "=" literal),* "]"
//   blocks    := "{" (ID params body)* "}"
//   literal   := type "(" contents ")"
//   contents  := NUMBER | STRING | "true" | "false" | blob | "[" contents,* "]"
//              | "(" contents,* ")" | "{" ("{" contents "," contents "}"),* "}" | literal
//   blob      := "BLOBFILE" "(" "path" "=" literal "," "offset" "=" literal ")"
//   type      := ELEMENT | "tensor" "<" ELEMENT "," "[" dim,* "]" ">" | "list" "<" type "," dim ">"
//              | "tuple" "<" type,* ">" | "dict" "<" type "," type ">" | "state" "<" type ">"
//   dim       := NUMBER | "?" | ID
//
// Core ML writes several results without parentheses; other producers put them in. A dimension that
// is an identifier is plait's own: a named dynamic dimension. How Core ML spells nested blocks is
// not published; `blocks` is plait's own too. A comment runs from "//" to the end of the line.
// `param = string("encoder.weight")` among the attributes of a const says that it is this parameter
// of the model, `computed_from` that it was computed from it; a parameter of several names has a
// tensor of strings. A floating-point const with a BLOBFILE that says neither is a parameter whose
// name is not known; every other one is none. Version 1.0 writes scalars as tensors of no
// dimensions: tensor<string, []>("x"). Tools that list packages write the numbers that stand there:
// version 1 and the opset's name CoreML8.
#pragma once

#include "mil/IR.h"

namespace plait::mil {

struct ParseOptions {
  /// Stands in messages before the line number.
  std::string fileName = "<text>";
  /// The tensor of `type` at a BLOBFILE's place; without it such constants are errors.
  std::function<Expected<TensorData>(llvm::StringRef path, uint64_t offset, const Type &type)> blob;
};

/// Messages are "file:line:column: what" with the source line and a caret. Checks syntax and names
/// only: verify() checks the rest. Result types are inferred where the text has "?" and the shape
/// function knows better; where inference fails the stated types stay.
Expected<std::unique_ptr<Program>> parseProgram(llvm::StringRef text,
                                                const ParseOptions &options = {});

} // namespace plait::mil
