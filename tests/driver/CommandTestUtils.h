// Runs `plait` inside the test, and makes small packages to run it on.
#pragma once

#include "backend/PackageWriter.h"
#include "driver/Commands.h"
#include "mil/Builder.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "gtest/gtest.h"

namespace plait::driver {

struct CommandResult {
  int status;
  std::string out, err;
};

inline CommandResult plaitCommand(std::vector<std::string> arguments) {
  std::vector<const char *> pointers;
  for (const std::string &argument : arguments)
    pointers.push_back(argument.c_str());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  int status = runCommandLine(pointers);
  return {status, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
}

/// A folder of the test's own, removed with all it holds.
class TemporaryFolder {
public:
  TemporaryFolder() {
    if (std::error_code ec = llvm::sys::fs::createUniqueDirectory("plait-driver", path_))
      ADD_FAILURE() << ec.message();
  }
  ~TemporaryFolder() { llvm::sys::fs::remove_directories(path_); }
  std::string operator/(llvm::StringRef name) const {
    llvm::SmallString<256> path(path_);
    llvm::sys::path::append(path, name);
    return path.str().str();
  }
  std::string path() const { return path_.str().str(); }
  std::vector<std::string> entries() const {
    std::vector<std::string> names;
    std::error_code ec;
    for (llvm::sys::fs::directory_iterator it(path_, ec), end; it != end && !ec; it.increment(ec))
      names.push_back(llvm::sys::path::filename(it->path()).str());
    return names;
  }

private:
  llvm::SmallString<128> path_;
};

/// y = linear(x, weight) with `weight` of [4, 8] filled from `first` upwards, and a zero bias.
inline void addLinear(mil::Program &program, llvm::StringRef name, float first) {
  mil::Function *function = program.addFunction(name);
  mil::Value *x = function->addInput(mil::Type::tensor(mil::DType::F32, {1, 8}), "x");
  mil::Builder builder(function->body());
  std::vector<float> values(32), zeros(4);
  for (float &value : values)
    value = first++;
  mil::Value *weight =
      builder.constant(mil::TensorData::from<float>(mil::DType::F32, {4, 8}, values), "weight");
  mil::Value *bias =
      builder.constant(mil::TensorData::from<float>(mil::DType::F32, {4}, zeros), "bias");
  mil::Value *y = builder.emit(
      mil::OpKind::linear,
      {{mil::linear::x, x}, {mil::linear::weight, weight}, {mil::linear::bias, bias}}, "y");
  y->name = "y";
  function->body().setOutputs({y});
  EXPECT_FALSE(bool(builder.takeError()));
}

/// A package of the functions `names`, each with weights from its number upwards.
inline void writeTestPackage(const std::string &path,
                             std::vector<std::pair<std::string, float>> functions,
                             bool plain = false) {
  mil::Program program;
  for (auto &[name, first] : functions)
    addLinear(program, name, first);
  if (!plain)
    program.defaultFunction = functions[0].first;
  Error error = writePackage(program, path);
  EXPECT_FALSE(bool(error)) << toString(std::move(error));
}

} // namespace plait::driver
