// Shape functions of recurrent layers.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

namespace {
/// What lstm, gru and rnn share: x is [sequence, batch, features]; each gate has one block of
/// `hidden` rows in the weights.
struct Recurrent {
  Dim sequence, batch, hidden;
};

Error checkWeights(const InferContext &c, const char *inputName, const char *hiddenName,
                   int64_t gates, Dim &hidden) {
  const OpInfo &row = c.op().info();
  auto ih = c.shape(*row.findParam(inputName)), hh = c.shape(*row.findParam(hiddenName));
  if (ih.size() != 2 || hh.size() != 2)
    return c.fail("{0} has shape {1} and {2} {3}; rank 2 is needed", inputName, str(ih), hiddenName,
                  str(hh));
  hidden = hh[1];
  if (!maybeEqual(hh[0], hidden * gates) || !maybeEqual(ih[0], hidden * gates) ||
      !maybeEqual(ih[1], c.shape(*row.findParam("x"))[2]))
    return c.fail("{0} has shape {1} and {2} {3}; [{4} H, features] and [{4} H, H] are needed",
                  inputName, str(ih), hiddenName, str(hh), gates);
  return Error::success();
}

Expected<Recurrent> readRecurrent(const InferContext &c, int64_t gates, bool bidirectional) {
  const OpInfo &row = c.op().info();
  auto x = c.shape(*row.findParam("x"));
  if (x.size() != 3)
    return c.fail("x has shape {0}; [sequence, batch, features] is needed", str(x));
  Recurrent r{x[0], x[1], 0};
  if (Error error = checkWeights(c, "weight_ih", "weight_hh", gates, r.hidden))
    return error;
  llvm::StringRef direction = c.constString(*row.findParam("direction")).value_or("forward");
  if (direction != "forward" && direction != "reverse" &&
      !(bidirectional && direction == "bidirectional"))
    return c.fail("direction \"{0}\" is not known", direction);
  for (const char *name : {"recurrent_activation", "cell_activation", "activation"})
    if (auto param = row.findParam(name))
      if (auto text = c.constString(*param)) {
        static constexpr const char *known[] = {"tanh",         "scaled_tanh", "sigmoid",
                                                "hard_sigmoid", "relu",        "linear"};
        if (!llvm::is_contained(known, text->lower()))
          return c.fail("{0} \"{1}\" is not known", name, *text);
      }
  if (!c.constBool(*row.findParam("output_sequence")).value_or(false))
    r.sequence = 1;
  return r;
}
} // namespace

Error lstm(InferContext &c) {
  auto r = readRecurrent(c, 4, true);
  if (!r)
    return r.takeError();
  if (c.constString(lstm::direction).value_or("forward") == "bidirectional") {
    if (!c.has(lstm::weight_ih_back) || !c.has(lstm::weight_hh_back))
      return c.fail("a bidirectional one needs weight_ih_back and weight_hh_back");
    Dim back;
    if (Error error = checkWeights(c, "weight_ih_back", "weight_hh_back", 4, back))
      return error;
    r->hidden = r->hidden * 2;
  }
  DType dtype = c.dtype(lstm::x);
  if (Error error = c.result(dtype, {r->sequence, r->batch, r->hidden}))
    return error;
  if (Error error = c.result(dtype, {r->batch, r->hidden}))
    return error;
  return c.result(dtype, {r->batch, r->hidden});
}

Error gru(InferContext &c) {
  auto r = readRecurrent(c, 3, false);
  if (!r)
    return r.takeError();
  if (Error error = c.result(c.dtype(gru::x), {r->sequence, r->batch, r->hidden}))
    return error;
  return c.result(c.dtype(gru::x), {r->batch, r->hidden});
}

Error rnn(InferContext &c) {
  auto r = readRecurrent(c, 1, false);
  if (!r)
    return r.takeError();
  if (Error error = c.result(c.dtype(rnn::x), {r->sequence, r->batch, r->hidden}))
    return error;
  return c.result(c.dtype(rnn::x), {r->batch, r->hidden});
}

} // namespace plait::mil::infer
