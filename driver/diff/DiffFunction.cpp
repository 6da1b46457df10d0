// Operations are paired in three rounds: those that are the same with their weights, of the others
// those that are the same but for weights, and of those that are left the ones of one kind. Then
// operands of each pair are held against one another by what was paired with what.
#include "driver/diff/DiffFunction.h"

#include "backend/Inspect.h"
#include "driver/diff/SequenceDiff.h"

#include "mil/DefaultValues.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/xxhash.h"

namespace plait::driver {

using mil::Op;
using mil::Value;

namespace {

/// What a literal holds, for people: all of it where it is short.
std::string literalText(const mil::Attr &attr) {
  if (const std::string *text = attr.string())
    return '"' + *text + '"';
  const mil::TensorData *tensor = attr.tensor();
  constexpr int64_t most = 16;
  if (!tensor || tensor->numElements() > most)
    return attr.type().str();
  std::vector<std::string> elements;
  if (mil::isFloat(tensor->dtype())) {
    auto values = tensor->floatValues();
    if (!values)
      return llvm::consumeError(values.takeError()), attr.type().str();
    for (double value : *values)
      elements.push_back(fmt::format("{0:.6g}", value));
  } else {
    auto values = tensor->intValues();
    if (!values)
      return llvm::consumeError(values.takeError()), attr.type().str();
    for (int64_t value : *values)
      elements.push_back(tensor->dtype() == mil::DType::Bool ? (value ? "true" : "false")
                                                             : std::to_string(value));
  }
  std::string text = llvm::join(elements, ", ");
  return tensor->rank() ? "[" + text + "]" : text;
}

/// Equal for equal literals. Long ones are weights.
std::string literalKey(const mil::Attr &attr) {
  std::string key = attr.type().str();
  if (const mil::TensorData *tensor = attr.tensor()) {
    if (auto bytes = tensor->bytes())
      return key + llvm::toStringRef(*bytes).str();
    else
      llvm::consumeError(bytes.takeError());
  } else if (const auto *texts = attr.strings()) {
    for (const std::string &text : *texts)
      key += '"' + text;
  } else if (const auto *elements = attr.elements()) {
    for (const mil::Attr &element : *elements)
      key += ',' + literalKey(element);
  } else if (const auto *entries = attr.dict()) {
    for (const auto &[name, value] : *entries)
      key += ',' + literalKey(name) + ':' + literalKey(value);
  }
  return key;
}

/// The operations of a function in order, each block closed by its terminator, without constants
/// and what decompresses them.
void listOperations(const mil::Block &block, std::vector<const Op *> &operations) {
  for (const Op &op : block) {
    if (op.is(mil::OpKind::const_) || (op.numResults() == 1 && mil::isCompileTime(op.result())))
      continue;
    operations.push_back(&op);
    for (const auto &nested : op.blocks())
      listOperations(*nested, operations);
  }
  operations.push_back(block.terminator());
}

enum class Detail { Weights, Literals, Kind };

Expected<uint64_t> signatureOf(const Op &op, Detail detail, WeightTable &weights) {
  std::string text = op.isTerminator() ? "return" : op.info().name;
  if (detail == Detail::Kind || op.isTerminator())
    return llvm::xxh3_64bits(text);
  for (const auto &result : op.results())
    text += ">" + result->type.str();
  for (const auto &[name, attr] : op.attributes)
    text += "@" + name + literalKey(attr);
  for (unsigned param = 0; param < op.numParams(); ++param)
    for (const mil::Operand &operand : op.operands(param)) {
      const Value &value = *operand.get();
      text += fmt::format("/{0}", param);
      if (isWeightOperand(op, param, value)) {
        if (detail == Detail::Literals)
          continue;
        auto hash = weights.hashOf(value);
        if (!hash)
          return hash.takeError();
        text += fmt::format("{0:x}", *hash);
      } else if (const mil::Attr *attr = mil::constAttr(&value)) {
        text += literalKey(*attr);
      }
    }
  return llvm::xxh3_64bits(text);
}

DiffOperation describeOperation(const Op &op) {
  std::string name = op.numResults() ? op.result()->name.str() : op.name.str();
  return {op.isTerminator() ? "return" : op.info().name, std::move(name), op.location.str()};
}

class FunctionComparison {
public:
  FunctionComparison(const mil::Function &a, const mil::Function &b, WeightTable &weights)
      : a_(a), b_(b), weights_(weights) {
    listOperations(a.body(), left_);
    listOperations(b.body(), right_);
    partner_.assign(left_.size(), none);
    isPaired_.assign(right_.size(), false);
  }

