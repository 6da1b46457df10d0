// Shape functions against coremltools': replays data/shapes.txt, which make_shape_table.py wrote.
#include "tests/ShapeTable.h"
#include "mil/Infer.h"
#include "tests/SourceDir.h"

#include <gtest/gtest.h>

using namespace plait;
using namespace plait::mil;
using namespace plait::table;

namespace {

/// Replays one line.
class Case {
public:
  explicit Case(const Line &line) : line_(line) {}

  /// Empty where plait agrees; otherwise what it says.
  std::string run() {
    auto kind = parseOpKind(line_.operation());
    if (!kind)
      return "no such operation";
    std::vector<Arg> args;
    for (llvm::StringRef word : llvm::drop_begin(line_.words)) {
      auto [name, text] = word.split('=');
      auto param = info(*kind).findParam(name);
      if (!param)
        return "no parameter " + name.str();
      llvm::SmallVector<llvm::StringRef> parts;
      text.split(parts, '+');
      llvm::SmallVector<Value *, 3> values;
      for (llvm::StringRef part : parts)
        values.push_back(valueOf(builder_, part));
      args.emplace_back(*param, values);
    }
    Op *op = builder_.create(*kind, args);
    std::string error = llvm::toString(builder_.takeError());
    if (line_.results == "error")
      return op ? "accepted: " + typesOf(*op) : "";
    if (!op)
      return error;
    llvm::SmallVector<llvm::StringRef> expected;
    line_.results.split(expected, ' ');
    bool same = expected.size() == op->numResults();
    for (size_t i = 0; same && i < expected.size(); ++i) {
      auto [dtype, shape] = expected[i].split('[');
      Shape theirs = shapeOf(shape.drop_back());
      const Type &mine = op->result(i)->type;
      same &= mine.isTensor() && mine.dtype() == dtypeOf(dtype) && mine.rank() == theirs.size();
      // Where coremltools knows a size, so does plait; where it does not, plait may.
      for (size_t d = 0; same && d < theirs.size(); ++d)
        same &= !theirs[d].isConst() || theirs[d] == mine.shape()[d];
    }
    return same ? "" : typesOf(*op);
  }

private:
  static std::string typesOf(const Op &op) {
    std::string text;
    for (const auto &result : op.results())
      text += (text.empty() ? "" : " ") + result->type.str();
    return text;
  }

  const Line &line_;
  Program program_;
  Function *function_ = program_.addFunction("main");
  Builder builder_{function_->body()};
};

/// Where plait decides otherwise than coremltools, on purpose: lines of `operation` that contain
/// `text`.
struct Difference {
  const char *operation, *text, *reason;
};
constexpr Difference kDifferences[] = {
    {"prelu", "[1,?", "a dynamic number of channels may fit alpha; coremltools refuses it"},
    {"einsum", "equation",
     "the ranks must be those of the equation; coremltools reads the operands"},
    {"avg_pool", "f32[2,9]", "pooling without spatial dimensions is refused"},
    {"max_pool", "f32[2,9]", "as avg_pool"},
    {"l2_pool", "f32[2,9]", "as avg_pool"},
    {"layer_norm", "] -> error",
     "absent axes are all axes; coremltools' own default is a range "
     "object that its builder refuses"},
    {"transpose", "(0,0,1)", "perm must be a permutation"},
    {"flatten2d", "f32[5] axis=i32:2", "the axis must be in range"},
    {"split", "split_sizes=i32(2,4)",
     "split_sizes must add up to the axis, and num_splits be their "
     "number"},
    {"one_hot", "-> error", "an absent on_value or off_value takes the type of the other"},
    {"resize", "i32[2] resized_dims=u32:3", "resized_dims must not exceed the length of shape"},
    {"random_normal", "stddev=f16:1", "an absent mean takes the type of stddev"},
};

TEST(ShapeTable, AgreesWithCoremltools) {
  auto buffer = llvm::MemoryBuffer::getFile(sourcePath("tests/mil/data/shapes.txt"), true);
  ASSERT_TRUE(buffer);
  unsigned cases = 0;
  bool seen[std::size(kDifferences)] = {};
  llvm::StringSet<> operations;
  for (const Line &line : readLines(**buffer)) {
    ++cases;
    operations.insert(line.operation());
    std::string difference = Case(line).run();
    if (difference.empty())
      continue;
    bool known = false;
    for (auto [i, d] : llvm::enumerate(kDifferences))
      if (line.operation() == d.operation && line.text.contains(d.text))
        known = seen[i] = true;
    EXPECT_TRUE(known) << line.text.str() << "\n    plait: " << difference;
  }
  for (auto [i, d] : llvm::enumerate(kDifferences))
    EXPECT_TRUE(seen[i]) << d.operation << " no longer differs";
  EXPECT_GT(cases, 2000u);
  EXPECT_GT(operations.size(), 140u);
}

} // namespace
