// What the files of the extension module plait._plait have in common. The module hands text,
// numbers and NumPy arrays over; what a user of Python sees is python/plait. Everything that may
// take long releases the GIL.
#pragma once

#include "mil/TensorData.h"
#include "support/Failure.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>

namespace plait::python {

namespace py = pybind11;

/// What Python sees as plait.Error.
struct Failed : std::runtime_error {
  explicit Failed(Failure failure)
      : std::runtime_error(failure.message), failure(std::move(failure)) {}
  Failure failure;
};

[[noreturn]] void raise(Error error);
template <typename T> T valueOrRaise(Expected<T> value) {
  if (!value)
    raise(value.takeError());
  return std::move(*value);
}

/// Options by the names that python/plait gives them; one that is missing stays as it is.
class Options {
public:
  explicit Options(py::dict values) : values_(std::move(values)) {}

  template <typename T> void take(const char *name, T &to) const {
    if (values_.contains(name))
      to = values_[name].cast<T>();
  }
  /// The place of the value among `words`; nothing where it is not said.
  std::optional<unsigned> choice(const char *name, llvm::ArrayRef<const char *> words) const;

private:
  py::dict values_;
};

/// Text that may quote bytes of a damaged file, which are no text.
py::str text(const std::string &bytes);

/// Codes and texts.
py::list toList(llvm::ArrayRef<Warning> warnings);

/// A C-contiguous NumPy array, copied. `what` is what messages call it.
mil::TensorData toTensorData(const std::string &what, const py::array &array);
/// A NumPy array that owns its memory.
py::array toNumPy(const mil::TensorData &tensor);

void bindCompiler(py::module_ &module);
void bindPackage(py::module_ &module);
void bindVerify(py::module_ &module);

} // namespace plait::python
