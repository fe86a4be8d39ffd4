"""The part labeller without a browser: what it sends, what it takes, and what is on disk then."""

import json
import re
import shutil
import zlib

import numpy as np
import pytest
import torch

from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.parts import LabellingFolder, Legend, choose_pictures, load_masks, segment
from lis_toolkit.parts.mask_files import write_mask
from lis_widgets import PartLabeller
from lis_widgets.assets import STATIC
from tiny import tiny_generator
from tiny_segmenter import tiny_segmenter

LEGEND = Legend(("background", "left", "right"))


@pytest.fixture(scope="module")
def generator():
    return tiny_generator()


@pytest.fixture(scope="module")
def segmenter(generator):
    names = generator.synthesis.layer_names[:3:2]
    w = generator.map(generator.sample_z(6, 0), torch.arange(6) % 3)
    return tiny_segmenter(generator.render_features(w, names)[1], names, generator_hash=generator.hash)


@pytest.fixture
def labeller(generator, segmenter, tmp_path):
    made = PartLabeller(tmp_path / "masks", generator, LEGEND, per_class=2, psi=0.7, segmenter=segmenter)
    made.sent = []
    made.send = lambda content, buffers=None: made.sent.append(content)
    yield made
    made.close()


def state(labeller, name):
    """What a page that opens now is told."""
    return labeller.get_state(name)[name]


def shown(labeller):
    return np.frombuffer(state(labeller, "label_bytes"), np.uint8).reshape(16, 16)


def stroke(labeller, labels, **changes):
    """What the browser sends after a stroke."""
    content = {"kind": "save", "file": labeller.files[labeller.index], "number": 7, "view": "v"}
    content["bases"] = [key(labeller.labels.numpy())]
    labeller._receive(labeller, content | changes, [memoryview(np.ascontiguousarray(labels, dtype=np.uint8))])
    return labeller.sent[-1]


def some(seed=0):
    return np.random.default_rng(seed).integers(0, 3, (16, 16)).astype(np.uint8)


def key(labels):
    return f"{zlib.crc32(labels.tobytes()):08x}"


