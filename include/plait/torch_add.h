// add() for live modules and functions over tensors (part of <plait/torch.h>): what of C++ becomes
// a call that is traced.
//
//   a model    a torch::nn::Module, a holder (torch::nn::Linear …) or pointer of one, whose
//              forward() takes tensors alone, or has defaults for the rest; an AnyModule
//   a function a lambda, function or function object over tensors, or over a vector of them
//   a result   a tensor; std::tuple, pair, array, vector, optional, map of results; an IValue; a
//              struct that converts to a tensor, a vector or a map of tensors, or an IValue, or for
//              which toOutputs(result), found beside it, gives any of these
//
// Anything else is an error of static_assert that says so.
#pragma once

#include <plait/torch.h>

#ifdef PLAIT_CXX20
#include <initializer_list>

namespace plait {
inline namespace v0 {
namespace detail {

template <typename> inline constexpr bool never = false;

// ---- Results ------------------------------------------------------------------------------------

/// Adds the tensors of an IValue.
PLAIT_API void collectValue(const c10::IValue &value, const std::string &name, Outputs &outputs);

template <typename T>
concept TupleLike = requires { std::tuple_size<T>::value; };
template <typename T>
concept Range = requires(const T &range) {
  range.begin();
  range.end();
  typename T::value_type;
};
template <typename T>
concept MapLike = requires(const T &map) {
  map.begin();
  map.end();
} && (requires(const T &map) { std::string((*map.begin()).first); } ||
      requires(const T &map) { std::string((*map.begin()).key()); });
template <typename T>
concept HasOutputs = requires(const T &value) { toOutputs(value); };
template <typename T>
concept HasIValue = requires(const T &value) { value.operator c10::IValue(); };

inline std::string inside(const std::string &name, const std::string &key) {
  return name.empty() || key.empty() ? name + key : name + "_" + key;
}

template <typename T> void collect(const T &value, const std::string &name, Outputs &outputs) {
  auto element = [&](std::size_t i) {
    return name.empty() ? std::string() : inside(name, std::to_string(i));
  };
  if constexpr (std::is_same_v<T, at::Tensor>) {
    if (value.defined()) {
      outputs.tensors.push_back(value);
      outputs.names.push_back(name);
    }
  } else if constexpr (std::is_same_v<T, c10::IValue>) {
    collectValue(value, name, outputs);
  } else if constexpr (std::is_same_v<T, Outputs>) {
    for (std::size_t i = 0; i < value.tensors.size(); ++i)
      collect(value.tensors[i], i < value.names.size() ? inside(name, value.names[i]) : name,
              outputs);
  } else if constexpr (HasOutputs<T>) {
    collect(toOutputs(value), name, outputs);
  } else if constexpr (requires { value.has_value(), *value; }) {
    if (value.has_value())
      collect(*value, name, outputs);
  } else if constexpr (TupleLike<T>) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (collect(std::get<I>(value), element(I), outputs), ...);
    }(std::make_index_sequence<std::tuple_size_v<T>>());
  } else if constexpr (MapLike<T>) {
    auto add = [&](const auto &key, const auto &mapped) {
      collect(mapped, inside(name, std::string(key)), outputs);
    };
    if constexpr (requires { typename T::hasher; }) { // whose order is not the same every time
      std::map<std::string, const typename T::mapped_type *> sorted;
      for (const auto &entry : value)
        sorted[std::string(entry.first)] = &entry.second;
      for (const auto &entry : sorted)
        add(entry.first, *entry.second);
    } else {
      for (const auto &entry : value)
        if constexpr (requires { entry.key(); })
          add(entry.key(), entry.value());
        else
          add(entry.first, entry.second);
    }
  } else if constexpr (Range<T>) {
    std::size_t i = 0;
    for (auto it = value.begin(); it != value.end(); ++it)
      collect(static_cast<typename T::value_type>(*it), element(i++), outputs);
  } else if constexpr (std::is_convertible_v<T, at::Tensor>) {
    collect(static_cast<at::Tensor>(value), name, outputs);
  } else if constexpr (std::is_convertible_v<T, std::map<std::string, at::Tensor>>) {
    collect(static_cast<std::map<std::string, at::Tensor>>(value), name, outputs);
  } else if constexpr (std::is_convertible_v<T, std::vector<at::Tensor>>) {
    collect(static_cast<std::vector<at::Tensor>>(value), name, outputs);
  } else if constexpr (HasIValue<T>) {
    collectValue(value.operator c10::IValue(), name, outputs);
  } else {
    static_assert(never<T>, "plait::add(): a model gives tensors, or tuples, vectors, maps or "
                            "optionals of them; for a struct of yours write toOutputs(const "
                            "Struct &) beside it, which gives one of these");
  }
}

template <typename T> Outputs outputsOf(const T &value) {
  Outputs outputs;
  collect(value, "", outputs);
  return outputs;
}

// ---- Calls --------------------------------------------------------------------------------------

/// What a call with another number of tensors is answered with.
[[noreturn]] PLAIT_API void refuseCount(std::string_view what, std::size_t given);
/// Of an AnyModule whose result has a type that none of these is.
[[noreturn]] PLAIT_API void refuseAny();

inline constexpr std::size_t mostTensors = 16;

/// As many tensors as a function object that is no template takes; 0 where that cannot be said.
template <typename R, typename C, typename... A>
std::integral_constant<std::size_t, sizeof...(A)> countOf(R (C::*)(A...));
template <typename R, typename C, typename... A>
std::integral_constant<std::size_t, sizeof...(A)> countOf(R (C::*)(A...) const);
template <typename R, typename C, typename... A>
std::integral_constant<std::size_t, sizeof...(A)> countOf(R (C::*)(A...) noexcept);
template <typename R, typename C, typename... A>
std::integral_constant<std::size_t, sizeof...(A)> countOf(R (C::*)(A...) const noexcept);
template <typename F> constexpr std::size_t tensorsOf() {
  if constexpr (requires { countOf(&F::operator()); })
    return decltype(countOf(&F::operator()))::value;
  else
    return 0;
}

template <std::size_t> using TensorAt = const at::Tensor &;
template <typename F, std::size_t... I> constexpr bool takesExactly(std::index_sequence<I...>) {
  return std::is_invocable_v<F &, TensorAt<I>...>;
}
template <typename F, std::size_t... N> constexpr bool takesAny(std::index_sequence<N...>) {
  return (takesExactly<F>(std::make_index_sequence<N + 1>()) || ...);
}
/// Whether a call has a type of its own for its first argument, as `[](auto x) { … }` has: then it
/// is one over tensors, and asking whether it takes a vector would be an error inside of it.
template <typename F> constexpr bool isTemplate() {
  if constexpr (requires { F::isTemplate; })
    return F::isTemplate;
  else
    return requires { &F::template operator()<at::Tensor>; };
}
template <typename F> constexpr bool takesAVector() {
  if constexpr (isTemplate<F>())
    return false;
  else
    return std::is_invocable_v<F &, const std::vector<at::Tensor> &>;
}
template <typename F> inline constexpr bool takesVector = takesAVector<F>();
template <typename F> constexpr bool takesMany() {
  if constexpr (tensorsOf<F>() > mostTensors)
    return takesExactly<F>(std::make_index_sequence<tensorsOf<F>()>());
  else
    return false;
}
template <typename F>
inline constexpr bool takesTensors =
    takesVector<F> || takesAny<F>(std::make_index_sequence<mostTensors>()) || takesMany<F>();

template <typename F, std::size_t... I>
bool callWith(F &call, const std::vector<at::Tensor> &inputs, Outputs &outputs,
              std::index_sequence<I...>) {
  if constexpr (std::is_invocable_v<F &, TensorAt<I>...>) {
    if (inputs.size() == sizeof...(I)) {
      static_assert(!std::is_void_v<decltype(call(inputs[I]...))>,
                    "plait::add(): a model gives its results, and this one gives nothing");
      outputs = outputsOf(call(inputs[I]...));
      return true;
    }
  }
  return false;
}

/// Calls with as many tensors as there are; `what` is what messages call the function.
template <typename F>
Outputs callWith(F &call, const std::vector<at::Tensor> &inputs, std::string_view what) {
  Outputs outputs;
  bool done = [&]<std::size_t... N>(std::index_sequence<N...>) {
    return (callWith(call, inputs, outputs, std::make_index_sequence<N + 1>()) || ...);
  }(std::make_index_sequence<mostTensors>());
  if constexpr (tensorsOf<F>() > mostTensors)
    done = done || callWith(call, inputs, outputs, std::make_index_sequence<tensorsOf<F>()>());
  if (done)
    return outputs;
  if constexpr (takesVector<F>)
    return outputsOf(call(inputs));
  else
    refuseCount(what, inputs.size());
}

// ---- Models -------------------------------------------------------------------------------------

template <typename M>
concept IsAnyModule = requires(M &module, const at::Tensor &tensor) {
  module.any_forward(tensor);
  module.ptr();
};
/// torch::nn::Linear and the like, and classes that TORCH_MODULE made.
template <typename M>
concept IsHolder = requires(const M &holder) {
  holder.ptr();
  holder.is_empty();
  typename M::ContainedType;
};
template <typename M>
concept IsPointer = requires(const M &pointer) {
  *pointer;
  pointer == nullptr;
};
template <typename M> inline constexpr bool isModule = std::is_base_of_v<torch::nn::Module, M>;
template <typename M> constexpr bool pointsToModule() {
  if constexpr (IsPointer<M>)
    return isModule<std::remove_cvref_t<decltype(*std::declval<const M &>())>>;
  else
    return false;
}
template <typename M> constexpr bool pointsToScript() {
  if constexpr (IsPointer<M>)
    return std::is_base_of_v<torch::jit::Module,
                             std::remove_cvref_t<decltype(*std::declval<const M &>())>>;
  else
    return false;
}
/// What holds parameters.
template <typename M>
inline constexpr bool isModel = isModule<M> || IsAnyModule<M> || IsHolder<M> || pointsToModule<M>();

[[noreturn]] PLAIT_API void refuseNull(const std::string &function);

/// The module behind a reference, a holder or a pointer. Throws where there is none.
template <typename M> auto &moduleOf(M &model, const std::string &function) {
  using Plain = std::remove_const_t<M>;
  if constexpr (isModule<Plain>) {
    static_assert(
        !std::is_const_v<M>,
        "plait::add(): a module is put into evaluation mode and back, so that it cannot be "
        "const; a holder (torch::nn::Linear …) or a shared_ptr of it may be const");
    return model;
  } else if constexpr (IsHolder<Plain> || IsAnyModule<Plain>) {
    if (model.is_empty())
      refuseNull(function);
    return *model.ptr();
  } else {
    if (model == nullptr)
      refuseNull(function);
    static_assert(!std::is_const_v<std::remove_reference_t<decltype(*model)>>,
                  "plait::add(): a module is put into evaluation mode and back, so that what the "
                  "pointer points to cannot be const");
    return *model;
  }
}

/// forward() as a function object.
template <typename M> struct Forward {
  static constexpr bool isTemplate = requires { &M::template forward<at::Tensor>; };
  M &module;
  template <typename... T>
    requires requires(M &m, const T &...tensors) { m.forward(tensors...); }
  decltype(auto) operator()(const T &...tensors) const {
    return module.forward(tensors...);
  }
};

/// Calls an AnyModule, whose types are known when it runs.
template <typename M> Outputs callAny(M &module, const std::vector<at::Tensor> &inputs) {
  using T = at::Tensor;
  decltype(module.any_forward(inputs[0])) *result = nullptr;
  std::optional<std::remove_pointer_t<decltype(result)>> value;
  auto call = [&]<std::size_t... I>(std::index_sequence<I...>) {
    if (inputs.size() == sizeof...(I))
      value.emplace(module.any_forward(inputs[I]...));
  };
  [&]<std::size_t... N>(std::index_sequence<N...>) {
    (call(std::make_index_sequence<N + 1>()), ...);
  }(std::make_index_sequence<mostTensors>());
  if (!value)
    refuseCount("the AnyModule's forward()", inputs.size());
  Outputs outputs;
  auto take = [&]<typename R>(std::type_identity<R>) {
    R *found = value->template try_get<R>();
    if (found)
      outputs = outputsOf(*found);
    return found != nullptr;
  };
  auto takeOne = [&]<typename... R>(std::type_identity<R>... types) {
    return (take(types) || ...);
  };
  if (!takeOne(std::type_identity<T>(), std::type_identity<std::vector<T>>(),
               std::type_identity<std::tuple<T, T>>(), std::type_identity<std::tuple<T, T, T>>(),
               std::type_identity<std::tuple<T, T, T, T>>(), std::type_identity<std::pair<T, T>>(),
               std::type_identity<std::tuple<T, std::tuple<T, T>>>(),
               std::type_identity<std::map<std::string, T>>(),
               std::type_identity<std::optional<T>>()))
    refuseAny();
  return outputs;
}

template <typename M>
void addModel(Compiler &compiler, const std::string &name, M &model,
              const std::vector<at::Tensor> &examples, FunctionOptions options) {
  auto &module = moduleOf(model, name);
  if constexpr (IsAnyModule<std::remove_const_t<M>>) {
    auto any = model; // a const one cannot be called, and copies share the module
    addTraced(
        compiler, name,
        [&any](const std::vector<at::Tensor> &inputs) { return callAny(any, inputs); }, &module,
        examples, std::move(options));
  } else {
    using Module = std::remove_reference_t<decltype(module)>;
    static_assert(!std::is_same_v<Module, torch::nn::Module>,
                  "plait::add(): torch::nn::Module itself has no forward(); give the module as its "
                  "own class, as an AnyModule, or a lambda that calls it and then the module");
    static_assert(
        std::is_same_v<Module, torch::nn::Module> || takesTensors<const Forward<Module>>,
        "plait::add(): the module has no forward() that takes tensors alone; give a lambda "
        "over tensors that calls it as it wants to be called, and then the module");
    const Forward<Module> forward{module};
    addTraced(
        compiler, name,
        [&forward](const std::vector<at::Tensor> &inputs) {
          return callWith(forward, inputs, "the module's forward()");
        },
        &module, examples, std::move(options));
  }
}

template <typename F>
void addFunction(Compiler &compiler, const std::string &name, F &function,
                 torch::nn::Module *module, const std::vector<at::Tensor> &examples,
                 FunctionOptions options) {
  static_assert(takesTensors<F>,
                "plait::add() takes a model (a torch::nn::Module, a holder or a pointer of one, an "
                "AnyModule, a torch::jit::Module) or a function over at::Tensors, or over a "
                "std::vector of them; this is neither");
  if constexpr (requires { static_cast<bool>(function); } && !std::is_function_v<F>)
    if (!static_cast<bool>(function))
      refuseNull(name);
  if constexpr (takesTensors<F>)
    addTraced(
        compiler, name,
        [&function](const std::vector<at::Tensor> &inputs) {
          return callWith(function, inputs, "the function");
        },
        module, examples, std::move(options));
}

} // namespace detail

