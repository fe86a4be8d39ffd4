"""A folder of masks in the making: what is on disk at every moment, and what is never overwritten."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.files import save_tensors
from lis_toolkit.parts import (
    LabelledPicture,
    LabellingFolder,
    Legend,
    MaskChangedError,
    PartMasks,
    choose_pictures,
    labelling_folder,
    load_masks,
    save_masks,
    segment,
)
from lis_toolkit.parts.mask_files import content_key, write_mask
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
def folder(generator, segmenter, tmp_path):
    pictures = choose_pictures(generator, per_class=2, psi=0.7)
    return LabellingFolder.begin(
        tmp_path / "masks", LEGEND, pictures, generator, segmenter=segmenter, made="by me"
    )


def random_labels(seed=0):
    return torch.randint(0, 3, (16, 16), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def files(folder):
    return sorted(path.name for path in folder.folder.iterdir())


def test_pictures_are_chosen_by_class_and_seed(generator):
    chosen = choose_pictures(generator, ["ring", "cross"], per_class=2, split="held out")
    assert [(p.file, p.label, p.seed, p.psi, p.split) for p in chosen] == [
        ("01_1000.png", 1, 1000, 1.0, "held out"), ("01_1001.png", 1, 1001, 1.0, "held out"),
        ("02_2000.png", 2, 2000, 1.0, "held out"), ("02_2001.png", 2, 2001, 1.0, "held out"),
    ]  # fmt: skip
    assert choose_pictures(generator, per_class=5)[:2] == choose_pictures(generator, "disc", per_class=2)
    assert [p.file for p in choose_pictures(generator, "disc", seeds=[7, 3], psi=0.5)] == [
        "00_0007_psi0.5.png", "00_0003_psi0.5.png",
    ]  # fmt: skip
    plain = tiny_generator(classes=(), c_dim=0, mapping="unconditional")
    assert [(p.file, p.label) for p in choose_pictures(plain, per_class=2)] == [
        ("0000.png", None),
        ("0001.png", None),
    ]
    with pytest.raises(LisError, match="has no classes"):
        choose_pictures(plain, ["disc"])
    for changes, message in (
        ({"classes": "rong"}, "Did you mean 'ring'"),
        ({"seeds": []}, "seeds are"),
        ({"seeds": [1, 1]}, "each once"),
        ({"seeds": [-1]}, "a seed is -1"),
        ({"per_class": 0}, "per_class is 0"),
        ({"psi": float("nan")}, "psi is nan"),
        ({"split": "held-out"}, "Did you mean 'held out'"),
    ):
        with pytest.raises(LisError, match=message):
            choose_pictures(generator, **changes)


def test_only_what_was_saved_is_a_mask(folder, generator):
    assert files(folder) == ["to-label.json"] and folder.labelled == (False,) * 6
    with pytest.raises(LisError, match="none of the 6 pictures"):
        folder.masks()
    labels = random_labels()
    for i in (4, 1):
        assert not folder.labels(i).any()
        folder.save(i, labels.roll(i))
        listed = load_masks(folder.folder)
        assert [p.file for p in listed.pictures] == [
            p.file for p, there in zip(folder.pictures, folder.labelled, strict=True) if there
        ]
    assert folder.labelled == (False, True, False, False, True, False)
    masks = load_masks(folder.folder)
    assert torch.equal(masks.labels, torch.stack([labels.roll(1), labels.roll(4)]))
    assert masks.generator_hash == generator.hash and masks.made == "by me" and masks.legend == LEGEND
    assert torch.equal(masks.latents(generator)[1:], generator.map(generator.z_of_seeds([2000]), 2, psi=0.7))
    with Image.open(folder.folder / folder.pictures[4].file) as image:
        assert image.mode == "P" and (np.array(image) == labels.roll(4).numpy()).all()
    assert not [name for name in files(folder) if name.startswith(".")]


def test_opened_again_it_is_the_same(folder, generator):
    labels = random_labels()
    folder.labels(3)
    folder.save(3, labels)
    again = LabellingFolder(folder.folder, generator)
    assert (
        again.pictures == folder.pictures
        and again.legend == folder.legend
        and again.labelled == folder.labelled
    )
    assert torch.equal(again.labels(3), labels) and not again.labels(0).any()
    assert again.guess(0) is None
    again.save(3, labels * 0)  # all background is a mask too
    assert again.labelled[3] and not again.masks().labels.any()


def test_pictures_and_guesses_are_the_librarys(folder, generator, segmenter):
    for i in (0, 3):
        p = folder.pictures[i]
        w = generator.map(generator.z_of_seeds([p.seed]), [p.label], psi=p.psi)
        x = generator.render(w)[0]
        assert torch.equal(folder.picture(i), x)
        grey = (x[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        assert folder.rgb(i).shape == (16, 16, 3) and (folder.rgb(i) == grey[:, :, None]).all()
        assert torch.equal(folder.guess(i), segment(generator, segmenter, w)[0])
    assert folder.title(3) == "ring, seed 1001, psi 0.7"
    assert len({folder.picture(i).sum().item() for i in range(6)}) == 6


def test_guesses_come_in_the_folders_own_legend(generator, segmenter, tmp_path):
    other = Legend(("background", "tail", "right", "left"))
    folder = labelling_folder(
        tmp_path, generator, other, choose_pictures(generator, "disc", 1), segmenter=segmenter
    )
    p = folder.pictures[0]
    found = segment(generator, segmenter, generator.map(generator.z_of_seeds([p.seed]), [p.label]))[0]
    assert torch.equal(folder.guess(0), torch.tensor([0, 3, 2], dtype=torch.uint8)[found.long()])
    assert found.unique().tolist() == [0, 1, 2]
    folder.segmenter = None
    assert folder.guess(0) is None
    with pytest.raises(LisError, match="none is in both"):
        labelling_folder(tmp_path / "b", generator, ["x"], choose_pictures(generator), segmenter=segmenter)
    assert not (tmp_path / "b").exists()


def test_guesses_are_taken_where_there_is_no_mask(folder):
    folder.labels(1)
    folder.save(1, random_labels())
    assert folder.take_guesses() == 5 and all(folder.labelled)
    for i, labels in enumerate(folder.masks().labels):
        assert torch.equal(labels, random_labels() if i == 1 else folder.guess(i)), i
    assert folder.take_guesses() == 0
    folder.segmenter = None
    with pytest.raises(LisError, match="no segmenter to guess"):
        folder.take_guesses()


def test_a_mask_is_not_overwritten_unseen(folder, generator):
    path = folder.folder / folder.pictures[2].file
    write_mask(path, random_labels(1), LEGEND)  # by a paint program
    before = path.read_bytes()
    with pytest.raises(MaskChangedError, match="has not been read"):
        folder.save(2, random_labels(2))
    assert path.read_bytes() == before
    assert torch.equal(folder.labels(2), random_labels(1))
    folder.save(2, random_labels(2))
    saved = path.read_bytes()
    write_mask(path, random_labels(3), LEGEND)
    os.utime(path, ns=(0, 0))
    with pytest.raises(MaskChangedError, match="changed by another program.*not overwritten"):
        folder.save(2, random_labels(2))
    assert path.read_bytes() != saved
    path.unlink()
    folder.save(2, random_labels(2))  # deleted: nothing to lose
    assert path.read_bytes() == saved
    # Appears while an empty picture is being painted.
    folder.labels(5)
    write_mask(folder.folder / folder.pictures[5].file, random_labels(1), LEGEND)
    with pytest.raises(MaskChangedError):
        folder.save(5, random_labels(2))


def test_a_damaged_mask_stays_as_it_is(folder):
    path = folder.folder / folder.pictures[0].file
    path.write_bytes(b"\x89PNG nothing")
    for _ in range(2):
        with pytest.raises(LisError, match="damaged|can't be read"):
            folder.labels(0)
        with pytest.raises(MaskChangedError):
            folder.save(0, random_labels())
    assert path.read_bytes() == b"\x89PNG nothing"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(16, 15, dtype=torch.uint8), r"\[16, 15\]; whole numbers \[16, 16\]"),
        (torch.zeros(16, 16), "float32"),
        (np.full((16, 16), 3), "from 3 to 3; the legend has 0 to 2"),
        (np.full((16, 16), -1), "from -1 to -1"),
        ([[0]], "list"),
    ],
)
def test_labels_that_are_refused(folder, labels, message):
    folder.labels(0)
    with pytest.raises(LisError, match=message):
        folder.save(0, labels)
    assert files(folder) == ["to-label.json"]


def test_a_failing_disk_leaves_the_old_mask(folder, monkeypatch):
    folder.labels(0)
    folder.save(0, random_labels())
    before = {name: (folder.folder / name).read_bytes() for name in files(folder)}

    def full(path, labels, legend):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("lis_toolkit.parts.labelling.write_mask", full)
    with pytest.raises(LisError, match="no space left"):
        folder.save(0, random_labels(1))
    assert {name: (folder.folder / name).read_bytes() for name in files(folder)} == before
    monkeypatch.undo()
    folder.save(0, random_labels(1))
    assert torch.equal(folder.masks().labels[0], random_labels(1))


def test_a_death_between_mask_and_list_loses_nothing(folder, generator, monkeypatch):
    folder.labels(0)
    folder.save(0, random_labels())
    folder.labels(1)
    monkeypatch.setattr(LabellingFolder, "_write_legend", lambda self: None)
    folder.save(1, random_labels(1))
    monkeypatch.undo()
    assert len(load_masks(folder.folder)) == 1  # readable, though one behind
    again = LabellingFolder(folder.folder, generator)
    assert again.labelled[:2] == (True, True)
    assert len(load_masks(folder.folder)) == len(again.masks()) == 2


def test_what_people_write_into_the_legend_holds(folder, generator):
    for i in range(2):
        folder.labels(i)
        folder.save(i, random_labels(i))
    path = folder.folder / "legend.json"
    path.write_text(path.read_text().replace('"train"', '"held out"', 1).replace('"by me"', '"by us"'))
    folder.labels(2)
    folder.save(2, random_labels(2))
    again = LabellingFolder(folder.folder, generator).masks()
    assert [p.split for p in again.pictures] == ["held out", "train", "train"] and again.made == "by us"
    path.write_text(path.read_text().replace('"left"', '"links"'))
    folder.labels(3)
    with pytest.raises(LisError, match="the parts in .* were changed"):
        folder.save(3, random_labels())
    with pytest.raises(LisError, match="have different parts"):
        LabellingFolder(folder.folder, generator)


def test_folders_of_save_masks_and_of_two_sessions(generator, tmp_path):
    pictures = choose_pictures(generator, per_class=1)
    save_masks(
        PartMasks(LEGEND, torch.stack([random_labels(i) for i in range(3)]), pictures, generator.hash, "x"),
        tmp_path,
    )
    first = labelling_folder(tmp_path, generator)
    assert first.labelled == (True,) * 3 and first.pictures == pictures
    second = labelling_folder(tmp_path, generator, ["left", "right"], choose_pictures(generator, per_class=2))
    assert len(second) == 6 and second.pictures[:3] == pictures and sum(second.labelled) == 3
    assert (
        labelling_folder(tmp_path, generator, None, choose_pictures(generator, per_class=2)).pictures
        == second.pictures
    )
    second.labels(5)
    second.save(5, random_labels(9))
    first.labels(0)
    first.save(0, random_labels(7))  # knows nothing of the second one's pictures, and keeps them
    assert len(first.masks()) == 4 and second.labelled == (True, True, True, False, False, True)
    with pytest.raises(LisError, match="the legend that was given has up"):
        labelling_folder(tmp_path, generator, ["up"])


def test_a_listed_mask_that_was_deleted_is_one_to_label(generator, tmp_path):
    pictures = choose_pictures(generator, per_class=1)
    labels = torch.stack([random_labels(i) for i in range(3)])
    save_masks(PartMasks(LEGEND, labels, pictures, generator.hash), tmp_path)
    (tmp_path / pictures[1].file).unlink()
    folder = LabellingFolder(tmp_path, generator)
    assert folder.labelled == (True, False, True)
    folder.labels(0)
    folder.save(0, labels[2])
    assert [p.file for p in load_masks(tmp_path).pictures] == [pictures[0].file, pictures[2].file]
    assert LabellingFolder(tmp_path, generator).pictures == pictures  # it is still planned


def test_folders_with_latents_keep_their_list(generator, tmp_path):
    w = generator.map(generator.sample_z(2, 5), [0, 1])
    named = [LabelledPicture(f"{i}.png", i) for i in range(2)]
    masks = PartMasks(LEGEND, torch.stack([random_labels(i) for i in range(2)]), named, generator.hash, w=w)
    save_masks(masks, tmp_path)
    folder = LabellingFolder(tmp_path, generator)
    assert torch.equal(folder.picture(1), generator.render(w[1:2])[0]) and folder.title(1) == "ring, 1.png"
    folder.labels(1)
    folder.save(1, random_labels(5))
    again = load_masks(tmp_path)
    assert torch.equal(again.labels[1], random_labels(5)) and torch.equal(again.w, w)
    with pytest.raises(LisError, match="latents of its own"):
        folder.add(choose_pictures(generator))
    save_tensors(tmp_path / "latents.safetensors", {"w": w[:1]}, {})
    with pytest.raises(LisError, match="latents are"):
        LabellingFolder(tmp_path, generator)


def test_photographs_are_labelled_without_a_generator(tmp_path):
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    photographs = Photographs(x, torch.zeros(4, dtype=torch.long), ("one",))
    by_picture = tiny_segmenter([x])
    pictures = [LabelledPicture(f"{i}.png", label=0, photograph=i) for i in (3, 1)]
    folder = labelling_folder(tmp_path / "a", None, LEGEND, pictures, photographs, by_picture)
    assert torch.equal(folder.picture(0), x[3]) and folder.title(1) == "one, photograph 1"
    assert torch.equal(folder.guess(1), by_picture([x[1:2]]).argmax(1)[0].to(torch.uint8))
    folder.labels(0)
    folder.save(0, folder.guess(0))
    assert folder.masks().generator_hash == "" and folder.masks().pictures[0].photograph == 3
    with pytest.raises(LisError, match="give photographs="):
        LabellingFolder(tmp_path / "a")
    with pytest.raises(LisError, match="there are 2 photographs"):
        LabellingFolder(tmp_path / "a", photographs=x[:2])
    with pytest.raises(LisError, match="of 8 x 16 pixels"):
        LabellingFolder(tmp_path / "a", photographs=x[..., :8])
    with pytest.raises(LisError, match="the photographs that"):
        labelling_folder(tmp_path / "b", None, LEGEND, pictures)


@pytest.mark.parametrize("size", [(5, 3), (1, 1)])
def test_photographs_of_any_size(size, tmp_path):
    x = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    pictures = [LabelledPicture("a.png", label=0, photograph=1)]
    folder = labelling_folder(
        tmp_path, None, LEGEND, pictures, Photographs(x, torch.zeros(2).long(), ("one",))
    )
    labels = torch.arange(size[0] * size[1]).reshape(size) % 3
    assert folder.size == size and folder.labels(0).shape == size and folder.rgb(0).shape == (*size, 3)
    assert (folder.rgb(0) == (x[1] * 255).round().permute(1, 2, 0).numpy()).all()
    folder.save(0, labels)
    assert torch.equal(load_masks(tmp_path).labels[0].long(), labels)


def test_folders_that_are_refused(folder, generator, segmenter, tmp_path):
    pictures = choose_pictures(generator, per_class=1)
    with pytest.raises(LisError, match=r"to-label\.json is there already"):
        LabellingFolder.begin(folder.folder, LEGEND, pictures, generator)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / pictures[1].file).write_bytes(b"mine")
    with pytest.raises(LisError, match=r"01_1000\.png is there already"):
        LabellingFolder.begin(tmp_path / "c", LEGEND, pictures, generator)
    (tmp_path / "file").write_text("")
    with pytest.raises(LisError, match="it is a file"):
        LabellingFolder.begin(tmp_path / "file", LEGEND, pictures, generator)
    with pytest.raises(LisError, match="there is neither"):
        LabellingFolder(tmp_path / "nothing", generator)
    with pytest.raises(LisError, match="give a legend, or a segmenter"):
        labelling_folder(tmp_path / "nothing", generator, pictures=pictures)
    assert (
        labelling_folder(tmp_path / "d", generator, None, pictures, segmenter=segmenter).legend
        == segmenter.legend
    )
    with pytest.raises(LisError, match="made for the generator"):
        LabellingFolder(folder.folder, tiny_generator(seed=1))
    with pytest.raises(LisError, match="give the generator"):
        LabellingFolder(folder.folder)
    for listed, message in (
        ((), "list of pictures is empty"),
        ((pictures[0], pictures[0]), "same picture"),
        ([LabelledPicture("a.png", label=9, seed=1)], "of class 9"),
    ):
        with pytest.raises(LisError, match=message):
            LabellingFolder.begin(tmp_path / "e", LEGEND, listed, generator)
        assert not (tmp_path / "e").exists()
    for bad in (None, "", 3):
        with pytest.raises(LisError, match="a path was expected"):
            LabellingFolder(bad, generator)
    with pytest.raises(LisError, match="'sleeve'; a Legend or a list"):
        LabellingFolder.begin(tmp_path / "e", "sleeve", pictures, generator)
    for i in (-1, 6, 1.5, True):
        with pytest.raises(LisError, match="the number of a picture"):
            folder.labels(i)
    described = json.loads((folder.folder / "to-label.json").read_text())
    (folder.folder / "to-label.json").write_text(json.dumps(described | {"pictures": []}))
    with pytest.raises(LisError, match="at least one was expected"):
        LabellingFolder(folder.folder, generator)


def test_the_key_of_a_map_is_the_common_crc32():
    # Known answers of CRC-32: "123456789" gives cbf43926.
    assert content_key(np.frombuffer(b"123456789", np.uint8)) == "cbf43926"
    assert content_key(torch.tensor([[0, 1]], dtype=torch.uint8)) != content_key(
        torch.tensor([[1, 0]], dtype=torch.uint8)
    )
