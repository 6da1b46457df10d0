// Recursive descent, of bounded depth.
#include "mil/SizeExpression.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

namespace plait::mil {
namespace {

using llvm::StringRef;

class SizeParser {
public:
  using SymbolOf = llvm::function_ref<std::optional<Dim>(StringRef)>;
  SizeParser(StringRef text, SymbolOf symbolOf) : text_(text), rest_(text), symbolOf_(symbolOf) {}

  Expected<Dim> run() {
    auto value = sum(0);
    if (value && !peek().empty())
      fail("something follows");
    if (!value || !problem_.empty())
      return makeError(Code::ArchiveDamaged, "the size '{0}' cannot be read: {1}",
                       text_.take_front(200), problem_.empty() ? "it is malformed" : problem_);
    return *value;
  }

private:
  using Value = std::optional<Dim>;

  std::nullopt_t fail(const llvm::Twine &what) {
    if (problem_.empty())
      problem_ = what.str();
    return std::nullopt;
  }

  StringRef peek() {
    rest_ = rest_.ltrim();
    return rest_;
  }
  bool take(StringRef token) {
    peek();
    return rest_.consume_front(token);
  }
  static bool isPartOfName(char c) { return llvm::isAlnum(c) || c == '_' || c == '.'; }
  /// "s77"; a number is none, as it is printed like one.
  static bool isName(StringRef text) {
    return !text.empty() && !llvm::isDigit(text.front()) && llvm::all_of(text, isPartOfName);
  }

  StringRef word() {
    StringRef found = peek().take_while(isPartOfName);
    rest_ = rest_.drop_front(found.size());
    return found;
  }

  Value sum(unsigned depth) {
    if (depth > 64)
      return fail("it is nested too deeply");
    Value value = product(depth);
    while (value) {
      bool minus = peek().starts_with("-");
      if (!minus && !peek().starts_with("+"))
        break;
      rest_ = rest_.drop_front();
      Value other = product(depth);
      value = !other ? std::nullopt : Value(minus ? *value - *other : *value + *other);
    }
    return value;
  }

  Value product(unsigned depth) {
    Value value = power(depth);
    while (value) {
      if (peek().starts_with("**"))
        return fail("a power of a power");
      if (take("//"))
        value = divide(value, power(depth));
      else if (take("*"))
        value = multiply(value, power(depth));
      else if (take("%"))
        value = modulo(value, power(depth));
      else
        break;
    }
    return value;
  }

  Value power(unsigned depth) {
    if (take("-"))
      return multiply(Dim(-1), power(depth + 1));
    Value value = atom(depth);
    if (value && take("**"))
      value = raise(value, atom(depth));
    return value;
  }

  Value atom(unsigned depth) {
    if (depth > 64)
      return fail("it is nested too deeply");
    if (++atoms_ > 4096)
      return fail("it has too many terms");
    if (take("(")) {
      Value value = sum(depth + 1);
      return value && take(")") ? value : fail("a parenthesis is missing");
    }
    if (!peek().empty() && llvm::isDigit(rest_.front())) {
      int64_t number;
      if (rest_.consumeInteger(10, number) || peek().starts_with("."))
        return fail("a number is no integer of 64 bits");
      return Dim(number);
    }
    StringRef name = word();
    if (name.empty())
      return fail("a size is missing");
    return take("(") ? call(name, depth + 1) : symbol(name);
  }

  Value symbol(StringRef name) {
    auto found = symbolOf_(name);
    return found ? Value(*found) : fail("nothing is known of '" + name + "'");
  }

  Value call(StringRef name, unsigned depth) {
    std::vector<Dim> arguments;
    std::string quoted;
    while (!take(")")) {
      if ((!arguments.empty() || !quoted.empty()) && !take(","))
        return fail("a comma is missing");
      if (take("'")) {
        auto [inside, after] = rest_.split('\'');
        quoted = inside.str();
        rest_ = after;
        continue;
      }
      StringRef before = peek();
      if (StringRef key = word(); !key.empty() && take("=")) {
        word(); // what SymPy assumes of a symbol: positive=True
        continue;
      }
      rest_ = before;
      Value argument = sum(depth);
      if (!argument)
        return std::nullopt;
      arguments.push_back(*argument);
    }
    if (name == "Symbol")
      return isName(quoted) ? symbol(quoted) : fail("'" + quoted + "' is no name of a symbol");
    return apply(name, arguments);
  }

  Value apply(StringRef name, llvm::ArrayRef<Dim> arguments) {
    auto fold = [&](auto combine) -> Value {
      if (arguments.empty())
        return fail(name + " has no arguments");
      Dim value = arguments[0];
      for (const Dim &next : arguments.drop_front())
        value = combine(value, next);
      return value;
    };
    if (name == "Add")
      return fold([](const Dim &a, const Dim &b) { return a + b; });
    if (name == "Mul")
      return fold([](const Dim &a, const Dim &b) { return a * b; });
    if (name == "Max" || name == "max")
      return fold([](const Dim &a, const Dim &b) { return max(a, b); });
    if (name == "Min" || name == "min")
      return fold([](const Dim &a, const Dim &b) { return min(a, b); });
    size_t count = arguments.size();
    if ((name == "Integer" || name == "Identity") && count == 1)
      return arguments[0];
    if ((name == "FloorDiv" || name == "CleanDiv" || name == "floordiv") && count == 2)
      return divide(arguments[0], arguments[1]);
    if (name == "CeilDiv" && count == 2 && arguments[1].lower() > 0)
      return ceildiv(arguments[0], arguments[1]);
    if ((name == "Mod" || name == "PythonMod" || name == "mod") && count == 2)
      return modulo(arguments[0], arguments[1]);
    if (name == "ModularIndexing" && count == 3)
      return modulo(divide(arguments[0], arguments[1]), arguments[2]);
    if ((name == "Pow" || name == "PowByNatural") && count == 2)
      return raise(arguments[0], arguments[1]);
    return fail("plait has no sizes of the form " + name);
  }

  Value multiply(Value a, Value b) { return a && b ? Value(*a * *b) : std::nullopt; }
  Value divide(Value a, Value b) {
    if (!a || !b)
      return std::nullopt;
    return b->lower() > 0 ? Value(floordiv(*a, *b)) : fail("a divisor may be zero or negative");
  }
  Value modulo(Value a, Value b) {
    if (!a || !b)
      return std::nullopt;
    return b->lower() > 0 ? Value(floormod(*a, *b)) : fail("a divisor may be zero or negative");
  }
  Value raise(Value base, Value exponent) {
    if (!base || !exponent)
      return std::nullopt;
    auto times = exponent->tryValue();
    if (!times || *times < 0 || *times > 8)
      return fail("an exponent is no small number");
    Dim value = 1;
    for (int64_t i = 0; i < *times; ++i)
      value = value * *base;
    return value;
  }

  StringRef text_, rest_;
  SymbolOf symbolOf_;
  std::string problem_;
  unsigned atoms_ = 0;
};

} // namespace

Expected<Dim> parseSize(StringRef text,
                        llvm::function_ref<std::optional<Dim>(StringRef)> symbolOf) {
  return SizeParser(text, symbolOf).run();
}

std::string symbolName(StringRef text) {
  unsigned symbols = 0;
  std::string name;
  auto value = parseSize(text, [&](StringRef symbol) {
    ++symbols;
    name = symbol.str();
    return Dim::symbol(symbol);
  });
  if (!value) {
    llvm::consumeError(value.takeError());
    return "";
  }
  return symbols == 1 && value->isSymbol() ? name : "";
}

} // namespace plait::mil
