// Where operations come from, and which parameter constants are.
#include "mil/Builder.h"

#include <gtest/gtest.h>
#include <thread>

using namespace plait;
using namespace plait::mil;

namespace {

using Paths = std::vector<std::string>;

struct Lines : SourceTable {
  mutable std::atomic<unsigned> asked = 0;
  std::string describe(uint64_t position) const override {
    ++asked;
    return "model.py:" + std::to_string(position);
  }
};

TEST(Location, EqualOnesAreOnePointer) {
  Location a("encoder.layer.0", "model.py:12", "aten::linear");
  EXPECT_EQ(a, Location("encoder.layer.0", "model.py:12", "aten::linear"));
  EXPECT_FALSE(a == Location("encoder.layer.1", "model.py:12", "aten::linear"));
  EXPECT_EQ(a.module(), "encoder.layer.0");
  EXPECT_EQ(a.source(), "model.py:12");
  EXPECT_EQ(a.op(), "aten::linear");
  EXPECT_EQ(sizeof a, sizeof(void *));
  EXPECT_TRUE(Location("", "", "").empty());
  EXPECT_EQ(Location().source(), "");
  EXPECT_EQ(Location().module(), "");
}

TEST(Location, SaysWhatIsKnown) {
  EXPECT_EQ(Location("a.b", "m.py:1", "aten::mul").str(), "a.b at m.py:1");
  EXPECT_EQ(Location("a.b", "", "aten::mul").str(), "a.b");
  EXPECT_EQ(Location("", "m.py:1", "aten::mul").str(), "m.py:1");
  EXPECT_EQ(Location("", "", "aten::mul").str(), "aten::mul");
  EXPECT_EQ(Location().str(), "");
}

TEST(Location, LooksForALineWhenAsked) {
  auto lines = std::make_shared<Lines>();
  Location a("m", lines, 7, "aten::add");
  EXPECT_EQ(a, Location("m", lines, 7, "aten::add"));
  EXPECT_FALSE(a == Location("m", lines, 8, "aten::add"));
  EXPECT_EQ(lines->asked, 0u);
  EXPECT_EQ(a.str(), "m at model.py:7");
  EXPECT_EQ(lines->asked, 1u);
  // Freed with the last location.
  std::weak_ptr<Lines> held = lines;
  lines.reset();
  EXPECT_FALSE(held.expired());
  a = Location();
  EXPECT_TRUE(held.expired());
}

TEST(Location, IsSharedByThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([] {
      for (int i = 0; i < 2000; ++i) {
        Location a("layer." + std::to_string(i % 5), "m.py:3", "aten::add");
        Location b = a, c = std::move(a);
        EXPECT_EQ(b, c);
        EXPECT_EQ(c.source(), "m.py:3");
      }
    });
  for (std::thread &thread : threads)
    thread.join();
}

TEST(Location, NamesOperations) {
  Program program;
  Function *function = program.addFunction("main");
  Value *x = function->addInput(Type::tensor(DType::F32, {Dim(2), Dim(4)}), "x");
  Builder b(function->body());
  b.setLocation(Location("encoder.layer.0", "model.py:12", "aten::linear"));
  Value *y = b.emit(OpKind::linear,
                    {{linear::x, x}, {linear::weight, TensorData::splat(DType::F32, {3, 4}, 1)}});
  EXPECT_EQ(y->name, "encoder_layer_0_linear");
  EXPECT_EQ(b.scalar(DType::F32, 1)->name, "encoder_layer_0_const");
  EXPECT_EQ(b.emit(OpKind::relu, {{relu::x, y}})->name, "encoder_layer_0_relu");
  EXPECT_EQ(b.emit(OpKind::relu, {{relu::x, y}})->name, "encoder_layer_0_relu_0");
  EXPECT_EQ(b.emit(OpKind::relu, {{relu::x, y}}, "mine")->name, "mine");
  for (Op &op : function->body())
    EXPECT_EQ(op.location, b.location());
  Builder before = Builder::before(y->def());
  EXPECT_EQ(before.location(), b.location());
}

TEST(Origin, IsASetOfPaths) {
  Origin tied = Origin::parameter({"head.weight", "embedding.weight", "head.weight"});
  EXPECT_EQ(tied.paths(),
            (llvm::SmallVector<llvm::StringRef, 2>{"embedding.weight", "head.weight"}));
  EXPECT_EQ(tied, Origin::parameter({"embedding.weight", "head.weight"}));
  EXPECT_FALSE(tied.isComputed());
  EXPECT_FALSE(Origin());
  EXPECT_FALSE(Origin::parameter({}));
  EXPECT_EQ(Origin().with(tied), tied);
  EXPECT_EQ(tied.with(Origin()), tied);
  Origin more = tied.with(Origin::computed({"a"}));
  EXPECT_TRUE(more.isComputed());
  EXPECT_EQ(more.paths().size(), 3u);
  EXPECT_EQ(tied.asComputed(), Origin::computed({"embedding.weight", "head.weight"}));
  EXPECT_FALSE(tied == tied.asComputed());
  EXPECT_EQ(sizeof tied, sizeof(void *));
}

TensorData weight(llvm::ArrayRef<int64_t> shape, const std::string &path, float value = 0.5) {
  std::vector<float> values(numElements(shape), value);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] += float(i);
  return TensorData::from<float>(DType::F32, shape, values).withOrigin(Origin::parameter({path}));
}

