// A minimum cut between what is in fp32 and what is in fp16. An operation that moves numbers is a
// node that may lie on either side. A value costs one cast when any of those that use it is not on
// the side of what computes it, however many they are; two nodes a value say so:
//
//   producer --1--> leaving --∞--> each user        the producer in fp32, a user in fp16
//   each user --∞--> entering --1--> producer       the producer in fp16, a user in fp32
//
// Augmenting paths of Edmonds and Karp: the flow is the number of casts, which is small.
#include "passes/HalfBorders.h"

#include "mil/Computation.h"
#include "passes/Match.h"

#include <deque>

namespace plait::passes {

using namespace mil;

bool commutesWithRounding(const Op &op) {
  // The indices of equal elements depend on the rounding.
  if (!(computes(op, Moves) || computes(op, Picks)) || op.is(OpKind::cast) || op.is(OpKind::topk))
    return false;
  // A mask holds another number in fp16, and a table would be stored in fp32.
  for (const Operand &operand : op.operands())
    if (constTensor(operand) && isFloat(operand->type.dtype()) && !isSplat(operand, 0))
      return false;
  return true;
}

namespace {

constexpr int kUnlimited = 1 << 30;

class Cut {
public:
  Cut(const Function &function, const llvm::DenseSet<const Op *> &half) : half_(half) {
    walk(const_cast<Block &>(function.body()), [&](Op &op) {
      ops_.push_back(&op);
      if (half.contains(&op) && commutesWithRounding(op))
        nodes_[&op] = addNode();
    });
    if (nodes_.empty())
      return;
    for (const auto &input : function.inputs())
      addValue(*input);
    for (const Op *op : ops_) {
      for (const auto &result : op->results())
        addValue(*result);
      for (const auto &block : op->blocks())
        for (const auto &argument : block->args())
          addValue(*argument);
    }
    pinBetween();
  }

  llvm::DenseSet<const Op *> wide() {
    llvm::DenseSet<const Op *> wide;
    if (nodes_.empty())
      return wide;
    while (augment()) {
    }
    std::vector<int> reached = search();
    for (const auto &[op, node] : nodes_)
      if (reached[node] >= 0 && node != kWide)
        wide.insert(op);
    return wide;
  }

private:
  static constexpr unsigned kWide = 0, kHalf = 1; // source and sink

  struct Edge {
    unsigned to;
    int capacity;
  };

  unsigned addNode() {
    edgesOf_.emplace_back();
    return unsigned(edgesOf_.size()) - 1;
  }
  void addEdge(unsigned from, unsigned to, int capacity) {
    edgesOf_[from].push_back(unsigned(edges_.size()));
    edges_.push_back({to, capacity});
    edgesOf_[to].push_back(unsigned(edges_.size()));
    edges_.push_back({from, 0});
  }

  unsigned sideOf(const Op &op) const {
    auto node = nodes_.find(&op);
    return node != nodes_.end() ? node->second : half_.contains(&op) ? kHalf : kWide;
  }

  /// What is on the other end of a use; nullopt where either type will do.
  std::optional<unsigned> userNode(const Operand &use) const {
    const Op &user = *use.owner();
    if (!user.is(OpKind::cast))
      return sideOf(user);
    if (constString(user[cast::dtype]) == llvm::StringRef("fp16"))
      return kHalf;
    return std::nullopt;
  }

  void addValue(const Value &value) {
    if (!value.type.isTensor() || value.type.dtype() != DType::F32 || constTensor(&value))
      return;
    llvm::SmallVector<unsigned, 4> users;
    for (const Operand &use : value.uses())
      if (auto user = userNode(use); user && !llvm::is_contained(users, *user))
        users.push_back(*user);
    const Op *def = value.def();
    bool isCast = def && def->is(OpKind::cast);
    auto isFree = [](unsigned node) { return node > kHalf; };
    unsigned producer = kWide;
    if (isCast && (*def)[cast::x]->type.dtype() == DType::F16)
      producer = kHalf;
    else if (def && !isCast)
      producer = sideOf(*def);
    if (users.empty() || (!isFree(producer) && llvm::none_of(users, isFree)))
      return;
    if (isCast && producer == kWide)
      producer = addNode(); // integers become either as easily
    unsigned leaving = addNode(), entering = addNode();
    addEdge(producer, leaving, 1);
    addEdge(entering, producer, 1);
    for (unsigned user : users) {
      addEdge(leaving, user, kUnlimited);
      addEdge(user, entering, kUnlimited);
    }
  }

  /// What lies on a way from fp32 to fp32 stays there.
  void pinBetween() {
    llvm::DenseSet<const Op *> behind, before;
    auto isWide = [&](const Value *value) {
      if (constTensor(value) || !value->type.isTensor() || value->type.dtype() != DType::F32)
        return false;
      const Op *def = value->def();
      if (!def)
        return true;
      return behind.contains(def) || (!def->is(OpKind::cast) && sideOf(*def) == kWide);
    };
    for (const Op *op : ops_)
      if (nodes_.contains(op) && llvm::any_of(op->operands(), isWide))
        behind.insert(op);
    for (const Op *op : llvm::reverse(ops_)) {
      if (!nodes_.contains(op))
        continue;
      for (const auto &result : op->results())
        for (const Operand &use : result->uses())
          if (userNode(use) == kWide || before.contains(use.owner()))
            before.insert(op);
      if (behind.contains(op) && before.contains(op))
        addEdge(kWide, nodes_[op], kUnlimited);
    }
  }

  /// For each node the edge by which it was reached from fp32; -1 where it was not.
  std::vector<int> search() const {
    std::vector<int> by(edgesOf_.size(), -1);
    std::deque<unsigned> next{kWide};
    by[kWide] = 0;
    while (!next.empty()) {
      unsigned node = next.front();
      next.pop_front();
      for (unsigned edge : edgesOf_[node])
        if (edges_[edge].capacity > 0 && by[edges_[edge].to] < 0) {
          by[edges_[edge].to] = int(edge);
          next.push_back(edges_[edge].to);
        }
    }
    return by;
  }

  /// One more cast that cannot be saved; false when there is none.
  bool augment() {
    std::vector<int> by = search();
    if (by[kHalf] < 0)
      return false;
    for (unsigned node = kHalf; node != kWide; node = edges_[by[node] ^ 1].to) {
      edges_[by[node]].capacity -= 1;
      edges_[by[node] ^ 1].capacity += 1;
    }
    return true;
  }

  const llvm::DenseSet<const Op *> &half_;
  std::vector<const Op *> ops_;
  llvm::DenseMap<const Op *, unsigned> nodes_;
  std::vector<Edge> edges_; ///< an edge and the one back side by side
  std::vector<std::vector<unsigned>> edgesOf_{2};
};

} // namespace

llvm::DenseSet<const Op *> wideMoves(const Function &function,
                                     const llvm::DenseSet<const Op *> &half) {
  return Cut(function, half).wide();
}

} // namespace plait::passes
