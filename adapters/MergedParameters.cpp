// Matrices of fp32, products summed in fp64.
#include "adapters/MergedParameters.h"

#include "adapters/Tensors.h"

#include <cmath>

namespace plait::adapters {

using llvm::StringRef;

namespace {

/// Row-major.
struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<float> values;

  Matrix(int64_t rows, int64_t columns) : rows(rows), columns(columns), values(rows * columns) {}
  Matrix(int64_t rows, int64_t columns, std::vector<float> values)
      : rows(rows), columns(columns), values(std::move(values)) {}
  float &operator()(int64_t row, int64_t column) { return values[row * columns + column]; }
  float operator()(int64_t row, int64_t column) const { return values[row * columns + column]; }
};

/// The first axis as rows, all others as columns.
Matrix matrixOf(const TensorData &tensor) {
  int64_t rows = tensor.rank() ? tensor.shape()[0] : 1;
  return {rows, rows ? tensor.numElements() / rows : 0, floatsOf(tensor)};
}

Matrix product(const Matrix &x, const Matrix &y) {
  Matrix result(x.rows, y.columns);
  std::vector<double> row(y.columns);
  for (int64_t i = 0; i < x.rows; ++i) {
    std::fill(row.begin(), row.end(), 0);
    for (int64_t k = 0; k < x.columns; ++k)
      for (int64_t j = 0; j < y.columns; ++j)
        row[j] += double(x(i, k)) * y(k, j);
    for (int64_t j = 0; j < y.columns; ++j)
      result(i, j) = float(row[j]);
  }
  return result;
}

Matrix transposed(const Matrix &x) {
  Matrix result(x.columns, x.rows);
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.columns; ++j)
      result(j, i) = x(i, j);
  return result;
}

class Merger {
public:
  Merger(const AdaptedModule &module, bool callable, std::vector<MergedParameter> &merged)
      : module_(module), callable_(callable), merged_(merged) {}

  Error merge() {
    for (const auto &[name, tensor] : module_.replaced)
      set(name, floatsOf(tensor));
    for (const auto &[name, added] : module_.differences) {
      std::vector<float> sum = floatsOf(module_.parameters.find(name)->second);
      for (const auto &[tensor, weight] : added)
        addScaled(sum, floatsOf(tensor), weight);
      set(name, std::move(sum));
    }
    if (module_.tokens)
      putRows();
    if (module_.branches.empty() || !callable_)
      return Error::success();
    if (module_.computesWeight)
      return makeError(Code::AdapterMerge,
                       "module '{0}': its weight is computed each time (weight_norm), so that an "
                       "adapter cannot be merged into it to be compared with; compare with a trace "
                       "of the adapted model",
                       module_.path);
    Matrix weight(module_.weight.shape()[0],
                  module_.weight.numElements() / module_.weight.shape()[0], current("weight"));
    std::vector<float> bias = module_.bias ? current("bias") : std::vector<float>();
    Error error =
        module_.branches[0].kind == AdapterKind::Ia3 ? scale(weight, bias) : add(weight, bias);
    if (error)
      return error;
    set("weight", std::move(weight.values));
    if (module_.bias)
      set("bias", std::move(bias));
    return Error::success();
  }

private:
  // ---- Parameters ----

  void set(StringRef name, std::vector<float> values) {
    std::string path = module_.path.empty() ? name.str() : module_.path + "." + name.str();
    TensorData value = ofFloats(module_.parameters.find(name.str())->second.shape(), values);
    for (MergedParameter &known : merged_)
      if (known.path == path) {
        known.value = std::move(value);
        return;
      }
    merged_.push_back({std::move(path), std::move(value)});
  }

  /// As what came before left it.
  std::vector<float> current(StringRef name) const {
    std::string path = module_.path.empty() ? name.str() : module_.path + "." + name.str();
    for (const MergedParameter &known : merged_)
      if (known.path == path)
        return floatsOf(known.value);
    return floatsOf(module_.parameters.find(name.str())->second);
  }

  static void addScaled(std::vector<float> &sum, llvm::ArrayRef<float> values, double factor) {
    for (size_t i = 0; i < sum.size(); ++i)
      sum[i] += float(factor * values[i]);
  }

  void putRows() {
    std::vector<float> weight = current("weight"), rows = floatsOf(module_.tokens->rows);
    int64_t width = module_.weight.shape()[1];
    for (size_t i = 0; i < module_.tokens->tokens.size(); ++i)
      std::copy_n(rows.begin() + i * width, width,
                  weight.begin() + module_.tokens->tokens[i] * width);
    set("weight", std::move(weight));
  }

  // ---- Scaling ----

  bool transposedLayer() const { return module_.layer.kind == Layer::TransposedLinear; }

