// p-norms and distances of any order: inside the limits of LibTorch's type, beyond them, and with
// an axis whose size is not known and may be one.
#include "tests/frontend/lower/LowerCheck.h"

#include <cmath>

namespace plait::frontend {

namespace {
const double inf = INFINITY, nan = NAN;

/// Rows around the limits of p = 3, 30 and 100 in fp32: ordinary, small, large, zero, special.
at::Tensor rows() {
  return floats({0.5,   -3,   1.25, 1e-3, -2e-4, 5e-4, 20,   -18, 3,    0.2, 0.05,  0.01,
                 2e13,  1,    -7,   0,    0,     0,    inf,  1,   -2,   nan, 1,     0.5,
                 -3e-9, 1e-9, 0,    60,   -45,   33,   -inf, inf, -inf, 1.9, 0.003, 2.6})
      .view({12, 3});
}
std::string norm(double p, const std::string &more) {
  return "torch.linalg_vector_norm(x, " + std::to_string(p) + ", " + more + ")";
}
} // namespace

class Orders : public testing::TestWithParam<double> {};
TEST_P(Orders, AreWhatLibTorchGives) {
  double p = GetParam();
  std::string order = std::to_string(p);
  checkAll({norm(p, "1"), norm(p, "1, True"), "torch.norm(x, " + order + ", 1)",
            "torch.pairwise_distance(x, torch.zeros(3), " + order + ", 0.0)"},
           {rows()});
  checkDynamic(norm(p, "1"), {rows()}, {1});
  if (p > 0)
    checkAll({"torch.cdist(x, torch.tensor([[0.5, 1.0, 0.0]]), " + order + ")",
              "torch.renorm(x[:9], " + order + ", 0, 2.0)"},
             {rows()});
}
INSTANTIATE_TEST_SUITE_P(AllSigns, Orders,
                         testing::Values(0.5, 1.5, 3.0, 7.0, 30.0, 100.0, -0.5, -1.0, -3.0, -30.0,
                                         -100.0));

TEST(Orders, OfDoublesHaveOtherLimits) {
  at::Tensor x = rows().slice(0, 0, 4).to(at::kDouble).unsqueeze(2);
  for (const char *order : {"3.0", "30.0", "-30.0", "100.0"}) {
    std::string p = order;
    checkAll({"torch.linalg_vector_norm(x.double(), " + p + ", 1)",
              "torch.linalg_vector_norm(x, " + p + ", 1, dtype=7)"},
             {x.to(at::kFloat)});
  }
}

// One element is its own norm, whatever its power; torch.cdist raises it all the same.
TEST(Orders, OfOneElement) {
  at::Tensor x = floats({20, -1e-3, 0, 1e9, inf, 2}).view({6, 1});
  std::vector<std::string> sources = {norm(30, "1"),
                                      norm(-30, "1"),
                                      norm(30, "[1], True"),
                                      "torch.dist(x[0], x[1], 30.0)",
                                      "torch.pairwise_distance(x, x * 2, 30.0, 0.0)",
                                      "torch.pairwise_distance(x[5, 0], x[1, 0], 30.0)",
                                      "torch.pairwise_distance(x[0, 0], x[1, 0])"};
  checkAll(sources, {x});
  checkAll(sources, {x}, {.dynamic = {1}});
  checkAll(sources, {x}, {.dynamic = {0, 1}});
  at::Tensor finite = floats({20, -1e-3, 0, 5, 2}).view({5, 1});
  checkAll({"torch.cdist(x, x, 30.0)", "torch.pdist(x, 30.0)", "torch.renorm(x, 30, 0, 2.0)"},
           {finite});
  checkDynamic("torch.cdist(x, x, 30.0)", {finite}, {1});
}

TEST(Orders, OfNothing) {
  checkAll({"torch.linalg_vector_norm(x, 3, 1)", "torch.linalg_vector_norm(x, 30)"},
           {at::zeros({6, 0})});
}

} // namespace plait::frontend
