# LibTorch, as far as plait uses it: the target LibTorch::LibTorch with the headers, torch_cpu and c10; LibTorch_VERSION and
# LibTorch_LIBRARY_DIR. It is found through CMAKE_PREFIX_PATH as find_package(Torch) is, by its TorchConfig.cmake, which is
# not read: that of a CUDA build, as PyPI's torch for Linux is, ends with an error where there is no CUDA toolkit, and plait
# needs none.
set(prefix_paths ${CMAKE_PREFIX_PATH})
cmake_path(CONVERT "$ENV{CMAKE_PREFIX_PATH}" TO_CMAKE_PATH_LIST more_paths NORMALIZE)
find_path(LibTorch_CONFIG_DIR TorchConfig.cmake
  HINTS ${Torch_DIR} ${LibTorch_ROOT} ${prefix_paths} ${more_paths}
  PATH_SUFFIXES Torch share/cmake/Torch torch/share/cmake/Torch lib/cmake/Torch
  DOC "The folder of LibTorch's TorchConfig.cmake")
if(LibTorch_CONFIG_DIR)
  cmake_path(SET root NORMALIZE ${LibTorch_CONFIG_DIR}/../../..)
  file(STRINGS ${LibTorch_CONFIG_DIR}/TorchConfigVersion.cmake version REGEX "PACKAGE_VERSION \"")
  string(REGEX MATCH "[0-9]+\\.[0-9]+(\\.[0-9]+)?" LibTorch_VERSION "${version}")
  find_path(LibTorch_INCLUDE_DIR torch/csrc/jit/api/module.h HINTS ${root}/include NO_DEFAULT_PATH)
  find_library(LibTorch_TORCH_CPU_LIBRARY torch_cpu HINTS ${root}/lib NO_DEFAULT_PATH)
  find_library(LibTorch_C10_LIBRARY c10 HINTS ${root}/lib NO_DEFAULT_PATH)
  # Of Linux builds before 2.6 or 2.7; LLVM and protobuf have the other one, and nothing would link.
  file(STRINGS ${LibTorch_CONFIG_DIR}/TorchConfig.cmake old_abi REGEX "_GLIBCXX_USE_CXX11_ABI=0")
endif()
mark_as_advanced(LibTorch_CONFIG_DIR LibTorch_INCLUDE_DIR LibTorch_TORCH_CPU_LIBRARY LibTorch_C10_LIBRARY)

include(FindPackageHandleStandardArgs)
set(reason)
if(LibTorch_CONFIG_DIR AND old_abi)
  set(reason "${root} was built with the C++ ABI from before GCC 5 (_GLIBCXX_USE_CXX11_ABI=0). Take a build with the other one: the archive libtorch-cxx11-abi, or a wheel of 2.7 or newer")
  set(LibTorch_C10_LIBRARY LibTorch_C10_LIBRARY-NOTFOUND)
elseif(NOT LibTorch_CONFIG_DIR)
  set(reason "Add its prefix to CMAKE_PREFIX_PATH: the folder of an unpacked libtorch archive, or what python -c 'print(__import__(\"torch\").utils.cmake_prefix_path)' prints")
endif()
# Without a semicolon in them: CMake would take the text for a list.
set(LibTorch_NOT_FOUND_REASON "${reason}")
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_TORCH_CPU_LIBRARY LibTorch_C10_LIBRARY LibTorch_INCLUDE_DIR
  VERSION_VAR LibTorch_VERSION REASON_FAILURE_MESSAGE "${reason}")

if(LibTorch_FOUND)
  cmake_path(GET LibTorch_TORCH_CPU_LIBRARY PARENT_PATH LibTorch_LIBRARY_DIR)
  if(NOT TARGET LibTorch::LibTorch)
    add_library(LibTorch::LibTorch INTERFACE IMPORTED)
    target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE
      ${LibTorch_INCLUDE_DIR} ${LibTorch_INCLUDE_DIR}/torch/csrc/api/include)
    target_link_libraries(LibTorch::LibTorch INTERFACE ${LibTorch_TORCH_CPU_LIBRARY} ${LibTorch_C10_LIBRARY})
  endif()
endif()
