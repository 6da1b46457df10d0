// A parser into a tree, and a backtracking matcher with continuations and a budget of steps.
#include "adapters/PythonRegex.h"

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <bitset>
#include <climits>
#include <vector>

namespace plait::adapters {

using llvm::StringRef;

static constexpr size_t kMaxPattern = 4096, kMaxText = 2048;
static constexpr unsigned kMaxGroupDepth = 50, kMaxSteps = 200000, kMaxRepeat = 1000;

using CharSet = std::bitset<256>;

struct PythonRegex::Node {
  enum Kind { Chars, Sequence, Branches, Repeat, Group, Look, Begin, End, Boundary } kind;
  CharSet chars;
  std::vector<std::shared_ptr<const Node>> children; ///< of a sequence, of branches; one of others
  unsigned min = 0, max = 0;
  bool lazy = false;
  bool negated = false; ///< of a look-ahead or a boundary
  std::string name;     ///< of a group
};

namespace {

using Node = PythonRegex::Node;
using NodePtr = std::shared_ptr<const Node>;

CharSet setOf(llvm::function_ref<bool(char)> predicate) {
  CharSet set;
  for (unsigned c = 0; c < 256; ++c)
    set[c] = predicate(char(c));
  return set;
}
bool isWord(char c) { return llvm::isAlnum(c) || c == '_' || (unsigned char)c >= 0x80; }

class Parser {
public:
  explicit Parser(StringRef pattern) : rest_(pattern) {}

  Expected<NodePtr> parse() {
    NodePtr node = branches(0);
    if (error_.empty() && !rest_.empty())
      error_ = "a ')' closes nothing";
    if (!error_.empty())
      return makeError("{0}", error_);
    return node;
  }

private:
  NodePtr fail(const llvm::Twine &what) {
    if (error_.empty())
      error_ = what.str();
    rest_ = "";
    return std::make_shared<Node>(Node{Node::Sequence, {}, {}, 0, 0, false, false, ""});
  }
  static NodePtr make(Node node) { return std::make_shared<const Node>(std::move(node)); }
  static NodePtr chars(CharSet set) { return make({Node::Chars, set, {}, 0, 0, false, false, ""}); }

  NodePtr branches(unsigned depth) {
    if (depth > kMaxGroupDepth)
      return fail("groups nest too deeply");
    Node node{Node::Branches, {}, {}, 0, 0, false, false, ""};
    do
      node.children.push_back(sequence(depth));
    while (rest_.consume_front("|"));
    return node.children.size() == 1 ? node.children[0] : make(std::move(node));
  }

  NodePtr sequence(unsigned depth) {
    Node node{Node::Sequence, {}, {}, 0, 0, false, false, ""};
    while (!rest_.empty() && rest_[0] != '|' && rest_[0] != ')')
      node.children.push_back(repeated(atom(depth)));
    return make(std::move(node));
  }

  NodePtr repeated(NodePtr atom) {
    unsigned min, max;
    StringRef before = rest_;
    if (rest_.consume_front("*")) {
      min = 0, max = UINT_MAX;
    } else if (rest_.consume_front("+")) {
      min = 1, max = UINT_MAX;
    } else if (rest_.consume_front("?")) {
      min = 0, max = 1;
    } else if (rest_.consume_front("{")) {
      StringRef first = rest_.take_while(llvm::isDigit);
      rest_ = rest_.drop_front(first.size());
      bool comma = rest_.consume_front(",");
      StringRef second = comma ? rest_.take_while(llvm::isDigit) : first;
      if (comma)
        rest_ = rest_.drop_front(second.size());
      bool bad = !rest_.consume_front("}") || (first.empty() && second.empty());
      if (bad) { // a brace that counts nothing is a character
        rest_ = before;
        return atom;
      }
      min = 0, max = UINT_MAX;
      if ((!first.empty() && first.getAsInteger(10, min)) ||
          (!second.empty() && second.getAsInteger(10, max)) || max < min || min > kMaxRepeat)
        return fail("a repetition is out of range");
    } else {
      return atom;
    }
    bool lazy = rest_.consume_front("?");
    if (rest_.starts_with("+") || rest_.starts_with("*"))
      return fail("a repetition of a repetition");
    return make({Node::Repeat, {}, {std::move(atom)}, min, max, lazy, false, ""});
  }