/// Adds a method of a TorchScript module, with an example of each of its tensors.
template <typename M>
  requires(std::is_base_of_v<torch::jit::Module, std::remove_cvref_t<M>>)
void add(Compiler &compiler, const std::string &name, M &&module,
         std::initializer_list<at::Tensor> examples, FunctionOptions options = {}) {
  addScript(compiler, name, module, examples, std::move(options));
}
// Not one function over a vector: GCC would make one of braces that are meant for FunctionOptions.
template <typename M, typename Examples>
  requires(std::is_base_of_v<torch::jit::Module, std::remove_cvref_t<M>> &&
           std::is_same_v<std::vector<at::Tensor>, std::remove_cvref_t<Examples>>)
void add(Compiler &compiler, const std::string &name, M &&module, Examples &&examples,
         FunctionOptions options = {}) {
  addScript(compiler, name, module, examples, std::move(options));
}

/// Adds a live model, or a function over tensors that uses no parameters that are trained. What
/// tracing means addTraced() says.
template <typename M>
  requires(!std::is_base_of_v<torch::jit::Module, std::remove_cvref_t<M>>)
void add(Compiler &compiler, const std::string &name, M &&model,
         const std::vector<at::Tensor> &examples, FunctionOptions options = {}) {
  using Plain = std::remove_cvref_t<M>;
  if constexpr (detail::pointsToScript<Plain>()) {
    if (model == nullptr)
      detail::refuseNull(name);
    addScript(compiler, name, *model, examples, std::move(options));
  } else if constexpr (detail::isModel<Plain>) {
    detail::addModel(compiler, name, model, examples, std::move(options));
  } else {
    detail::addFunction(compiler, name, model, nullptr, examples, std::move(options));
  }
}

/// Adds a function over tensors, with the model whose parameters and buffers it uses.
template <typename F, typename M>
  requires(!std::is_convertible_v<M &&, const std::vector<at::Tensor> &>)
void add(Compiler &compiler, const std::string &name, F &&function, M &&model,
         const std::vector<at::Tensor> &examples, FunctionOptions options = {}) {
  static_assert(detail::isModel<std::remove_cvref_t<M>>,
                "plait::add(): what follows the function is the model that it calls: a "
                "torch::nn::Module, a holder or a pointer of one, or an AnyModule");
  detail::addFunction(compiler, name, function, &detail::moduleOf(model, name), examples,
                      std::move(options));
}

} // namespace v0
} // namespace plait
#endif
