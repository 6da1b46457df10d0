// join-linears: makes one layer of linear layers that take the same tensor and whose results go the
// same way, such as queries, keys and values into heads.
//
//   %a = linear(x = %x, weight = const A)                        before
//   %b = linear(x = %x, weight = const B)
//   %c = reshape(x = %a, shape = [1, 10, 8, 64])
//   %d = reshape(x = %b, shape = [1, 10, 2, 64])
//   %q = transpose(x = %c, perm = [0, 2, 1, 3])
//   %k = transpose(x = %d, perm = [0, 2, 1, 3])
//
//   %a = linear(x = %x, weight = const [A; B])                   after
//   %c = reshape(x = %a, shape = [1, 10, 10, 64])
//   %h = transpose(x = %c, perm = [0, 2, 1, 3])
//   %q, %k = split(x = %h, split_sizes = [8, 2], axis = 1)
//
// Only where it takes fewer operations: two layers without anything behind them stay. And only
// where no weight is stored beside a joined one: all that use a weight, in all functions, join it
// with the same others in the same order.
#include "mil/Concatenation.h"
#include "mil/DeviceRules.h"
#include "passes/LoraMatch.h"
#include "passes/Rewrite.h"
#include "passes/Sharing.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVectorExtras.h"

#include <map>

namespace plait::passes {

using namespace mil;

namespace {

/// The layer, or what moves its result on.
struct Step {
  Op *op;
  unsigned axis;    ///< of the result: that along which results of several layers follow another
  std::string form; ///< equal for what one operation does of them together

  int64_t size() const { return op->result()->type.shape()[axis].value(); }
};
using Path = llvm::SmallVector<Step, 3>;

struct Member {
  Path path; ///< begins with the layer
  uint64_t weightKey = 0, biasKey = 0;

