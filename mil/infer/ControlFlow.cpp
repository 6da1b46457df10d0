// Shape functions of operations with nested blocks, lists, states and classifiers.
#include "mil/infer/Shapes.h"

namespace plait::mil::infer {

/// The type of a value that is either of two: dimensions that differ are dynamic.
static Type merge(const Type &a, const Type &b) {
  if (!a.isTensor() || a == b)
    return a;
  Shape shape;
  for (auto [x, y] : llvm::zip(a.shape(), b.shape()))
    shape.push_back(x == y ? x : Dim::unknown());
  return a.withShape(shape);
}

Error cond(InferContext &c) {
  auto blocks = c.op().blocks();
  if (blocks.size() != 2)
    return c.fail("{0} blocks; one for true and one for false are needed", blocks.size());
  auto whenTrue = blocks[0]->outputs(), whenFalse = blocks[1]->outputs();
  if (!blocks[0]->args().empty() || !blocks[1]->args().empty())
    return c.fail("its blocks take no arguments");
  if (whenTrue.size() != whenFalse.size())
    return c.fail("{0} outputs when true, {1} when false", whenTrue.size(), whenFalse.size());
  for (auto [i, a, b] : llvm::enumerate(whenTrue, whenFalse)) {
    if (!compatible(a->type, b->type))
      return c.fail("output {0} is {1} when true, {2} when false", i, a->type.str(), b->type.str());
    if (Error error = c.result(merge(a->type, b->type)))
      return error;
  }
  return Error::success();
}

Error whileLoop(InferContext &c) {
  auto blocks = c.op().blocks();
  auto vars = c.op().operands(while_loop::loop_vars);
  if (blocks.size() != 2)
    return c.fail("{0} blocks; a condition and a body are needed", blocks.size());
  for (auto [b, block] : llvm::enumerate(blocks)) {
    const char *name = b == 0 ? "condition" : "body";
    if (block->args().size() != vars.size())
      return c.fail("{0} arguments of the {1} for {2} loop variables", block->args().size(), name,
                    vars.size());
    for (auto [i, arg, var] : llvm::enumerate(block->args(), vars))
      if (!compatible(arg->type, var->type))
        return c.fail("argument {0} of the {1} is {2}, the loop variable {3}", i, name,
                      arg->type.str(), var->type.str());
  }
  auto outcome = blocks[0]->outputs();
  if (outcome.size() != 1 || !outcome[0]->type.isTensor() ||
      outcome[0]->type.dtype() != DType::Bool || outcome[0]->type.rank() > 1)
    return c.fail("the condition must give one bool");
  auto next = blocks[1]->outputs();
  if (next.size() != vars.size())
    return c.fail("the body gives {0} values for {1} loop variables", next.size(), vars.size());
  for (auto [i, arg, value] : llvm::enumerate(blocks[1]->args(), next)) {
    if (!compatible(arg->type, value->type))
      return c.fail("loop variable {0} is {1} and becomes {2}", i, arg->type.str(),
                    value->type.str());
    if (Error error = c.result(merge(arg->type, value->type)))
      return error;
  }
  return Error::success();
}

// ---- lists
// ---------------------------------------------------------------------------------------

Error makeList(InferContext &c) {
  auto dtype = parseDType(c.constString(make_list::dtype).value_or("fp32"));
  if (!dtype || *dtype == DType::String)
    return c.fail("dtype \"{0}\" is no element type", c.constString(make_list::dtype).value_or(""));
  Shape shape;
  // A string names a dynamic dimension.
  for (const Operand &size : c.op().operands(make_list::elem_shape)) {
    if (auto text = constString(size))
      shape.push_back(Dim::symbol(*text));
    else if (auto value = constInt(size); value && *value >= 0)
      shape.push_back(*value);
    else
      return c.fail("elem_shape must consist of sizes and names of dynamic ones");
  }
  bool dynamic = c.constBool(make_list::dynamic_length).value_or(true);
  auto length = c.dims(make_list::init_length);
  bool known = !dynamic && length && length->size() == 1;
  return c.result(Type::list(Type::tensor(*dtype, shape), known ? (*length)[0] : Dim::unknown()));
}

Error listLength(InferContext &c) { return c.result(DType::I32, llvm::ArrayRef<Dim>()); }

static Error checkElement(const InferContext &c, unsigned list, const Type &value) {
  const Type &element = c.type(list).element();
  if (!compatible(element, value))
    return c.fail("a {0} does not go into a list of {1}", value.str(), element.str());
  return Error::success();
}

Error listRead(InferContext &c) { return c.result(c.type(list_read::ls).element()); }

Error listWrite(InferContext &c) {
  if (Error error = checkElement(c, list_write::ls, c.type(list_write::value)))
    return error;
  return c.result(c.type(list_write::ls));
}

Error listGather(InferContext &c) {
  const Type &element = c.type(list_gather::ls).element();
  auto indices = c.shape(list_gather::indices);
  if (indices.size() != 1 || !element.isTensor())
    return c.fail("indices has shape {0}; a vector is needed", str(indices));
  Shape shape{indices[0]};
  llvm::append_range(shape, element.shape());
  return c.result(element.dtype(), shape);
}

Error listScatter(InferContext &c) {
  auto indices = c.shape(list_scatter::indices), value = c.shape(list_scatter::value);
  if (indices.size() != 1 || value.empty() || !maybeEqual(indices[0], value[0]))
    return c.fail("value of shape {0} for indices of shape {1}", str(value), str(indices));
  if (Error error = checkElement(c, list_scatter::ls,
                                 Type::tensor(c.dtype(list_scatter::value), value.drop_front())))
    return error;
  return c.result(c.type(list_scatter::ls));
}

// ---- states and classifiers
// ----------------------------------------------------------------------

Error readState(InferContext &c) { return c.result(c.type(read_state::input).element()); }

Error writeState(InferContext &c) {
  const Type &held = c.type(write_state::input).element();
  if (!compatible(held, c.type(write_state::data)))
    return c.fail("data is {0}, the state holds {1}", c.type(write_state::data).str(), held.str());
  return Error::success();
}

Error classify(InferContext &c) {
  const Type &classes = c.type(classify::classes);
  const Type &label = classes.element();
  if (!label.isScalar() || (label.dtype() != DType::String && label.dtype() != DType::I64))
    return c.fail("classes are {0}; strings or int64 are needed", label.str());
  if (!maybeEqual(numElements(c.shape(classify::probabilities)), classes.length()))
    return c.fail("{0} classes for probabilities of shape {1}", classes.length().str(),
                  str(c.shape(classify::probabilities)));
  if (Error error = c.result(label))
    return error;
  return c.result(Type::dict(label, Type::tensor(DType::F64)));
}

} // namespace plait::mil::infer