TEST(Origin, EveryTransformKeepsIt) {
  // Of more and of fewer elements than are transformed at once.
  for (int64_t rows : {2, 40}) {
    TensorData w = weight({rows, 4}, "w");
    for (const TensorData &t :
         {w.cast(DType::F16), w.cast(DType::F16).cast(DType::F32), w.reshape({4, rows}),
          w.permute({1, 0}), w.permute({1, 0}).reshape({rows * 4}), w.scale(2),
          w.scale(2).permute({1, 0}).cast(DType::F16)}) {
      EXPECT_EQ(parametersOf(t), Paths{"w"});
      EXPECT_TRUE(isWeight(t));
    }
    TensorData merged = w.loraMerge(weight({rows, 1}, "b"), weight({1, 4}, "a"), 2);
    EXPECT_EQ(parametersOf(merged), (Paths{"w", "b", "a"}));
    EXPECT_EQ(parametersOf(merged.permute({1, 0}).cast(DType::F16)), (Paths{"w", "a", "b"}));
    TensorData product =
        TensorData::computed(OpKind::matmul, {{Attr(w)}, {Attr(weight({4, 3}, "v"))}, {}, {}},
                             Type::tensor(DType::F32, {Dim(rows), Dim(3)}));
    EXPECT_EQ(parametersOf(product), (Paths{"w", "v"}));
    EXPECT_EQ(parametersOf(product.permute({1, 0})), (Paths{"v", "w"}));
  }
  TensorData fill = TensorData::splat(DType::F32, {8, 8}, 1).withOrigin(Origin::parameter({"one"}));
  for (const TensorData &t : {fill.cast(DType::F16), fill.reshape({64}), fill.permute({1, 0})})
    EXPECT_EQ(parametersOf(t), Paths{"one"});
  EXPECT_FALSE(isWeight(TensorData::splat(DType::F32, {8, 8}, 1)));
}

TEST(Origin, IsNoPartOfATreesIdentity) {
  TensorData a = weight({2, 3}, "a"), b = weight({2, 3}, "b");
  EXPECT_TRUE(a.sameTree(b));
  EXPECT_EQ(a.treeHash(), b.treeHash());
  // Equal small tensors share what they hold, but not what they are.
  EXPECT_EQ(parametersOf(a), Paths{"a"});
  EXPECT_EQ(parametersOf(b), Paths{"b"});
  EXPECT_FALSE(isWeight(weight({2, 3}, "").cast(DType::F32)));
}

TEST(Origin, OfTwoTreesThatBecomeOne) {
  auto tree = [](const std::string &path) {
    TensorData w = weight({40, 4}, path);
    return TensorData::computed(OpKind::matmul, {{Attr(w.cast(DType::F16))}, {Attr(w)}, {}, {}},
                                Type::tensor(DType::F32, {Dim(40), Dim(4)}))
        .permute({1, 0})
        .scale(3);
  };
  TensorData a = tree("a"), both = a.withOriginsOf(tree("b"));
  EXPECT_TRUE(both.sameTree(a));
  EXPECT_EQ(parametersOf(both), (Paths{"a", "b"}));
  EXPECT_EQ(&a.withOriginsOf(tree("a")).node(), &a.node());
}

} // namespace