  Op &layer() const { return *path[0].op; }
};
/// In the order of the program.
using Group = llvm::SmallVector<Member, 3>;

/// Whether pieces of what one joined with the path of `a` gives are what `b` has, as they are.
bool haveOneShape(const Member &a, const Member &b) {
  const Step &x = a.path.back(), &y = b.path.back();
  llvm::ArrayRef<Dim> from = x.op->result()->type.shape(), to = y.op->result()->type.shape();
  return x.axis == y.axis && from.size() == to.size() &&
         from.take_front(x.axis) == to.take_front(x.axis) &&
         from.drop_front(x.axis + 1) == to.drop_front(x.axis + 1);
}

/// The member whose shape most others have, and how many have it.
std::pair<const Member *, size_t> commonestIn(const Group &group) {
  std::pair<const Member *, size_t> best(nullptr, 0);
  for (const Member &member : group) {
    size_t count = llvm::count_if(group, [&](const Member &m) { return haveOneShape(member, m); });
    if (count > best.second)
      best = {&member, count};
  }
  return best;
}

/// Operations that are saved: all steps of each layer become one, there is a split, and a piece of
/// another shape is reshaped.
int64_t gainOf(const Group &group) {
  size_t steps = group[0].path.size(), reshaped = group.size() - commonestIn(group).second;
  return int64_t(group.size() * steps) - int64_t(steps + 1 + reshaped);
}

// ---- Paths -------------------------------------------------------------------------------------

/// The numbers, and a star in place of one of them.
std::string listed(llvm::ArrayRef<int64_t> values, std::optional<unsigned> leftOut = {}) {
  std::string text;
  for (auto [i, value] : llvm::enumerate(values))
    text += leftOut == i ? " *" : " " + std::to_string(value);
  return text;
}

/// Of a known shape, those axes that hold more than one element, and `axis`: [1, 10, 8, 64] and
/// [1, 1, 10, 8, 64] hold the same.
llvm::SmallVector<unsigned, 6> axesThatHold(llvm::ArrayRef<int64_t> shape, unsigned axis) {
  llvm::SmallVector<unsigned, 6> axes;
  for (unsigned i = 0; i < shape.size(); ++i)
    if (shape[i] != 1 || i == axis)
      axes.push_back(i);
  return axes;
}

/// The shape that a reshape is given, with the sizes that are known in it.
std::optional<llvm::SmallVector<int64_t, 8>> shapeOf(const Op &op) {
  if (auto shape = staticShape(op.result()))
    return llvm::SmallVector<int64_t, 8>(shape->begin(), shape->end());
  return constInts(op[reshape::shape]);
}

std::string formOf(const Op &op, llvm::ArrayRef<int64_t> shape, unsigned axis) {
  if (!staticShape(op.result()))
    return "reshape" + listed(shape, axis);
  std::string form = "reshape";
  for (unsigned i : axesThatHold(shape, axis))
    form += i == axis ? " *" : " " + std::to_string(shape[i]);
  return form;
}

/// The axes of a reshape's result along which those of several layers could follow another: before
/// such an axis lies what lies before `axis` of the operand.
void throughReshape(const Path &path, Op &op, llvm::SmallVectorImpl<Step> &found) {
  llvm::ArrayRef<Dim> from = op[reshape::x]->type.shape(), to = op.result()->type.shape();
  auto shape = shapeOf(op);
  unsigned axis = path.back().axis;
  auto isConst = [](const Dim &dim) { return dim.isConst(); };
  if (!shape || shape->size() != to.size() || !llvm::all_of(from.drop_front(axis), isConst))
    return;
  Dim before = numElements(from.take_front(axis));
  for (unsigned i = 0; i < to.size(); ++i)
    if (numElements(to.take_front(i)) == before && llvm::all_of(to.drop_front(i), isConst) &&
        (i == axis || axis >= shape->size() || (*shape)[axis] != 0)) // 0 copies the operand's
      found.push_back({&op, i, formOf(op, *shape, i)});
}

void throughTranspose(const Path &path, Op &op, llvm::SmallVectorImpl<Step> &found) {
  auto perm = constInts(op[transpose::perm]);
  if (!perm)
    return;
  for (int64_t &axis : *perm)
    axis = normalAxis(axis, perm->size());
  unsigned from = path.back().axis, to = unsigned(llvm::find(*perm, int64_t(from)) - perm->begin());
  llvm::SmallVector<int64_t, 8> order(*perm);
  if (auto shape = staticShape(op[transpose::x])) {
    auto axes = axesThatHold(*shape, from);
    order.clear();
    for (int64_t axis : *perm)
      if (auto place = llvm::find(axes, unsigned(axis)); place != axes.end())
        order.push_back(place - axes.begin());
  }
  found.push_back({&op, to, "transpose" + listed(order)});
}

/// Every way on from a path, to where something else than a reshape or transpose is.
void follow(Path path, llvm::SmallVectorImpl<Path> &paths) {
  const Value *value = path.back().op->result();
  Op *next = value->hasOneUse() ? (*value->uses().begin()).owner() : nullptr;
  llvm::SmallVector<Step, 3> steps;
  if (next && next->parent() == path[0].op->parent()) {
    if (next->is(OpKind::reshape) && (*next)[reshape::x] == value)
      throughReshape(path, *next, steps);
    else if (next->is(OpKind::transpose))
      throughTranspose(path, *next, steps);
  }
  if (steps.empty()) {
    paths.push_back(std::move(path));
    return;
  }
  for (Step &step : steps) {
    Path longer = path;
    longer.push_back(std::move(step));
    follow(std::move(longer), paths);
  }
}

// ---- Groups ------------------------------------------------------------------------------------

/// The layers that a LoRA branch is of, or stands beside: it is recognised by them, by whoever
/// compresses the package later.
llvm::DenseSet<const Op *> adaptedLayers(Program &program, const PassContext &context) {
  llvm::DenseSet<const Op *> layers;
  walk(program, [&](Op &op) {
    auto sum = op.is(OpKind::add) || op.is(OpKind::sub) ? matchLoraSum(op, context) : std::nullopt;
    if (!sum || llvm::none_of(sum->terms, [](const LoraTerm &term) { return term.branch; }))
      return;
    for (const LoraTerm &term : sum->terms) {
      layers.insert(term.layer);
      if (term.branch)
        layers.insert(term.branch->a);
    }
  });
  return layers;
}

/// The groups of layers of one input, the one that saves most first.
void chooseGroups(llvm::SmallVector<Op *, 4> layers, std::vector<Group> &groups) {
  llvm::SmallVector<std::pair<Op *, llvm::SmallVector<Path, 2>>, 4> open;
  for (Op *layer : layers) {
    open.emplace_back(layer, llvm::SmallVector<Path, 2>());
    follow({{layer, layer->result()->type.rank() - 1, ""}}, open.back().second);
  }
  while (open.size() > 1) {
    std::map<std::string, Group> alike;
    for (const auto &[layer, paths] : open)
      for (const Path &path : paths) {
        std::string form;
        for (size_t steps = 1; steps <= path.size(); ++steps) {
          const Step &last = path[steps - 1];
          form += last.form + ",";
          Group &group = alike[form];
          if (group.empty() || &group.back().layer() != layer)
            group.push_back({Path(path.begin(), path.begin() + steps)});
        }
      }
    Group *best = nullptr;
    auto rank = [](const Group &group) {
      return std::pair(gainOf(group), group[0].path.back().axis);
    };
    for (auto &[form, group] : alike) {
      int64_t channels = 0;
      for (const Member &member : group)
        channels += member.path[0].size();
      if (channels <= kLargestEngineDimension && (!best || rank(group) > rank(*best)))
        best = &group;
    }
    if (!best || rank(*best).first <= 0)
      return;
    llvm::erase_if(open, [&](const auto &one) {
      return llvm::any_of(*best, [&](const Member &m) { return &m.layer() == one.first; });
    });
    groups.push_back(std::move(*best));
  }
}

std::vector<Group> findGroups(Program &program, const PassContext &context) {
  auto treatmentOf = [&](const Op &layer) {
    return context.options.treatmentOf ? context.options.treatmentOf(layer) : uint64_t(0);
  };
  using Key = std::tuple<Value *, const Block *, DType, DType, uint64_t>;
  std::map<Key, llvm::SmallVector<Op *, 4>> byInput;
  std::vector<Key> order; // of the program: a map of pointers has none
  walk(program, [&](Op &op) {
    const TensorData *weight = op.is(OpKind::linear) ? constTensor(op[linear::weight]) : nullptr;
    const Value *bias = weight ? op[linear::bias] : nullptr;
    if (!weight || (bias && !constTensor(bias)) || !op.result()->type.shape().back().isConst())
      return;
    Key key{op[linear::x], op.parent(), weight->dtype(),
            bias ? bias->type.dtype() : weight->dtype(), treatmentOf(op)};
    auto &layers = byInput[key];
    if (layers.empty())
      order.push_back(key);
    layers.push_back(&op);
  });
  std::vector<Group> groups;
  llvm::erase_if(order, [&](const Key &key) { return byInput[key].size() < 2; });
  if (order.empty())
    return groups;
  llvm::DenseSet<const Op *> adapted = adaptedLayers(program, context);
  for (const Key &key : order) {
    llvm::erase_if(byInput[key], [&](const Op *layer) { return adapted.contains(layer); });
    chooseGroups(byInput[key], groups);
  }
  return groups;
}

// ---- Sharing -----------------------------------------------------------------------------------

/// The weights of a group, one behind the other.
TensorData joinedWeight(const Group &group) {
  return concatenated(llvm::map_to_vector(
      group, [](const Member &m) { return *constTensor(m.layer()[linear::weight]); }));
}

/// Leaves the groups that cost no sharing. Where one would, those of its members are tried together
/// that the same groups have: if two functions have keys alike and queries and values of their own,
/// queries and values are joined.
class SharedGroups {
public:
  SharedGroups(Program &program, const PassContext &context)
      : sharing_(program, context.options.precision), isStored_(context.options.isStored) {}

