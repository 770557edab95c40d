"""The command line: one line and the right exit code for every wrong use; nothing is written."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer

from cladec_companion.book import build as book
from cladec_companion.commands import main as cli
from cladec_companion.commands import shared
from cladec_companion.records.settings import PROFILES, Settings
from cladec_core import training
from cladec_core.errors import RunError, UsageError

ROOT = Path(__file__).parents[1]


def cladec(monkeypatch, capsys, *arguments):
    """Run the command in this process; returns exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["cladec", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0, *capsys.readouterr()


WRONG = {
    "unknown notebook": (["run", "layer"], "'layer'", "layers"),
    "unknown profile": (["run", "layers", "--profile", "fast"], "'fast'", "smoke, quick, laptop, overnight, paper"),
    "unknown parameter": (["run", "layers", "--set", "epochs=3"], "'epochs'", "classifier_epochs"),
    "unknown dataset": (["run", "layers", "--set", "datasets=[svhn]"], "'svhn'", "fashion_mnist"),
    "unknown architecture": (["run", "layers", "--set", "architectures=[vgg16]"], "'vgg16'", "vgg11"),
    "unknown layer": (["run", "layers", "--set", "layers=[conv9]"], "'conv9'", "conv4a"),
    "unknown layer index": (["run", "layers", "--set", "layers=[-6]"], "-6", "-1, -2, -3, -4, -5"),
    "wrong type": (["run", "layers", "--set", "decoder_epochs=many"], "'many'", "int"),
    "zero epochs": (["run", "layers", "--set", "decoder_epochs=0"], "0", "from 1"),
    "no seeds": (["run", "layers", "--set", "seeds=[]"], "[]", "at least one"),
    "no value": (["run", "layers", "--set", "seeds"], "'seeds'", "NAME=VALUE"),
    "not YAML": (["run", "layers", "--set", "seeds=[0"], "'[0'", "YAML"),
    "unknown device": (["run", "layers", "--device", "tpu"], "'tpu'", "cpu"),
    "unknown experiment": (["train", "--only", "layer"], "'layer'", "layers"),
    "unknown table": (["train", "--only", "table9"], "'table9'", "table8"),
    "bad budget": (["train", "--time-budget", "soon"], "'soon'", "9m"),
    "training on an unknown device": (["train", "--profile", "smoke", "--device", "cuda:99"], "'cuda:99'", "cpu"),
    "unknown profile of the book": (["book", "--profile", "fast"], "'fast'", "quick"),
    "no experiment": (["train", "--only", ""], "'--only': ''", "leave the option out"),
    "no budget": (["train", "--time-budget", ""], "'--time-budget': ''", "leave the option out"),
    "no folder": (["train", "--out", ""], "'--out': ''", "leave the option out"),
    "no folder of data": (["train", "--data-dir", ""], "'--data-dir': ''", "leave the option out"),
    "no folder to merge": (["merge", ""], "''", "give it a value"),
    "no profile": (["run", "layers", "--profile", " "], "'--profile': ' '", "leave the option out"),
    "no device": (["train", "--device", ""], "'--device': ''", "leave the option out"),
    "endless budget": (["train", "--time-budget", "9" * 400 + "h"], "'9999", "such as 9m"),
    "deep brackets": (["train", "--set", "seeds=" + "[" * 5000], "'[[[", "YAML"),
    "many digits": (["train", "--set", "seeds=" + "9" * 5000], "'9999", "YAML"),
    "unknown command": (["trian"], "'trian'", "train"),
    "unknown option": (["train", "--onyl", "layers"], "--onyl", "--only"),
    "unknown command of the study": (["study", "make"], "'make'", "study --help"),
    "missing argument": (["run"], "notebooks", "run --help"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_line_that_names_the_value_and_the_valid_ones(case, monkeypatch, capsys, tmp_path):
    arguments, named, valid = WRONG[case]
    code, out, err = cladec(monkeypatch, capsys, *arguments)
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert named in err
    assert valid in err
    assert not list(tmp_path.iterdir())


def test_missing_data_is_a_failure_that_names_the_folder_and_the_way_out(monkeypatch, capsys, tmp_path):
    import torchvision

    def unreachable(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", unreachable)
    arguments = ["train", "--profile", "smoke", "--set", "datasets=[mnist]", "--data-dir", tmp_path / "none"]
    code, _, err = cladec(monkeypatch, capsys, *arguments)
    assert code == 1
    assert str(tmp_path / "none") in err
    assert "'digits' needs no download" in err
    assert len(err.strip().splitlines()) == 1


def test_train_records_within_its_budget_and_goes_on(monkeypatch, capsys, tmp_path):
    arguments = ["train", "--profile", "smoke", "--only", "layers", "--set", "layers=[-5]", "--out", tmp_path / "out"]
    code, out, err = cladec(monkeypatch, capsys, *arguments, "--time-budget", "0.001s")
    assert code == 1
    assert "0 of 2 cells" in out
    assert "too short for one cell" in err
    code, out, _ = cladec(monkeypatch, capsys, *arguments)
    assert "2 of 2 cells" in out
    trained = []
    monkeypatch.setattr(training, "fit", lambda *args, **kwargs: trained.append(args))
    code, out, _ = cladec(monkeypatch, capsys, *arguments)  # nothing to measure, either
    assert code == 0
    assert "2 of 2 cells" in out
    assert not trained


def test_an_unwritable_folder_is_refused_before_training(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    trained = []
    monkeypatch.setattr(training, "fit", lambda *args, **kwargs: trained.append(args))
    code, _, err = cladec(monkeypatch, capsys, "train", "--profile", "smoke", "--out", tmp_path / "file" / "below")
    assert code == 1
    assert str(tmp_path / "file") in err
    assert not trained


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_says_that_nothing_is_lost(monkeypatch, capsys, number):
    def stop(*_args, **_kwargs):
        signal.raise_signal(number)

    before = signal.getsignal(signal.SIGTERM)
    at_start = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    monkeypatch.setattr(training, "compute", stop)
    try:
        code, _, err = cladec(monkeypatch, capsys, "run", "layers")
    finally:
        signal.signal(signal.SIGINT, at_start)
    assert code == 130
    assert "goes on from there" in err
    assert signal.getsignal(signal.SIGTERM) is before


def test_help_of_every_command_has_an_example():
    def told(*arguments):
        command = [sys.executable, "-m", "cladec_companion", *arguments, "--help"]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert "Example" in told()
    for command in ("explain", "run", "book", "pdf", "archive", "train", "merge", "status"):
        assert f"cladec {command}" in told(command), command
    for command in ("export", "analyse"):
        assert f"cladec study {command}" in told("study", command), command


def test_help_names_all_profiles():
    (option,) = shared.Profile.__metadata__
    assert re.findall(r"[a-z]+", option.help.replace(" or ", " ")) == list(PROFILES)


def test_values_are_read_as_yaml():
    assert shared.parse_changes(["seeds=[0, 1]", "width=0.5", "resize=bilinear", "test_limit=null"]) == {
        "seeds": [0, 1], "width": 0.5, "resize": "bilinear", "test_limit": None,
    }  # fmt: skip
    assert shared.parse_budget("9m") == 540
    with pytest.raises(UsageError):
        shared.parse_budget("-3s")


def test_a_failing_notebook_names_its_cell_and_keeps_the_last_good_output(monkeypatch, tmp_path):
    import nbformat

    notebooks, executed = tmp_path / "notebooks", tmp_path / "executed"
    notebooks.mkdir()
    monkeypatch.setattr(book, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(book, "EXECUTED", executed)

    def write(source):
        parameters = nbformat.v4.new_code_cell('profile: str = "quick"  # profile', metadata={"tags": ["parameters"]})
        cells = [parameters, nbformat.v4.new_code_cell(source)]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), notebooks / "layers.ipynb")

    write("print('good')")
    output = book.execute("layers", "smoke", {})
    good = output.read_bytes()
    assert book.execute("layers", "smoke", {}) == output  # nothing has changed: not executed again
    assert output.read_bytes() == good
    write("1 / 0")
    with pytest.raises(RunError, match=r"layers.ipynb failed in cell \[3\]: ZeroDivisionError.*'1 / 0'"):
        book.execute("layers", "smoke", {})
    assert output.read_bytes() == good
    assert [path.name for path in output.parent.iterdir()] == ["layers.ipynb"]


def test_changed_parameters_get_a_page_of_their_own(monkeypatch, tmp_path):
    import papermill

    monkeypatch.setattr(book, "EXECUTED", tmp_path)

    def pretend(source, target, parameters, **_):
        Path(target).write_bytes(Path(source).read_bytes())

    monkeypatch.setattr(papermill, "execute_notebook", pretend)
    paths = {
        book.execute("layers", "smoke", changes)
        for changes in ({}, {"decoder_epochs": 2}, {"seeds": [0, 1]}, {"seeds": [1]})
    }
    assert len(paths) == 4
    assert tmp_path / "smoke" / "layers.ipynb" in paths


def test_kernels_that_start_at_once_never_share_a_socket():
    found = [book.kernel_sockets() for _ in range(20)]
    assert len({kernel.KernelManager.ip for kernel in found}) == 20


def test_kernels_use_the_network_where_the_path_of_a_socket_is_too_long(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", f"/{'long' * 20}")
    assert not book.kernel_sockets()


WITHOUT_TORCH = {
    "help": ["--help"], "help of a command": ["explain", "--help"], "unknown command": ["trian"],
    "status": ["status"], "unknown notebook": ["run", "nothing"], "unknown profile": ["train", "--profile", "nope"],
    "unknown profile of the book": ["book", "--profile", "nope"], "no record to merge": ["merge", "nowhere"],
    "unknown profile of a run": ["run", "layers", "--profile", "nope"],
    "unknown profile of a study": ["study", "export", "--out", "s", "--profile", "nope"],
    "empty option": ["train", "--only", ""], "bad budget": ["train", "--time-budget", "soon"],
    "list of cells": ["train", "--profile", "paper", "--list"], "unknown experiment": ["train", "--only", "nothing"],
    "unknown parameter": ["run", "layers", "--set", "foo=1"], "bad workers": ["train", "--workers", "0"],
    "value out of range": ["run", "srae", "--set", "targets=[10]"],
    "bad change": ["train", "--set", "seeds"], "bad size": ["explain", "--model", "m", "--arch", "a:b", "--layer", "l",
    "--images", "i", "--size", "1x1"],
}  # fmt: skip


@pytest.mark.parametrize("case", WITHOUT_TORCH)
def test_help_and_refusals_answer_without_importing_torch(case):
    heavy = {"torch", "matplotlib"} | (set() if case in ("status", "no record to merge") else {"numpy", "pandas"})
    code = (
        "import sys\nfrom cladec_companion.commands import main as cli\n"
        f"sys.argv = ['cladec', *{WITHOUT_TORCH[case]!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        f"print(sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stderr.splitlines()[-1] == "[]"


OF_A_CHECKOUT = [
    ["run", "layers"], ["book"], ["pdf"], ["archive"], ["train"], ["merge", "x"], ["status"],
    ["study", "export", "--out", "x"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", OF_A_CHECKOUT, ids=lambda arguments: arguments[0])
def test_a_command_that_needs_a_checkout_says_so_in_one_line(arguments, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(shared, "CHECKOUT", tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, err = cladec(monkeypatch, capsys, *arguments)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "needs a checkout" in err
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_and_one_of_ours_is_a_fault(capsys):
    def needs(name):
        @shared.told
        def command():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        return command

    with pytest.raises(typer.Exit):
        needs("papermill.execute")()
    assert "'papermill.execute' is missing; pip install 'cladec[book]'" in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError):
        needs("cladec_core.nothing")()


def test_a_message_is_one_printable_line_of_bounded_length(capsys):
    shared.tell("first\nsecond\x1b[31m\u202e" + "x" * 100_000)
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert told.startswith("cladec: first second [31m x")
    assert len(told) < 3 * shared.LONGEST
    assert told.strip().isprintable()


def run(*arguments, **options):
    command = [sys.executable, "-m", "cladec_companion", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, **options)


def test_output_that_is_ascii_takes_every_message():
    found = run("run", "α", env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert found.returncode == 2
    assert "\\u03b1" in found.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_device_and_a_closed_pipe_are_no_traceback():
    with open("/dev/full", "w") as full:
        found = run("--help", stdout=full)
    assert found.returncode == 1
    assert found.stderr.splitlines() == ["cladec: the output cannot be written: No space left on device"]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        found = run("--help", stdout=writer)
    finally:
        os.close(writer)
    assert found.stderr == ""


def test_a_list_of_many_cells_names_each_record_once(monkeypatch, capsys):
    asked, record_name = [], Settings.record_name
    monkeypatch.setattr(Settings, "record_name", lambda self: asked.append(self.experiment) or record_name(self))
    seeds = ",".join(map(str, range(200)))
    changes = ["--only", "layers", "--set", f"seeds=[{seeds}]"]
    code, out, _ = cladec(monkeypatch, capsys, "train", "--profile", "smoke", "--list", *changes)
    assert code == 0
    lines = out.splitlines()
    assert len(lines) >= 200
    assert all(line.startswith("smoke") and "/layers\tlayers/digits/" in line for line in lines)
    assert asked == ["layers"]