  NodePtr group(unsigned depth) {
    Node node{Node::Group, {}, {}, 0, 0, false, false, ""};
    if (rest_.consume_front("?P<")) {
      node.name = rest_.take_until([](char c) { return c == '>'; }).str();
      rest_ = rest_.drop_front(node.name.size());
      if (!rest_.consume_front(">") || node.name.empty())
        return fail("a group's name is not closed");
    } else if (rest_.consume_front("?=")) {
      node.kind = Node::Look;
    } else if (rest_.consume_front("?!")) {
      node.kind = Node::Look;
      node.negated = true;
    } else if (!rest_.consume_front("?:") && rest_.starts_with("?")) {
      return fail("(" + rest_.take_front(3) +
                  "…) is not supported; list the names of the modules instead");
    }
    node.children.push_back(branches(depth + 1));
    if (error_.empty() && !rest_.consume_front(")"))
      return fail("a '(' is not closed");
    return make(std::move(node));
  }

  /// The set that \d, \w … stand for; none for other escapes.
  static std::optional<CharSet> escapedSet(char c) {
    switch (c) {
    case 'd':
      return setOf([](char x) { return llvm::isDigit(x); });
    case 'D':
      return setOf([](char x) { return !llvm::isDigit(x); });
    case 'w':
      return setOf(isWord);
    case 'W':
      return setOf([](char x) { return !isWord(x); });
    case 's':
      return setOf([](char x) { return llvm::isSpace(x); });
    case 'S':
      return setOf([](char x) { return !llvm::isSpace(x); });
    default:
      return std::nullopt;
    }
  }
  static CharSet one(char c) { return CharSet().set((unsigned char)c); }

  NodePtr atom(unsigned depth) {
    char c = rest_[0];
    rest_ = rest_.drop_front();
    switch (c) {
    case '.':
      return chars(setOf([](char x) { return x != '\n'; }));
    case '^':
      return make({Node::Begin, {}, {}, 0, 0, false, false, ""});
    case '$':
      return make({Node::End, {}, {}, 0, 0, false, false, ""});
    case '(':
      return group(depth);
    case '[':
      return bracket();
    case '*':
    case '+':
    case '?':
      return fail("'" + llvm::Twine(c) + "' repeats nothing");
    case '\\': {
      if (rest_.empty())
        return fail("it ends in a backslash");
      char e = rest_[0];
      rest_ = rest_.drop_front();
      if (auto set = escapedSet(e))
        return chars(*set);
      if (e == 'b' || e == 'B')
        return make({Node::Boundary, {}, {}, 0, 0, false, e == 'B', ""});
      if (e == 'A' || e == 'Z')
        return make({e == 'A' ? Node::Begin : Node::End, {}, {}, 0, 0, false, false, ""});
      if (llvm::isAlnum(e))
        return fail("\\" + llvm::Twine(e) + " is not supported");
      return chars(one(e));
    }
    default:
      return chars(one(c));
    }
  }

  NodePtr bracket() {
    bool negated = rest_.consume_front("^");
    CharSet set;
    for (bool first = true; first || !rest_.starts_with("]"); first = false) {
      if (rest_.empty())
        return fail("a '[' is not closed");
      auto element = [&]() -> std::optional<char> {
        char c = rest_[0];
        rest_ = rest_.drop_front();
        if (c != '\\' || rest_.empty())
          return c;
        char e = rest_[0];
        rest_ = rest_.drop_front();
        if (auto inner = escapedSet(e)) {
          set |= *inner;
          return std::nullopt;
        }
        if (llvm::isAlnum(e))
          fail("\\" + llvm::Twine(e) + " is not supported between brackets");
        return e;
      };
      auto low = element();
      if (!low)
        continue;
      if (rest_.size() >= 2 && rest_[0] == '-' && rest_[1] != ']') {
        rest_ = rest_.drop_front();
        auto high = element();
        if (!high || (unsigned char)*high < (unsigned char)*low)
          return fail("a range between brackets is out of order");
        for (unsigned c = (unsigned char)*low; c <= (unsigned char)*high; ++c)
          set.set(c);
      } else {
        set.set((unsigned char)*low);
      }
    }
    rest_ = rest_.drop_front();
    return chars(negated ? ~set : set);
  }