  void settle(std::vector<Group> &groups) {
    for (Group &group : groups)
      for (Member &member : group) {
        member.weightKey = sharing_.key(*constTensor(member.layer()[linear::weight]));
        const TensorData *bias = constTensor(member.layer()[linear::bias]);
        // One number all over is told apart by nothing but its length.
        member.biasKey = bias && !splatValue(*bias) ? sharing_.key(*bias) : 0;
      }
    for (bool changed = true; changed;) {
      changed = false;
      tally(groups);
      std::vector<Group> kept;
      for (Group &group : groups)
        if (sharesAll(group))
          kept.push_back(std::move(group));
        else {
          takeApart(group, kept);
          changed = true;
        }
      groups = std::move(kept);
    }
  }

private:
  struct Tally {
    unsigned count = 0;
    bool twice = false; ///< in one group
    llvm::SmallVector<uint64_t, 2> groups;
  };

  static uint64_t hashOf(const Group &group, uint64_t Member::*key) {
    uint64_t hash = group.size();
    for (const Member &member : group)
      hash = llvm::hash_combine(hash, member.*key);
    return hash;
  }

  void tally(llvm::ArrayRef<Group> groups) {
    tallies_.clear();
    for (const Group &group : groups)
      for (auto key : {&Member::weightKey, &Member::biasKey}) {
        uint64_t hash = hashOf(group, key);
        llvm::DenseSet<uint64_t> seen;
        for (const Member &member : group) {
          if (member.*key == 0)
            continue;
          Tally &tally = tallies_[member.*key];
          tally.twice |= !seen.insert(member.*key).second;
          tally.groups.push_back(hash);
          ++tally.count;
        }
      }
    for (auto &[key, tally] : tallies_)
      llvm::sort(tally.groups);
  }