  /// Whether what belongs to an output, or to an input, lies along the weight's second axis.
  bool isSecond(bool inputs) const {
    return inputs != (transposedLayer() || module_.layer.kind == Layer::Embedding);
  }

  /// Times one factor for each output or input. Of a convolution the columns hold [in, kernel].
  void scaleAlong(Matrix &weight, llvm::ArrayRef<float> factors, bool inputs) const {
    bool second = isSecond(inputs);
    int64_t inner = weight.columns / module_.weight.shape()[1];
    for (int64_t i = 0; i < weight.rows; ++i)
      for (int64_t j = 0; j < weight.columns; ++j)
        weight(i, j) *= factors[second ? j / inner : i];
  }

  Error scale(Matrix &weight, std::vector<float> &bias) const {
    const AdapterBranch &first = module_.branches[0];
    std::vector<float> factors(first["ia3_l"].numElements());
    for (const AdapterBranch &branch : module_.branches)
      addScaled(factors, floatsOf(branch["ia3_l"]), branch.scale);
    int64_t in = module_.weight.shape()[1];
    if (first.feedforward && module_.layer.kind == Layer::Convolution &&
        int64_t(factors.size()) != in) {
      // Of a grouped convolution each group has inputs of its own.
      int64_t rows = weight.rows / (int64_t(factors.size()) / in), inner = weight.columns / in;
      for (int64_t i = 0; i < weight.rows; ++i)
        for (int64_t j = 0; j < weight.columns; ++j)
          weight(i, j) *= factors[i / rows * in + j / inner];
      return Error::success();
    }
    scaleAlong(weight, factors, first.feedforward);
    if (!first.feedforward)
      for (size_t i = 0; i < bias.size(); ++i)
        bias[i] *= factors[i];
    return Error::success();
  }

  // ---- Adding ----

  Error add(Matrix &weight, std::vector<float> &bias) const {
    for (const AdapterBranch &branch : module_.branches) {
      if (const char *why = module_.cannotMerge(branch))
        return makeError(Code::AdapterMerge,
                         "module '{0}': the LoRA of a {1} convolution cannot be merged to be "
                         "compared with; compare with a trace of the adapted model",
                         module_.path, why);
      addScaled(weight.values, delta(branch).values, branch.scale);
      if (!branch.find("lora_B.bias"))
        continue;
      if (!module_.bias)
        return makeError(Code::AdapterMerge,
                         "module '{0}': lora_bias on a layer without a bias cannot be merged to be "
                         "compared with",
                         module_.path);
      addScaled(bias, floatsOf(branch["lora_B.bias"]), branch.scale);
    }
    const AdapterBranch &first = module_.branches[0];
    if (!first.dora)
      return Error::success();
    std::vector<float> factors = floatsOf(first["lora_magnitude_vector"]);
    bool second = isSecond(first.doraInputs);
    int64_t inner = weight.columns / module_.weight.shape()[1];
    std::vector<double> squares(factors.size());
    for (int64_t i = 0; i < weight.rows; ++i)
      for (int64_t j = 0; j < weight.columns; ++j)
        squares[second ? j / inner : i] += double(weight(i, j)) * weight(i, j);
    for (size_t i = 0; i < factors.size(); ++i)
      factors[i] = float(factors[i] / std::sqrt(squares[i]));
    scaleAlong(weight, factors, first.doraInputs);
    return Error::success();
  }

  /// What a branch adds to the weight, in its order.
  Matrix delta(const AdapterBranch &branch) const {
    auto of = [&](const char *name) { return matrixOf(branch[name]); };
    switch (branch.kind) {
    case AdapterKind::Lora: {
      if (module_.layer.kind == Layer::Embedding)
        return transposed(product(of("lora_embedding_B"), of("lora_embedding_A")));
      Matrix a = branch.find("lora_mid")
                     ? throughCore(matrixOf(branch["lora_mid"]), matrixOf(branch["lora_A"]))
                     : of("lora_A");
      Matrix sum = product(of("lora_B"), a);
      return transposedLayer() ? transposed(sum) : sum;
    }
    case AdapterKind::Vera:
      return vera(branch);
    case AdapterKind::Loha: {
      Matrix first = factor(branch, "hada_w1_a", "hada_w1_b", "hada_t1");
      Matrix second = factor(branch, "hada_w2_a", "hada_w2_b", "hada_t2");
      for (size_t i = 0; i < first.values.size(); ++i)
        first.values[i] *= second.values[i];
      return first;
    }
    case AdapterKind::Lokr:
      return kron(branch);
    case AdapterKind::Ia3:
    case AdapterKind::LnTuning:
      break;
    }
    return Matrix(module_.weight.shape()[0],
                  module_.weight.numElements() / module_.weight.shape()[0]);
  }

