# plait_add_library(NAME [TORCH] DEPS a b ... [PRIVATE_DEPS c ...] [EXCLUDE regex]): the static library plait_NAME from
# all .cpp files of the current folder and below. TORCH gives it LibTorch and the shared precompiled header.
# plait_add_tests(NAME [TORCH] DEPS ... [EXCLUDE regex]): the GoogleTest binary plait_NAME_tests from the current folder's
# *Test.cpp.

# Every object is of one kind, so that the static and the shared libplait, programs and tests are linked from the same ones:
# position-independent, and visible outside of the shared library only where a public header says so.
set(PLAIT_CODE_OPTIONS -fPIC -fvisibility=hidden -fvisibility-inlines-hidden CACHE STRING "What every object is compiled with")
mark_as_advanced(PLAIT_CODE_OPTIONS)

add_library(plait_flags INTERFACE)
target_compile_options(plait_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${PLAIT_CODE_OPTIONS}>")
target_include_directories(plait_flags INTERFACE ${PROJECT_SOURCE_DIR})

# fmt, without its library. LibTorch has headers of another fmt beside its own, and some of those include it: a folder with a
# link to the found fmt and nothing else comes first of the system folders. (fmt's own folder may be /usr/include, which
# compilers keep at the end of the list.) support/Format.h refuses every other version.
get_target_property(fmt_include_dirs fmt::fmt-header-only INTERFACE_INCLUDE_DIRECTORIES)
find_path(plait_fmt_dir fmt/format.h HINTS ${fmt_include_dirs} NO_DEFAULT_PATH NO_CACHE REQUIRED)
cmake_path(APPEND plait_fmt_dir fmt)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/fmt)
file(REMOVE ${PROJECT_BINARY_DIR}/fmt/fmt)
file(CREATE_LINK ${plait_fmt_dir} ${PROJECT_BINARY_DIR}/fmt/fmt SYMBOLIC)
string(REGEX MATCHALL "[0-9]+" fmt_version ${fmt_VERSION})
list(GET fmt_version 0 fmt_major)
list(GET fmt_version 1 fmt_minor)
list(GET fmt_version 2 fmt_patch)
math(EXPR fmt_version "${fmt_major} * 10000 + ${fmt_minor} * 100 + ${fmt_patch}")
target_include_directories(plait_flags SYSTEM BEFORE INTERFACE ${PROJECT_BINARY_DIR}/fmt)
target_compile_definitions(plait_flags INTERFACE FMT_HEADER_ONLY=1 PLAIT_FMT_VERSION=${fmt_version})
target_include_directories(plait_flags SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS})
# GCC 12 sees overlaps and overruns that are not there in `"(" + text + ")"` when optimising.
target_compile_options(plait_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)
foreach(warning array-bounds stringop-overflow stringop-overread maybe-uninitialized)
  target_compile_options(plait_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-${warning}>)
endforeach()
# Clang reports libstdc++ 12's own use, in stable_sort, of what C++17 deprecates.
target_compile_options(plait_flags INTERFACE $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>)
target_compile_options(plait_flags INTERFACE -Wall -Wextra -Werror -Wno-unused-parameter -ffp-contract=off)
target_link_libraries(plait_flags INTERFACE LLVMSupport Threads::Threads)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # ccache can reuse objects built from a precompiled header only if the header's own time is not in it.
  target_compile_options(plait_flags INTERFACE "SHELL:-Xclang -fno-pch-timestamp")
endif()

if(PLAIT_WITH_TORCH)
  # One precompiled header for every file that includes torch: parsing it costs ten seconds a file otherwise.
  add_library(plait_torch INTERFACE)
  target_link_libraries(plait_torch INTERFACE LibTorch::LibTorch)
  file(WRITE ${PROJECT_BINARY_DIR}/TorchPch.cpp "// Compiled only for its precompiled header.\n")
  add_library(plait_torch_pch OBJECT ${PROJECT_BINARY_DIR}/TorchPch.cpp)
  target_link_libraries(plait_torch_pch PRIVATE plait_flags plait_torch)
  target_precompile_headers(plait_torch_pch PRIVATE <torch/csrc/jit/api/module.h> <ATen/ATen.h>)
endif()

function(plait_add_library name)
  cmake_parse_arguments(ARG "TORCH" "EXCLUDE" "DEPS;PRIVATE_DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/Main\\.cpp$")
  if(ARG_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${ARG_EXCLUDE}")
  endif()
  if(NOT sources) # a library of headers only
    add_library(plait_${name} INTERFACE)
    target_link_libraries(plait_${name} INTERFACE plait_flags ${ARG_DEPS})
    return()
  endif()
  add_library(plait_${name} STATIC ${sources})
  target_link_libraries(plait_${name} PUBLIC plait_flags ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  if(ARG_TORCH)
    target_link_libraries(plait_${name} PUBLIC plait_torch)
    target_precompile_headers(plait_${name} REUSE_FROM plait_torch_pch)
  else()
    # Loops over weights are here; files with torch headers take long to compile as it is.
    target_compile_options(plait_${name} PRIVATE $<$<CONFIG:Release>:-O3>)
  endif()
endfunction()

function(plait_add_tests name)
  cmake_parse_arguments(ARG "TORCH" "EXCLUDE" "DEPS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*Test.cpp)
  if(ARG_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${ARG_EXCLUDE}")
  endif()
  if(NOT sources)
    return()
  endif()
  add_executable(plait_${name}_tests ${sources})
  target_link_libraries(plait_${name}_tests PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(plait_${name}_tests PRIVATE PLAIT_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(ARG_TORCH)
    target_precompile_headers(plait_${name}_tests REUSE_FROM plait_torch_pch)
  endif()
  include(GoogleTest)
  gtest_discover_tests(plait_${name}_tests DISCOVERY_TIMEOUT 60 PROPERTIES LABELS ${name})
endfunction()
