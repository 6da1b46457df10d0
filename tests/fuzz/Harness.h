// What the fuzzers call, each with arbitrary bytes: a reader, and what must hold of anything that
// it accepts. A broken promise aborts, so that a fuzzer and an ordinary test both see it.
// CorpusTest.cpp replays tests/fuzz/corpus through the same functions; docs/mil.md says how to
// fuzz.
#pragma once

#include "llvm/ADT/ArrayRef.h"

namespace plait::fuzz {

/// MIL text: parses, verifies, prints; what is printed parses and prints the same.
void text(llvm::ArrayRef<uint8_t> input);

/// A package: `n:u32le model[n] weights[…]`, the model file and the weight file beside it. What
/// reads verifies or not, prints as text that parses; what verifies is written, and what was
/// written reads as the same program.
void package(llvm::ArrayRef<uint8_t> input);

/// A weight file: every blob that can be found is within the file and reads.
void weights(llvm::ArrayRef<uint8_t> input);

/// A safetensors file: its tensors lie within the file, one behind the other, each of its shape's
/// size.
void safetensors(llvm::ArrayRef<uint8_t> input);

/// The configuration of an adapter, PEFT's or diffusers': which modules it chooses is decided in
/// bounded time.
void config(llvm::ArrayRef<uint8_t> input);

/// A pickle: its tensors lie within their storages, and no two have one name.
void pickle(llvm::ArrayRef<uint8_t> input);

/// A zip file: its records lie in it, one behind the other, and are found by name and by place.
void archive(llvm::ArrayRef<uint8_t> input);

/// An archive of torch.export, or a program, a list of payloads or a size of one: what reads is of
/// its form, and tensors lie within their storages.
void exportedProgram(llvm::ArrayRef<uint8_t> input);

/// An array: what reads is written, and reads as the same.
void npy(llvm::ArrayRef<uint8_t> input);

/// A recipe: a refusal has a line, and inputs that are accepted parse as they are printed.
void recipe(llvm::ArrayRef<uint8_t> input);

/// One input, as `plait compile --input` takes it: what is accepted parses as it is printed.
void declaration(llvm::ArrayRef<uint8_t> input);

/// A patch of packages: nothing is changed by one that is refused, and what is made is what the
/// patch says.
void patch(llvm::ArrayRef<uint8_t> input);

/// Aborts with a message unless `condition` holds.
void require(bool condition, const char *message);

} // namespace plait::fuzz
