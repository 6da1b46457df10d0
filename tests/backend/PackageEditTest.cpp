// Adding to packages and removing from them: what stays is not moved, and the old model is valid
// whatever stops the work, and wherever.
#include "backend/PackageEdit.h"
#include "backend/Inspect.h"
#include "backend/PackageReader.h"
#include "mil/Builder.h"
#include "tests/FolderTest.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace plait;
using namespace plait::mil;
namespace fs = llvm::sys::fs;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

// ---- A file system that stops
// --------------------------------------------------------------------

enum class Stop {
  Kill,  ///< the process ends in the middle of the step
  Power, ///< it ends, and nothing reached the disk that was not flushed
  Full,  ///< the step fails half-way, as on a full disk; all others succeed
};

/// Counts the steps that change something, and stops at one of them.
class StoppingFiles : public FileSystem {
public:
  StoppingFiles(Stop stop, unsigned at) : stop(stop), at(at) {}

  class File : public WritableFile {
  public:
    File(StoppingFiles &files, std::unique_ptr<WritableFile> file)
        : files(files), file(std::move(file)) {}
    Error writeAt(uint64_t offset, llvm::ArrayRef<uint8_t> bytes) const override {
      if (files.isNow()) {
        if (files.stop != Stop::Power)
          llvm::consumeError(file->writeAt(offset, bytes.take_front(bytes.size() / 2)));
        return files.end();
      }
      if (files.stop != Stop::Power)
        return file->writeAt(offset, bytes);
      kept.push_back({offset, bytes.vec()});
      return Error::success();
    }
    Error resize(uint64_t size) const override {
      if (files.isNow())
        return files.end();
      // Cutting may reach the disk at any time.
      return file->resize(size);
    }
    Error flush() const override {
      if (files.isNow())
        return files.end();
      for (const auto &[offset, bytes] : kept)
        if (Error error = file->writeAt(offset, bytes))
          return error;
      kept.clear();
      return file->flush();
    }
    Error close() override { return file->close(); }
    llvm::StringRef path() const override { return file->path(); }

  private:
    StoppingFiles &files;
    std::unique_ptr<WritableFile> file;
    mutable std::vector<std::pair<uint64_t, std::vector<uint8_t>>> kept;
  };

  Expected<std::unique_ptr<WritableFile>> create(const std::string &path) override {
    if (isNow())
      return end();
    return wrap(system().create(path));
  }
  Expected<std::unique_ptr<WritableFile>> openExisting(const std::string &path) override {
    return wrap(system().openExisting(path));
  }
  Error rename(const std::string &from, const std::string &to) override {
    if (isNow())
      return end();
    return system().rename(from, to);
  }
  Error remove(const std::string &path) override { return system().remove(path); }
  Error flushFolder(const std::string &folder) override { return system().flushFolder(folder); }

  unsigned steps = 0;

private:
  bool isNow() { return steps++ == at; }
  Error end() {
    if (stop != Stop::Full)
      ::_exit(stoppedStatus);
    return makeError(Code::Internal, "No space left on device");
  }
  Expected<std::unique_ptr<WritableFile>> wrap(Expected<std::unique_ptr<WritableFile>> file) {
    if (!file)
      return file.takeError();
    return std::make_unique<File>(*this, std::move(*file));
  }

  Stop stop;
  unsigned at;

public:
  static constexpr int stoppedStatus = 77;
};

