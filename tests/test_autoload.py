"""Installed is enough: what `import torch` and `import timm` do once this project is installed.

What depends on when torch is imported runs in fresh processes, each of which takes five seconds. The rest runs in forks
of one process that has imported torch and what else timm needs, but neither timm nor this project.
"""

import filecmp
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
import warnings
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from textwrap import dedent

import pytest

import _timm_regnet_ds_autoload as hook

# What a program sees: the registry, the warnings, what is left of the hook.
REPORT = """
import json, sys, warnings
seen = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, *where: seen.append(f"{category.__name__}: {message}")

def report():
    import timm
    registry = sys.modules["timm.models._registry"]
    modules = {name: fn.__module__ for name, fn in registry._model_entrypoints.items()}
    ours = {name: module for name, module in modules.items() if module.startswith("timm_regnet_ds")}
    print(json.dumps({
        "ours": ours,
        "timm": {name: module for name, module in modules.items() if name not in ours},
        "times": sorted({sum(name in models for models in registry._module_to_models.values()) for name in modules}),
        "listed": sorted(timm.list_models()),  # timm leaves the order of dWr and dwr open
        "warnings": seen,
        "imported": "timm_regnet_ds" in sys.modules,
        "finders": [type(f).__module__ for f in sys.meta_path if type(f).__module__ == "_timm_regnet_ds_autoload"],
        "class": type(timm).__name__,
    }))
"""

# torch is imported in the middle of timm, alone in the middle of this package, or by several threads at once.
ORDERS = {
    "timm": "import timm",
    "package": "import timm_regnet_ds",
    "threads": """
        import threading
        names = ["timm", "timm_regnet_ds", "torch", "timm"]
        ready = threading.Barrier(len(names))
        def load(name):
            ready.wait()
            __import__(name)
        threads = [threading.Thread(target=load, args=(name,)) for name in names]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """,
}

# What follows an import of torch.
ORDERS_AFTER_TORCH = {
    "timm": "import timm",
    "package": "import timm_regnet_ds",
    "from": "from timm.models import create_model",
    "layers": "import timm.layers",
}

# What torch does at the end of its import.
END_OF_TORCH = """
from importlib.metadata import entry_points
point, = entry_points(group="torch.backends", name="timm_regnet_ds")
point.load()()
"""

# Runs each request, a line of JSON, in a fork of its own and answers with the fork's exit code.
SERVER = """
import gc, json, os, sys, traceback
gc.disable()
import torch

def run(code, folder, path, switches):
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.path.insert(0, path or folder)
    os.environ.update(switches)
    try:
        exec(code, {"__name__": "__main__"})
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0

for line in sys.stdin:
    request = json.loads(line)
    if "before" in request:
        exec(request["before"])
        continue
    child = os.fork()
    if not child:
        code = 1
        try:
            code = run(**request)
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""

WITHOUT_TIMM = """
import timm
for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
    del sys.modules[name]
"""

# What shall work after `import timm` alone, in any order.
ISSUE = "timm.create_model('regnetz_500mf_dWr_16gf', device='meta')"

HALF = """
from timm.models import generate_default_cfgs, register_model
default_cfgs = generate_default_cfgs({"half_a_model.one": {"url": "nowhere"}})
@register_model
def half_a_model(pretrained=False, **kwargs): ...
"""


def clean_environment():
    return {k: v for k, v in os.environ.items() if "AUTOLOAD" not in k and k != "PYTHONWARNINGS"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Run code in a fresh process, in an empty folder, with a clean environment."""
    cwd = tmp_path_factory.mktemp("cwd")

    def run(code, **switches):
        # Without garbage collections, which take an eighth of an import's time.
        command = [sys.executable, "-c", "import gc; gc.disable()\n" + dedent(code)]
        env = clean_environment() | switches
        done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A process that has imported torch with its own switch, so that it called no entry point."""
    cwd = tmp_path_factory.mktemp("server")
    env = clean_environment() | {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", SERVER], env=env, cwd=cwd, text=True, bufsize=1, **pipes) as server:
        yield server, cwd
        server.stdin.close()


def run_in_fork(server, code, path="", **switches):
    process, folder = server
    request = {"code": dedent(code), "folder": str(folder), "path": str(path), "switches": switches}
    process.stdin.write(json.dumps(request) + "\n")
    code = int(process.stdout.readline())
    out, err = ((folder / name).read_text() for name in ("stdout", "stderr"))
    assert code == 0, err
    return subprocess.CompletedProcess("", code, out, err)


@pytest.fixture(scope="module")
def modules_of_the_hook(server):
    """What the end of torch's import imports, in a process that has imported nothing but torch."""
    code = f"import sys\nbefore = set(sys.modules)\n{END_OF_TORCH}\nprint(*set(sys.modules) - before)"
    return run_in_fork(server, code).stdout.split()


