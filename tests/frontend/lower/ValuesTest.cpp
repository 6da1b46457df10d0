// Lists, dictionaries, optional values, properties, copies and statements: what is decided while
// compiling, with tensors in it.
#include "tests/frontend/lower/LowerCheck.h"

namespace plait::frontend {

namespace {
/// A forward of these lines, which see x and y.
std::string body(const std::string &lines) { return "def forward(self, x, y):\n" + lines; }

TEST(Lists, AreReadAndWritten) {
  at::Tensor x = randn({2, 3}), y = randn({2, 3});
  check(body(R"(
    parts = [x, y]
    parts.extend([x + y])
    parts += [x - y]
    del parts[0]
    other = parts.copy()
    parts.clear()
    parts.append(y)
    return torch.cat(other + parts * 2)
)"),
        {x, y});
  check(body(R"(
    numbers = [3, 1, 2]
    numbers.sort()
    numbers.remove(2)
    place = numbers.index(3)
    numbers.append(numbers.count(3))
    found = 1.0 if 3 in numbers else 0.0
    same = list(numbers)
    return x * place + y * found * len(same)
)"),
        {x, y});
}

TEST(Dicts, AreReadAndWritten) {
  check(body(R"(
    d = {"a": x, "b": y}
    d.setdefault("c", x + y)
    e = d.copy()
    del e["a"]
    taken = e.pop("b")
    e.update({"d": taken})
    names = 0
    for key in e.keys():
        names += len(key)
    total = torch.zeros_like(x)
    for value in e.values():
        total = total + value
    d.clear()
    return total * len(e) + names + len(d)
)"),
        {randn({2, 3}), randn({2, 3})});
}

TEST(Optionals, AreDecided) {
  check(body(R"(
    maybe: List[Optional[Tensor]] = [None, y]
    for scale in maybe:
        if scale is None:
            x = x + 1
        if scale is not None:
            x = x * scale
    return x * torch._unwrap_optional(maybe[1])
)"),
        {randn({2, 3}), randn({2, 3})});
}

TEST(Properties, NeedNoContents) {
  at::Tensor x = randn({2, 3});
  checkAll({"x * len(x)", "x * x.element_size()", "x * (1.0 if x.is_complex() else 2.0)",
            "x * (1.0 if x.is_cuda else 2.0)", "x * x.get_device()",
            "torch._shape_as_tensor(x) * 2", "torch.zeros(x.shape, layout=x.layout) + x"},
           {x});
  checkDynamic("torch._shape_as_tensor(x) * 2", {x}, {0});
}

TEST(Copies, AreTensorsOfTheirOwn) {
  at::Tensor x = randn({2, 3, 4});
  checkAll({"torch.view_copy(x, [6, 4])", "torch.alias_copy(x)", "torch.detach_copy(x)",
            "torch.expand_copy(x[:1], [2, 3, 4])", "torch.narrow_copy(x, 1, 1, 2)",
            "torch.permute_copy(x, [2, 0, 1])", "torch.select_copy(x, 1, 2)",
            "torch.slice_copy(x, 2, 1, 3)", "torch.split_copy(x, 2, 1)",
            "torch.split_with_sizes_copy(x, [1, 2], 1)", "torch.squeeze_copy(x[:1], 0)",
            "torch.t_copy(x[0])", "torch.transpose_copy(x, 0, 2)", "torch.unbind_copy(x, 1)",
            "torch.unsqueeze_copy(x, 1)", "torch._to_copy(x)", "torch.swapaxes(x, 0, 1)",
            "torch.multiply(x, 2)", "torch._autocast_to_full_precision(x, False, False)"},
           {x});
  checkAll({"torch.copy(x, y)", "torch.copy(x, y[0])"}, {x, randn({2, 3, 4})});
  // What is written to a part of a copy is not seen by the whole.
  for (const char *copy :
       {"torch.split_copy(z, 1, 1)[0]", "torch.unbind_copy(z, 1)[0]",
        "torch.split_with_sizes_copy(z, [1, 2], 1)[1]", "torch.select_copy(z, 0, 1)"})
    check(std::string("def forward(self, x):\n    z = x * 2\n    part = ") + copy +
              "\n    part.add_(1)\n    return z, part\n",
          {x});
}

TEST(Statements, DoNothing) {
  check(body(R"(
    torch.warn("nothing is wrong")
    return x + y
)"),
        {randn({2}), randn({2})});
}

TEST(RareNumbers, OfRunTime) {
  at::Tensor n = ints({7}).squeeze(0);
  checkAll({"x + torch.mathremainder(float(y), 4.0)",
            "x + torch.__round_to_zero_floordiv(int(y) - 10, 2)",
            "x * (2.0 if bool(y > 3) ^ True else 3.0)"},
           {randn({2}), n});
  check("torch.dropout(x, y, False)", {randn({2}), floats({0.5}).squeeze(0)});
  check("x.select(0, y)", {randn({9, 2}), n});
}
} // namespace

} // namespace plait::frontend
