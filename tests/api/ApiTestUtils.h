// Exports models to a folder of the test's own and compares what the package computes.
#pragma once

#include "plait/torch.h"

#include "backend/PackageReader.h"
#include "mil/IR.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "gmock/gmock.h"

#include <ATen/Functions.h>

namespace plait::test {

class ApiTest : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("plait-api", folder_));
  }
  void TearDown() override { llvm::sys::fs::remove_directories(folder_); }

  std::string at(llvm::StringRef name) const {
    llvm::SmallString<256> path(folder_);
    llvm::sys::path::append(path, name);
    return path.str().str();
  }
  size_t entries() const {
    size_t count = 0;
    std::error_code ec;
    for (llvm::sys::fs::directory_iterator it(folder_, ec), end; it != end && !ec; it.increment(ec))
      ++count;
    return count;
  }
  static Compiler inFp32() {
    PackageOptions options;
    options.precision = Precision::fp32;
    return Compiler(options);
  }
  /// The one result of a function.
  static at::Tensor result(const std::string &package, const std::string &function,
                           const std::map<std::string, at::Tensor> &inputs) {
    Session session = Program(package).session(function);
    auto results = run(session, inputs);
    EXPECT_EQ(results.size(), 1u);
    return results.begin()->second;
  }
  /// How many operations of a kind the function has.
  static size_t count(const std::string &package, const std::string &function, mil::OpKind kind) {
    auto program = llvm::cantFail(readPackage(package));
    size_t number = 0;
    mil::walk(program->function(function)->body(), [&](mil::Op &op) { number += op.is(kind); });
    return number;
  }
  /// What an Exception says.
  template <typename Call> static std::string message(Call call) {
    try {
      call();
    } catch (const Exception &error) {
      return error.what();
    }
    return "(no exception)";
  }

private:
  llvm::SmallString<128> folder_;
};

inline testing::AssertionResult close(const at::Tensor &a, const at::Tensor &b,
                                      double tolerance = 1e-5) {
  if (a.sizes() != b.sizes())
    return testing::AssertionFailure() << "shapes " << a.sizes() << " and " << b.sizes();
  if (!at::allclose(a.to(at::kDouble), b.to(at::kDouble), tolerance, tolerance))
    return testing::AssertionFailure() << "they differ by " << (a - b).abs().max().item<double>();
  return testing::AssertionSuccess();
}

} // namespace plait::test