@pytest.fixture(scope="module")
def forked(server, modules_of_the_hook):
    """Run code in a fork of a process that has imported what timm imports, with `path` before all other folders."""
    process, _ = server
    process.stdin.write(json.dumps({"before": WITHOUT_TIMM}) + "\n")
    return partial(run_in_fork, server)


def reports(run, code, **options):
    done = run(REPORT + dedent(code), **options)
    assert "Traceback" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


BY_HAND = "report(); import timm_regnet_ds; report()"


@pytest.fixture(scope="module")
def switched_off(fresh):
    """timm by itself, and after an explicit import."""
    return reports(fresh, BY_HAND, TIMM_REGNET_DS_AUTOLOAD="0")


@pytest.fixture
def broken(tmp_path):
    """A folder with a package of our name that fails on import when it has registered one of two models."""
    package = tmp_path / "timm_regnet_ds"
    package.mkdir()
    (package / "__init__.py").write_text("import timm_regnet_ds.half\n1 / 0")
    (package / "half.py").write_text(HALF)
    return tmp_path


def test_the_switch_leaves_timm_alone(switched_off):
    plain, by_hand = switched_off
    assert plain["ours"] == {}
    assert not plain["imported"]
    assert plain["finders"] == by_hand["finders"] == []
    assert by_hand["ours"] != {}


def test_torchs_own_switch_does_too(forked, switched_off):
    assert reports(forked, BY_HAND) == switched_off


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_of_imports_registers_the_same_models_once(order, fresh, switched_off):
    (got,) = reports(fresh, f"{dedent(ORDERS[order])}\nreport()\nimport timm; {ISSUE}")
    check_registered(got, *switched_off)


@pytest.mark.parametrize("order", ORDERS_AFTER_TORCH)
def test_every_order_after_torch_does_too(order, forked, switched_off):
    (got,) = reports(forked, f"{END_OF_TORCH}\n{ORDERS_AFTER_TORCH[order]}\nreport()\nimport timm; {ISSUE}")
    check_registered(got, *switched_off)


def check_registered(got, plain, by_hand):
    assert got["ours"] == by_hand["ours"]
    assert got["timm"] == by_hand["timm"] == plain["timm"]
    assert got["times"] == [1]
    assert len(got["listed"]) == len(set(got["listed"])) == len(plain["listed"]) + len(got["ours"])
    assert got["warnings"] == by_hand["warnings"] == plain["warnings"]
    assert got["finders"] == []
    assert got["class"] == "module"


def test_a_thread_that_waits_for_timm_finds_the_models(forked):
    code = """
        import sys, threading, time
        found = []
        def ask():
            while "timm" not in sys.modules:
                time.sleep(0.001)
            import timm
            found.append(timm.is_model("regnetz_500mf") and timm.is_model("scaled"))
        thread = threading.Thread(target=ask)
        thread.start()
        import timm_regnet_ds
        thread.join()
        print(found)
    """
    assert forked(END_OF_TORCH + dedent(code)).stdout.strip() == "[True]"


@pytest.mark.parametrize("value", ["0", "false", "OFF", " no ", "n", "f", "disabled"])
def test_values_that_switch_off(value, monkeypatch):
    monkeypatch.setenv(hook.SWITCH, value)
    monkeypatch.setattr(hook, "_watch", None)  # calling it would fail
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hook.autoload()


@pytest.mark.parametrize("value", ["", "1", "on", "nonsense", "0.0"])
def test_all_other_values_leave_it_on(value, monkeypatch):
    called = []
    monkeypatch.setenv(hook.SWITCH, value)
    monkeypatch.setattr(hook, "_is_complete", lambda: True)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(hook, "_register", lambda: called.append(1))
    hook.autoload()
    assert called == [1]


def test_a_broken_package_is_one_warning(broken, forked, switched_off):
    plain, _ = switched_off
    (got,) = reports(forked, f"{END_OF_TORCH}\nimport timm\nreport()", path=broken)
    extra = [warning for warning in got["warnings"] if warning not in plain["warnings"]]
    assert len(extra) == 1
    assert extra[0].startswith("RuntimeWarning: timm-regnet-ds could not register")
    assert "ZeroDivisionError" in extra[0]
    assert "TIMM_REGNET_DS_AUTOLOAD=0" in extra[0]
    assert got | {"warnings": None} == plain | {"warnings": None}


