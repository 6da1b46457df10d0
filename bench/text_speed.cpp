// How long programs of a thousand, ten thousand and a hundred thousand operations take to verify,
// print and parse, and to write to a package and read back. Time a operation that stays the same
// from row to row is what linear means.
//
//     build/release/bin/text_speed [OPERATIONS ...]
//
// A layer of the program is five operations (linear, relu, add, reshape, transpose) and their eight
// constants; the figures count the five. Each is the best of three runs.
#include "backend/PackageReader.h"
#include "backend/PackageWriter.h"
#include "mil/Builder.h"
#include "mil/Parser.h"
#include "mil/Printer.h"
#include "mil/Verifier.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include <ctime>
#include <random>

using namespace plait;
using namespace plait::mil;

namespace {

constexpr int64_t width = 16;

std::unique_ptr<Program> makeProgram(int64_t operations) {
  auto program = std::make_unique<Program>();
  Function *function = program->addFunction("main");
  Value *x = function->addInput(Type::tensor(DType::F16, {1, width}), "x");
  Builder b(function->body());
  std::mt19937 random(1);
  for (int64_t i = 0; i < operations; i += 5) {
    std::vector<uint8_t> bytes(width * width * 2);
    for (uint8_t &byte : bytes)
      byte = uint8_t(random() & 0x3b);
    auto weight = TensorData::fromBytes(DType::F16, {width, width}, std::move(bytes));
    x = b.emit(OpKind::linear, {{linear::x, x}, {linear::weight, Attr(weight)}});
    x = b.emit(OpKind::relu, {{relu::x, x}});
    x = b.emit(OpKind::add, {{add::x, x}, {add::y, b.scalar(DType::F16, 0.125)}});
    x = b.emit(OpKind::reshape, {{reshape::x, x}, {reshape::shape, {width, 1}}});
    x = b.emit(OpKind::transpose, {{transpose::x, x}, {transpose::perm, {1, 0}}});
  }
  function->body().setOutputs(x);
  return program;
}

void check(Error error) {
  if (!error)
    return;
  llvm::errs() << "text_speed: " << llvm::toString(std::move(error)) << '\n';
  std::exit(1);
}

template <typename T> T check(Expected<T> value) {
  if (!value)
    check(value.takeError());
  return std::move(*value);
}

/// Milliseconds of processor time of the best of three runs.
double best(llvm::function_ref<void()> run) {
  double least = HUGE_VAL;
  for (int i = 0; i < 3; ++i) {
    std::clock_t begin = std::clock();
    run();
    least = std::min(least, double(std::clock() - begin) * 1e3 / CLOCKS_PER_SEC);
  }
  return least;
}

void measure(int64_t operations, llvm::StringRef package) {
  std::unique_ptr<Program> program = makeProgram(operations);
  std::string text = toString(*program);
  // Contents of weights are not what is measured: places in a weight file read as zeros.
  ParseOptions parsing;
  parsing.blob = [](llvm::StringRef, uint64_t, const Type &type) -> Expected<TensorData> {
    return TensorData::splat(type.dtype(), *constShape(type.shape()), 0);
  };
  struct Step {
    const char *name;
    std::function<void()> run;
  };
  const Step steps[] = {
      {"verify", [&] { check(verify(*program)); }},
      {"print", [&] { text = toString(*program); }},
      {"parse", [&] { check(parseProgram(text, parsing)); }},
      {"write package", [&] { check(writePackage(*program, package)); }},
      {"read package", [&] { check(readPackage(package)); }},
  };
  for (const Step &step : steps) {
    double ms = best(step.run);
    llvm::outs() << fmt::format("{0:>8}  {1:<14}{2:>10.1f} ms{3:>8.0f} ns/operation\n", operations,
                                step.name, ms, ms * 1e6 / double(operations));
  }
}

} // namespace

int main(int argc, char **argv) {
  std::vector<int64_t> sizes = {1000, 10000, 100000};
  if (argc > 1) {
    sizes.clear();
    for (int i = 1; i < argc; ++i)
      sizes.push_back(std::atoll(argv[i]));
  }
  llvm::SmallString<128> folder;
  if (std::error_code ec = llvm::sys::fs::createUniqueDirectory("plait-bench", folder))
    check(makeError(Code::Internal, "no folder for packages: {0}", ec.message()));
  for (int64_t size : sizes)
    measure(size, (folder + "/p.mlpackage").str());
  llvm::sys::fs::remove_directories(folder);
}
