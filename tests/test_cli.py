"""The command line: tables, one-line errors, exit codes, nothing half-written."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lis_toolkit import cli, load_generator, zoo
from lis_toolkit.errors import LisError


def run(*arguments):
    """Run `lis` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lis_toolkit.cli", *arguments], capture_output=True, text=True
    )


def only_message(capsys):
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err.strip()


def test_version_and_help(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == "lis-toolkit 0.1.0\n"
    for command in ("demo", "models", "fit"):
        with pytest.raises(SystemExit) as stop:
            cli.main([command, "--help"])
        assert stop.value.code == 0 and "usage: lis" in capsys.readouterr().out


def test_every_option_explains_itself():
    subcommands = next(a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for command in subcommands.choices.values():
        assert all(action.help for action in command._actions)


def test_models_lists_the_zoo(capsys):
    assert cli.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["name", "kind", "from", "size"]
    end = lines.index("")  # behind it, torchvision's names
    assert any("densenet201" in line for line in lines[end:])
    for line, entry in zip(lines[1:end], zoo.entries(), strict=True):
        assert line.startswith(entry.name) and entry.kind in line and entry.licence in line
        assert ("bundled" in line) == (entry.url is None)
        if entry.sha256:
            assert entry.sha256[:12] in line
    # Columns stand below each other: every cell starts where its heading does.
    for heading, cell in (("kind", lambda entry: entry.kind), ("licence", lambda entry: entry.licence)):
        place = lines[0].index(heading)
        assert all(
            line[place:].startswith(cell(entry))
            for line, entry in zip(lines[1:end], zoo.entries(), strict=True)
        )


def test_no_or_an_unknown_command_is_a_usage_error(capsys):
    for arguments in (
        [],
        ["demos"],
        ["demo"],
        ["fit", "--method", "lasso", "--out", "x"],
        ["demo", "--seed", "x"],
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
        assert "usage: lis" in only_message(capsys)


def test_errors_are_one_message_and_exit_code_2(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    assert cli.main(["demo", "--out", str(tmp_path / "file")]) == 2
    message = only_message(capsys)
    assert message.startswith("lis demo: ") and "it is a file" in message and len(message.splitlines()) == 1
    assert cli.main(["demo", "--out", str(tmp_path / "demo"), "--generator", "fashio"]) == 2
    assert "Did you mean 'fashion'?" in only_message(capsys)
    assert cli.main(["fit", "--out", str(tmp_path / "l.safetensors"), "--classifier", "fashon"]) == 2
    assert "Did you mean" in only_message(capsys)
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_interruption_and_bugs_are_told_apart(capsys, monkeypatch):
    def stop(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_models_command", stop)
    assert cli.main(["models"]) == 130
    assert only_message(capsys) == "lis models: interrupted; nothing was written."

    def bug(options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "run_models_command", bug)
    with pytest.raises(RuntimeError):  # a bug keeps its traceback
        cli.main(["models"])

    def wrong(options):
        raise LisError("the thing has 3, 4 were expected.")

    monkeypatch.setattr(cli, "run_models_command", wrong)
    assert cli.main(["models"]) == 2
    assert only_message(capsys) == "lis models: the thing has 3, 4 were expected."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(tmp_path, number):
    out = tmp_path / "demo"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    process = subprocess.Popen(
        [sys.executable, "-m", "lis_toolkit.cli", "demo", "--out", str(out), "--per-class", "100000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background jobs pass over Ctrl-C
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while (
            process.poll() is None and len(os.listdir(out)) < 2 and time.monotonic() < deadline
        ):  # until it has begun to work
            time.sleep(0.1)
        begun = len(os.listdir(out)) == 2
        if begun:
            time.sleep(2)
            process.send_signal(number)
            output, errors = process.communicate(timeout=60)
    finally:
        process.kill()  # one that goes on for hours must not
    assert begun, process.communicate()[1]
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "lis demo: interrupted; nothing was written."
    assert "Traceback" not in errors and output == ""
    assert os.listdir(out) == ["mine.txt"]


def test_fit_writes_a_link_that_knows_its_models(tmp_path):
    from lis_toolkit import load_classifier, load_generator
    from lis_toolkit.link import Link

    path = tmp_path / "new" / "link.safetensors"
    done = run("fit", "--out", str(path), "--per-class", "15", "--classes", "Coat", "1", "Bag", "--seed", "4")
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout and "R2" in done.stdout.replace("R²", "R2")
    link = Link.load(path)
    link.check(load_generator("fashion"), load_classifier("fashion"))
    assert os.listdir(path.parent) == ["link.safetensors"]
    again = run(
        "fit",
        "--out",
        str(tmp_path / "b"),
        "--per-class",
        "15",
        "--classes",
        "Coat",
        "1",
        "Bag",
        "--seed",
        "4",
    )
    assert again.returncode == 0
    assert (Link.load(tmp_path / "b").A == link.A).all()
    assert json.dumps(link.provenance)


def test_a_reader_that_closes_the_pipe_ends_it_quietly():
    command = [sys.executable, "-m", "lis_toolkit.cli", "models"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 141
    assert errors == ""


def test_fit_of_models_that_name_their_classes_differently(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    other = str(tmp_path / "other.safetensors")
    assert run("convert", "fashion", other, "--classes", str(tmp_path / "names.txt")).returncode == 0
    fit = (
        "fit",
        "--generator",
        other,
        "--out",
        str(tmp_path / "l"),
        "--per-class",
        "10",
        "--classes",
        "b",
        "c",
    )
    refused = run(*fit)
    assert refused.returncode == 2 and "lis convert IN OUT --classes NAMES" in refused.stderr
    done = run(*fit, "--keep", "all")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "l").exists()


def test_convert_says_what_it_wrote_and_what_it_can_not_read(tmp_path, capsys):
    target = tmp_path / "mine.safetensors"
    names = tmp_path / "names"
    names.write_text("\n".join(f"thing {i}" for i in range(10)))
    assert cli.main(["convert", "fashion", str(target), "--classes", str(names)]) == 0
    assert f"{target}: 2.5 MB, from fashion" in capsys.readouterr().out
    assert load_generator(target).classes[3] == "thing 3"
    assert cli.main(["convert", "fashion", str(tmp_path / "other.pkl")]) == 2
    assert ".safetensors" in capsys.readouterr().err and not (tmp_path / "other.pkl").exists()
    assert cli.main(["convert", "fashion", str(target), "--classes", "imagnet"]) == 2
    assert "one class name a line, or imagenet or cifar10" in capsys.readouterr().err


def test_sweep_with_companions_and_rank(tmp_path, capsys, monkeypatch):
    import torch

    from lis_toolkit import collect_pairs, companion_directions, fit_link, load_classifier
    from lis_toolkit.sweep import Sweep, command
    from lis_toolkit.sweep.samples import Samples

    monkeypatch.setattr(command, "COMPANION_PAIRS", 12)
    generator, classifier = load_generator("fashion"), load_classifier("fashion")
    classes = ["Pullover", "Bag"]
    pairs = collect_pairs(generator, classifier, classes, 12, seed=3)
    fit_link(pairs, method="ridge", penalty=0.1).save(tmp_path / "link.safetensors")
    asked = ["--link", str(tmp_path / "link.safetensors"), "--out", str(tmp_path / "sweep"), "--samples", "6"]
    asked += ["--units", "0-2", "--classes", *classes, "--steps", "2", "--seed", "3", "--companions"]
    assert cli.main(["sweep", *asked]) == 0
    sweep = Sweep.open(tmp_path / "sweep")
    assert sweep.complete and len(sweep) == len(sweep.units) * 12 * 2
    directions = Samples.load(tmp_path / "sweep" / "samples.safetensors")[2]
    torch.testing.assert_close(directions, companion_directions(pairs))
    capsys.readouterr()
    assert cli.main(["rank", str(tmp_path / "sweep"), "--part", "torso", "--measure", "luminance"]) == 0
    assert "torso: luminance" in capsys.readouterr().out
    assert cli.main(["rank", str(tmp_path / "sweep"), "--part", "slevee"]) == 2
    assert "Did you mean 'sleeve'" in only_message(capsys)
    assert cli.main(["sweep", *asked[:-1]]) == 2  # alone, into the folder of a sweep with companions
    assert "directions" in only_message(capsys)