def test_a_broken_package_where_warnings_are_errors(broken, forked):
    code = """
        import warnings
        warnings.simplefilter("error")
        import timm
        assert timm.create_model("resnet18") and not timm.is_model("half_a_model")
        assert not any("half" in name for name in timm.list_models() + timm.list_modules() + timm.list_pretrained())
        try:
            import timm_regnet_ds
        except ZeroDivisionError:
            print("raised")
    """
    done = forked(END_OF_TORCH + dedent(code), path=broken)
    assert done.stdout == "raised\n"
    assert done.stderr.count("timm-regnet-ds could not register") == 1
    assert "ZeroDivisionError: division by zero" in done.stderr


def test_without_timm_nothing_happens(forked):
    before = """
        import sys, warnings
        warnings.simplefilter("error")
        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "timm":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Blocker())
    """
    after = """
        assert not any(name.startswith("timm") for name in sys.modules)
        try:
            import timm
        except ModuleNotFoundError as error:
            print(error)
    """
    done = forked(dedent(before) + END_OF_TORCH + dedent(after))
    assert done.stdout == "No module named 'timm'\n"
    assert done.stderr == ""


def test_nothing_else_is_imported_with_torch(modules_of_the_hook):
    """What torch does with an entry point imports one module; benchmarks/bench_import.py times it."""
    others = [name for name in modules_of_the_hook if name.partition(".")[0] not in sys.stdlib_module_names]
    assert others == ["_timm_regnet_ds_autoload"]


