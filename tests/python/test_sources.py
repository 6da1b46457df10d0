"""The sources keep the project's layers, format and manners."""

import re
import shutil
import subprocess

import pytest
from paths import ROOT

FOLDERS = ("support", "mil", "passes", "frontend", "adapters", "compress", "backend", "runtime", "driver", "api", "python")
PUBLIC = "include"
MAY_INCLUDE = {
    "include": {"plait"},
    "support": {"support"},
    "mil": {"support", "mil"},
    "passes": {"support", "mil", "passes"},
    "frontend": {"support", "mil", "frontend"},
    "adapters": {"support", "mil", "adapters"},
    "compress": {"support", "mil", "compress"},
    "backend": {"support", "mil", "backend"},
    "runtime": {"support", "mil", "runtime"},
    "driver": set(FOLDERS) - {"api", "python"},
    "api": {"plait", *FOLDERS} - {"python"},
    "python": {"plait", *FOLDERS} - {"frontend", "passes", "adapters"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
TORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")


def sources(*folders):
    return [path for folder in folders for pattern in ("*.h", "*.cpp", "*.def", "*.inc")
            for path in sorted((ROOT / folder).rglob(pattern))]


def includes(path):
    return INCLUDE.findall(path.read_text())


def name(path):
    return str(path.relative_to(ROOT))


def reaches_torch(path, seen=()):
    """The chain of files by which `path` includes LibTorch, or None."""
    for header in includes(path):
        if TORCH.match(header):
            return [name(path), header]
        inner = ROOT / PUBLIC / header if header.startswith("plait/") else ROOT / header
        if inner.is_file() and inner not in seen:
            chain = reaches_torch(inner, (*seen, inner))
            if chain:
                return [name(path), *chain]
    return None


def test_every_layer_includes_only_layers_below():
    wrong = []
    for layer, allowed in MAY_INCLUDE.items():
        for path in sources(layer):
            for header in includes(path):
                folder = header.split("/")[0]
                if folder in {"plait", *FOLDERS} and "/" in header and folder not in allowed:
                    wrong.append(f"{name(path)} includes {header}")
    assert not wrong, "\n".join(wrong)


def test_project_headers_are_included_by_path_from_the_root():
    wrong = [f"{name(path)} includes {header}" for path in sources(*FOLDERS, PUBLIC)
             for header in includes(path)
             if not (ROOT / header).is_file() and (path.parent / header).is_file()]
    assert not wrong, "\n".join(wrong)


def test_torch_stays_in_frontend_and_runtime():
    """plait/torch.h and what of api/ and python/ is named Torch* are the entry points that take torch's types."""
    wrong = []
    for path in sources(*FOLDERS, PUBLIC):
        folder = path.relative_to(ROOT).parts[0]
        entry = folder in ("api", "python", PUBLIC) and path.name.lower().startswith("torch")
        chain = None if folder in ("frontend", "runtime") or entry else reaches_torch(path)
        if chain:
            wrong.append(" -> ".join(chain))
    assert not wrong, "\n".join(wrong)


# Of LibTorch's headers under torch/csrc and caffe2 these may be included anywhere that LibTorch's may: the graph IR, modules,
# operators, and what torch/script.h has.
STABLE = {f"torch/csrc/jit/{header}.h"
          for header in ("api/module", "api/function_impl", "ir/ir", "ir/constants", "runtime/operator", "runtime/graph_executor")}


def test_what_is_unstable_of_libtorch_stays_in_one_folder():
    """frontend/script/libtorch/internal uses it, behind frontend/script/libtorch/Internals.h, and has a fallback."""
    wrong = [f"{name(path)} includes {header}" for path in sources(*FOLDERS, PUBLIC)
             for header in includes(path)
             if re.match(r"(torch/csrc|caffe2)/", header) and header not in STABLE
             and not name(path).startswith("frontend/script/libtorch/internal/")
             and not (name(path) == "frontend/script/libtorch/TorchArchive.cpp" and header == "torch/csrc/jit/serialization/import.h")]
    wrong += [f"{name(path)} includes {header}" for path in sources(*FOLDERS, PUBLIC)
              for header in includes(path)
              if header.startswith("frontend/script/libtorch/internal/") and not name(path).startswith("frontend/script/libtorch/internal/")]
    assert not wrong, "\n".join(wrong)


def test_the_engine_knows_no_graph():
    """Any walk may call it: nothing of TorchScript's graphs and modules is in engine/ and lower/."""
    graph = re.compile(r"torch::jit::(Node|Graph|Block|Value|Module|Object|Function)\b|torch/csrc/jit/(ir|api|frontend|passes)/")
    wrong = [f"{name(path)}: {match.group()}" for path in sources("frontend/engine", "frontend/lower")
             for match in graph.finditer(path.read_text())]
    wrong += [f"{name(path)} includes {header}" for path in sources("frontend/engine", "frontend/lower")
              for header in includes(path)
              if header.startswith("frontend/") and not header.startswith(("frontend/engine/", "frontend/lower/"))
              and header != "frontend/Frontend.h"]
    assert not wrong, "\n".join(wrong)


def test_forms_of_files_need_no_torch():
    chains = [reaches_torch(path) for path in sources("frontend/archive")]
    assert not any(chains), "\n".join(" -> ".join(chain) for chain in chains if chain)


def test_the_library_speaks_of_fields_where_the_command_speaks_of_options():
    """Messages of the layers name options; api/Wording.cpp knows what each is to a program. Commands' own files are not linked
    into what a program calls."""
    commands = re.compile(r"Command(Line)?\.(cpp|h)$|/(Commands|Main|MetadataOptions|PassHooks|Target|Diagnostics|LoadLibTorch|RunPlan)\."
                          r"|/(Compress|CompressionOptions|OutputTrial|CompileFunctions|JsonOutput|PrintReport|RecipeEdit|RecipeWriter|AutoPrecision|DoctorReport)\.|/driver/shell/|^/compress/"
                          r"|/DeviceRules\.def$")  # the ways out, which `plait doctor` alone prints
    known = set(re.findall(r'\.Case\("([a-z0-9-]+)"', (ROOT / "api" / "Wording.cpp").read_text()))
    unknown = []
    for path in sources(*(set(FOLDERS) - {"api"})):
        if commands.search("/" + name(path)):
            continue
        for literal in re.findall(r'"((?:[^"\\\n]|\\.)*)"', re.sub(r"//.*", "", path.read_text())):
            literal = re.sub(r"`[^`]*`?", "", literal)  # commands to type
            unknown += [f"{name(path)}: --{option}" for option in re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", literal) if option not in known]
    assert not unknown, "\n".join(unknown)


def test_public_headers_stand_alone():
    """plait/plait.h needs the standard library only."""
    wrong = [f"{name(path)} includes {header}" for path in sources(PUBLIC)
             for header in includes(path)
             if re.match(r"(llvm|google|fmt)/", header)
             or (not path.name.startswith("torch") and (TORCH.match(header) or header == "plait/torch.h"))]
    assert not wrong, "\n".join(wrong)


def test_generated_messages_stay_in_backend_sources():
    wrong = [f"{name(path)} includes {header}" for path in sources(*FOLDERS, PUBLIC, "tests")
             for header in includes(path)
             if (header.endswith(".pb.h") or header.startswith("google/protobuf"))
             and not (path.suffix == ".cpp" and path.relative_to(ROOT).parts[0] == "backend")]
    assert not wrong, "\n".join(wrong)


def test_no_file_sees_both_torch_and_protobuf():
    """LibTorch's wheel ships an older protobuf's headers."""
    wrong = [name(path) for path in sources(*FOLDERS, "tests")
             if any(header.endswith(".pb.h") or header.startswith("google/protobuf")
                    for header in includes(path)) and reaches_torch(path)]
    assert not wrong, "\n".join(wrong)


def test_files_are_made_in_support_alone():
    """Under names that nobody knows, without following links, with the umask's permissions (support/NewFile.h, Folders.h)."""
    makes = re.compile(r"create_director|createUnique(File|Dir)|createTemporary|raw_fd_(o|)stream\b|\bofstream\b|\bfopen\b|::open\("
                       r"\w+\.c_str|copy_file|copy_symlink|OutputFile::create")
    allowed = {"backend/PackageWriter.cpp": {"OutputFile::create"},  # in a folder that it has just made
               "frontend/live/HostTensors.cpp": {"createTemporary", "raw_fd_ostream"}}  # without a name by then
    for path in sources(*FOLDERS):
        if path.parts[len(ROOT.parts)] != "support":
            found = {match.group() for match in makes.finditer(path.read_text())}
            assert found <= allowed.get(name(path), set()), name(path)


def test_messages_are_parsed_with_a_look_at_the_result():
    found = [name(path) for path in sources(*FOLDERS) if re.search(r"\bParse(Partial)?From\w+\(", path.read_text())]
    assert found == ["backend/FunctionEncoder.cpp"]  # parseMessage()


def test_fmt_alone_puts_text_together():
    """Its format strings are checked when they are compiled; it is included where its version is checked."""
    wrong = [name(path) for path in sources(*FOLDERS, PUBLIC, "tests", "bench", "examples")
             if re.search(r"formatv|FormatVariadic", path.read_text())]
    wrong += [f"{name(path)} includes {header}" for path in sources(*FOLDERS, PUBLIC, "tests", "bench")
              for header in includes(path)
              if header.startswith("fmt/") and name(path) != "support/Format.h"]
    assert not wrong, "\n".join(wrong)


def test_every_source_opens_with_a_comment():
    wrong = [name(path) for path in sources(*FOLDERS, PUBLIC, "tests")
             if not path.read_text().lstrip().startswith(("//", "/*"))]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_left_to_do():
    wrong = []
    for path in sources(*FOLDERS, PUBLIC, "tests"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                wrong.append(f"{name(path)}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_sources_are_formatted():
    tool = shutil.which("clang-format-19") or shutil.which("clang-format")
    assert tool, "clang-format is missing: run scripts/setup"
    version = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    if not re.search(r"version (19|2\d)\.", version):
        pytest.skip(f"clang-format 19 or newer decides the format, this is {version.strip()}")
    files = [name(path) for path in sources(*FOLDERS, PUBLIC, "tests", "examples", "bench")
             if path.suffix in (".h", ".cpp")]
    result = subprocess.run([tool, "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True,
                            text=True)
    badly = sorted({line.split(":")[0] for line in result.stderr.splitlines() if ": error:" in line})
    assert result.returncode == 0, f"run {tool} -i on: " + " ".join(badly)


def tracked(*patterns):
    """Files of the checkout, of which archives of the sources have no list."""
    found = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns], cwd=ROOT, capture_output=True,
                           text=True)
    if found.returncode:
        pytest.skip("not a git checkout")
    return [path for path in (ROOT / line for line in found.stdout.splitlines()) if path.is_file()]


def test_no_source_is_long():
    wrong = [f"{name(path)}: {lines} lines" for path in tracked("*.h", "*.cpp", "*.def", "*.py")
             if (lines := path.read_text().count("\n")) > 700]
    assert not wrong, "\n".join(wrong)


def test_lines_end_without_spaces():
    wrong = [f"{name(path)}:{number}" for path in tracked("*.h", "*.cpp", "*.def", "*.py", "*.md", "*.txt", "*.yaml", "*.cmake", "scripts/*")
             if not name(path).startswith("tests/golden/")
             for number, line in enumerate(path.read_text().splitlines(), 1) if line != line.rstrip()]
    assert not wrong, "\n".join(wrong)


def anchors(page):
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_between_pages_resolve():
    wrong = []
    for page in tracked("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            path = page.parent / file if file else page
            if not path.exists() or (anchor and anchor not in anchors(path)):
                wrong.append(f"{name(page)}: {target}")
    assert not wrong, "\n".join(wrong)


def test_every_page_is_linked_from_the_readme():
    wrong = [name(page) for page in tracked("docs/*.md", ":!docs/codes/P*.md", "CONTRIBUTING.md", "CHANGELOG.md") if f"({name(page)})" not in (ROOT / "README.md").read_text()]
    assert not wrong, "\n".join(wrong)


def test_the_licence_is_apache():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_knows_the_version():
    version = re.search(r"project\(plait VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_contributing_quotes_the_sources():
    """What a worked example says is there is there."""
    quotes = re.findall(r"<!-- (\S+) -->\n```\w+\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert len(quotes) >= 3
    missing = [path for path, code in quotes if code not in (ROOT / path).read_text()]
    assert not missing
