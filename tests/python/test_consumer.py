"""Projects out of tree: what `cmake --install` installs is found, compiled against, linked and run."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from paths import BUILD, ROOT

WAYS = ("from_file", "from_module", "from_live")
SOURCES = ROOT / "examples" / "three_ways"
# The default of some distributions: libraries that a program does not call itself are none of its own.
AS_NEEDED = [] if sys.platform == "darwin" else ["-Wl,--as-needed"]


def run(*command, **options):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout[-4000:]}{result.stderr[-4000:]}"
    return result.stdout


def cached(name):
    for line in (BUILD / "CMakeCache.txt").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split("=", 1)[1]
    return ""


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    path = tmp_path_factory.mktemp("prefix")
    run("cmake", "--install", BUILD, "--prefix", path)
    return path


@pytest.fixture(scope="module", params=["static", "shared"])
def programs(request, prefix, tmp_path_factory):
    """The programs of examples/three_ways, built against the installed libplait of either kind."""
    build = tmp_path_factory.mktemp(f"three_ways_{request.param}")
    prefixes = ";".join([str(prefix), torch.utils.cmake_prefix_path, *cached("CMAKE_PREFIX_PATH").split(";")])
    run("cmake", "-S", SOURCES, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefixes}",
        f"-DBUILD_SHARED_LIBS={'ON' if request.param == 'shared' else 'OFF'}",
        f"-DCMAKE_CXX_COMPILER_LAUNCHER={os.environ.get('PLAIT_COMPILER_LAUNCHER', '')}",
        f"-DCMAKE_CXX_COMPILER={cached('CMAKE_CXX_COMPILER')}", "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-g0",
        f"-DCMAKE_EXE_LINKER_FLAGS={' '.join(AS_NEEDED)}")
    run("cmake", "--build", build, "-j", os.cpu_count() or 1)
    assert needs_libplait(build / "from_live") == (request.param == "shared")
    return build


def needs_libplait(program):
    tool = ("otool", "-L") if sys.platform == "darwin" else ("readelf", "-d")
    return "libplait." in run(*tool, program)


def test_the_man_page_and_completion_are_installed(prefix):
    assert (prefix / "share" / "man" / "man1" / "plait.1").read_text().count(".SS ") > 10
    for place in ("bash-completion/completions/plait", "zsh/site-functions/_plait", "fish/vendor_completions.d/plait.fish"):
        assert "completion candidates" in (prefix / "share" / place).read_text()


def test_installed_headers_are_the_public_ones(prefix):
    installed = {path.relative_to(prefix / "include" / "plait").as_posix()
                 for path in (prefix / "include" / "plait").rglob("*") if path.is_file()}
    assert installed == {"plait.h", "torch.h", "export.h", "exception.h", "compile.h", "package.h", "run.h", "verify.h",
                         "torch_add.h"}


def test_installed_command_runs(prefix, tmp_path):
    command = prefix / "bin" / "plait"
    assert run(command, "version")
    torch.jit.trace(torch.nn.Linear(8, 4).eval(), torch.rand(1, 8)).save(str(tmp_path / "model.pt"))
    assert run(command, "compile", "-o", tmp_path / "m.mlpackage", "--input", "x=[1, 8]", tmp_path / "model.pt")


def test_from_file(programs, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Softmax(-1)).eval()
    torch.jit.trace(model, torch.rand(1, 8)).save(str(tmp_path / "model.pt"))
    out = run(programs / "from_file", tmp_path / "model.pt", tmp_path / "out.mlpackage")
    assert out == "scores are fp16, 8 bytes\n"
    failed = subprocess.run([programs / "from_file", tmp_path / "none.pt", tmp_path / "x.mlpackage"],
                            capture_output=True, text=True)
    assert failed.returncode == 1 and "none.pt: no such file" in failed.stderr


def test_from_module(programs, tmp_path):
    out = run(programs / "from_module", tmp_path / "out.mlpackage")
    assert out == "64 bytes of weights are shared\nas LibTorch computes it\n"


def test_from_live(programs, tmp_path):
    out = run(programs / "from_live", tmp_path / "out.mlpackage").splitlines()
    assert out[0].endswith("lowering classify (1 of 1)") and out[-1] == "as LibTorch computes it"
    assert any(line.startswith("100% ") for line in out)


@pytest.mark.skipif(not shutil.which("pkg-config"), reason="pkg-config is missing")
@pytest.mark.parametrize("package", ["plait", "plait-static"])
def test_pkg_config(prefix, package, tmp_path):
    environment = {**os.environ, "PKG_CONFIG_PATH": ":".join({str(path.parent) for path in prefix.rglob("plait.pc")})}
    flags = run("pkg-config", "--cflags", "--libs", package, env=environment).split()
    compiler = cached("CMAKE_CXX_COMPILER")
    run(compiler, SOURCES / "from_file.cpp", "-o", tmp_path / "from_file", *AS_NEEDED, *flags)
    assert needs_libplait(tmp_path / "from_file") == (package == "plait")
    failed = subprocess.run([tmp_path / "from_file", "none.pt", tmp_path / "x.mlpackage"], capture_output=True, text=True)
    assert failed.returncode == 1 and "none.pt: no such file" in failed.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="nm's options are those of binutils")
def test_the_shared_library_exports_the_interface_alone(prefix):
    library = next(prefix.rglob("libplait.so"))
    symbols = [line.split(" ", 2)[2] for line in run("nm", "-D", "--defined-only", "-C", library).splitlines()]
    foreign = [symbol for symbol in symbols if not re.match(r"((typeinfo|typeinfo name|vtable) for )?plait::v0::", symbol)]
    assert not foreign, "\n".join(foreign)
    internal = [symbol for symbol in symbols if re.search(r"llvm::|plait::(mil|driver|frontend|runtime|passes)::|::Impl::", symbol)]
    assert not internal, "\n".join(internal)
    for name in ("Compiler::write(", "Session::run(", "addCallable(", "verify(", "Exception::~Exception("):
        assert any(f"plait::v0::{name}" in symbol for symbol in symbols), name


@pytest.mark.skipif(sys.platform != "linux", reason="readelf is of binutils")
def test_the_installed_library_does_not_name_the_build(prefix):
    library = next(prefix.rglob("libplait.so"))
    paths = re.findall(r"(?:RPATH|RUNPATH).*\[(.*)\]", run("readelf", "-d", library))
    named = [path for path in ":".join(paths).split(":") if any(path.startswith(str(place)) for place in (ROOT, BUILD, BUILD.resolve()))]
    assert not named


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("pkg-config"), reason="nm's options are those of binutils")
def test_a_static_plait_in_a_shared_library_stays_inside(prefix, tmp_path):
    environment = {**os.environ, "PKG_CONFIG_PATH": ":".join({str(path.parent) for path in prefix.rglob("plait.pc")})}
    flags = run("pkg-config", "--cflags", "--libs", "plait-static", env=environment).split()
    source = tmp_path / "plugin.cpp"
    source.write_text('#include <plait/plait.h>\nextern "C" __attribute__((visibility("default"))) int compileIt(const char *model) {\n'
                      '  plait::Compiler compiler;\n  compiler.addFile("f", model, {.input = {"x=[1]"}});\n'
                      '  return int(compiler.write("out.mlpackage").functions.size());\n}\n')
    compiler = cached("CMAKE_CXX_COMPILER")
    run(compiler, "-c", "-fPIC", "-fvisibility=hidden", source, "-o", tmp_path / "plugin.o", *flags)
    run(compiler, "-shared", tmp_path / "plugin.o", "-o", tmp_path / "libplugin.so", *flags)

    def defined(*what):
        lines = run("nm", "--defined-only", "--extern-only", *what).splitlines()
        return {line.split()[2] for line in lines if len(line.split()) == 3}

    # Instances of std's templates over plait's types are the plugin's own code, and std's are visible.
    foreign = defined("-D", tmp_path / "libplugin.so") - defined(tmp_path / "plugin.o") - {"_init", "_fini", "_edata", "_end", "__bss_start"}
    assert not foreign, "\n".join(sorted(foreign)[:20])
    assert "compileIt" in defined("-D", tmp_path / "libplugin.so")
    assert "--exclude-libs" in next(prefix.rglob("plait-static-targets.cmake")).read_text()


def compile_errors(tmp_path, text, *flags):
    source = tmp_path / "program.cpp"
    source.write_text(text)
    result = subprocess.run([cached("CMAKE_CXX_COMPILER"), "-fsyntax-only", *map(str, flags), source], capture_output=True, text=True)
    return result.returncode, result.stderr


@pytest.mark.parametrize("header", ["plait.h", "torch.h", "run.h"])
def test_an_older_standard_is_one_error(prefix, header, tmp_path):
    torch_include = os.path.join(os.path.dirname(torch.__file__), "include")
    code, errors = compile_errors(tmp_path, f"#include <plait/{header}>\n", "-std=c++17", f"-I{prefix / 'include'}", "-isystem", torch_include)
    assert code and errors.count("error:") == 1 and "plait needs C++20: compile with -std=c++20" in errors, errors


def test_what_add_does_not_take_is_said_when_compiling(prefix, tmp_path):
    include = os.path.join(os.path.dirname(torch.__file__), "include")
    flags = ("-std=c++20", f"-I{prefix / 'include'}", "-isystem", include, "-isystem", os.path.join(include, "torch/csrc/api/include"))
    code, errors = compile_errors(tmp_path, """