def test_standard_library_alone():
    code = "import sys; before = set(sys.modules); import _timm_regnet_ds_autoload; print(*set(sys.modules) - before)"
    folder = os.path.dirname(hook.__file__)
    out = subprocess.run([sys.executable, "-S", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in out.stdout.split()}
    assert loaded - set(sys.stdlib_module_names) == {"_timm_regnet_ds_autoload"}


# An editable install, in an environment of its own.

CHECKOUT = Path(__file__).parents[1]
INSTALLED = (
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
    "_build_backend.py",
    "_timm_regnet_ds_autoload.py",
)


@pytest.fixture
def checkout(tmp_path):
    """A copy of what setuptools reads of this repository; what is compiled is not compiled again."""
    copy = tmp_path / "checkout"
    shutil.copytree(CHECKOUT / "timm_regnet_ds", copy / "timm_regnet_ds")
    for name in INSTALLED:
        shutil.copy(CHECKOUT / name, copy / name)
    return copy


@pytest.fixture
def environment(tmp_path):
    """An environment with links to all packages that are installed here, but this project: its site-packages and run.

    ``run(*arguments)`` runs its Python; nothing reaches the network.
    """
    if not importlib.util.find_spec("pip"):
        pytest.skip("pip is not installed")
    venv.create(tmp_path / "environment", symlinks=True, with_pip=False)
    (site_packages,) = (tmp_path / "environment").glob("[Ll]ib/**/site-packages")
    for folder in (Path(folder) for folder in sys.path if Path(folder).name in ("site-packages", "dist-packages")):
        for entry in folder.iterdir():
            if "timm_regnet_ds" not in entry.name and entry.suffix != ".pth" and entry.name != "__pycache__":
                link = site_packages / entry.name
                if not link.exists():
                    link.symlink_to(entry)
    clean = {k: v for k, v in os.environ.items() if "AUTOLOAD" not in k and not k.startswith("PYTHON")}

    def run(*arguments):
        python = next((tmp_path / "environment").glob("*/python"))
        env = clean | {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([python, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done

    return site_packages, run


def test_torch_works_after_the_checkout_of_an_editable_install_is_deleted(checkout, environment):
    site_packages, run = environment
    before = set(site_packages.iterdir())
    run("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--editable", checkout)
    assert filecmp.cmp(site_packages / INSTALLED[-1], checkout / INSTALLED[-1], shallow=False)
    known = "import timm; print(timm.is_model('resnet18'), timm.is_model('regnetx_200mf'))"
    assert run("-W", "error::RuntimeWarning", "-c", known).stdout == "True True\n"

    shutil.rmtree(checkout)
    code = f"""
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            import torch
        {known}
    """
    with_timm = run("-c", dedent(code))
    assert with_timm.stdout == "True False\n"
    assert with_timm.stderr.count("Warning: ") == 1
    assert "No module named 'timm_regnet_ds'" in with_timm.stderr
    assert "pip uninstall timm-regnet-ds" in with_timm.stderr

    run("-m", "pip", "uninstall", "--yes", "timm-regnet-ds")
    assert set(site_packages.iterdir()) == before


# The hook by itself, on a stand-in for timm: no fresh process needed.


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Packages `waited_for.models` and `waiting`; the hook waits for the one and imports the other."""
    models = tmp_path / "waited_for" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("from . import models\n")
    (models / "__init__.py").write_text(
        "import os\nif os.environ.get('FAIL'): raise OSError('timm itself')\nfrom . import family\nx = 1\n"
    )
    (models / "family.py").write_text("import random\n")
    (tmp_path / "waiting.py").write_text("import waited_for.models\nfrom waited_for.models import x\n")
    monkeypatch.setattr(hook, "AWAITED", ("waited_for", "models"))
    monkeypatch.setattr(hook, "PACKAGE", "waiting")
    monkeypatch.setattr(hook, "PARTS", ("waiting",))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delenv(hook.SWITCH, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("waited_for", "waiting")]:
        del sys.modules[name]


def is_waiting():
    return any(isinstance(finder, hook._Finder) for finder in sys.meta_path)


def test_nothing_of_the_hook_stays(stand_in):
    hook.autoload()
    hook.autoload()
    assert [type(finder) for finder in sys.meta_path].count(hook._Finder) == 1
    package = importlib.import_module("waited_for")
    assert "waiting" in sys.modules
    assert not is_waiting()
    assert type(package) is type(sys)
    assert importlib.reload(package.models) is package.models
    assert importlib.reload(package) is package


@pytest.mark.parametrize("name", ["waited_for.models", "waited_for.models.family", "waiting"])
def test_whatever_is_imported_first(name, stand_in):
    hook.autoload()
    importlib.import_module(name)
    assert "waiting" in sys.modules
    assert not is_waiting()


def test_already_imported(stand_in):
    importlib.import_module("waited_for.models")
    hook.autoload()
    assert "waiting" in sys.modules
    assert not is_waiting()


@pytest.mark.parametrize("where", ["__init__.py", "models/__init__.py", "models/family.py"])
def test_called_in_the_middle(where, stand_in):
    """As torch does when it is first imported from inside timm."""
    file = stand_in / "waited_for" / where
    file.write_text("import _timm_regnet_ds_autoload\n_timm_regnet_ds_autoload.autoload()\n" + file.read_text())
    package = importlib.import_module("waited_for")
    assert "waiting" in sys.modules
    assert not is_waiting()
    assert type(package) is type(sys)


def test_an_error_of_the_awaited_module_is_its_own(stand_in, monkeypatch):
    hook.autoload()
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(OSError, match="timm itself"):
        importlib.import_module("waited_for.models")
    assert "waiting" not in sys.modules
    monkeypatch.delenv("FAIL")
    importlib.import_module("waited_for.models")
    assert "waiting" in sys.modules
    assert not is_waiting()


class OtherHook:
    """Finds the package itself and wraps its loaders, as import hooks of other projects do."""

    def __init__(self):
        self.executed = []

    def find_spec(self, name, path=None, target=None):
        if not name.startswith("waited_for"):
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (self.executed.append(module.__name__), execute(module))
        return spec


@pytest.mark.parametrize("place", [0, 1])
def test_next_to_another_hook(place, stand_in, monkeypatch):
    monkeypatch.delitem(sys.modules, "random")  # something that is looked for on the way
    other = OtherHook()
    hook.autoload()
    sys.meta_path.insert(place, other)
    importlib.import_module("waited_for")
    assert "waiting" in sys.modules
    assert other.executed == ["waited_for", "waited_for.models", "waited_for.models.family"]


def test_lazily_loaded(stand_in):
    hook.autoload()
    spec = importlib.util.find_spec("waited_for")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    sys.modules[spec.name] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    assert "waiting" not in sys.modules
    assert package.models.x == 1
    assert "waiting" in sys.modules


@pytest.mark.parametrize(
    "failure", ["raise ImportError('gone')", "import sys; sys.exit(3)", "import nothing_such", "("]
)
def test_every_failure_is_one_warning(failure, stand_in):
    (stand_in / "waiting.py").write_text(failure)
    hook.autoload()
    with pytest.warns(RuntimeWarning, match=r"ImportError: gone|SystemExit: 3|nothing_such|SyntaxError") as caught:
        assert importlib.import_module("waited_for").models.x == 1
    assert len(caught) == 1
    assert not is_waiting()


def test_something_else_of_that_name(stand_in, monkeypatch):
    monkeypatch.setitem(sys.modules, "waited_for", object())
    hook.autoload()
    importlib.import_module("waited_for")
    assert "waiting" not in sys.modules


def test_an_error_of_the_hook_itself_is_a_warning(stand_in, monkeypatch):
    monkeypatch.setattr(hook, "_is_complete", None)
    with pytest.warns(RuntimeWarning, match="TypeError") as caught:
        hook.autoload()
    assert len(caught) == 1
    importlib.import_module("waited_for")


def test_a_warning_that_cannot_be_given_goes_to_stderr(stand_in, capsys):
    (stand_in / "waiting.py").write_text("raise KeyError('gone')")
    hook.autoload()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.import_module("waited_for.models")
    said = capsys.readouterr().err
    assert said.startswith("timm-regnet-ds could not register its models with timm (KeyError: 'gone')")
    assert said.count("\n") == 1
