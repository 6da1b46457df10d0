// The extension module, its errors, and arrays.
#include "python/src/Bindings.h"

#include "mil/DType.h"

#include <cstring>

namespace plait::python {

void raise(Error error) { throw Failed(takeFailure(std::move(error))); }

py::str text(const std::string &bytes) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(bytes.data(), py::ssize_t(bytes.size()), "replace"));
}

py::list toList(llvm::ArrayRef<Warning> warnings) {
  py::list list;
  for (const Warning &warning : warnings)
    list.append(py::make_tuple(name(warning.code), text(warning.text)));
  return list;
}

std::optional<unsigned> Options::choice(const char *name,
                                        llvm::ArrayRef<const char *> words) const {
  if (!values_.contains(name))
    return std::nullopt;
  auto value = values_[name].cast<std::string>();
  std::string known;
  for (unsigned i = 0; i < words.size(); ++i) {
    if (value == words[i])
      return i;
    known += (known.empty() ? "" : ", ") + std::string(words[i]);
  }
  raise(makeError(Code::OptionValue, "{0} is '{1}'; the choices are {2}", name, value, known));
}

namespace {

struct NumPyType {
  mil::DType dtype;
  const char *name; ///< of NumPy's
};

constexpr NumPyType kTypes[] = {
    {mil::DType::F16, "float16"}, {mil::DType::F32, "float32"}, {mil::DType::F64, "float64"},
    {mil::DType::I8, "int8"},     {mil::DType::I16, "int16"},   {mil::DType::I32, "int32"},
    {mil::DType::I64, "int64"},   {mil::DType::U8, "uint8"},    {mil::DType::U16, "uint16"},
    {mil::DType::U32, "uint32"},  {mil::DType::U64, "uint64"},  {mil::DType::Bool, "bool"},
};

py::array makeArray(mil::DType dtype, const std::vector<py::ssize_t> &shape, const void *bytes,
                    size_t size) {
  for (const NumPyType &type : kTypes)
    if (type.dtype == dtype) {
      py::array array(py::dtype(type.name), shape);
      if (size)
        std::memcpy(array.mutable_data(), bytes, size);
      return array;
    }
  raise(makeError(Code::ArrayMismatch, "NumPy has no arrays of {0}", mil::name(dtype)));
}

} // namespace

mil::TensorData toTensorData(const std::string &what, const py::array &array) {
  std::string name = py::str(array.dtype());
  for (const NumPyType &type : kTypes)
    if (name == type.name) {
      llvm::SmallVector<int64_t, 5> shape(array.shape(), array.shape() + array.ndim());
      auto *begin = static_cast<const uint8_t *>(array.data());
      return mil::TensorData::fromBytes(
          type.dtype, shape, std::vector<uint8_t>(begin, begin + size_t(array.nbytes())));
    }
  raise(makeError(Code::ArrayMismatch, "{0} is an array of {1}, which no function takes", what,
                  name));
}

py::array toNumPy(const mil::TensorData &tensor) {
  std::vector<uint8_t> bytes = valueOrRaise(tensor.bytes());
  return makeArray(tensor.dtype(), {tensor.shape().begin(), tensor.shape().end()}, bytes.data(),
                   bytes.size());
}

} // namespace plait::python

PYBIND11_MODULE(_plait, module) {
  using namespace plait::python;
  module.doc() =
      "The compiler and the interpreter behind the package plait; not for use by itself.";
  module.attr("version") = PLAIT_VERSION;
  module.attr("torch_version") = PLAIT_TORCH_VERSION;
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Failed &error) {
      py::list problems;
      for (const plait::FailureProblem &problem : error.failure.problems)
        problems.append(py::make_tuple(text(problem.message), text(problem.operation),
                                       text(problem.module), text(problem.file), problem.line,
                                       text(problem.function), name(problem.code)));
      bool cancelled = error.failure.kind == plait::FailureKind::Cancelled;
      py::object made = py::module_::import("plait._errors")
                            .attr("_from_compiler")(text(error.what()), cancelled,
                                                    name(error.failure.code()), problems);
      PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(made.ptr())), made.ptr());
    }
  });
  bindCompiler(module);
  bindPackage(module);
  bindVerify(module);
}