  Expected<FunctionDiff> run();

private:
  static constexpr size_t none = size_t(-1);

  Error pair(Detail detail);
  Error pairBetween(size_t beginA, size_t endA, size_t beginB, size_t endB, Detail detail);
  void compareInterfaces();
  Expected<std::vector<Difference>> compare(const Op &a, const Op &b);
  Error compareOperand(llvm::StringRef what, const Op &a, const Op &b, unsigned param,
                       const Value *x, const Value *y, std::vector<Difference> &differences);
  /// Blocks of two operations are those of each other.
  void matchBlocks(const Op &a, const Op &b);
  std::string describeValue(const Op &user, unsigned param, const Value *value) const;

  const mil::Function &a_, &b_;
  WeightTable &weights_;
  std::vector<const Op *> left_, right_;
  std::vector<size_t> partner_;                         ///< for each of left_ its partner in right_
  std::vector<bool> isPaired_;                          ///< of right_
  llvm::DenseMap<const Value *, const Value *> values_; ///< of A to those of B
  FunctionDiff diff_;
};

Error FunctionComparison::pairBetween(size_t beginA, size_t endA, size_t beginB, size_t endB,
                                      Detail detail) {
  if (beginA == endA || beginB == endB)
    return Error::success();
  auto signatures = [&](const std::vector<const Op *> &ops, size_t begin, size_t end,
                        std::vector<uint64_t> &result) -> Error {
    for (size_t i = begin; i < end; ++i) {
      auto signature = signatureOf(*ops[i], detail, weights_);
      if (!signature)
        return signature.takeError();
      result.push_back(*signature);
    }
    return Error::success();
  };
  std::vector<uint64_t> x, y;
  if (Error error = signatures(left_, beginA, endA, x))
    return error;
  if (Error error = signatures(right_, beginB, endB, y))
    return error;
  auto pairs = commonSubsequence(x, y);
  if (!pairs) {
    diff_.isUnlike |= detail == Detail::Kind;
    return Error::success();
  }
  for (auto [i, j] : *pairs) {
    partner_[beginA + i] = beginB + j;
    isPaired_[beginB + j] = true;
  }
  return Error::success();
}

/// Pairs what lies between pairs.
Error FunctionComparison::pair(Detail detail) {
  std::vector<std::pair<size_t, size_t>> ends;
  for (size_t i = 0; i < left_.size(); ++i)
    if (partner_[i] != none)
      ends.emplace_back(i, partner_[i]);
  ends.emplace_back(left_.size(), right_.size());
  size_t beginA = 0, beginB = 0;
  for (auto [endA, endB] : ends) {
    if (Error error = pairBetween(beginA, endA, beginB, endB, detail))
      return error;
    beginA = endA + 1;
    beginB = endB + 1;
  }
  return Error::success();
}

void FunctionComparison::matchBlocks(const Op &a, const Op &b) {
  for (auto [x, y] : llvm::zip(a.blocks(), b.blocks()))
    for (auto [left, right] : llvm::zip(x->args(), y->args()))
      values_[left.get()] = right.get();
}

std::string FunctionComparison::describeValue(const Op &user, unsigned param,
                                              const Value *value) const {
  if (!value)
    return "";
  if (!user.isTerminator() && isWeightOperand(user, param, *value))
    return "a weight " + value->type.str();
  if (const mil::Attr *attr = mil::constAttr(value))
    return literalText(*attr);
  if (!value->def())
    return "%" + value->name.str();
  return fmt::format("%{0} ({1})", value->name, value->def()->info().name);
}

Error FunctionComparison::compareOperand(llvm::StringRef what, const Op &a, const Op &b,
                                         unsigned param, const Value *x, const Value *y,
                                         std::vector<Difference> &differences) {
  bool isWeightX = x && !a.isTerminator() && isWeightOperand(a, param, *x),
       isWeightY = y && !b.isTerminator() && isWeightOperand(b, param, *y);
  if (isWeightX && isWeightY) {
    auto isSame = weights_.enter(*x, *y, a_.name);
    if (!isSame)
      return isSame.takeError();
    if (x->type == y->type)
      return Error::success(); // the list of weights says what differs
  } else if (x && y) {
    const mil::Attr *left = mil::constAttr(x), *right = mil::constAttr(y);
    if (left && right && literalKey(*left) == literalKey(*right))
      return Error::success();
    if (!left && !right && values_.lookup(x) == y)
      return Error::success();
  } else if (!x && !y) {
    return Error::success();
  }
  differences.push_back({what.str(), describeValue(a, param, x), describeValue(b, param, y)});
  return Error::success();
}

Expected<std::vector<Difference>> FunctionComparison::compare(const Op &a, const Op &b) {
  std::vector<Difference> differences;
  for (size_t i = 0; i < std::max(a.numResults(), b.numResults()); ++i) {
    std::string x = i < a.numResults() ? a.result(unsigned(i))->type.str() : "",
                y = i < b.numResults() ? b.result(unsigned(i))->type.str() : "";
    if (x != y)
      differences.push_back({i ? fmt::format("result {0}", i) : "result", x, y});
  }
  for (const auto &[name, attr] : a.attributes) {
    auto other =
        llvm::find_if(b.attributes, [&, &name = name](const auto &o) { return o.first == name; });
    bool isThere = other != b.attributes.end();
    if (!isThere || literalKey(other->second) != literalKey(attr))
      differences.push_back({name, literalText(attr), isThere ? literalText(other->second) : ""});
  }
  for (const auto &[name, attr] : b.attributes)
    if (llvm::none_of(a.attributes, [&, &name = name](const auto &o) { return o.first == name; }))
      differences.push_back({name, "", literalText(attr)});

  auto operands = [&](llvm::StringRef what, unsigned param, llvm::ArrayRef<mil::Operand> x,
                      llvm::ArrayRef<mil::Operand> y) -> Error {
    for (size_t i = 0; i < std::max(x.size(), y.size()); ++i) {
      std::string text = what.str();
      if (std::max(x.size(), y.size()) > 1)
        text += fmt::format("[{0}]", i);
      if (Error error = compareOperand(text, a, b, param, i < x.size() ? x[i].get() : nullptr,
                                       i < y.size() ? y[i].get() : nullptr, differences))
        return error;
    }
    return Error::success();
  };
  if (a.isTerminator()) {
    if (Error error = operands("value", 0, a.operands(), b.operands()))
      return error;
    return differences;
  }
  // Opsets may know other parameters of an operation; the rows are the same.
  for (unsigned param = 0; param < a.info().params.size(); ++param) {
    auto of = [&](const Op &op) {
      return param < op.numParams() ? op.operands(param) : llvm::ArrayRef<mil::Operand>();
    };
    if (Error error = operands(a.info().params[param].name, param, of(a), of(b)))
      return error;
  }
  return differences;
}

/// An input, state or output beside its name, as the interface has it.
std::string describeFeature(const mil::Type &type, std::optional<mil::PixelFormat> image,
                            llvm::StringRef description) {
  std::string text = describe(type);
  if (image)
    text += ", a " + mil::name(*image).str() + " image";
  if (!description.empty())
    text += "; " + description.str();
  return text;
}

using Features = std::vector<std::pair<std::string, std::string>>;

void compareFeatures(llvm::StringRef kind, const Features &a, const Features &b,
                     std::vector<Difference> &differences) {
  auto find = [](const Features &in, const std::string &name) {
    return llvm::find_if(in, [&](const auto &feature) { return feature.first == name; });
  };
  std::vector<std::string> common, other;
  for (const auto &[name, text] : a) {
    auto there = find(b, name);
    if (there == b.end()) {
      differences.push_back({fmt::format("{0} {1}", kind, name), text, ""});
      continue;
    }
    common.push_back(name);
    if (there->second != text)
      differences.push_back({fmt::format("{0} {1}", kind, name), text, there->second});
  }
  for (const auto &[name, text] : b) {
    if (find(a, name) == a.end())
      differences.push_back({fmt::format("{0} {1}", kind, name), "", text});
    else
      other.push_back(name);
  }
  if (common != other)
    differences.push_back(
        {fmt::format("order of {0}s", kind), llvm::join(common, ", "), llvm::join(other, ", ")});
}

void FunctionComparison::compareInterfaces() {
  auto features = [](const mil::Function &function, bool states) {
    Features found;
    for (auto [i, input] : llvm::enumerate(function.inputs())) {
      const mil::InputInfo &info = function.infoOfInput(i);
      std::string text = describeFeature(input->type, info.image, info.description);
      for (auto [j, shape] : llvm::enumerate(info.enumeratedShapes))
        text += fmt::format("{0}[{1}]", j ? " or " : ", ", fmt::join(shape, ", "));
      if (!info.defaultShape.empty())
        text += fmt::format(", [{0}] where nothing is said", fmt::join(info.defaultShape, ", "));
      if (auto value = mil::defaultValueOf(function, input->name))
        text += fmt::format(", {0} by default", *value);
      if (input->type.isState() == states)
        found.emplace_back(input->name.str(), std::move(text));
    }
    return found;
  };
  auto outputs = [](const mil::Function &function) {
    Features found;
    for (auto [i, output] : llvm::enumerate(function.outputs())) {
      const mil::OutputInfo &info = function.infoOfOutput(i);
      found.emplace_back(output->name.str(),
                         describeFeature(output->type, info.image, info.description));
    }
    return found;
  };
  if (a_.opset != b_.opset)
    diff_.interface.push_back({"opset", mil::name(a_.opset).str(), mil::name(b_.opset).str()});
  compareFeatures("input", features(a_, false), features(b_, false), diff_.interface);
  compareFeatures("state", features(a_, true), features(b_, true), diff_.interface);
  compareFeatures("output", outputs(a_), outputs(b_), diff_.interface);
  if (a_.otherDescription != b_.otherDescription)
    diff_.interface.push_back({"what else the description says", "", ""});
}

Expected<FunctionDiff> FunctionComparison::run() {
  diff_.a = a_.name;
  diff_.b = b_.name;
  compareInterfaces();
  // Inputs are those of their names; what is left, those of their places.
  for (auto [i, input] : llvm::enumerate(a_.inputs())) {
    auto other = llvm::find_if(
        b_.inputs(), [&, &input = input](const auto &o) { return o->name == input->name; });
    if (other != b_.inputs().end())
      values_[input.get()] = other->get();
    else if (i < b_.inputs().size())
      values_[input.get()] = b_.inputs()[i].get();
  }
  for (Detail detail : {Detail::Weights, Detail::Literals, Detail::Kind})
    if (Error error = pair(detail))
      return error;
  for (size_t i = 0; i < left_.size(); ++i)
    if (partner_[i] != none) {
      const Op &a = *left_[i], &b = *right_[partner_[i]];
      matchBlocks(a, b);
      for (auto [x, y] : llvm::zip(a.results(), b.results()))
        values_[x.get()] = y.get();
    }
  for (size_t i = 0; i < left_.size(); ++i) {
    if (partner_[i] == none) {
      diff_.onlyA.push_back(describeOperation(*left_[i]));
      continue;
    }
    const Op &a = *left_[i], &b = *right_[partner_[i]];
    auto differences = compare(a, b);
    if (!differences)
      return differences.takeError();
    if (!differences->empty())
      diff_.changed.push_back(
          {describeOperation(a), describeOperation(b), std::move(*differences)});
    else
      diff_.same += !a.isTerminator();
  }
  for (size_t i = 0; i < right_.size(); ++i)
    if (!isPaired_[i])
      diff_.onlyB.push_back(describeOperation(*right_[i]));
  return std::move(diff_);
}

} // namespace

Expected<FunctionDiff> diffFunctions(const mil::Function &a, const mil::Function &b,
                                     WeightTable &weights) {
  return FunctionComparison(a, b, weights).run();
}

Expected<uint64_t> fingerprintOf(const mil::Function &function, WeightTable &weights) {
  std::vector<const Op *> operations;
  listOperations(function.body(), operations);
  // Which operand is whose result is part of it: by numbers, which are the same whatever the names.
  llvm::DenseMap<const Value *, size_t> numbers;
  std::string text;
  for (const auto &input : function.inputs()) {
    text += input->name.str() + input->type.str() + ",";
    numbers[input.get()] = numbers.size();
  }
  for (const Op *op : operations) {
    auto signature = signatureOf(*op, Detail::Weights, weights);
    if (!signature)
      return signature.takeError();
    text += fmt::format("{0:x}", *signature);
    for (const mil::Operand &operand : op->operands())
      text += fmt::format(",{0}", numbers.lookup(operand.get()));
    for (const auto &nested : op->blocks())
      for (const auto &argument : nested->args())
        numbers[argument.get()] = numbers.size();
    for (const auto &result : op->results())
      numbers[result.get()] = numbers.size();
  }
  for (const mil::Operand &output : function.outputs())
    text += output->name.str() + output->type.str() + ",";
  return llvm::xxh3_64bits(text);
}

} // namespace plait::driver
