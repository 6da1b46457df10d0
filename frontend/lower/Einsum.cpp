// einsum and its relatives: pairwise contraction through transposes, reshapes and matmul.
#include "frontend/lower/Contract.h"
#include "frontend/lower/Families.h"

#include "llvm/ADT/StringExtras.h"

namespace plait::frontend {

using namespace mil;

namespace {
/// A tensor whose axes have names.
struct Labelled {
  Expr value;
  std::string labels;

  Dim size(char label) const { return value.shape()[labels.find(label)]; }
  bool has(char label) const { return labels.find(label) != std::string::npos; }
};

/// Axes in the order of `order`, which holds exactly the labels of `x`.
Expr arrange(const Labelled &x, llvm::StringRef order) {
  llvm::SmallVector<int64_t, 6> perm;
  for (char label : order)
    perm.push_back(x.labels.find(label));
  if (llvm::is_sorted(perm))
    return x.value;
  return Expr(x.value.call(), x.value.call().permute(x.value, perm));
}

/// Takes the diagonal over each label that appears twice: what lies off it is multiplied away.
Labelled withoutRepeats(Labelled x) {
  Call &c = x.value.call();
  for (size_t i = 0; i < x.labels.size(); ++i)
    while (x.value.valid()) {
      size_t j = x.labels.find(x.labels[i], i + 1);
      if (j == std::string::npos)
        break;
      Shape rows(x.value.rank(), 1), columns(x.value.rank(), 1);
      rows[i] = x.value.shape()[i];
      columns[j] = x.value.shape()[j];
      Expr onDiagonal = equal(Expr(c, c.reshape(iota(c, rows[i]), rows)),
                              Expr(c, c.reshape(iota(c, columns[j]), columns)));
      x.value = reduce(OpKind::reduce_sum, select(onDiagonal, x.value, 0), {int64_t(j)}, false);
      x.labels.erase(j, 1);
    }
  return x;
}

/// Sums over the labels that `keep` rejects.
Labelled sumOut(Labelled x, llvm::function_ref<bool(char)> keep) {
  llvm::SmallVector<int64_t, 4> axes;
  std::string labels;
  for (auto [axis, label] : llvm::enumerate(x.labels))
    if (keep(label))
      labels += label;
    else
      axes.push_back(axis);
  if (!axes.empty())
    x.value = reduce(OpKind::reduce_sum, x.value, axes, false);
  x.labels = labels;
  return x;
}

Dim product(const Labelled &x, llvm::StringRef labels) {
  Dim n = 1;
  for (char label : labels)
    n = n * x.size(label);
  return n;
}

/// Where the sizes of a label may be equal or 1, both tensors are repeated to the larger.
void broadcastSizes(Labelled &x, Labelled &y) {
  Call &c = x.value.call();
  auto repeat = [&](Labelled &own, const Labelled &other) {
    Shape shape(own.value.shape());
    for (auto [size, label] : llvm::zip(shape, own.labels))
      if (other.has(label) && mayBeOne(size) && !(other.size(label) == Dim(1)))
        size = other.size(label).isConst() ? other.size(label) : max(size, other.size(label));
    own.value = Expr(c, c.broadcastTo(own.value, shape));
  };
  if (!x.value.valid() || !y.value.valid())
    return;
  repeat(x, y);
  repeat(y, x);
}

/// The product of two tensors over the labels they share; shared labels that `keep` wants are
/// batches.
Labelled multiply(Labelled x, Labelled y, llvm::function_ref<bool(char)> keep) {
  Call &c = x.value.call();
  // What only one of them has and nobody wants is summed before; so is a 1 that broadcasts.
  auto broadcasts = [](const Labelled &a, const Labelled &b, char label) {
    return a.size(label) == Dim(1) && !(b.size(label) == Dim(1));
  };
  broadcastSizes(x, y);
  Labelled left = x, right = y;
  x = sumOut(x, [&](char l) { return right.has(l) ? !broadcasts(left, right, l) : keep(l); });
  y = sumOut(y, [&](char l) { return left.has(l) ? !broadcasts(right, left, l) : keep(l); });
  x = sumOut(x, [&](char l) { return y.has(l) || keep(l); });
  y = sumOut(y, [&](char l) { return x.has(l) || keep(l); });
  std::string batch, rows, columns, inner;
  for (char label : x.labels)
    (!y.has(label) ? rows : keep(label) ? batch : inner) += label;
  for (char label : y.labels)
    if (!x.has(label))
      columns += label;
  Shape batchShape;
  for (char label : batch)
    batchShape.push_back(x.size(label));
  Shape shape = batchShape;
  for (char label : rows)
    shape.push_back(x.size(label));
  for (char label : columns)
    shape.push_back(y.size(label));
  // Batches stay apart while the rank allows.
  Shape outer = batchShape;
  if (outer.size() > 3)
    outer = {numElements(batchShape)};
  auto matrix = [&](const Labelled &t, llvm::StringRef first, llvm::StringRef second) {
    Expr arranged = arrange(t, batch + first.str() + second.str());
    Shape target = outer;
    target.push_back(product(t, first));
    target.push_back(product(t, second));
    return first.size() == 1 && second.size() == 1 && outer.size() == batch.size()
               ? arranged
               : Expr(c, c.reshape(arranged, target));
  };
  Expr a = matrix(x, rows, inner), b = matrix(y, inner, columns);
  // Without anything to sum over, a product is enough.
  Expr z = inner.empty() ? a * b : matmul(a, b);
  if (rows.size() != 1 || columns.size() != 1 || outer.size() != batch.size())
    z = Expr(c, c.reshape(z, shape));
  return {z, batch + rows + columns};
}
} // namespace

Expr contract(Call &c, std::vector<std::pair<Expr, std::string>> operands, llvm::StringRef result) {
  std::vector<Labelled> terms;
  for (auto &[value, labels] : operands) {
    if (int64_t(labels.size()) != value.rank())
      c.refuse(Code::OperandMismatch, "an operand of shape {0}, where {1} dimensions are needed",
               mil::str(value.shape()), labels.size());
    terms.push_back(withoutRepeats({value, labels}));
  }
  Labelled total = terms[0];
  for (size_t i = 1; i < terms.size(); ++i)
    total = multiply(total, terms[i], [&](char label) {
      return result.contains(label) ||
             llvm::any_of(llvm::drop_begin(terms, i + 1),
                          [&](const Labelled &later) { return later.has(label); });
    });
  total = sumOut(total, [&](char label) { return result.contains(label); });
  return c.failed() ? total.value : arrange(total, result);
}

namespace {
/// Replaces "..." by capital labels that einsum's own letters do not use, aligned at the right.
std::string expandDots(llvm::StringRef labels, size_t dots, size_t mostDots) {
  std::string text;
  for (size_t i = 0; i < labels.size(); ++i)
    if (labels.substr(i).starts_with("...")) {
      for (size_t k = mostDots - dots; k < mostDots; ++k)
        text += char(1 + k);
      i += 2;
    } else {
      text += labels[i];
    }
  return text;
}

void lowerEinsum(Call &c) {
  std::string equation = c.string("equation");
  auto tensors = c.tensors("tensors");
  if (c.failed())
    return;
  llvm::erase(equation, ' ');
  auto [left, right] = llvm::StringRef(equation).split("->");
  bool explicitResult = llvm::StringRef(equation).contains("->");
  llvm::SmallVector<llvm::StringRef, 4> inputs;
  left.split(inputs, ',');
  if (inputs.size() != tensors.size())
    return c.refuse(Code::OperandMismatch, "'{0}' names {1} operands, {2} are given", equation,
                    inputs.size(), tensors.size());
  at::ScalarType dtype = tensors[0].dtype;
  for (const Tensor &tensor : tensors)
    dtype = at::promote_types(dtype, tensor.dtype);

  llvm::SmallVector<size_t, 4> dots;
  size_t mostDots = 0;
  for (auto [input, tensor] : llvm::zip(inputs, tensors)) {
    size_t letters = input.size() - (input.contains("...") ? 3 : 0);
    if (letters > size_t(tensor.rank()) ||
        (!input.contains("...") && letters != size_t(tensor.rank())))
      return c.refuse(Code::OperandMismatch, "'{0}' does not fit an operand of rank {1}", input,
                      tensor.rank());
    dots.push_back(tensor.rank() - letters);
    mostDots = std::max(mostDots, dots.back());
  }
  std::vector<std::pair<Expr, std::string>> operands;
  std::string all;
  for (auto [input, tensor, count] : llvm::zip(inputs, tensors, dots)) {
    operands.emplace_back(Expr(c, c.cast(tensor, dtype)), expandDots(input, count, mostDots));
    all += operands.back().second;
  }
  std::string result = expandDots(right, mostDots, mostDots);
  if (!explicitResult) {
    // The dots, then every letter that appears once, in alphabetical order.
    for (size_t k = 0; k < mostDots; ++k)
      result += char(1 + k);
    std::string letters;
    for (char label : all)
      if (label >= 'A' && llvm::count(all, label) == 1)
        letters += label;
    llvm::sort(letters);
    result += letters;
  }
  for (char label : result)
    if (!llvm::is_contained(all, label))
      return c.refuse(Code::UnsupportedForm, "'{0}' has a label in its result that no operand has",
                      equation);
  c.result(contract(c, std::move(operands), result), dtype);
}

void lowerTensordot(Call &c) {
  Tensor x = c.tensor("self"), y = c.tensor("other");
  auto left = orderedAxes(c, "dims_self", x.rank()), right = orderedAxes(c, "dims_other", y.rank());
  if (c.failed())
    return;
  if (left.size() != right.size())
    return c.refuse(Code::OperandMismatch, "{0} axes against {1}", left.size(), right.size());
  std::string a, b, result;
  for (int64_t i = 0; i < x.rank(); ++i)
    a += char('a' + i);
  for (int64_t i = 0; i < y.rank(); ++i)
    b += char('A' + i);
  for (auto [i, j] : llvm::zip(left, right))
    b[j] = a[i];
  for (char label : a + b)
    if (llvm::count(a + b, label) == 1)
      result += label;
  c.result(contract(c, {{Expr(c, x), a}, {Expr(c, y), b}}, result), x.dtype);
}

/// x1^T W_k x2 + b_k for each output k.
void lowerBilinear(Call &c) {
  Tensor x = c.tensor("input1"), y = c.tensor("input2"), weight = c.tensor("weight"),
         bias = c.optionalTensor("bias");
  if (c.failed())
    return;
  std::string batch;
  for (int64_t i = 0; i + 1 < x.rank(); ++i)
    batch += char('A' + i);
  Expr result =
      contract(c, {{Expr(c, x), batch + "i"}, {Expr(c, weight), "kij"}, {Expr(c, y), batch + "j"}},
               batch + "k");
  c.result(bias ? result + Expr(c, bias) : result, x.dtype);
}
} // namespace

void registerEinsum(Table &table) {
  table.add({"aten::einsum"}, lowerEinsum);
  table.add({"aten::tensordot"}, lowerTensordot);
  table.add({"aten::bilinear"}, lowerBilinear);
}

} // namespace plait::frontend