  /// All that use the constant join it alike.
  bool isAlike(uint64_t key) {
    const Tally &tally = tallies_[key];
    return key == 0 || (!tally.twice && tally.groups.front() == tally.groups.back() &&
                        tally.count >= sharing_.uses(key));
  }

  /// The package that functions are added to has the weight, by itself.
  bool isStored(const Member &member) {
    auto [known, isNew] = stored_.try_emplace(member.weightKey, false);
    if (isNew && isStored_)
      known->second = isStored_(*constTensor(member.layer()[linear::weight]));
    return known->second;
  }

  bool sharesAll(const Group &group) {
    return llvm::all_of(
               group,
               [&](const Member &m) { return isAlike(m.weightKey) && isAlike(m.biasKey); }) &&
           (llvm::none_of(group, [&](const Member &m) { return isStored(m); }) ||
            isStored_(joinedWeight(group)));
  }

  /// The parts of a group that might be joined, into `groups`.
  void takeApart(Group &group, std::vector<Group> &groups) {
    using Uses =
        std::tuple<llvm::SmallVector<uint64_t, 2>, llvm::SmallVector<uint64_t, 2>, bool, bool>;
    std::map<Uses, Group> parts;
    // A layer without bias is like one whose bias all have.
    auto groupsOf = [&](uint64_t bias) {
      return isAlike(bias) ? llvm::SmallVector<uint64_t, 2>() : tallies_[bias].groups;
    };
    size_t size = group.size();
    for (Member &member : group)
      parts[{tallies_[member.weightKey].groups, groupsOf(member.biasKey), isAlike(member.weightKey),
             isStored(member)}]
          .push_back(std::move(member));
    for (auto &[uses, part] : parts)
      if (part.size() < size && gainOf(part) > 0)
        groups.push_back(std::move(part));
  }

