// What inspect says of weights that are nearly shared.
#include "backend/Inspect.h"
#include "backend/PackageWriter.h"
#include "mil/Builder.h"
#include "support/Json.h"

#include "llvm/Support/FileSystem.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

using namespace plait;
using namespace plait::mil;
using Reason = NearlyShared::Reason;

namespace {

std::vector<float> noise(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value = normal(random);
  return values;
}

class NearSharing : public testing::Test {
protected:
  TensorData floats(llvm::ArrayRef<int64_t> shape, const std::vector<float> &values) {
    return TensorData::from<float>(DType::F32, shape, values);
  }
  void add(llvm::StringRef function, llvm::ArrayRef<std::pair<const char *, TensorData>> weights) {
    for (const auto &[name, tensor] : weights) {
      names.push_back(name);
      tensors.push_back({{functions, unsigned(tensors.size())}, "", tensor, 0, {}});
      tensors.back().blob = unsigned(tensors.size() - 1);
    }
    ++functions;
  }
  std::vector<NearlyShared> find() {
    std::vector<std::vector<unsigned>> users;
    for (const NearSharingCandidate &candidate : tensors)
      users.push_back({candidate.place.function});
    for (size_t i = 0; i < tensors.size(); ++i) {
      tensors[i].name = names[i];
      tensors[i].functions = users[i];
    }
    return findNearlyShared(tensors);
  }

  unsigned functions = 0;
  std::vector<std::string> names;
  std::vector<NearSharingCandidate> tensors;
};

TEST_F(NearSharing, CountsWhatDiffers) {
  std::vector<float> values = noise(60 * 100, 1), other = values;
  other[17] += 0.5f;
  other[4000] -= 2;
  other[5000] = 0.0f;
  values[5000] = -0.0f;
  add("a", {{"w", floats({60, 100}, values)}});
  add("b", {{"w", floats({60, 100}, other)}});
  auto found = find();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].reason, Reason::Values);
  EXPECT_EQ(found[0].elements, 6000u);
  EXPECT_EQ(found[0].different, 3u);
  EXPECT_FLOAT_EQ(float(found[0].maxDifference), 2);
  EXPECT_EQ(found[0].bytes, 24000u);
  EXPECT_EQ(found[0].here.function, 1u);
  EXPECT_EQ(found[0].there.function, 0u);
}

TEST_F(NearSharing, NeitherTheNameNorThePlaceIsTheSame) {
  std::vector<std::vector<float>> values;
  for (unsigned seed = 1; seed <= 4; ++seed)
    values.push_back(noise(6000, seed));
  auto weight = [&](unsigned i) { return floats({60, 100}, values[i]); };
  add("a", {{"k", weight(0)}, {"l", weight(1)}, {"m", weight(2)}});
  values[2][100] += 1;
  add("b", {{"x", weight(2)}, {"y", weight(3)}});
  auto found = find();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].there.weight, 2u);
  EXPECT_EQ(found[0].here.weight, 3u);
  EXPECT_EQ(found[0].different, 1u);
}

TEST_F(NearSharing, WhatIsNoNumberHasNoDifference) {
  std::vector<float> values = noise(6000, 1), other = values, third = values;
  values[1] = -0.0f, other[1] = 0.0f;
  other[2] = INFINITY;
  other[3] = NAN;
  third[2] = INFINITY;
  third[4] += 3;
  add("a", {{"w", floats({60, 100}, values)}});
  add("b", {{"w", floats({60, 100}, other)}});
  add("c", {{"w", floats({60, 100}, third)}});
  auto found = find();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].different, 3u);
  EXPECT_EQ(found[0].maxDifference, 0);
  EXPECT_FLOAT_EQ(float(found[1].maxDifference), 3);
}

TEST_F(NearSharing, AllElementsALittle) {
  std::vector<float> values = noise(6000, 1), other = values;
  for (float &value : other)
    value += 0.01f;
  add("a", {{"w", floats({60, 100}, values).cast(DType::F16)}});
  add("b", {{"w", floats({60, 100}, other).cast(DType::F16)}});
  auto found = find();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].reason, Reason::Values);
  EXPECT_GT(found[0].different, 5000u);
  EXPECT_NEAR(found[0].maxDifference, 0.01, 0.005);
}

