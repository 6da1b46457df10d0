// cse: merges equal operations and equal constants; the one that dominates stays.
//
//   %a = relu(x = %x)                           before
//   %b = relu(x = %x)
//   %c = add(x = %a, y = %b)
//
//   %a = relu(x = %x)                           after
//   %c = add(x = %a, y = %a)
//
// An operation in a nested block is replaced by an equal one of an enclosing block. Random
// operations never merge. Reads of a state merge only within one block, with no write between them.
#include "passes/Constants.h"
#include "passes/Rewrite.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/Hashing.h"
#include "llvm/Support/xxhash.h"

namespace plait::passes {

using namespace mil;

namespace {

/// Of each end of a literal.
constexpr size_t kHashedBytes = 256;

uint64_t hashLiteral(const Attr &attr) {
  if (const TensorData *tensor = attr.tensor()) {
    llvm::ArrayRef<uint8_t> bytes = tensor->contiguousBytes();
    if (!bytes.empty() && bytes.size() <= kSmallBytes) {
      // Both ends tell nearly all apart; the others are compared.
      size_t end = std::min(bytes.size(), kHashedBytes);
      return llvm::hash_combine(unsigned(tensor->dtype()), bytes.size(),
                                llvm::xxh3_64bits(bytes.take_front(end)),
                                llvm::xxh3_64bits(bytes.take_back(end)));
    }
    return tensor->treeHash();
  }
  uint64_t hash = 0;
  if (const auto *strings = attr.strings())
    for (const std::string &text : *strings)
      hash = llvm::hash_combine(hash, llvm::xxh3_64bits(text));
  return hash;
}

class Merger {
public:
  bool run(Block &block) {
    bool changed = false;
    scopes_.emplace_back();
    for (auto it = block.begin(); it != block.end();) {
      Op &op = *it++;
      if (op.info().traits & Effect)
        ++writes_;
      for (const auto &inner : op.blocks())
        changed |= run(*inner);
      if (!op.info().isPure() || !op.blocks().empty() || !op.numResults())
        continue;
      uint64_t key = hash(op);
      if (Op *earlier = find(key, op)) {
        keepProvenance(*earlier, op);
        for (auto [from, to] : llvm::zip(op.results(), earlier->results()))
          replaceUses(from.get(), to.get());
        op.erase();
        changed = true;
      } else {
        scopes_.back()[key].push_back({&op, writes_});
      }
    }
    scopes_.pop_back();
    return changed;
  }

private:
  struct Entry {
    Op *op;
    unsigned writes; ///< writes seen before it
  };

  /// What is known of `op`, which goes, and not of the equal one that stays.
  static void keepProvenance(Op &earlier, const Op &op) {
    if (!earlier.location)
      earlier.location = op.location;
    const TensorData *kept = constTensor(earlier.result()), *dropped = constTensor(op.result());
    if (kept && dropped)
      earlier.setVal(kept->withOriginsOf(*dropped));
  }

  static uint64_t hash(const Op &op) {
    uint64_t hash = unsigned(op.kind());
    for (unsigned i = 0; i < op.numParams(); ++i) {
      hash = llvm::hash_combine(hash, op.operands(i).size());
      for (const Operand &operand : op.operands(i))
        hash = llvm::hash_combine(hash, operand.get());
    }
    if (op.is(OpKind::const_))
      hash = llvm::hash_combine(hash, hashLiteral(op.val()));
    return hash;
  }

  static bool equal(const Op &a, const Op &b) {
    if (a.kind() != b.kind() || a.numParams() != b.numParams() || a.attributes != b.attributes ||
        a.numResults() != b.numResults())
      return false;
    for (unsigned i = 0; i < a.numParams(); ++i)
      if (!std::equal(a.operands(i).begin(), a.operands(i).end(), b.operands(i).begin(),
                      b.operands(i).end(),
                      [](const Operand &x, const Operand &y) { return x.get() == y.get(); }))
        return false;
    return !a.is(OpKind::const_) || a.val() == b.val();
  }

  Op *find(uint64_t key, const Op &op) {
    for (auto &scope : scopes_)
      for (Entry &entry : scope.lookup(key)) {
        if (!equal(*entry.op, op))
          continue;
        if ((op.info().traits & ReadsMemory) &&
            (entry.writes != writes_ || entry.op->parent() != op.parent()))
          continue;
        bool replaceable = true;
        for (auto [from, to] : llvm::zip(op.results(), entry.op->results()))
          replaceable &= canReplace(from.get(), to.get());
        if (replaceable)
          return entry.op;
      }
    return nullptr;
  }

  std::vector<llvm::DenseMap<uint64_t, llvm::SmallVector<Entry, 1>>> scopes_;
  unsigned writes_ = 0;
};

} // namespace

bool cse(Program &program, PassContext &) {
  bool changed = false;
  for (const auto &function : program.functions())
    changed |= Merger().run(function->body());
  return changed;
}

} // namespace plait::passes