  Sharing sharing_;
  std::function<bool(const TensorData &)> isStored_;
  llvm::DenseMap<uint64_t, Tally> tallies_;
  llvm::DenseMap<uint64_t, bool> stored_;
};

// ---- Rewriting ---------------------------------------------------------------------------------

/// What the names have in common, up to a word's end, and the kind: layers_0_q_linear and
/// layers_0_k_linear give layers_0_linear.
std::string commonName(const Group &group, size_t step) {
  auto nameOf = [&](const Member &member) {
    return llvm::StringRef(member.path[step].op->result()->name);
  };
  llvm::StringRef common = nameOf(group[0]);
  for (const Member &member : group)
    while (!nameOf(member).starts_with(common))
      common = common.drop_back();
  common = common.take_front(common.rfind('_') + 1);
  return common.str() + name(group[0].path[step].op->kind()).str();
}

/// Where the layers come from: the module that all of them are in, and the first one's line.
Location commonPlace(const Group &group) {
  const Location &first = group[0].layer().location;
  llvm::StringRef common = first.module();
  for (const Member &member : group) {
    llvm::StringRef module = member.layer().location.module();
    while (module != common && !module.starts_with((common + ".").str()) && !common.empty())
      common = common.contains('.') ? common.rsplit('.').first : "";
  }
  return common == llvm::StringRef(first.module())
             ? first
             : Location(Name(common), Name(first.source()), first.op());
}

std::optional<TensorData> joinedBias(const Group &group) {
  llvm::SmallVector<TensorData, 3> parts;
  bool any = false;
  for (const Member &member : group) {
    const TensorData *bias = constTensor(member.layer()[linear::bias]);
    const TensorData &weight = *constTensor(member.layer()[linear::weight]);
    any |= bias != nullptr;
    parts.push_back(bias ? *bias : TensorData::splat(weight.dtype(), {weight.shape()[0]}, 0));
  }
  if (!any)
    return std::nullopt;
  // Zeros that a model holds and those that a layer has for want of others are one constant.
  std::optional<double> value = splatValue(parts[0]);
  bool alike = value && llvm::all_of(parts, [&](const TensorData &part) {
                 return splatValue(part) == value;
               });
  TensorData bias = concatenated(parts);
  return alike ? TensorData::splat(bias.dtype(), bias.shape(), *value).withOrigin(originOf(bias))
               : bias;
}

/// A step of all members at once, of what the steps before gave, as `model` has it.
Value *emitStep(Builder &builder, const Group &group, size_t step, const Step &model, Value *x) {
  std::string name = commonName(group, step);
  builder.setLocation(model.op->location);
  if (model.op->is(OpKind::transpose)) {
    auto perm = *constInts((*model.op)[transpose::perm]);
    return builder.emit(OpKind::transpose,
                        {{transpose::x, x}, Arg(transpose::perm, llvm::ArrayRef<int64_t>(perm))},
                        name);
  }
  auto shape = *shapeOf(*model.op);
  shape[model.axis] = 0;
  for (const Member &member : group)
    shape[model.axis] += member.path[step].size();
  return builder.emit(OpKind::reshape,
                      {{reshape::x, x}, Arg(reshape::shape, llvm::ArrayRef<int64_t>(shape))}, name);
}

bool join(const Group &group) {
  Op &layer = group[0].layer();
  Builder builder = Builder::before(&layer);
  builder.setLocation(commonPlace(group));
  std::string name = commonName(group, 0);
  Value *weight = builder.constant(joinedWeight(group), name + "_weight");
  auto bias = joinedBias(group);
  Value *joined = builder.emit(
      OpKind::linear,
      {{linear::x, layer[linear::x]},
       {linear::weight, weight},
       {linear::bias, bias ? builder.constant(std::move(*bias), name + "_bias") : nullptr}},
      name);
  const Path &model = commonestIn(group).first->path;
  for (size_t step = 1; step < model.size(); ++step)
    joined = emitStep(builder, group, step, model[step], joined);
  auto sizes = llvm::map_to_vector(group, [](const Member &m) { return m.path.back().size(); });
  Op *split =
      builder.create(OpKind::split, {{split::x, joined},
                                     Arg(split::split_sizes, llvm::ArrayRef<int64_t>(sizes)),
                                     {split::axis, int64_t(model.back().axis)}});
  if (!split) {
    llvm::consumeError(builder.takeError());
    return false;
  }
  for (auto [i, member] : llvm::enumerate(group))
    if (Value *old = member.path.back().op->result();
        !staticShape(old) && !(split->result(unsigned(i))->type == old->type)) {
      eraseDead(split);
      return false;
    }
  llvm::SmallVector<Value *, 3> pieces;
  for (auto [i, member] : llvm::enumerate(group)) {
    Op *last = member.path.back().op;
    pieces.push_back(split->result(unsigned(i)));
    if (Value *&piece = pieces.back(); !(piece->type == last->result()->type)) {
      builder.setLocation(last->location);
      auto shape = *staticShape(last->result());
      piece = builder.emit(
          OpKind::reshape,
          {{reshape::x, piece}, Arg(reshape::shape, llvm::ArrayRef<int64_t>(shape))}, last->name);
    }
  }
  for (auto [member, piece] : llvm::zip(group, pieces))
    replaceOp(member.path.back().op, piece);
  return true;
}

} // namespace

bool joinLinears(Program &program, PassContext &context) {
  if (!context.options.joinLinears)
    return false;
  std::vector<Group> groups = findGroups(program, context);
  if (context.options.share && !groups.empty())
    SharedGroups(program, context).settle(groups);
  bool changed = false;
  for (const Group &group : groups)
    changed |= join(group);
  return changed;
}

} // namespace plait::passes
