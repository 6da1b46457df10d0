# plait_add_library(NAME [TORCH] DEPS a b ... [PRIVATE_DEPS c ...] [EXCLUDE regex]): the static library plait_NAME from
# all .cpp files of the current folder and below. TORCH gives it LibTorch and the shared precompiled header.
# plait_add_tests(NAME [TORCH] DEPS ... [EXCLUDE regex]): the GoogleTest binary plait_NAME_tests from the current folder's
# *Test.cpp. The tests themselves are compiled without optimising, which takes half as long, and a third under the sanitizers:
# what they test is optimised. Those with LibTorch share its precompiled header, and with it its optimisation.
#
# The files of one folder are compiled several at a time (PLAIT_UNITY): reading LLVM's headers takes two seconds a file, and
# instantiating what LibTorch's leave open takes five, where most files of plait's own take less than one. So names at the
# level of a file must differ within a folder. The preset `debug` compiles each file by itself, which shows what a file
# forgot to include.
option(PLAIT_UNITY "Compile the files of a folder several at a time" ON)

# The static and the shared libplait, programs and tests are linked from the same objects, which are position-independent. What
# a PLAIT_VISIBLE target defines (the layers without LibTorch) is visible to the linker, so that the command can show it to its
# own shared object (driver/CMakeLists.txt); GCC would not inline it then, where it is not told that nobody replaces it. libplait
# shows what a public header says (api/exports.map).
set(PLAIT_CODE_OPTIONS -fPIC -fvisibility=hidden -fvisibility-inlines-hidden CACHE STRING "What objects are compiled with")
set(PLAIT_VISIBLE_CODE_OPTIONS -fPIC $<$<CXX_COMPILER_ID:GNU>:-fno-semantic-interposition> -fvisibility-inlines-hidden
  CACHE STRING "What objects of PLAIT_VISIBLE targets are compiled with")
mark_as_advanced(PLAIT_CODE_OPTIONS PLAIT_VISIBLE_CODE_OPTIONS)

add_library(plait_flags INTERFACE)
set(visible "$<BOOL:$<TARGET_PROPERTY:PLAIT_VISIBLE>>")
target_compile_options(plait_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:$<IF:${visible},${PLAIT_VISIBLE_CODE_OPTIONS},${PLAIT_CODE_OPTIONS}>>")
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
  # In the sanitizer build what instantiates the headers of LibTorch takes half as long without optimising. LibTorch hides the type
  # information of classes that `vptr` asks for.
  target_compile_options(plait_torch INTERFACE "$<$<CONFIG:Debug>:-O0;-fno-sanitize=vptr>")
  # LibTorch is built with NDEBUG; its classes have other members without (at::RecordFunction).
  target_compile_definitions(plait_torch INTERFACE $<$<CONFIG:Debug>:NDEBUG>)
  # Clang 18 began to put the constraints of template parameters into symbols. GCC, which makes LibTorch's Linux builds, leaves
  # them out, so such a symbol is not found. Of what plait uses LibTorch 2.13 and later have none (the typed const_data_ptr).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 18 AND NOT APPLE
     AND LibTorch_VERSION VERSION_LESS 2.13)
    target_compile_options(plait_torch INTERFACE -fclang-abi-compat=17)
  endif()
  file(WRITE ${PROJECT_BINARY_DIR}/TorchPch.cpp "// Compiled only for its precompiled header.\n")
  add_library(plait_torch_pch OBJECT ${PROJECT_BINARY_DIR}/TorchPch.cpp)
  target_link_libraries(plait_torch_pch PRIVATE plait_flags plait_torch)
  target_precompile_headers(plait_torch_pch PRIVATE <torch/csrc/jit/api/module.h> <ATen/ATen.h>)
  # What a compiler cache takes for the content of the compiled header (CCACHE_PCH_EXTSUM): the content itself says where the
  # checkout is. The headers' own changes reach the cache as those of any other header do.
  file(SHA256 ${LibTorch_INCLUDE_DIR}/torch/csrc/jit/api/module.h module_header)
  foreach(extension gch pch)
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/CMakeFiles/plait_torch_pch.dir/cmake_pch.hxx.${extension}.sum @ONLY CONTENT
      "@CMAKE_CXX_COMPILER_ID@ @CMAKE_CXX_COMPILER_VERSION@ @CMAKE_BUILD_TYPE@ @CMAKE_CXX_FLAGS@ @CMAKE_CXX_FLAGS_RELEASE@ LibTorch @LibTorch_VERSION@ @module_header@ fmt @fmt_VERSION@\n")
  endforeach()
endif()

