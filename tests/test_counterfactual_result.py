"""A result keeps its rows together: parts of it, several put together, on disk and back without a difference."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from counterfactual_results import say, tiny_models, tiny_result
from lis_toolkit.counterfactuals.paths import lines, target_margins
from lis_toolkit.counterfactuals.result import Counterfactuals
from lis_toolkit.counterfactuals.result_files import FORMAT, MANIFEST, TABLE, TENSORS
from lis_toolkit.counterfactuals.table import COLUMNS, KINDS, as_table
from lis_toolkit.errors import CheckpointError, LisError

FLOATS = [name for name, kind in KINDS.items() if kind is float]


def same(one, other):
    """Whether two results are equal to the last bit."""
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    for name in ("r_start", "r_end", "amounts", "logits", "images"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.dtype == b.dtype and np.array_equal(a.numpy(), b.numpy(), equal_nan=True), name
    assert one.classes == other.classes
    assert (one.settings, one.provenance) == (other.settings, other.provenance)


@pytest.fixture(scope="module")
def result():
    return tiny_result(12, images=True)


@st.composite
def any_results(draw):
    """Results of any size with any names and numbers, NaN and infinities included."""
    n, p, k, r = (draw(st.integers(low, 5)) for low in (0, 2, 1, 1))
    classes = draw(st.lists(st.text(max_size=6), min_size=k, max_size=k, unique=True))
    makers = {
        int: st.integers(-(2**63), 2**63 - 1),
        bool: st.booleans(),
        float: st.floats(),
        str: st.text(max_size=8),
    }
    table = {name: draw(st.lists(makers[kind], min_size=n, max_size=n)) for name, kind in KINDS.items()}
    table["target"] = draw(st.lists(st.sampled_from(classes), min_size=n, max_size=n))
    images = draw(st.sampled_from([None, torch.rand(n + 1, 1, 2, 2)]))
    if images is not None:
        table["start"] = list(range(n))
    random = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    logits = torch.randn(n, p, k, generator=random)
    logits[logits > 2] = torch.nan
    return Counterfactuals(
        table, torch.rand(n, r, generator=random), torch.rand(n, r, generator=random), torch.linspace(0, 1, p), logits,
        images, tuple(classes), {"margin": draw(st.floats(allow_nan=False)), "list": [1, None, "ü"]}, {"hash": "0"},
    )  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_results())
def test_what_was_saved_comes_back_to_the_last_bit(tmp_path, made):
    made.save(tmp_path / "out")  # each replaces the one before
    same(made, Counterfactuals.load(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([TABLE, TENSORS, MANIFEST])


def test_a_folder_of_something_else_is_not_touched(tmp_path, result):
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("mine")
    with pytest.raises(LisError, match="holds something else"):
        result.save(other)
    assert [path.name for path in other.iterdir()] == ["chapter.txt"]
    (other / MANIFEST).write_text('{"format": "a sweep"}')
    with pytest.raises(LisError, match="holds something else"):
        result.save(other)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(LisError, match="it is a file"):
        result.save(file)
    (tmp_path / "empty").mkdir()
    result.save(tmp_path / "empty")
    (tmp_path / "empty" / "sheet.png").write_text("a picture")
    result.subset([0]).save(tmp_path / "empty")
    assert (tmp_path / "empty" / "sheet.png").exists()
    assert len(Counterfactuals.load(tmp_path / "empty")) == 1


def test_settings_that_are_no_json_are_refused_before_anything_is_written(tmp_path, result):
    odd = Counterfactuals(**{**vars(result), "settings": {"model": torch.nn.Identity()}})
    with pytest.raises(LisError, match="not JSON"):
        odd.save(tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [TABLE, TENSORS, MANIFEST])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "a bit", "text", "folder"])
def test_damage_of_any_file_is_seen(tmp_path, result, name, damage):
    result.save(tmp_path / "out")
    path = tmp_path / "out" / name
    data = path.read_bytes()
    if damage in ("missing", "folder"):
        path.unlink()
        if damage == "folder":
            path.mkdir()
    elif damage == "a bit":
        middle = data.index(b'"margin"') + 11 if name == MANIFEST else len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    else:
        path.write_bytes({"empty": b"", "truncated": data[: len(data) // 2], "text": b"[1, 2]"}[damage])
    with pytest.raises(CheckpointError):
        Counterfactuals.load(tmp_path / "out")


def forge(folder, told=None):
    """Write a manifest whose sums fit the files: what it tells must be checked all the same."""
    from lis_toolkit.files import content_key, sha256_file

    manifest = {**json.loads((folder / MANIFEST).read_text()), **(told or {})}
    manifest["files"] = {name: sha256_file(folder / name) for name in (TABLE, TENSORS)}
    manifest["key"] = content_key(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_files_that_do_not_fit_are_refused_though_their_sums_do(tmp_path, result):
    result.save(tmp_path / "whole")

    def copy(name):
        return shutil.copytree(tmp_path / "whole", tmp_path / name)

    def refused(folder, message):
        with pytest.raises(CheckpointError, match=message):
            Counterfactuals.load(folder)

    forge(copy("same"))
    same(result, Counterfactuals.load(tmp_path / "same"))
    forge(copy("format"), {"format": "lis_toolkit counterfactuals 99"})
    refused(tmp_path / "format", "expected")
    forge(copy("rows"), {"rows": 3})
    refused(tmp_path / "rows", "not a whole result")
    forge(copy("classes"), {"classes": ["disc", "ring"]})
    refused(tmp_path / "classes", "logits has shape")
    forge(copy("targets"), {"classes": ["disc", "rings", "crosses"]})
    refused(tmp_path / "targets", "none of the classes")
    forge(copy("kinds"), {"classes": "disc"})
    refused(tmp_path / "kinds", "classes")

    table = pd.read_parquet(tmp_path / "whole" / TABLE)
    tables = {
        "column": table.drop(columns="way"),
        "order": table[table.columns[::-1]],
        "type": table.assign(steps=table["steps"].astype(float)),
        "short": table.iloc[:4],
    }
    for name, changed in tables.items():
        changed.to_parquet(copy(name) / TABLE)
        forge(tmp_path / name)
        refused(tmp_path / name, "not a table of counterfactuals|not a whole result")
    tensors = load_file(tmp_path / "whole" / TENSORS)
    for name, changed in (("tensor", {k: v for k, v in tensors.items() if k != "r_end"}),
                          ("shape", {**tensors, "r_end": tensors["r_end"][:, :2].contiguous()})):  # fmt: skip
        save_file(changed, copy(name) / TENSORS, metadata={"lis": json.dumps({"format": FORMAT})})
        forge(tmp_path / name, {"shapes": {key: list(value.shape) for key, value in changed.items()}})
        refused(tmp_path / name, "not a whole result|r_end has shape")
    refused(tmp_path / "nowhere", "there is no")


def test_fields_that_do_not_belong_together_are_refused(result):
    fields = vars(result)
    for change, message in (
        ({"r_end": result.r_end[:-1]}, "r_end has shape"),
        ({"logits": result.logits[:, :, :2]}, "logits has shape"),
        ({"r_start": result.r_start.int()}, "r_start is Tensor"),
        ({"amounts": result.amounts.flip(0)}, "rise from 0 to 1"),
        ({"images": result.images[:1]}, "starts beyond the 1 images"),
        ({"classes": ("disc", "ring", "square")}, "'cross'"),
        ({"table": result.table.drop(columns="way")}, "lacks .'way'."),
        ({"table": result.table.assign(more=1)}, "has .'more'."),
    ):
        with pytest.raises(LisError, match=message):
            Counterfactuals(**{**fields, **change})
    with pytest.raises(LisError, match="column steps"):
        as_table({**result.table, "steps": [0.5] * len(result)})
    with pytest.raises(LisError, match="different lengths"):
        as_table({**result.table, "steps": [1]})
    with pytest.raises(LisError, match="column way has None"):
        as_table({**result.table, "way": [None] * len(result)})


def test_some_rows_keep_all_that_is_theirs(result):
    part = result.subset([7, 2])
    assert list(part.table.index) == [0, 1] and tuple(part.table) == COLUMNS
    for place, row in enumerate((7, 2)):
        assert part.table.loc[place].tolist()[:9] == result.table.loc[row].tolist()[:9]
        assert part.table.loc[place, "renders"] == row
        for name in ("r_start", "r_end", "logits"):
            assert torch.equal(getattr(part, name)[place], getattr(result, name)[row])
    assert torch.equal(part.margins, result.margins[[7, 2]])
    found = result.successes
    assert found.table["success"].all() and len(found) == result.table["success"].sum() > 0
    same(found, result.subset(result.table["success"]))
    same(result.subset(slice(1, 4)), result.subset(torch.tensor([1, 2, 3])))
    assert len(result.subset([])) == 0 and "0 counterfactuals of 0" in str(result.subset([]))
    for rows, message in (
        ([12], "no row 12"),
        ([-1], "no row -1"),
        ([True], "1 truth values"),
        ([0.5], "no row 0.5"),
    ):
        with pytest.raises(LisError, match=message):
            result.subset(rows)


def test_margins_and_paths_are_those_of_plain_loops(result):
    margins, paths = result.margins, result.paths()
    for row, target in enumerate(result.table["target"]):
        k = result.classes.index(target)
        for p, amount in enumerate(result.amounts.tolist()):
            logits = result.logits[row, p].tolist()
            assert float(margins[row, p]) == pytest.approx(
                logits[k] - max(logits[:k] + logits[k + 1 :]), abs=1e-6
            )
            plain = (1 - amount) * result.r_start[row] + amount * result.r_end[row]
            assert torch.allclose(paths[row, p], plain, atol=1e-6)
    assert torch.equal(paths[:, 0], result.r_start) and torch.equal(paths[:, -1], result.r_end)
    assert (paths >= 0).all()
    beyond = lines(result.r_start, result.r_end, torch.tensor([1.5]))[:, 0]
    assert torch.allclose(beyond, (1.5 * result.r_end - 0.5 * result.r_start).clamp_min(0), atol=1e-6)
    assert target_margins(torch.tensor([[3.0]]), torch.tensor([0])).tolist() == [3.0]


def test_pictures_are_those_whose_logits_were_noted(result):
    generator, classifier, _, link = tiny_models()
    x = result.render(generator, link, batch_size=7)
    assert x.shape == (12, 9, 1, 16, 16)
    assert torch.allclose(
        classifier.logits(x.flatten(0, 1)).reshape(result.logits.shape), result.logits, atol=1e-4
    )
    two = result.render(generator, link, rows=[5, 1], amounts=[1.0, 0.25])
    assert torch.allclose(two, x[[5, 1]][:, [8, 2]], atol=1e-5)
    assert result.render(generator, link, rows=[]).shape == (0, 9, 1, 16, 16)
    with pytest.raises(LisError, match="finite numbers"):
        result.render(generator, link, amounts=[float("nan")])
    with pytest.raises(LisError, match="no row 99"):
        result.render(generator, link, rows=[99])
    from tiny import tiny_generator

    with pytest.raises(LisError, match="does not belong to these models"):
        result.render(tiny_generator(5), link)


def test_results_are_put_together_with_their_starts(result):
    other = tiny_result(6, seed=3, images=True)
    both = Counterfactuals.concat([result, other])
    assert len(both) == 18 and len(both.images) == len(result.images) + len(other.images)
    assert both.table["start"].tolist() == [
        *result.table["start"], *(other.table["start"] + len(result.images))
    ]  # fmt: skip
    same(Counterfactuals(**{**vars(both.subset(slice(0, 12))), "images": result.images}), result)
    plain = [Counterfactuals(**{**vars(one), "images": None}) for one in (result, other)]
    starts = Counterfactuals.concat(plain).table["start"]
    assert starts.iloc[12:].tolist() == (other.table["start"] + result.table["start"].max() + 1).tolist()
    again = Counterfactuals.concat([result.subset([0, 1]), result.subset([2])], same_starts=True)
    same(again, result.subset([0, 1, 2]))
    assert torch.equal(again.images, result.images)


def test_results_that_can_not_be_put_together_are_refused(result):
    fields = vars(result)

    def joined(same_starts=False, **change):
        return Counterfactuals.concat([result, Counterfactuals(**{**fields, **change})], same_starts)

    with pytest.raises(LisError, match="other amounts"):
        Counterfactuals.concat([result, tiny_result(3, points=5, images=True)])
    with pytest.raises(LisError, match="other models"):
        joined(provenance={"generator_hash": "another"})
    with pytest.raises(LisError, match="other kind of start"):
        joined(images=None)
    with pytest.raises(LisError, match="other activations"):
        joined(True, r_start=result.r_start + 1)
    with pytest.raises(LisError, match="other images"):
        joined(True, images=result.images / 2)
    with pytest.raises(LisError, match="no result"):
        Counterfactuals.concat([])
    mixed = joined(settings={**result.settings, "method": "paper"})
    assert mixed.settings == {"margin": 0.0, "parts": [{"method": "by hand"}, {"method": "paper"}]}
    assert joined().settings == result.settings


def test_what_is_printed_counts_what_was_found(result):
    table = result.table.copy()
    table["success"], table["reason"] = (
        [True] * 8 + [False] * 4,
        [""] * 8 + ["start is target"] * 2 + ["far"] * 2,
    )
    text = str(Counterfactuals(**{**vars(result), "table": table}))
    assert text.startswith(
        f"8 counterfactuals of 10 tried (80.0%), {table.start.nunique()} starts, method by hand"
    )
    assert "left out: 2 whose cycled picture" in text and "not found, far: 2" in text
    assert f"distance {table.distance_w[:8].median():.2f} in w" in text
    assert repr(result).startswith("Counterfactuals(") and "\n" not in repr(result)


def test_activations_of_the_hand_made_results_are_what_they_say(result):
    assert torch.allclose(say(result.paths()), result.logits, atol=1e-5)