  /// core [r, s, K] over m [s, n]: [r, n K].
  static Matrix throughCore(const Matrix &core, const Matrix &m) {
    int64_t kernel = core.columns / m.rows;
    Matrix result(core.rows, m.columns * kernel);
    for (int64_t r = 0; r < core.rows; ++r)
      for (int64_t i = 0; i < m.columns; ++i)
        for (int64_t k = 0; k < kernel; ++k) {
          double sum = 0;
          for (int64_t s = 0; s < m.rows; ++s)
            sum += double(core(r, s * kernel + k)) * m(s, i);
          result(r, i * kernel + k) = float(sum);
        }
    return result;
  }

  /// sum over i and j of core [i, j, K], a [i, p] and b [j, r]: [p, r K]; without a core a b.
  static Matrix factor(const AdapterBranch &branch, const char *a, const char *b,
                       const char *core) {
    Matrix left = matrixOf(branch[a]), right = matrixOf(branch[b]);
    if (!branch.find(core))
      return product(left, right);
    // Through b first: [i, r K].
    return product(transposed(left), throughCore(matrixOf(branch[core]), right));
  }

  Matrix vera(const AdapterBranch &branch) const {
    int64_t out = module_.weight.shape()[transposedLayer() ? 1 : 0];
    int64_t in = module_.weight.shape()[transposedLayer() ? 0 : 1];
    Matrix a = matrixOf(branch["vera_A"]), b = matrixOf(branch["vera_B"]);
    std::vector<float> ofRank = floatsOf(branch["vera_lambda_d"]);
    std::vector<float> ofOutput = floatsOf(branch["vera_lambda_b"]);
    Matrix down(a.rows, in), up(out, b.columns);
    for (int64_t i = 0; i < down.rows; ++i)
      for (int64_t j = 0; j < in; ++j)
        down(i, j) = a(i, j) * ofRank[i];
    for (int64_t i = 0; i < out; ++i)
      for (int64_t j = 0; j < up.columns; ++j)
        up(i, j) = b(i, j) * ofOutput[i];
    Matrix sum = product(up, down);
    return transposedLayer() ? transposed(sum) : sum;
  }

  /// W1 [a, b] and W2 [c, d, K]: [a c, b d, K]; as PEFT has it of a whole W2 of a Conv1d, [c, a d,
  /// b K] in the same memory.
  Matrix kron(const AdapterBranch &branch) const {
    Matrix w1 = branch.find("lokr_w1") ? matrixOf(branch["lokr_w1"])
                                       : factor(branch, "lokr_w1_a", "lokr_w1_b", "");
    Matrix w2 = branch.find("lokr_w2") ? matrixOf(branch["lokr_w2"])
                                       : factor(branch, "lokr_w2_a", "lokr_w2_b", "lokr_t2");
    int64_t in = module_.weight.shape()[1], kernel = w2.columns / (in / w1.columns);
    int64_t d = in / w1.columns;
    Matrix result(module_.weight.shape()[0],
                  module_.weight.numElements() / module_.weight.shape()[0]);
    size_t next = 0;
    auto put = [&](int64_t a, int64_t b, int64_t c, int64_t j, int64_t k) {
      result.values[next++] = w1(a, b) * w2(c, j * kernel + k);
    };
    if (branch.leadingKron) {
      for (int64_t c = 0; c < w2.rows; ++c)
        for (int64_t a = 0; a < w1.rows; ++a)
          for (int64_t j = 0; j < d; ++j)
            for (int64_t b = 0; b < w1.columns; ++b)
              for (int64_t k = 0; k < kernel; ++k)
                put(a, b, c, j, k);
      return result;
    }
    for (int64_t a = 0; a < w1.rows; ++a)
      for (int64_t c = 0; c < w2.rows; ++c)
        for (int64_t b = 0; b < w1.columns; ++b)
          for (int64_t j = 0; j < d; ++j)
            for (int64_t k = 0; k < kernel; ++k)
              put(a, b, c, j, k);
    return result;
  }

  const AdaptedModule &module_;
  bool callable_;
  std::vector<MergedParameter> &merged_;
};

} // namespace

Expected<std::vector<MergedParameter>> mergedParameters(const AdapterPlan &plan) {
  std::vector<MergedParameter> merged;
  for (const AdaptedModule &module : plan.modules()) {
    for (const char *name : {"weight", "bias"})
      if (!module.tokens && plan.base().isTied(plan.base().tensor(module.index, name)))
        return makeError(Code::AdapterMerge,
                         "module '{0}': its {1} is another module's too, so that an adapter cannot "
                         "be merged into it to be compared with; compare with a trace of the "
                         "adapted model",
                         module.path, name);
    if (Error error = Merger(module, plan.base()[module.index].callable, merged).merge())
      return error;
  }
  return merged;
}

} // namespace plait::adapters
