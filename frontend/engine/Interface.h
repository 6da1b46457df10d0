// The interface of a function: its inputs as the user declared them, in order, and its outputs
// under the names asked for.
// The walk makes the program's arguments of the inputs.
#pragma once

#include "frontend/Frontend.h"
#include "frontend/engine/Engine.h"

namespace plait::frontend {

/// The shape of an input where the program says what its sizes have in common with others.
struct InputShape {
  mil::Shape dims;
  llvm::SmallVector<int64_t, 5> defaults; ///< sizes that the input has where none are asked for
};

class Interface {
public:
  /// `floatType` is that of floating-point inputs and outputs for which none is declared.
  Interface(Engine &engine, const ModelFunction &declared, mil::DType floatType)
      : engine_(engine), function_(engine.function()), declared_(declared), floatType_(floatType) {}

  /// Names of the interface are kept for it, whatever the operations in between are called.
  /// `taken` are those of states.
  Error checkNames(llvm::ArrayRef<std::string> taken = {});
  /// A declared input as a tensor. If no name is declared, it has the argument's. `shape` may be
  /// null; it agrees with what is declared, and does not count where that is enumerated shapes.
  /// `dtype` is the type where none is declared.
  Expected<Val> input(size_t index, llvm::StringRef argument, const InputShape *shape = nullptr,
                      std::optional<mil::DType> dtype = std::nullopt);
  /// The only element of a declared input as a run-time number of the type (int, float or bool).
  Expected<Val> number(size_t index, llvm::StringRef argument, c10::TypeKind kind);
  /// What the model's other arguments are in every call, beside those that are declared so: the
  /// package says it, for whoever runs the model beside it.
  void noteConstants(std::map<std::string, std::string> constants);
  /// Makes the tensors and numbers of the result the function's outputs, and then the `further`
  /// ones, under their names. An output for which no name is declared has the next one of `names`,
  /// or if that is "" the key of its dictionary.
  Error setOutputs(const Val &result, llvm::ArrayRef<std::string> names = {},
                   std::vector<std::pair<std::string, Val>> further = {});

private:
  /// The pixels of an image as the model takes them.
  mil::Value *fromPixels(mil::Value *value, const mil::PixelArithmetic &pixels,
                         llvm::StringRef name);
  /// The label and the probabilities of classes in the place of the output that holds these.
  Error classify(const ClassLabels &classes, llvm::SmallVectorImpl<mil::Value *> &values);
  Error describe();

  Engine &engine_;
  mil::Function &function_;
  const ModelFunction &declared_;
  mil::DType floatType_;
};

} // namespace plait::frontend