# plait_unite(LIST SIZE): replaces a list of files by files that include at most SIZE of one folder each. Commands stay
# alone: each has options and a usage of its own. CMake's own unity builds say absolute paths, with which a compiler cache
# would know no file of another checkout.
function(plait_unite list_name size)
  if(NOT PLAIT_UNITY)
    return()
  endif()
  set(united)
  set(units 0)
  foreach(source IN LISTS ${list_name})
    cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE path)
    if(path MATCHES "Command\\.cpp$")
      list(APPEND united ${source})
      continue()
    endif()
    cmake_path(GET path PARENT_PATH folder)
    if(NOT folder STREQUAL last_folder)
      set(last_folder "${folder}")
      set(count 0)
    endif()
    math(EXPR place "${count} % ${size}")
    if(place EQUAL 0)
      math(EXPR number "${count} / ${size}")
      math(EXPR units "${units} + 1")
      set(file_${units} ${PROJECT_BINARY_DIR}/unity/${folder}/Unit${number}.cpp)
      set(text_${units} "// Made by CMake: files that are compiled together.\n")
      list(APPEND united ${file_${units}})
    endif()
    string(APPEND text_${units} "#include \"${path}\"\n")
    math(EXPR count "${count} + 1")
  endforeach()
  foreach(unit RANGE 1 ${units})
    file(CONFIGURE OUTPUT ${file_${unit}} CONTENT "${text_${unit}}" @ONLY) # written anew only when it changed
  endforeach()
  set(${list_name} ${united} PARENT_SCOPE)
endfunction()

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
  if(ARG_TORCH)
    plait_unite(sources 8)
  else()
    plait_unite(sources 6)
  endif()
  add_library(plait_${name} STATIC ${sources})
  target_link_libraries(plait_${name} PUBLIC plait_flags ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  if(ARG_TORCH)
    target_link_libraries(plait_${name} PUBLIC plait_torch)
    target_precompile_headers(plait_${name} REUSE_FROM plait_torch_pch)
  else()
    set_target_properties(plait_${name} PROPERTIES PLAIT_VISIBLE ON)
    # Loops over weights are here; files with torch headers take long to compile as it is.
    target_compile_options(plait_${name} PRIVATE $<$<CONFIG:Release>:-O3>)
  endif()
endfunction()

# Where the sources are, for tests that read files of theirs (tests/SourceDir.h). Compiled once, so that the objects of no
# test say it and a compiler cache knows them in another checkout.
if(PLAIT_BUILD_TESTS OR NOT DEFINED PLAIT_BUILD_TESTS)
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/SourceDir.cpp @ONLY CONTENT [[
// Made when configuring.
#include "tests/SourceDir.h"

const char *const plait::sourceDir = "@PROJECT_SOURCE_DIR@";
]])
  add_library(plait_source_dir STATIC ${PROJECT_BINARY_DIR}/SourceDir.cpp)
  target_link_libraries(plait_source_dir PRIVATE plait_flags)
endif()

# plait_embed_texts(TARGET HEADER NAMESPACE "TYPE ARRAY" FILENAME|STEM FILE ...): the texts of the files as an array of the
# program, `const TYPE ARRAY[] = {{"name", "text"}, ..., {nullptr, nullptr}}`, which the header declares.
function(plait_embed_texts target header namespace declaration component)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ARGN})
  set(entries)
  foreach(path ${ARGN})
    cmake_path(GET path ${component} name)
    file(READ ${path} text)
    string(APPEND entries "    {\"${name}\", R\"embedded(${text})embedded\"},\n")
  endforeach()
  string(REGEX REPLACE ".* " "" array ${declaration})
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/${array}.cpp @ONLY CONTENT [[
// Made by CMake (plait_embed_texts).
#include "@header@"

namespace @namespace@ {
const @declaration@[] = {
@entries@    {nullptr, nullptr}};
} // namespace @namespace@
]])
  target_sources(${target} PRIVATE ${PROJECT_BINARY_DIR}/${array}.cpp)
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
  if(ARG_TORCH) # the others are soon compiled, and name their helpers as they like
    plait_unite(sources 4)
  endif()
  add_executable(plait_${name}_tests ${sources})
  target_link_libraries(plait_${name}_tests PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_link_libraries(plait_${name}_tests PRIVATE plait_source_dir)
  if(ARG_TORCH)
    target_precompile_headers(plait_${name}_tests REUSE_FROM plait_torch_pch)
  else()
    target_compile_options(plait_${name}_tests PRIVATE -O0)
  endif()
  include(GoogleTest)
  gtest_discover_tests(plait_${name}_tests DISCOVERY_TIMEOUT 60 PROPERTIES LABELS ${name})
endfunction()
