// Normalised dimension expressions: a sum of terms, each an integer coefficient times a sorted
// product of atoms.
#include "mil/Dim.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include <algorithm>
#include <atomic>
#include <cassert>
#include <map>
#include <stdexcept>
#include <vector>

namespace plait::mil {

namespace {
enum AtomKind { Symbol, FloorDiv, Mod, Min, Max };

// Sizes from corrupt input may be anything: arithmetic stops at the ends of the range.
int64_t saturatingSum(int64_t a, int64_t b) {
  int64_t r;
  return llvm::AddOverflow(a, b, r) ? (a < 0 ? INT64_MIN : INT64_MAX) : r;
}
int64_t saturatingProduct(int64_t a, int64_t b) {
  int64_t r;
  return llvm::MulOverflow(a, b, r) ? ((a < 0) != (b < 0) ? INT64_MIN : INT64_MAX) : r;
}

int64_t floorDivide(int64_t a, int64_t b) {
  if (b == -1)
    return a == INT64_MIN ? INT64_MAX : -a;
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
}
/// Of floorDivide: it has the sign of b.
int64_t remainder(int64_t a, int64_t b) {
  int64_t rest = b == -1 ? 0 : a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/// Expressions past these sizes become unknown: sizes derived from each other many times over
/// would otherwise grow without end.
constexpr size_t kMaxTerms = 256, kMaxFactors = 32, kMaxAtomText = 400;
/// Products of this many terms by terms become unknown too.
constexpr size_t kMaxProducts = 48 * 48;

/// Saturating arithmetic on bounds, where INT64_MIN and INT64_MAX mean "not known".
bool unbounded(int64_t x) { return x == INT64_MIN || x == INT64_MAX; }
int64_t boundAdd(int64_t a, int64_t b, int64_t none) {
  int64_t r;
  return unbounded(a) || unbounded(b) || llvm::AddOverflow(a, b, r) ? none : r;
}
} // namespace

/// An atom is known by its printed form, which is canonical. The rest is for evaluating it.
struct Atom {
  int kind;
  std::string text;
  int64_t lower, upper; // computed once: bounds of nested atoms asked for again and again cost
                        // exponential time
  Dim a, b;             // of all but symbols
};
using AtomRef = std::shared_ptr<const Atom>;
using Product = std::vector<AtomRef>; // sorted by text

struct ProductLess {
  bool operator()(const Product &x, const Product &y) const {
    return std::lexicographical_compare(
        x.begin(), x.end(), y.begin(), y.end(),
        [](const AtomRef &p, const AtomRef &q) { return p->text < q->text; });
  }
};

struct Dim::Expr {
  std::map<Product, int64_t, ProductLess>
      terms; // the empty product is the constant term; no zero coefficient
};

Dim::Expr Dim::toExpr(const Dim &d) {
  if (d.expr_)
    return *d.expr_;
  Expr e;
  if (d.value_)
    e.terms[{}] = d.value_;
  return e;
}

Dim Dim::fromExpr(Expr e) {
  std::erase_if(e.terms, [](const auto &term) { return term.second == 0; });
  if (e.terms.empty())
    return Dim(0);
  if (e.terms.size() == 1 && e.terms.begin()->first.empty())
    return Dim(e.terms.begin()->second);
  if (e.terms.size() > kMaxTerms)
    return unknown();
  return Dim(std::make_shared<const Expr>(std::move(e)));
}

Dim Dim::symbol(llvm::StringRef name, int64_t lower, int64_t upper) {
  Expr e;
  e.terms[{std::make_shared<const Atom>(Atom{Symbol, name.str(), lower, upper, 0, 0})}] = 1;
  return fromExpr(std::move(e));
}

Dim Dim::unknown() {
  static std::atomic<uint64_t> next{0};
  return symbol("?" + std::to_string(next++), 0);
}

int64_t Dim::value() const {
  if (!isConst())
    throw std::logic_error("the size " + str() +
                           " is only known at run time, and a number is needed here");
  return value_;
}
std::optional<int64_t> Dim::tryValue() const {
  return isConst() ? std::optional(value_) : std::nullopt;
}
bool Dim::isSymbol() const {
  if (!expr_ || expr_->terms.size() != 1)
    return false;
  const auto &[product, coefficient] = *expr_->terms.begin();
  return coefficient == 1 && product.size() == 1 && product[0]->kind == Symbol;
}

Dim operator+(const Dim &a, const Dim &b) {
  if (a.isConst() && b.isConst())
    return Dim(saturatingSum(a.value_, b.value_));
  Dim::Expr e = Dim::toExpr(a);
  for (const auto &[product, coefficient] : Dim::toExpr(b).terms)
    e.terms[product] = saturatingSum(e.terms[product], coefficient);
  return Dim::fromExpr(std::move(e));
}

Dim operator-(const Dim &a, const Dim &b) { return a + b * Dim(-1); }

Dim operator*(const Dim &a, const Dim &b) {
  if (a.isConst() && b.isConst())
    return Dim(saturatingProduct(a.value_, b.value_));
  Dim::Expr e, left = Dim::toExpr(a), right = Dim::toExpr(b);
  if (left.terms.size() * right.terms.size() > kMaxProducts)
    return Dim::unknown();
  for (const auto &[p, x] : left.terms)
    for (const auto &[q, y] : right.terms) {
      if (p.size() + q.size() > kMaxFactors)
        return Dim::unknown();
      Product product = p;
      product.insert(product.end(), q.begin(), q.end());
      std::sort(product.begin(), product.end(),
                [](const AtomRef &s, const AtomRef &t) { return s->text < t->text; });
      e.terms[product] = saturatingSum(e.terms[product], saturatingProduct(x, y));
    }
  return Dim::fromExpr(std::move(e));
}

namespace {
struct Range {
  int64_t lower, upper;
};

Range rangeOf(int kind, const Dim &a, const Dim &b) {
  switch (kind) {
  case FloorDiv:
    // Only division by something positive is bounded from the dividend's bounds.
    if (b.lower() < 1)
      return {INT64_MIN, INT64_MAX};
    return {a.lower() >= 0 ? (unbounded(b.upper()) ? 0 : a.lower() / b.upper()) : INT64_MIN,
            a.upper() >= 0 && !unbounded(a.upper()) ? a.upper() / b.lower() : INT64_MAX};
  case Mod:
    if (b.lower() < 1)
      return {INT64_MIN, INT64_MAX};
    return {0, unbounded(b.upper()) ? INT64_MAX : b.upper() - 1};
  case Min:
    return {std::min(a.lower(), b.lower()), std::min(a.upper(), b.upper())};
  default:
    return {std::max(a.lower(), b.lower()), std::max(a.upper(), b.upper())};
  }
}
} // namespace

Dim Dim::atom(int kind, const Dim &a, const Dim &b) {
  static constexpr const char *names[] = {"", "floordiv", "mod", "min", "max"};
  Expr e;
  std::string text = std::string(names[kind]) + "(" + a.str() + ", " + b.str() + ")";
  if (text.size() > kMaxAtomText)
    return unknown();
  Range range = rangeOf(kind, a, b);
  e.terms[{std::make_shared<const Atom>(
      Atom{kind, std::move(text), range.lower, range.upper, a, b})}] = 1;
  return fromExpr(std::move(e));
}

Dim floordiv(const Dim &a, const Dim &b) {
  if (b == Dim(0))
    throw std::logic_error("a size is divided by zero");
  if (b == Dim(1) || a == Dim(0))
    return a;
  if (a == b)
    return 1;
  if (!b.isConst()) {
    // (q * p) / (c * p) is q / c where every term of a is a multiple of b's single product p.
    Dim::Expr be = Dim::toExpr(b);
    if (be.terms.size() == 1 && be.terms.begin()->second != 0) {
      const auto &[divisor, coefficient] = *be.terms.begin();
      Dim::Expr quotient;
      bool exact = true;
      for (const auto &[product, x] : Dim::toExpr(a).terms) {
        Product rest;
        auto byText = [](const AtomRef &s, const AtomRef &t) { return s->text < t->text; };
        std::set_difference(product.begin(), product.end(), divisor.begin(), divisor.end(),
                            std::back_inserter(rest), byText);
        exact &= rest.size() + divisor.size() == product.size();
        quotient.terms[rest] = saturatingSum(quotient.terms[rest], x);
      }
      if (exact)
        return floordiv(Dim::fromExpr(std::move(quotient)), coefficient);
    }
    return Dim::atom(FloorDiv, a, b);
  }
  int64_t d = b.value();
  assert(d != 0);
  if (a.isConst())
    return floorDivide(a.value(), d);
  // Terms that d divides come out; the others stay inside: floordiv(4*s + 3, 2) = 2*s + 1.
  Dim::Expr outside, inside;
  for (const auto &[product, x] : Dim::toExpr(a).terms) {
    if (product.empty()) {
      outside.terms[product] = floorDivide(x, d);
      inside.terms[product] = remainder(x, d);
    } else if (remainder(x, d) == 0) {
      outside.terms[product] = floorDivide(x, d);
    } else {
      inside.terms[product] = x;
    }
  }
  Dim rest = Dim::fromExpr(std::move(inside));
  Dim out = Dim::fromExpr(std::move(outside));
  if (rest.isConst())
    return out + floorDivide(rest.value(), d);
  return out + Dim::atom(FloorDiv, rest, b);
}

Dim ceildiv(const Dim &a, const Dim &b) {
  if (b.isConst() && b.value() < 0)
    return ceildiv(Dim(0) - a, Dim(0) - b);
  return floordiv(a + b - 1, b);
}

Dim floormod(const Dim &a, const Dim &b) {
  Dim quotient = floordiv(a, b);
  if (a.isConst() && b.isConst())
    return remainder(a.value(), b.value());
  if (Dim rest = a - quotient * b; rest.isConst())
    return rest;
  if (!b.isConst())
    return Dim::atom(Mod, a, b);
  // Multiples of b drop out: mod(2*s + 3, 2) = 1.
  Dim::Expr e;
  for (const auto &[product, x] : Dim::toExpr(a).terms)
    e.terms[product] = remainder(x, b.value());
  return Dim::atom(Mod, Dim::fromExpr(std::move(e)), b);
}

Dim min(const Dim &a, const Dim &b) {
  if (a == b || a.upper() <= b.lower())
    return a;
  if (b.upper() <= a.lower())
    return b;
  if (Dim d = a - b; d.isConst())
    return d.value() < 0 ? a : b;
  return a.str() < b.str() ? Dim::atom(Min, a, b) : Dim::atom(Min, b, a);
}

Dim max(const Dim &a, const Dim &b) {
  if (a == b || a.lower() >= b.upper())
    return a;
  if (b.lower() >= a.upper())
    return b;
  if (Dim d = a - b; d.isConst())
    return d.value() > 0 ? a : b;
  return a.str() < b.str() ? Dim::atom(Max, a, b) : Dim::atom(Max, b, a);
}

bool operator==(const Dim &a, const Dim &b) {
  if (a.isConst() || b.isConst())
    return a.isConst() && b.isConst() && a.value_ == b.value_;
  if (a.expr_ == b.expr_)
    return true;
  return std::equal(
      a.expr_->terms.begin(), a.expr_->terms.end(), b.expr_->terms.begin(), b.expr_->terms.end(),
      [](const auto &s, const auto &t) {
        return s.second == t.second &&
               std::equal(s.first.begin(), s.first.end(), t.first.begin(), t.first.end(),
                          [](const AtomRef &p, const AtomRef &q) { return p->text == q->text; });
      });
}

namespace {
Range rangeOf(const Product &product, int64_t coefficient) {
  Range r{1, 1};
  for (const AtomRef &atom : product) {
    Range x{atom->lower, atom->upper};
    if (x.lower < 0 || r.lower < 0) // signs mix: give up
      return {INT64_MIN, INT64_MAX};
    int64_t low, high;
    r.lower = llvm::MulOverflow(r.lower, x.lower, low) ? INT64_MAX - 1 : low;
    r.upper = unbounded(r.upper) || unbounded(x.upper) || llvm::MulOverflow(r.upper, x.upper, high)
                  ? INT64_MAX
                  : high;
  }
  int64_t low, high;
  if (unbounded(r.lower) || llvm::MulOverflow(r.lower, coefficient, low))
    low = coefficient > 0 ? INT64_MIN : INT64_MAX;
  if (unbounded(r.upper) || llvm::MulOverflow(r.upper, coefficient, high))
    high = coefficient > 0 ? INT64_MAX : INT64_MIN;
  return coefficient > 0 ? Range{low, high} : Range{high, low};
}
} // namespace

int64_t Dim::lower() const {
  if (!expr_)
    return value_;
  int64_t sum = 0;
  for (const auto &[product, coefficient] : expr_->terms)
    sum = boundAdd(sum, product.empty() ? coefficient : rangeOf(product, coefficient).lower,
                   INT64_MIN);
  return sum;
}

int64_t Dim::upper() const {
  if (!expr_)
    return value_;
  int64_t sum = 0;
  for (const auto &[product, coefficient] : expr_->terms)
    sum = boundAdd(sum, product.empty() ? coefficient : rangeOf(product, coefficient).upper,
                   INT64_MAX);
  return sum;
}

std::optional<int64_t>
Dim::evaluate(llvm::function_ref<std::optional<int64_t>(llvm::StringRef)> valueOf) const {
  if (!expr_)
    return value_;
  int64_t sum = 0;
  for (const auto &[product, coefficient] : expr_->terms) {
    int64_t term = coefficient;
    for (const AtomRef &atom : product) {
      std::optional<int64_t> value;
      if (atom->kind == Symbol) {
        value = valueOf(atom->text);
      } else {
        auto a = atom->a.evaluate(valueOf), b = atom->b.evaluate(valueOf);
        if (!a || !b || (*b == 0 && (atom->kind == FloorDiv || atom->kind == Mod)))
          return std::nullopt;
        value = atom->kind == FloorDiv ? floorDivide(*a, *b)
                : atom->kind == Mod    ? remainder(*a, *b)
                : atom->kind == Min    ? std::min(*a, *b)
                                       : std::max(*a, *b);
      }
      if (!value)
        return std::nullopt;
      term = saturatingProduct(term, *value);
    }
    sum = saturatingSum(sum, term);
  }
  return sum;
}

std::vector<Dim::Term> Dim::terms() const {
  std::vector<Term> terms;
  for (const auto &[product, coefficient] : toExpr(*this).terms) {
    Term term{coefficient, {}};
    for (const AtomRef &atom : product)
      term.factors.push_back(
          {Factor::Kind(atom->kind), atom->kind == Symbol ? atom->text : "", atom->a, atom->b});
    terms.push_back(std::move(term));
  }
  return terms;
}

std::string Dim::str() const {
  if (!expr_)
    return std::to_string(value_);
  std::string text;
  // The constant term sorts first but reads better last.
  auto append = [&](const Product &product, int64_t x) {
    text += text.empty() ? (x < 0 ? "-" : "") : (x < 0 ? " - " : " + ");
    std::string magnitude = std::to_string(x < 0 ? -uint64_t(x) : uint64_t(x));
    if (product.empty() || magnitude != "1")
      text += magnitude + (product.empty() ? "" : "*");
    for (size_t i = 0; i < product.size(); ++i)
      text += (i ? "*" : "") + product[i]->text;
  };
  for (const auto &[product, x] : expr_->terms)
    if (!product.empty())
      append(product, x);
  if (auto it = expr_->terms.find({}); it != expr_->terms.end())
    append({}, it->second);
  return text;
}

std::optional<llvm::SmallVector<int64_t, 6>> constShape(llvm::ArrayRef<Dim> shape) {
  llvm::SmallVector<int64_t, 6> values;
  for (const Dim &d : shape) {
    if (!d.isConst())
      return std::nullopt;
    values.push_back(d.value());
  }
  return values;
}

Dim numElements(llvm::ArrayRef<Dim> shape) {
  Dim n = 1;
  for (const Dim &d : shape)
    n = n * d;
  return n;
}

int64_t numElements(llvm::ArrayRef<int64_t> shape) {
  int64_t n = 1;
  for (int64_t d : shape)
    n = saturatingProduct(n, d);
  return n;
}

std::string str(llvm::ArrayRef<Dim> shape) {
  llvm::SmallVector<std::string> parts;
  for (const Dim &d : shape)
    parts.push_back(d.str());
  return "[" + llvm::join(parts, ", ") + "]";
}

} // namespace plait::mil
