// Choosing forms, against all choices that there are.
#include "compress/Choice.h"

#include "llvm/ADT/STLExtras.h"

#include <gtest/gtest.h>

#include <random>

namespace plait::compress {

namespace {

FormProblem randomProblem(unsigned seed, unsigned weights, unsigned outputs) {
  std::mt19937 random(seed);
  auto real = [&](double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
  FormProblem problem;
  for (unsigned w = 0; w < weights; ++w) {
    std::vector<Form> forms;
    auto size = uint64_t(real(100, 1000));
    for (unsigned bits : {2u, 4u, 8u})
      forms.push_back({size * bits, real(0.5, 2) * std::pow(4.0, -double(bits))});
    forms.push_back({size * 16, 0});
    problem.forms.push_back(forms);
    std::vector<double> sensitivity;
    for (unsigned o = 0; o < outputs; ++o)
      sensitivity.push_back(std::pow(10, real(-2, 1)));
    problem.sensitivity.push_back(sensitivity);
  }
  return problem;
}

uint64_t bytesOf(const FormProblem &problem, llvm::ArrayRef<unsigned> chosen) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < chosen.size(); ++i)
    bytes += problem.forms[i][chosen[i]].bytes;
  return bytes;
}

template <typename Look> void forAll(const FormProblem &problem, Look look) {
  std::vector<unsigned> chosen(problem.forms.size());
  for (;;) {
    look(chosen);
    size_t at = 0;
    while (at < chosen.size() && ++chosen[at] == problem.forms[at].size())
      chosen[at++] = 0;
    if (at == chosen.size())
      return;
  }
}

double worst(const FormProblem &problem, llvm::ArrayRef<unsigned> chosen) {
  return *llvm::max_element(noiseOf(problem, chosen));
}

} // namespace

TEST(Choice, LeastNoiseIsCloseToTheBest) {
  double ratios = 0;
  for (unsigned seed = 0; seed < 12; ++seed) {
    FormProblem problem = randomProblem(seed, 7, 1 + seed % 3);
    uint64_t all = 0;
    for (const auto &forms : problem.forms)
      all += forms.back().bytes;
    uint64_t budget = all * 5 / 16;
    auto chosen = leastNoise(problem, budget);
    ASSERT_TRUE(chosen);
    EXPECT_LE(bytesOf(problem, *chosen), budget);
    double best = 1e9;
    forAll(problem, [&](llvm::ArrayRef<unsigned> one) {
      if (bytesOf(problem, one) <= budget)
        best = std::min(best, worst(problem, one));
    });
    ratios += worst(problem, *chosen) / best;
  }
  EXPECT_LT(ratios / 12, 1.5); // of seven weights: the last step is a large one
}

TEST(Choice, FewestBytesReachesTheBars) {
  double ratios = 0;
  for (unsigned seed = 0; seed < 12; ++seed) {
    FormProblem problem = randomProblem(seed, 7, 1 + seed % 3);
    std::vector<double> bars(problem.sensitivity.front().size(), 0.05);
    bars.front() = 0.02;
    auto reached = [&](llvm::ArrayRef<unsigned> chosen) {
      std::vector<double> noise = noiseOf(problem, chosen);
      for (size_t i = 0; i < bars.size(); ++i)
        if (noise[i] > bars[i] * (1 + 1e-9))
          return false;
      return true;
    };
    auto chosen = fewestBytes(problem, bars);
    ASSERT_TRUE(chosen);
    EXPECT_TRUE(reached(*chosen));
    uint64_t best = UINT64_MAX;
    forAll(problem, [&](llvm::ArrayRef<unsigned> one) {
      if (reached(one))
        best = std::min(best, bytesOf(problem, one));
    });
    ratios += double(bytesOf(problem, *chosen)) / double(best);
  }
  EXPECT_LT(ratios / 12, 1.1);
}

TEST(Choice, WhatCannotBeIsNoChoice) {
  FormProblem problem = randomProblem(1, 3, 2);
  EXPECT_FALSE(leastNoise(problem, 100));
  for (auto &forms : problem.forms)
    forms.pop_back(); // what would be exact
  EXPECT_FALSE(fewestBytes(problem, {1e-30, 1e-30}));
  auto exact = fewestBytes(randomProblem(1, 3, 2), {0.0, 0.0});
  ASSERT_TRUE(exact);
  EXPECT_EQ(*exact, std::vector<unsigned>({3, 3, 3}));
}

TEST(Choice, WeightsThatDoNothingAreSmallest) {
  FormProblem problem{{{{10, 0.1}, {20, 0.01}, {40, 0}}, {{10, 0.1}, {20, 0.01}, {40, 0}}},
                      {{0}, {1}}};
  auto chosen = fewestBytes(problem, {0.02});
  ASSERT_TRUE(chosen);
  EXPECT_EQ(*chosen, std::vector<unsigned>({0, 1}));
  chosen = leastNoise(problem, 50);
  ASSERT_TRUE(chosen);
  EXPECT_EQ(*chosen, std::vector<unsigned>({0, 2}));
}

} // namespace plait::compress