/// The exit status of `body`, run in a process of its own.
int inChild(llvm::function_ref<int()> body) {
  std::fflush(nullptr);
  pid_t child = ::fork();
  if (child == 0)
    ::_exit(body());
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// ---- Packages
// ------------------------------------------------------------------------------------

TensorData noise(llvm::ArrayRef<int64_t> shape, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(byteSize(DType::F16, numElements(shape)));
  for (uint8_t &byte : bytes)
    byte = uint8_t(random() & 0x3F);
  return TensorData::fromBytes(DType::F16, shape, std::move(bytes));
}

/// y = linear(x, weight of `seed`, bias of `biasSeed`)
void addLinear(Program &program, llvm::StringRef name, unsigned seed, unsigned biasSeed,
               Opset opset = Opset::iOS18) {
  Function &function = *program.addFunction(name, opset);
  Value *x = function.addInput(Type::tensor(DType::F16, llvm::ArrayRef<int64_t>{1, 32}), "x");
  Builder b(function.body());
  Value *y = b.emit(OpKind::linear,
                    {{linear::x, x},
                     {linear::weight, Attr(noise({24, 32}, seed))},
                     {linear::bias, Attr(noise({24}, biasSeed))}},
                    "y");
  EXPECT_FALSE(b.failed()) << llvm::toString(b.takeError());
  function.body().setOutputs({y});
}

struct Wanted {
  const char *name;
  unsigned seed, biasSeed;
};

std::unique_ptr<Program> programOf(llvm::ArrayRef<Wanted> functions) {
  auto program = std::make_unique<Program>();
  for (const Wanted &wanted : functions)
    addLinear(*program, wanted.name, wanted.seed, wanted.biasSeed);
  return program;
}

class PackageEdit : public FolderTest {
protected:
  void SetUp() override {
    FolderTest::SetUp();
    package = at("p.mlpackage");
  }
  std::string model() const { return package + "/Data/com.apple.CoreML/model.mlmodel"; }
  std::string weights() const { return package + "/Data/com.apple.CoreML/weights/weight.bin"; }
  void make(llvm::ArrayRef<Wanted> functions) {
    auto program = programOf(functions);
    program->defaultFunction = functions[0].name;
    llvm::cantFail(writePackage(*program, package));
  }
  Error add(llvm::ArrayRef<Wanted> functions, FileSystem &files = FileSystem::system()) {
    EditOptions options;
    options.files = &files;
    options.threads = 1;
    return addFunctions(*programOf(functions), package, options);
  }
  std::vector<std::string> list() const {
    std::vector<std::string> names;
    std::error_code ec;
    for (fs::recursive_directory_iterator it(folder, ec), end; it != end && !ec; it.increment(ec))
      names.push_back(llvm::sys::path::filename(it->path()).str());
    llvm::sort(names);
    return names;
  }
  /// The package is whole and holds exactly these functions.
  void expectHolds(llvm::ArrayRef<Wanted> functions) const {
    auto opened = openPackage(package);
    ASSERT_TRUE(bool(opened)) << llvm::toString(opened.takeError());
    for (const auto &file : opened->weights)
      EXPECT_TRUE(bool(file->blobs()));
    ASSERT_EQ(opened->program->functions().size(), functions.size());
    for (const Wanted &wanted : functions) {
      Function *function = opened->program->function(wanted.name);
      ASSERT_TRUE(function) << wanted.name;
      std::vector<std::vector<uint8_t>> found;
      walk(function->body(), [&](Op &op) {
        if (op.is(OpKind::const_) && op.val().tensor())
          found.push_back(llvm::cantFail(op.val().tensor()->bytes()));
      });
      EXPECT_THAT(found, testing::Contains(llvm::cantFail(noise({24, 32}, wanted.seed).bytes())));
      EXPECT_THAT(found, testing::Contains(llvm::cantFail(noise({24}, wanted.biasSeed).bytes())));
    }
  }
  std::vector<std::string> functionNames() const {
    std::vector<std::string> names;
    auto opened = openPackage(package);
    if (!opened) {
      ADD_FAILURE() << llvm::toString(opened.takeError());
      return names;
    }
    for (const auto &function : opened->program->functions())
      names.push_back(function->name);
    return names;
  }

  std::string package;
};

TEST_F(PackageEdit, AddsBehindTheLastBlobAndSharesWhatIsThere) {
  make({{"b", 1, 2}});
  std::string before = get(weights());
  llvm::cantFail(add({{"c", 1, 3}, {"a", 4, 2}}));
  std::string after = get(weights());
  EXPECT_EQ(after.substr(64, before.size() - 64), before.substr(64));
  expectHolds({{"b", 1, 2}, {"c", 1, 3}, {"a", 4, 2}});
  EXPECT_THAT(functionNames(), ElementsAre("b", "c", "a"));
  auto summary = llvm::cantFail(inspectPackage(package));
  EXPECT_EQ(summary.blobCount, 4u); // two weights, two biases
  EXPECT_EQ(summary.defaultFunction, "b");
  EXPECT_THAT(list(), ElementsAre("Data", "Manifest.json", "com.apple.CoreML", "model.mlmodel",
                                  "p.mlpackage", "weight.bin", "weights"));
}

TEST_F(PackageEdit, AddingOneByOneGivesTheModelOfWritingAllAtOnce) {
  make({{"a", 1, 2}, {"b", 1, 3}, {"c", 4, 3}});
  std::string whole = get(model()), wholeWeights = get(weights());
  make({{"a", 1, 2}});
  llvm::cantFail(add({{"b", 1, 3}}));
  llvm::cantFail(add({{"c", 4, 3}}));
  EXPECT_EQ(get(model()), whole);
  EXPECT_EQ(get(weights()), wholeWeights);
}

TEST_F(PackageEdit, NothingNewLeavesTheWeightsAlone) {
  make({{"a", 1, 2}});
  std::string before = get(weights());
  llvm::cantFail(add({{"again", 1, 2}}));
  EXPECT_EQ(get(weights()), before);
  expectHolds({{"a", 1, 2}, {"again", 1, 2}});
}

TEST_F(PackageEdit, APlainPackageBecomesOneOfNamedFunctions) {
  llvm::cantFail(writePackage(*programOf({{"main", 1, 2}}), package));
  llvm::cantFail(add({{"other", 1, 3}}));
  expectHolds({{"main", 1, 2}, {"other", 1, 3}});
  EXPECT_EQ(llvm::cantFail(inspectPackage(package)).defaultFunction, "main");
  auto opened = llvm::cantFail(openPackage(package));
  EXPECT_EQ(opened.program->defaultFunction, "main");
}

TEST_F(PackageEdit, GrowsFromNoWeightsAtAll) {
  Program program;
  Function &function = *program.addFunction("main");
  Value *x = function.addInput(Type::tensor(DType::F16, llvm::ArrayRef<int64_t>{1, 32}), "x");
  Builder b(function.body());
  function.body().setOutputs({b.emit(OpKind::relu, {{relu::x, x}}, "y")});
  llvm::cantFail(writePackage(program, package));
  ASSERT_FALSE(fs::remove_directories(package + "/Data/com.apple.CoreML/weights"));
  llvm::cantFail(add({{"other", 1, 3}}));
  EXPECT_THAT(functionNames(), ElementsAre("main", "other"));
  EXPECT_EQ(llvm::cantFail(inspectPackage(package)).blobCount, 2u);
}

TEST_F(PackageEdit, TwoThatLookAlikeAreToldApart) {
  // Three weights of one size whose samples agree, and differ in one bit elsewhere.
  auto weight = [](unsigned variant) {
    std::vector<uint8_t> bytes(20000, 0x11);
    bytes[12345] ^= uint8_t(1 << variant);
    return TensorData::fromBytes(DType::F16, {100, 100}, std::move(bytes));
  };
  auto program = [&](llvm::ArrayRef<unsigned> variants) {
    auto result = std::make_unique<Program>();
    for (unsigned variant : variants) {
      Function &function = *result->addFunction("f" + std::to_string(variant));
      Value *x =
          function.addInput(Type::tensor(DType::F16, llvm::ArrayRef<int64_t>{100, 100}), "x");
      Builder b(function.body());
      function.body().setOutputs({b.emit(
          OpKind::add, {{mil::add::x, x}, {mil::add::y, b.constant(weight(variant), "w")}}, "y")});
    }
    return result;
  };
  auto first = program({0, 1, 2});
  first->defaultFunction = "f0";
  llvm::cantFail(writePackage(*first, package));
  auto second = program({3, 4});
  addLinear(*second, "l", 1, 2);
  llvm::cantFail(addFunctions(*second, package));
  EXPECT_EQ(llvm::cantFail(inspectPackage(package)).blobCount, 7u);
  llvm::cantFail(removeFunctions(package, {"f2"}));
  auto third = program({2});
  WriteReport report;
  llvm::cantFail(addFunctions(*third, package, {}, &report));
  EXPECT_EQ(llvm::cantFail(inspectPackage(package)).blobCount, 7u);
  auto opened = llvm::cantFail(openPackage(package));
  for (unsigned variant = 0; variant < 5; ++variant)
    walk(opened.program->function("f" + std::to_string(variant))->body(), [&](Op &op) {
      if (op.is(OpKind::const_)) {
        EXPECT_EQ(llvm::cantFail(op.val().tensor()->bytes()),
                  llvm::cantFail(weight(variant).bytes()));
      }
    });
}

TEST_F(PackageEdit, WhatIsMappedStaysWhatItWas) {
  make({{"a", 1, 2}, {"b", 3, 4}});
  auto before = llvm::cantFail(openPackage(package));
  llvm::cantFail(removeFunctions(package, {"b"}));
  llvm::cantFail(add({{"c", 5, 6}}));
  llvm::cantFail(removeFunctions(package, {"c"}));
  auto small = std::make_unique<Program>();
  Function &function = *small->addFunction("d");
  Value *x = function.addInput(Type::tensor(DType::F16, llvm::ArrayRef<int64_t>{1, 32}), "x");
  Builder b(function.body());
  function.body().setOutputs(
      {b.emit(OpKind::add, {{mil::add::x, x}, {mil::add::y, Attr(noise({1, 32}, 7))}}, "y")});
  llvm::cantFail(addFunctions(*small, package)); // a shorter file
  std::vector<std::vector<uint8_t>> found;
  walk(before.program->function("b")->body(), [&](Op &op) {
    if (op.is(OpKind::const_) && op.val().tensor())
      found.push_back(llvm::cantFail(op.val().tensor()->bytes()));
  });
  EXPECT_THAT(found, testing::Contains(llvm::cantFail(noise({24, 32}, 3).bytes())));
  EXPECT_THAT(found, testing::Contains(llvm::cantFail(noise({24}, 4).bytes())));
  EXPECT_THAT(functionNames(), ElementsAre("a", "d"));
}

TEST_F(PackageEdit, NothingIsWrittenThroughALink) {
  make({{"a", 1, 2}, {"b", 1, 3}});
  std::string victim = (folder + "/victim").str();
  std::ofstream(victim) << "whole";
  for (const std::string &file : {model(), weights()})
    ASSERT_FALSE(fs::create_link(victim, file + ".new"));
  EditOptions options;
  options.debugInfo = true;
  ASSERT_FALSE(fs::create_link(victim, package + "/Data/com.apple.CoreML/plait-debug.json.new"));
  llvm::cantFail(addFunctions(*programOf({{"c", 5, 6}}), package, options));
  llvm::cantFail(removeFunctions(package, {"b"}));
  EXPECT_EQ(get(victim), "whole");
  expectHolds({{"a", 1, 2}, {"c", 5, 6}});
}

TEST_F(PackageEdit, FoldersAreForWhomTheUmaskLets) {
  mode_t before = ::umask(022);
  make({{"a", 1, 2}});
  ::umask(before);
  for (const char *inside :
       {"", "/Data", "/Data/com.apple.CoreML", "/Data/com.apple.CoreML/weights"})
    EXPECT_EQ(int(llvm::cantFail(llvm::errorOrToExpected(fs::getPermissions(package + inside)))),
              0755)
        << inside;
}

TEST_F(PackageEdit, AFirstAdditionThatFailsLeavesNoFolder) {
  auto withoutWeights = [&] {
    Program program;
    Function &function = *program.addFunction("main");
    Value *x = function.addInput(Type::tensor(DType::F16, llvm::ArrayRef<int64_t>{1, 32}), "x");
    Builder b(function.body());
    function.body().setOutputs({b.emit(OpKind::relu, {{relu::x, x}}, "y")});
    llvm::cantFail(writePackage(program, package));
    ASSERT_FALSE(fs::remove_directories(package + "/Data/com.apple.CoreML/weights"));
  };
  withoutWeights();
  std::vector<std::string> before = list();
  EditOptions options;
  options.accept = [](const WriteReport &) { return makeError(Code::Internal, "not good enough"); };
  EXPECT_THAT(llvm::toString(addFunctions(*programOf({{"b", 1, 3}}), package, options)),
              HasSubstr("not good enough"));
  EXPECT_EQ(list(), before);
  for (Stop stop : {Stop::Full, Stop::Kill})
    for (unsigned step = 0;; ++step) {
      ASSERT_LT(step, 100u);
      withoutWeights();
      int status = inChild([&] {
        StoppingFiles files(stop, step);
        return errorToBool(add({{"b", 1, 3}}, files)) ? 1 : 0;
      });
      if (status == 0)
        break;
      if (stop == Stop::Full) {
        EXPECT_EQ(list(), before) << step;
      }
      EXPECT_THAT(functionNames(), ElementsAre("main"));
      llvm::cantFail(add({{"b", 1, 3}}));
      EXPECT_THAT(functionNames(), ElementsAre("main", "b"));
      EXPECT_EQ(list().size(), before.size() + 2) << step;
    }
}

TEST_F(PackageEdit, WhatLiesBesideThePackageChangesUnderItsLock) {
  struct Beside : Companion {
    Error prepare() override {
      calls += "prepare ";
      return fail ? makeError(Code::Internal, "no room") : Error::success();
    }
    void finish() override {
      calls += "finish ";
      EXPECT_TRUE(errorToBool(FolderLock::take(package).takeError()));
    }
    std::string package, calls;
    bool fail = false;
  } beside;
  beside.package = package;
  auto program = programOf({{"a", 1, 2}});
  program->defaultFunction = "a";
  WriteOptions write;
  write.companion = &beside;
  llvm::cantFail(writePackage(*program, package, write)); // new
  llvm::cantFail(writePackage(*program, package, write)); // in place of another one
  EditOptions edit;
  edit.companion = &beside;
  llvm::cantFail(addFunctions(*programOf({{"b", 3, 4}}), package, edit));
  llvm::cantFail(removeFunctions(package, {"b"}, edit));
  EXPECT_EQ(beside.calls, "prepare finish prepare finish prepare finish prepare finish ");
  beside.calls = "";
  beside.fail = true;
  std::string oldModel = get(model());
  EXPECT_THAT(llvm::toString(writePackage(*programOf({{"main", 1, 2}}), package, write)),
              HasSubstr("no room"));
  EXPECT_THAT(llvm::toString(addFunctions(*programOf({{"b", 3, 4}}), package, edit)),
              HasSubstr("no room"));
  EXPECT_EQ(beside.calls, "prepare prepare ");
  EXPECT_EQ(get(model()), oldModel);
  EXPECT_EQ(list().size(), 7u);
}

TEST_F(PackageEdit, WeightsOfAFileThatChangesAreNoWeights) {
  make({{"a", 1, 2}});
  std::string other = (folder + "/other.mlpackage").str();
  auto source = programOf({{"main", 7, 8}});
  llvm::cantFail(writePackage(*source, other));
  auto read = llvm::cantFail(openPackage(other));
  std::string file = other + "/Data/com.apple.CoreML/weights/weight.bin";
  timespec times[2] = {{0, UTIME_OMIT}, {12345, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  EXPECT_THAT(llvm::toString(writePackage(*read.program, package)),
              HasSubstr("changed while it was read"));
  EXPECT_THAT(llvm::toString(addFunctions(*read.program, package)),
              HasSubstr("changed while it was read"));
  expectHolds({{"a", 1, 2}});
}

// ---- Stopped at every step
// -----------------------------------------------------------------------

class Stopped : public PackageEdit, public testing::WithParamInterface<Stop> {};

TEST_P(Stopped, TheOldModelIsValidAndTheNextAdditionOverwritesWhatWasLeft) {
  make({{"a", 1, 2}});
  std::string oldModel = get(model()), oldWeights = get(weights());
  llvm::cantFail(add({{"c", 8, 9}}));
  std::string cleanModel = get(model()), cleanWeights = get(weights());

  unsigned step = 0, committed = 0;
  for (bool done = false; !done; ++step) {
    ASSERT_LT(step, 100u);
    make({{"a", 1, 2}});
    int status = inChild([&] {
      StoppingFiles files(GetParam(), step);
      Error error = add({{"b", 5, 6}}, files);
      return errorToBool(std::move(error)) ? 1 : 0;
    });
    done = status == 0;
    if (!done) {
      ASSERT_EQ(status, GetParam() == Stop::Full ? 1 : StoppingFiles::stoppedStatus);
    }
    bool isNew = get(model()) != oldModel;
    committed += isNew;
    EXPECT_EQ(isNew, done) << "step " << step;
    if (isNew) {
      expectHolds({{"a", 1, 2}, {"b", 5, 6}});
      continue;
    }
    SCOPED_TRACE(step);
    expectHolds({{"a", 1, 2}});
    if (GetParam() == Stop::Full) {
      EXPECT_EQ(get(weights()), oldWeights);
      EXPECT_EQ(list().size(), 7u);
    }
    // Another function than the one that was stopped: nothing of that stays.
    llvm::cantFail(add({{"c", 8, 9}}));
    EXPECT_EQ(get(model()), cleanModel);
    EXPECT_EQ(get(weights()), cleanWeights);
    EXPECT_EQ(list().size(), 7u);
  }
  EXPECT_EQ(committed, 1u);
  // Two blobs in one write, cuts, three flushes, the count, the model's pieces, the rename.
  EXPECT_GT(step, 8u);
}

INSTANTIATE_TEST_SUITE_P(Steps, Stopped, testing::Values(Stop::Kill, Stop::Power, Stop::Full),
                         [](const auto &info) {
                           return std::string(info.param == Stop::Kill    ? "Killed"
                                              : info.param == Stop::Power ? "PowerFails"
                                                                          : "DiskIsFull");
                         });

TEST_F(PackageEdit, AnAdditionThatCutsOffAnotherIsAsSafe) {
  // What was stopped after its count had been written leaves blobs that the header includes.
  make({{"a", 1, 2}});
  std::string oldModel = get(model());
  llvm::cantFail(add({{"c", 8, 9}}));
  std::string cleanWeights = get(weights());
  for (unsigned step = 0;; ++step) {
    ASSERT_LT(step, 100u);
    make({{"a", 1, 2}});
    llvm::cantFail(add({{"b", 5, 6}}));
    llvm::cantFail(removeFunctions(package, {"b"}));
    EXPECT_EQ(get(model()), oldModel);
    int status = inChild([&] {
      StoppingFiles files(Stop::Kill, step);
      return errorToBool(add({{"c", 8, 9}}, files)) ? 1 : 0;
    });
    if (status == 0)
      break;
    expectHolds({{"a", 1, 2}});
    llvm::cantFail(add({{"c", 8, 9}}));
    EXPECT_EQ(get(weights()), cleanWeights);
  }
}

TEST_F(PackageEdit, ALimitOnTheSizeOfFilesIsAnError) {
  make({{"a", 1, 2}});
  std::string oldModel = get(model()), oldWeights = get(weights());
  for (uint64_t limit : {oldWeights.size(), oldWeights.size() + 100, oldWeights.size() + 1400}) {
    int status = inChild([&] {
      std::signal(SIGXFSZ, SIG_IGN);
      rlimit limits{rlim_t(limit), RLIM_INFINITY};
      if (::setrlimit(RLIMIT_FSIZE, &limits) != 0)
        return 2;
      return errorToBool(add({{"b", 5, 6}})) ? 1 : 0;
    });
    EXPECT_EQ(status, 1) << limit;
    EXPECT_EQ(get(model()), oldModel);
    EXPECT_EQ(get(weights()), oldWeights);
    EXPECT_EQ(list().size(), 7u);
  }
}

// ---- Removing and refusing
// -----------------------------------------------------------------------

TEST_F(PackageEdit, RemovesAndTakesBack) {
  make({{"a", 1, 2}, {"b", 1, 3}, {"c", 4, 5}});
  std::string whole = get(model()), before = get(weights());
  llvm::cantFail(removeFunctions(package, {"b", "c"}));
  EXPECT_EQ(get(weights()), before);
  expectHolds({{"a", 1, 2}});
  llvm::cantFail(add({{"b", 1, 3}, {"c", 4, 5}}));
  EXPECT_EQ(get(model()), whole);
  EXPECT_EQ(get(weights()), before);
}

TEST_F(PackageEdit, RefusalsLeaveThePackageAsItWas) {
  make({{"a", 1, 2}, {"b", 1, 3}});
  std::string oldModel = get(model()), oldWeights = get(weights());
  auto says = [&](Error error) {
    EXPECT_EQ(get(model()), oldModel);
    EXPECT_EQ(get(weights()), oldWeights);
    return llvm::toString(std::move(error));
  };
  EXPECT_THAT(says(add({{"b", 7, 8}})), HasSubstr("there is a function 'b' already"));
  EXPECT_THAT(says(removeFunctions(package, {"x"})), HasSubstr("no function 'x'; there are a, b"));
  EXPECT_THAT(says(removeFunctions(package, {"a"})), HasSubstr("--default"));
  EXPECT_THAT(says(removeFunctions(package, {"a", "b"})), HasSubstr("last function"));
  EditOptions options;
  options.defaultFunction = "x";
  EXPECT_THAT(says(addFunctions(*programOf({{"c", 7, 8}}), package, options)),
              HasSubstr("'x' cannot be the default function; the package holds a, b, c"));
  options = {};
  options.accept = [](const WriteReport &report) {
    EXPECT_EQ(report.layout.blobs.size(), 5u);
    EXPECT_TRUE(report.layout.blobs[0].usedBefore);
    EXPECT_FALSE(report.layout.blobs[4].usedBefore);
    return makeError(Code::Internal, "not good enough");
  };
  EXPECT_THAT(says(addFunctions(*programOf({{"c", 7, 8}}), package, options)),
              HasSubstr("not good enough"));
  Program old;
  addLinear(old, "c", 1, 2, Opset::iOS17);
  EXPECT_THAT(says(addFunctions(old, package)), HasSubstr("opset"));
  EXPECT_THAT(says(addFunctions(*programOf({{"c", 1, 2}}), (folder + "/none").str())),
              HasSubstr("no such package"));
}

TEST_F(PackageEdit, APackageOfOldOpsetsCannotGrow) {
  Program program;
  addLinear(program, "main", 1, 2, Opset::iOS16);
  llvm::cantFail(writePackage(program, package));
  EXPECT_THAT(llvm::toString(add({{"b", 1, 2}})), HasSubstr("iOS 18"));
}

TEST_F(PackageEdit, OneProcessAtATime) {
  make({{"a", 1, 2}});
  EditOptions options;
  options.accept = [&](const WriteReport &) -> Error {
    int status = inChild([&] {
      std::string message = llvm::toString(add({{"c", 5, 6}}));
      return llvm::StringRef(message).contains("another process") ? 0 : 1;
    });
    EXPECT_EQ(status, 0);
    return Error::success();
  };
  llvm::cantFail(addFunctions(*programOf({{"b", 3, 4}}), package, options));
  expectHolds({{"a", 1, 2}, {"b", 3, 4}});
}

TEST_F(PackageEdit, NothingIsAddedToAPackageThatIsReplaced) {
  make({{"a", 1, 2}});
  WriteOptions options;
  options.accept = [&](const WriteReport &) -> Error {
    int status = inChild([&] {
      auto other = programOf({{"d", 7, 8}});
      other->defaultFunction = "d";
      for (const std::string &message :
           {llvm::toString(add({{"c", 5, 6}})), llvm::toString(writePackage(*other, package))})
        if (!llvm::StringRef(message).contains("another process"))
          return 1;
      return 0;
    });
    EXPECT_EQ(status, 0);
    return Error::success();
  };
  auto program = programOf({{"b", 3, 4}});
  program->defaultFunction = "b";
  llvm::cantFail(writePackage(*program, package, options));
  expectHolds({{"b", 3, 4}});
}

TEST_F(PackageEdit, AnotherPackageInItsPlaceStaysAsItIs) {
  make({{"d", 7, 8}});
  std::string other = (folder + "/other.mlpackage").str();
  ASSERT_FALSE(fs::rename(package, other));
  make({{"a", 1, 2}});
  EditOptions options;
  options.accept = [&](const WriteReport &) -> Error {
    EXPECT_FALSE(fs::rename(package, (folder + "/away.mlpackage").str()));
    EXPECT_FALSE(fs::rename(other, package));
    return Error::success();
  };
  EXPECT_THAT(llvm::toString(addFunctions(*programOf({{"b", 3, 4}}), package, options)),
              HasSubstr("another process"));
  expectHolds({{"d", 7, 8}});
}

} // namespace