  StringRef rest_;
  std::string error_;
};

class Matcher {
public:
  using Next = llvm::function_ref<bool(size_t)>;

  explicit Matcher(StringRef text) : text_(text) {}

  bool match(const Node &node, size_t at, Next next) {
    if (exhausted_ || ++steps_ > kMaxSteps) {
      exhausted_ = true;
      return false;
    }
    switch (node.kind) {
    case Node::Chars:
      return at < text_.size() && node.chars[(unsigned char)text_[at]] && next(at + 1);
    case Node::Sequence:
      return sequence(node, 0, at, next);
    case Node::Branches:
      for (const NodePtr &child : node.children)
        if (match(*child, at, next))
          return true;
      return false;
    case Node::Repeat:
      return repeat(node, 0, at, next);
    case Node::Group:
      return match(*node.children[0], at, [&](size_t end) {
        if (node.name.empty())
          return next(end);
        auto before = groups.find(node.name);
        std::optional<std::string> old =
            before == groups.end() ? std::nullopt : std::optional(before->second);
        groups[node.name] = text_.slice(at, end).str();
        if (next(end))
          return true;
        if (old)
          groups[node.name] = *old;
        else
          groups.erase(node.name);
        return false;
      });
    case Node::Look:
      return match(*node.children[0], at, [](size_t) { return true; }) != node.negated &&
             !exhausted_ && next(at);
    case Node::Begin:
      return at == 0 && next(at);
    case Node::End:
      return at == text_.size() && next(at);
    case Node::Boundary: {
      bool before = at > 0 && isWord(text_[at - 1]);
      bool after = at < text_.size() && isWord(text_[at]);
      return (before != after) != node.negated && next(at);
    }
    }
    return false;
  }

  bool exhausted() const { return exhausted_; }
  PythonRegex::Groups groups;

private:
  bool sequence(const Node &node, size_t index, size_t at, Next next) {
    if (index == node.children.size())
      return next(at);
    return match(*node.children[index], at,
                 [&](size_t end) { return sequence(node, index + 1, end, next); });
  }
  bool repeat(const Node &node, unsigned count, size_t at, Next next) {
    auto more = [&] {
      return count < node.max && match(
                                     *node.children[0], at,
                                     [&](size_t end) {
                                       // An empty repetition adds nothing once there are enough.
                                       return (end > at || count < node.min) &&
                                              repeat(node, count + 1, end, next);
                                     });
    };
    if (count < node.min)
      return more();
    return node.lazy ? next(at) || more() : more() || next(at);
  }

  StringRef text_;
  unsigned steps_ = 0;
  bool exhausted_ = false;
};

} // namespace

Expected<PythonRegex> PythonRegex::compile(StringRef pattern) {
  PythonRegex regex;
  if (pattern.size() > kMaxPattern)
    return makeError("a regular expression of {0} characters is too long", pattern.size());
  auto root = Parser(pattern).parse();
  if (!root)
    return addContext(root.takeError(), "the regular expression '" + pattern + "'");
  regex.pattern_ = pattern.str();
  regex.root_ = std::move(*root);
  return regex;
}

Expected<std::optional<PythonRegex::Groups>> PythonRegex::run(StringRef text, bool whole) const {
  if (text.size() > kMaxText)
    return makeError("the name '{0}…' is too long", text.take_front(80));
  Matcher matcher(text);
  bool found = matcher.match(*root_, 0, [&](size_t end) { return !whole || end == text.size(); });
  if (matcher.exhausted())
    return makeError("the regular expression '{0}' takes too long on '{1}'", pattern_, text);
  if (!found)
    return std::nullopt;
  return std::move(matcher.groups);
}

} // namespace plait::adapters
