# Third parties. Protobuf is looked for before Torch: the wheel's CMake files otherwise define an
# empty protobuf::libprotobuf of their own.
option(PLAIT_WITH_TORCH "Build what needs LibTorch: frontend, runtime, driver" ON)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
# LLVM's version file accepts one minor series only, so each series that is known to work is asked for by name.
foreach(series 19.1 20.1 21.1)
  find_package(LLVM ${series} CONFIG QUIET)
  if(LLVM_FOUND)
    break()
  endif()
endforeach()
if(NOT LLVM_FOUND)
  message(FATAL_ERROR "LLVM 19.1 or newer is needed (Debian: llvm-19-dev, Homebrew: llvm@19); add its prefix to CMAKE_PREFIX_PATH")
endif()
if(PLAIT_WITH_TORCH)
  find_package(Torch 2.4 REQUIRED)
endif()
if(PLAIT_BUILD_TESTS OR NOT DEFINED PLAIT_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