def test_picture_guess_and_empty_labels_are_sent_at_first(labeller, generator, segmenter):
    p = labeller.folder.pictures[0]
    w = generator.map(generator.z_of_seeds([p.seed]), [p.label], psi=0.7)
    grey = (generator.render(w)[0, 0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    rgb = np.frombuffer(labeller.rgb, np.uint8).reshape(16, 16, 3)
    assert (rgb == grey[:, :, None]).all() and labeller.size == (16, 16)
    guess = np.frombuffer(state(labeller, "guess_bytes"), np.uint8).reshape(16, 16)
    assert (guess == segment(generator, segmenter, w)[0].numpy()).all() and guess.max() == 2
    assert not shown(labeller).any() and not labeller.labels.any()
    assert labeller.names == list(LEGEND.names) and labeller.colours == list(LEGEND.colours)
    assert labeller.marks == [False] * 6 and (labeller.index, labeller.locked, labeller.problem) == (
        0,
        False,
        "",
    )
    assert labeller.titles[1] == "disc, seed 1, psi 0.7" and labeller.place == str(labeller.folder.folder)


def test_every_stroke_is_on_disk_and_answered(labeller):
    for seed in range(3):
        answer = stroke(labeller, some(seed), number=seed)
        assert answer == {
            "kind": "saved", "key": key(some(seed)), "number": seed, "view": "v", "file": labeller.files[0],
        }  # fmt: skip
        assert (load_masks(labeller.folder.folder).labels[0].numpy() == some(seed)).all()
        # A page that is opened later is told the newest labels, though nothing was sent back to this one.
        assert (shown(labeller) == some(seed)).all() and (labeller.labels.numpy() == some(seed)).all()
    assert labeller.marks == [True] + [False] * 5
    assert len(labeller.masks()) == 1


def test_next_and_back_show_what_was_saved(labeller):
    stroke(labeller, some(1))
    before, revision = labeller.rgb, labeller.revision
    labeller._receive(labeller, {"kind": "go", "index": 1}, [])
    assert labeller.index == 1 and labeller.revision == revision + 1 and labeller.rgb != before
    assert not shown(labeller).any()
    stroke(labeller, some(2))
    labeller.go(0)
    assert (shown(labeller) == some(1)).all() and labeller.rgb == before
    assert labeller.marks == [True, True, False, False, False, False]
    for index in (-1, 6, "1", None):
        with pytest.raises(LisError, match="number of a picture"):
            labeller.go(index)
        labeller._receive(labeller, {"kind": "go", "index": index, "view": "v"}, [])
        assert labeller.sent[-1]["kind"] == "refused" and "number of a picture" in labeller.sent[-1]["text"]
    assert labeller.index == 0


def test_opened_again_it_goes_on_with_the_first_that_has_no_mask(labeller, generator, segmenter):
    stroke(labeller, some())
    path = labeller.folder.folder
    again = PartLabeller(path, generator)
    assert (
        again.index == 1 and again.marks[0] and len(again.files) == 6 and state(again, "guess_bytes") == b""
    )
    again.segmenter = segmenter
    assert len(state(again, "guess_bytes")) == 256
    more = PartLabeller(path, generator, per_class=3, psi=0.7)
    assert len(more.files) == 9 and more.files[:6] == again.files
    folder = LabellingFolder(path, generator)
    assert PartLabeller(folder, segmenter=segmenter).folder is folder and folder.segmenter is segmenter
    only = PartLabeller(path / "b", generator, ["a"], pictures=choose_pictures(generator, "ring", 1))
    assert only.files == ["01_1000.png"] and only.names == ["background", "a"]
    with pytest.raises(LisError, match="give a legend"):
        PartLabeller(path / "c", generator)


def test_a_paint_programs_change_is_told_and_not_overwritten(labeller):
    stroke(labeller, some(1))
    path = labeller.folder.folder / labeller.files[0]
    write_mask(path, torch.from_numpy(some(2)), LEGEND)
    answer = stroke(labeller, some(3))
    assert (
        answer["kind"] == "refused" and answer["changed"] and "changed by another program" in answer["text"]
    )
    assert (load_masks(labeller.folder.folder).labels[0].numpy() == some(2)).all()
    labeller._receive(labeller, {"kind": "reload"}, [])
    assert (shown(labeller) == some(2)).all()
    assert stroke(labeller, some(3))["kind"] == "saved"


def test_a_damaged_mask_can_be_looked_past_but_not_painted_over(labeller):
    path = labeller.folder.folder / labeller.files[1]
    path.write_bytes(b"no picture")
    labeller.go(1)
    assert labeller.locked and "not a PNG file" in labeller.problem
    answer = stroke(labeller, some())
    assert answer["kind"] == "refused" and path.read_bytes() == b"no picture"
    labeller.go(2)
    assert not labeller.locked and labeller.problem == ""
    path.unlink()
    labeller.go(1)
    assert not labeller.locked and stroke(labeller, some())["kind"] == "saved"


def test_strokes_of_another_picture_count_only_on_what_is_in_its_file(labeller):
    stroke(labeller, some(1))
    labeller.go(1)
    old = labeller.files[0]
    answer = stroke(labeller, some(2), file=old, bases=[key(some(9))])
    assert answer["kind"] == "refused" and answer["changed"]
    assert stroke(labeller, some(2), file=old, bases=[key(some(9)), key(some(1))])["kind"] == "saved"
    assert (load_masks(labeller.folder.folder).labels[0].numpy() == some(2)).all()
    assert not shown(labeller).any()  # the present picture is another one
    labeller._receive(labeller, {"kind": "keys", "files": [old, labeller.files[1]], "view": "v"}, [])
    nothing = key(np.zeros((16, 16), np.uint8))
    assert labeller.sent[-1] == {
        "kind": "keys",
        "view": "v",
        "keys": {old: key(some(2)), labeller.files[1]: nothing},
    }


def test_what_another_window_painted_is_not_painted_over_unseen(labeller):
    blank = key(np.zeros((16, 16), np.uint8))
    assert stroke(labeller, some(1), bases=[blank])["kind"] == "saved"
    answer = stroke(labeller, some(2), bases=[blank], view="w")  # painted on what was there before
    assert answer["kind"] == "refused" and answer["changed"] and answer["view"] == "w"
    assert (load_masks(labeller.folder.folder).labels[0].numpy() == some(1)).all()
    assert stroke(labeller, some(2), bases=[blank, key(some(1))], view="w")["kind"] == "saved"


def test_a_list_that_cannot_be_written_is_told_and_the_next_stroke_mends_it(labeller, monkeypatch):
    def full(self):
        raise LisError("can't write legend.json: no space left")

    monkeypatch.setattr(LabellingFolder, "_write_legend", full)
    assert "no space left" in stroke(labeller, some(1))["text"]
    monkeypatch.undo()
    assert stroke(labeller, some(2))["kind"] == "saved"
    assert (load_masks(labeller.folder.folder).labels[0].numpy() == some(2)).all()


def test_another_folder_in_the_same_place_is_told_apart(labeller, generator, tmp_path):
    again = PartLabeller(labeller.folder.folder, generator)
    assert again.identity == labeller.identity and again.place == labeller.place
    other = PartLabeller(tmp_path / "b", generator, ["left", "other"], per_class=1)
    photographs = Photographs(torch.rand(3, 1, 16, 16), torch.tensor([0, 1, 2]), ("a", "b", "c"))
    real = PartLabeller(tmp_path / "c", None, LEGEND, photographs=photographs)
    assert len({labeller.identity, other.identity, real.identity}) == 3


def test_a_folder_that_goes_away_is_made_again_with_what_is_painted(labeller):
    stroke(labeller, some(1))
    shutil.rmtree(labeller.folder.folder)
    assert stroke(labeller, some(2))["kind"] == "saved"
    assert (load_masks(labeller.folder.folder).labels[0].numpy() == some(2)).all()
    assert len(LabellingFolder(labeller.folder.folder, labeller.folder._shown.generator)) == 6
    shutil.rmtree(labeller.folder.folder)
    labeller.folder.folder.write_text("a file in its place")
    answer = stroke(labeller, some(3))
    assert answer["kind"] == "refused" and "can't write" in answer["text"]


@pytest.mark.parametrize("content", [None, "save", {}, {"kind": "x" * 500}, {"kind": ["save"]}, 3])
def test_malformed_messages_are_passed_over_with_a_note(labeller, content):
    labeller._receive(labeller, content, [])
    assert labeller.note.startswith("A message of the browser was passed over") and len(labeller.note) < 200
    assert not labeller.sent and not any(labeller.marks)


@pytest.mark.parametrize(
    ("content", "buffers", "text"),
    [
        ({}, [], "sent 0 labels; 16 x 16"),
        ({}, [b"\0" * 255], "sent 255 labels"),
        ({}, [b"\3" * 256], "from 3 to 3"),
        ({"file": "../x.png"}, [b"\0" * 256], "no picture '../x.png'"),
        ({"file": ["a"]}, [b"\0" * 256], "no picture"),
        ({"file": "01_1000_psi0.7.png", "bases": 3}, [b"\0" * 256], "was changed since"),
    ],
)
def test_strokes_that_make_no_sense_are_refused(labeller, content, buffers, text):
    file = labeller.files[0]
    asked = {"kind": "save", "file": file, "bases": [key(shown(labeller))], "number": 1, "view": "v"}
    labeller._receive(labeller, asked | content, buffers)
    assert labeller.sent[-1]["kind"] == "refused" and text in labeller.sent[-1]["text"]
    assert not any(labeller.folder.labelled)


def test_a_segmenter_that_fails_leaves_the_labelling(generator, segmenter, tmp_path):
    x = torch.rand(3, 1, 16, 16)
    photographs = Photographs(x, torch.tensor([0, 0, 1]), ("one", "two"))
    labeller = PartLabeller(tmp_path, None, LEGEND, per_class=1, photographs=photographs, segmenter=segmenter)
    assert labeller.titles == ["one, photograph 0", "two, photograph 2"]
    assert "no guess" in labeller.note and "reads feature maps" in labeller.note and not labeller.locked
    assert state(labeller, "guess_bytes") == b""
    assert [p.split for p in labeller.folder.pictures] == ["held out"] * 2
    labeller.segmenter = tiny_segmenter([x])
    assert labeller.note == "" and len(state(labeller, "guess_bytes")) == 256


def test_a_better_segmenter_does_not_touch_what_was_painted(labeller, generator, segmenter):
    stroke(labeller, some(1))
    labeller.segmenter = None
    assert (shown(labeller) == some(1)).all() and state(labeller, "guess_bytes") == b""


def test_guesses_of_what_is_left_are_taken_and_shown(labeller):
    labeller.go(1)
    stroke(labeller, some(1))
    labeller.go(0)
    assert labeller.take_guesses() == 5 and labeller.marks == [True] * 6
    assert (shown(labeller) == np.frombuffer(state(labeller, "guess_bytes"), np.uint8).reshape(16, 16)).all()
    assert (labeller.masks().labels[1].numpy() == some(1)).all()
    assert stroke(labeller, some(2))["kind"] == "saved"


def test_where_all_is_labelled_it_begins_with_the_first(labeller, generator):
    labeller.take_guesses()
    assert PartLabeller(labeller.folder.folder, generator).index == 0


def test_a_picture_that_cannot_be_made_is_told_and_not_painted(labeller, monkeypatch):
    def broken(i):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(labeller.folder, "rgb", broken)
    labeller.go(1)
    assert labeller.locked and "out of memory" in labeller.problem and labeller.rgb == bytes(3 * 16 * 16)
    assert stroke(labeller, some())["kind"] == "refused" and not any(labeller.folder.labelled)
    monkeypatch.undo()
    labeller.reload()
    assert not labeller.locked and stroke(labeller, some())["kind"] == "saved"


def test_exported_pages_show_picture_and_parts(labeller):
    stroke(labeller, some(1))
    data, _ = labeller._repr_mimebundle_()
    assert data["text/html"].count("data:image/png;base64,") == 2 and "1 of 6 labelled" in data["text/html"]


def test_the_module_is_in_readable_pieces_and_loads_nothing():
    names = sorted(path.name for path in STATIC.glob("labeller*.js"))
    assert len(names) == 6
    for name in names:
        text = (STATIC / name).read_text()
        assert len(text.splitlines()) <= 400, name
        assert not re.search(r"https?:|import\s*\(|^import |\beval\b|url\(", text, re.M), name
        assert text.startswith("//")
        assert text in PartLabeller._esm
    assert json.dumps(PartLabeller._css).count("var(--lis-") > 20