TEST_F(NearSharing, OtherTypes) {
  std::vector<float> values = noise(6000, 1), other = values;
  other[9] = 77;
  add("a", {{"v", floats({60, 100}, values)}, {"w", floats({50, 120}, values)}});
  add("b", {{"v", floats({60, 100}, values).cast(DType::F16)},
            {"w", floats({50, 120}, other).cast(DType::F16)}});
  auto found = find();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].reason, Reason::Type);
  EXPECT_EQ(found[0].different, 0u);
  EXPECT_EQ(found[1].reason, Reason::Type);
  EXPECT_EQ(found[1].different, 1u);
}

TEST_F(NearSharing, TransposedSquareToo) {
  std::vector<float> values = noise(6400, 1);
  add("a", {{"v", floats({50, 128}, values)}, {"w", floats({80, 80}, values)}});
  add("b", {{"v", floats({50, 128}, values).permute({1, 0})},
            {"other", floats({80, 80}, values).permute({1, 0})}});
  auto found = find();
  ASSERT_EQ(found.size(), 2u);
  for (const NearlyShared &near : found) {
    EXPECT_EQ(near.reason, Reason::Transposed);
    EXPECT_EQ(near.different, 0u);
  }
}

TEST_F(NearSharing, AFoldedScale) {
  std::vector<float> values = noise(64 * 100, 1), other = values;
  for (size_t i = 0; i < other.size(); ++i)
    other[i] *= 1.0f + 3.0f * float(i / 100);
  for (DType type : {DType::F32, DType::F16}) {
    names.clear();
    tensors.clear();
    functions = 0;
    add("a", {{"w", floats({64, 4, 5, 5}, values).cast(type)}});
    add("b", {{"w", floats({64, 4, 5, 5}, other).cast(type)}});
    auto found = find();
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].reason, Reason::Scaled);
  }
}

TEST_F(NearSharing, WhatIsUnrelatedIsNotMentioned) {
  add("a", {{"w", floats({60, 100}, noise(6000, 1))}, {"small", floats({20}, noise(20, 1))}});
  add("b", {{"w", floats({60, 100}, noise(6000, 2))}, {"small", floats({20}, noise(20, 1))}});
  // Two of one function are two on purpose.
  std::vector<float> values = noise(4000, 3), other = values;
  other[0] = 9;
  add("c", {{"x", floats({40, 100}, values)}, {"y", floats({40, 100}, other)}});
  EXPECT_TRUE(find().empty());
}

TEST_F(NearSharing, ManyFunctionsGiveOneEntryABlob) {
  std::vector<float> values = noise(6000, 1);
  for (unsigned i = 0; i < 30; ++i) {
    values[i] += 1;
    add("f", {{"w", floats({60, 100}, values)}});
  }
  EXPECT_EQ(find().size(), 29u);
}

TEST_F(NearSharing, OfAPackage) {
  llvm::SmallString<128> folder;
  ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("plait-near", folder));
  Program program;
  std::vector<float> values = noise(6000, 1);
  for (const char *name : {"a", "b", "c"}) {
    Function &function = *program.addFunction(name);
    Value *x = function.addInput(Type::tensor(DType::F32, llvm::ArrayRef<int64_t>{60, 100}), "x");
    Builder b(function.body());
    if (*name == 'c')
      values[3] += 0.25f;
    function.body().setOutputs({b.emit(
        OpKind::add, {{mil::add::x, x}, {mil::add::y, b.constant(floats({60, 100}, values), "w")}},
        "y")});
  }
  program.defaultFunction = "a";
  std::string path = (folder + "/p.mlpackage").str();
  llvm::cantFail(writePackage(program, path));
  EXPECT_TRUE(llvm::cantFail(inspectPackage(path)).nearlyShared.empty());
  PackageSummary summary = llvm::cantFail(inspectPackage(path, /*nearSharing=*/true));
  ASSERT_EQ(summary.nearlyShared.size(), 1u);
  EXPECT_EQ(summary.nearlyShared[0].different, 1u);
  EXPECT_EQ(summary.sharingMatrix(), (std::vector<std::vector<uint64_t>>{
                                         {24000, 24000, 0}, {24000, 24000, 0}, {0, 0, 24000}}));
  EXPECT_EQ(summary.ownBytes(), (std::vector<uint64_t>{0, 0, 24000}));
  std::string text = jsonText(toJson(summary));
  EXPECT_THAT(text, testing::HasSubstr(R"("different":1)"));
  EXPECT_THAT(text, testing::HasSubstr(R"("reason":"values")"));
  llvm::sys::fs::remove_directories(folder);
}

} // namespace
