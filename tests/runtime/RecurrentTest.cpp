// lstm, gru and rnn against LibTorch's own layers, whose gates lie in another order.
#include "OpCheck.h"

namespace plait::runtime {

using namespace mil;

/// PyTorch's gates (input, forget, cell, output) as MIL's (input, forget, output, cell).
static at::Tensor lstmGates(const at::Tensor &w) {
  auto g = w.chunk(4, 0);
  return at::cat({g[0], g[1], g[3], g[2]}).contiguous();
}

struct Weights {
  at::Tensor ih, hh, b;
  Weights(int64_t gates, int64_t hidden, int64_t in, uint64_t seed)
      : ih(half(randn({gates * hidden, in}, seed) * 0.5)),
        hh(half(randn({gates * hidden, hidden}, seed + 1) * 0.5)),
        b(half(randn({gates * hidden}, seed + 2) * 0.5)) {}
};

TEST(Recurrent, Lstm) {
  at::Tensor x = randn({4, 2, 3}, 1), h = randn({1, 2, 5}, 2), c = randn({1, 2, 5}, 3);
  Weights w(4, 5, 3, 10);
  for (bool reverse : {false, true})
    for (bool all : {false, true}) {
      at::Tensor steps = reverse ? x.flip(0) : x;
      auto [y, hn, cn] = at::lstm(steps, {h, c}, {w.ih, w.hh, w.b, at::zeros_like(w.b)}, true, 1, 0,
                                  false, false, false);
      check(OpKind::lstm,
            {{lstm::x, x},
             {lstm::initial_h, h[0]},
             {lstm::initial_c, c[0]},
             {lstm::weight_ih, lstmGates(w.ih)},
             {lstm::weight_hh, lstmGates(w.hh)},
             {lstm::bias, lstmGates(w.b)},
             lit(lstm::direction, reverse ? "reverse" : "forward"),
             lit(lstm::output_sequence, all)},
            {all ? y : y.slice(0, -1), hn[0], cn[0]}, 1e-4);
    }
}

TEST(Recurrent, BidirectionalLstm) {
  at::Tensor x = randn({4, 2, 3}, 1), h = randn({2, 2, 5}, 2), c = randn({2, 2, 5}, 3);
  Weights f(4, 5, 3, 10), b(4, 5, 3, 20);
  at::Tensor zero = at::zeros({20});
  auto [y, hn, cn] = at::lstm(x, {h, c}, {f.ih, f.hh, f.b, zero, b.ih, b.hh, b.b, zero}, true, 1, 0,
                              false, true, false);
  auto both = [](const at::Tensor &t) { return at::cat({t[0], t[1]}, -1); };
  check(OpKind::lstm,
        {{lstm::x, x},
         {lstm::initial_h, both(h)},
         {lstm::initial_c, both(c)},
         {lstm::weight_ih, lstmGates(f.ih)},
         {lstm::weight_hh, lstmGates(f.hh)},
         {lstm::bias, lstmGates(f.b)},
         {lstm::weight_ih_back, lstmGates(b.ih)},
         {lstm::weight_hh_back, lstmGates(b.hh)},
         {lstm::bias_back, lstmGates(b.b)},
         lit(lstm::direction, "bidirectional"),
         lit(lstm::output_sequence, true)},
        {y, both(hn), both(cn)}, 1e-4);
}

TEST(Recurrent, LstmPeepholesAndClip) {
  at::Tensor x = randn({1, 1, 2}, 1), h = randn({1, 2}, 2), c = randn({1, 2}, 3);
  Weights w(4, 2, 2, 10);
  at::Tensor p = randn({6}, 4);
  at::Tensor gates = at::linear(x[0], w.ih, w.b) + at::linear(h, w.hh);
  auto g = gates.chunk(4, 1); // already in MIL's order
  auto k = p.chunk(3);
  at::Tensor i = at::sigmoid(g[0] + k[0] * c), f = at::sigmoid(g[1] + k[1] * c);
  at::Tensor cell = at::clamp(f * c + i * at::tanh(g[3]), -0.25, 0.25);
  at::Tensor o = at::sigmoid(g[2] + k[2] * cell), y = o * at::tanh(cell);
  check(OpKind::lstm,
        {{lstm::x, x},
         {lstm::initial_h, h},
         {lstm::initial_c, c},
         {lstm::weight_ih, w.ih},
         {lstm::weight_hh, w.hh},
         {lstm::bias, w.b},
         {lstm::peephole, p},
         {lstm::clip, at::scalar_tensor(0.25, at::kFloat)}},
        {y.unsqueeze(0), y, cell}, 1e-4);
}

TEST(Recurrent, GruAfterIsPyTorchs) {
  at::Tensor x = randn({4, 2, 3}, 1), h = randn({1, 2, 5}, 2);
  Weights w(3, 5, 3, 10);
  at::Tensor inputBias = half(randn({15}, 30) * 0.5);
  // PyTorch's gates are reset, update, new; MIL's reset, new, update.
  auto gates = [](const at::Tensor &t) {
    auto g = t.chunk(3, 0);
    return at::cat({g[0], g[2], g[1]}).contiguous();
  };
  auto [y, hn] = at::gru(x, h, {w.ih, w.hh, inputBias, w.b}, true, 1, 0, false, false, false);
  check(OpKind::gru,
        {{gru::x, x},
         {gru::initial_h, h[0]},
         {gru::weight_ih, gates(w.ih)},
         {gru::weight_hh, gates(w.hh)},
         {gru::bias, gates(w.b)},
         {gru::input_bias, gates(inputBias)},
         lit(gru::reset_after, true),
         lit(gru::output_sequence, true)},
        {y, hn[0]}, 1e-4);
}

TEST(Recurrent, GruBeforeResetsTheHiddenState) {
  at::Tensor x = randn({1, 2, 3}, 1), h = randn({2, 4}, 2);
  Weights w(3, 4, 3, 10);
  auto g = at::linear(x[0], w.ih, w.b).chunk(3, 1);
  auto u = w.hh.chunk(3, 0);
  at::Tensor r = at::sigmoid(g[0] + at::linear(h, u[0])),
             z = at::sigmoid(g[2] + at::linear(h, u[2]));
  at::Tensor o = at::tanh(g[1] + at::linear(r * h, u[1]));
  at::Tensor y = (1 - z) * o + z * h;
  check(OpKind::gru,
        {{gru::x, x},
         {gru::initial_h, h},
         {gru::weight_ih, w.ih},
         {gru::weight_hh, w.hh},
         {gru::bias, w.b}},
        {y.unsqueeze(0), y}, 1e-4);
}

TEST(Recurrent, Rnn) {
  at::Tensor x = randn({4, 2, 3}, 1), h = randn({1, 2, 5}, 2);
  Weights w(1, 5, 3, 10);
  std::vector<at::Tensor> parameters{w.ih, w.hh, w.b, at::zeros({5})};
  auto [y, hn] = at::rnn_tanh(x, h, parameters, true, 1, 0, false, false, false);
  Binds binds{{rnn::x, x},
              {rnn::initial_h, h[0]},
              {rnn::weight_ih, w.ih},
              {rnn::weight_hh, w.hh},
              {rnn::bias, w.b},
              lit(rnn::output_sequence, true)};
  check(OpKind::rnn, binds, {y, hn[0]}, 1e-4);
  auto [yr, hr] = at::rnn_relu(x.flip(0), h, parameters, true, 1, 0, false, false, false);
  binds.push_back(lit(rnn::activation, "relu"));
  binds.push_back(lit(rnn::direction, "reverse"));
  check(OpKind::rnn, binds, {yr, hr[0]}, 1e-4);
}

} // namespace plait::runtime