#include <plait/torch.h>
#include <torch/nn/module.h>
struct Net : torch::nn::Module {
  at::Tensor forward(int number) { return {}; }
};
struct Good : torch::nn::Module {
  at::Tensor forward(at::Tensor x) { return x; }
};
void use(plait::Compiler &compiler, std::shared_ptr<torch::nn::Module> base, const Good &constant, Net &net, at::Tensor x) {
  plait::add(compiler, "a", base, {x});
  plait::add(compiler, "b", constant, {x});
  plait::add(compiler, "c", net, {x});
  plait::add(compiler, "d", [](int number) { return at::Tensor(); }, {x});
  plait::add(compiler, "e", [](at::Tensor x) { return 3; }, {x});
  plait::add(compiler, "f", [](at::Tensor x) {}, {x});
  plait::add(compiler, "g", [](at::Tensor x) { return x; }, 7, {x});
}
""", *flags)
    assert code
    for message in ("torch::nn::Module itself has no forward()", "it cannot be const", "no forward() that takes tensors alone",
                    "or a function over at::Tensors", "write toOutputs(const Struct &)", "this one gives nothing",
                    "what follows the function is the model"):
        assert re.sub(r"\s+", " ", message) in re.sub(r'"\s*"', "", errors), message + "\n" + errors[:6000]


def test_torch_h_brings_tensors_alone(prefix, tmp_path):
    """c10::IValue and its types would double what including it costs."""
    include = os.path.join(os.path.dirname(torch.__file__), "include")
    (tmp_path / "program.cpp").write_text("#include <plait/torch.h>\n")
    headers = run(cached("CMAKE_CXX_COMPILER"), "-std=c++20", "-M", f"-I{prefix / 'include'}", "-isystem", include, tmp_path / "program.cpp")
    assert "ATen/core/Tensor.h" in headers
    for header in ("ATen/core/ivalue.h", "ATen/core/jit_type.h", "torch/csrc", "ATen/Functions.h"):
        assert header not in headers, header


def refusal_of_cmake(prefix, folder, components):
    (folder / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(p LANGUAGES CXX)\n"
                                           f"find_package(plait 0.1 REQUIRED COMPONENTS {components})\n")
    result = subprocess.run(["cmake", "-S", folder, "-B", folder / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}"],
                            capture_output=True, text=True)
    assert result.returncode
    return result, " ".join(result.stderr.split())


def test_a_component_that_is_none_is_named(prefix, tmp_path):
    _, text = refusal_of_cmake(prefix, tmp_path, "shared headers")
    assert "plait has no component 'headers'. There are static and shared" in text


def test_without_libtorch_on_the_path_cmake_says_what_to_do(prefix, tmp_path):
    result, text = refusal_of_cmake(prefix, tmp_path, "shared")
    assert "LibTorch is not found" in text and "the folder of an unpacked libtorch archive, or what python -c" in text, result.stderr
    assert "utils.cmake_prefix_path)' prints" in text, result.stderr


@pytest.mark.parametrize("page, programs", [("api", [f"three_ways/{way}" for way in WAYS]),
                                            ("training", ["train_and_export/each_epoch"])])
def test_documentation_quotes_the_programs(page, programs):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    quoted = dict(re.findall(r"<!-- (examples/[^ ]+) -->\n```cpp\n(.*?)```", text, re.DOTALL))
    assert set(quoted) == {f"examples/{program}.cpp" for program in programs}
    for path, program in quoted.items():
        assert program == (ROOT / path).read_text(), f"docs/{page}.md quotes an older {path}"
