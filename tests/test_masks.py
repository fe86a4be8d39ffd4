"""Mask folders: any paint program's PNGs in, labels out; hostile and careless ones are errors that say what to do."""

import io
import json
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lis_toolkit.errors import LisError
from lis_toolkit.files import save_tensors
from lis_toolkit.parts import LabelledPicture, Legend, PartMasks, collect_masks, load_masks, save_masks
from lis_toolkit.parts.identity import check_generator
from lis_toolkit.parts.mask_files import read_mask, write_mask
from tiny import tiny_generator

LEGEND = Legend(("background", "disc", "rim", "dot"))
SIZE = (5, 7)


@pytest.fixture
def labels():
    return torch.arange(35, dtype=torch.uint8).reshape(SIZE) % 4


@pytest.fixture
def generator():
    return tiny_generator()


def some_masks(generator, n=4, **changes):
    labels = torch.randint(0, 4, (n, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    pictures = [
        LabelledPicture(f"{i}.png", i % 3, 10 + i, 0.7, "train" if i % 2 == 0 else "held out")
        for i in range(n)
    ]
    return PartMasks(LEGEND, labels, pictures, generator.hash, "by a random number", **changes)


def written(tmp_path, image, **options):
    image.save(tmp_path / "mask.png", **options)
    return tmp_path / "mask.png"


def test_all_kinds_of_png_give_the_same_labels(tmp_path, labels):
    number = labels.numpy()
    rgb = LEGEND.rgb[number]
    alpha = np.dstack([rgb, np.full(SIZE, 255, np.uint8)])
    clear = alpha.copy()
    clear[number == 0] = (9, 9, 9, 0)  # a layer that was painted on: nothing where there is no part
    shuffled = Image.fromarray(np.array([2, 0, 3, 1], np.uint8)[number])  # a palette in another order
    shuffled.putpalette(LEGEND.rgb[[1, 3, 0, 2]].tobytes())
    kinds = [
        Image.fromarray(number),
        Image.fromarray(rgb),
        Image.fromarray(alpha),
        Image.fromarray(clear),
        shuffled,
    ]
    for image in kinds:
        assert torch.equal(read_mask(written(tmp_path, image), LEGEND, SIZE), labels), image.mode
    write_mask(tmp_path / "ours.png", labels, LEGEND)
    with Image.open(tmp_path / "ours.png") as image:
        assert image.mode == "P" and (np.array(image) == number).all()
        assert (np.array(image.convert("RGB")) == rgb).all()
    assert torch.equal(read_mask(tmp_path / "ours.png", LEGEND, SIZE), labels)


def test_grey_with_alpha_and_bilevel(tmp_path, labels):
    grey = Image.fromarray(labels.numpy())
    grey.putalpha(255)
    assert grey.mode == "LA" and torch.equal(read_mask(written(tmp_path, grey), LEGEND, SIZE), labels)
    clear = grey.copy()
    clear.putalpha(Image.fromarray(np.where(labels.numpy() == 2, 0, 255).astype(np.uint8)))
    with pytest.raises(
        LisError, match="has the colour #0"
    ):  # with transparency, grey is a colour like others
        read_mask(written(tmp_path, clear), LEGEND, SIZE)
    two = Image.fromarray(labels.numpy() % 2 == 1)
    assert two.mode == "1" and torch.equal(read_mask(written(tmp_path, two), LEGEND, SIZE), labels % 2)


def test_numbers_of_a_palette_count_only_when_asked(tmp_path, labels):
    image = Image.fromarray(labels.numpy())
    image.putpalette([1, 2, 3, 50, 60, 70, 99, 98, 97, 200, 201, 202])
    path = written(tmp_path, image)
    assert torch.equal(read_mask(path, LEGEND, SIZE, indices=True), labels)
    with pytest.raises(LisError, match="colour #"):
        read_mask(path, LEGEND, SIZE)


def test_an_unknown_colour_is_named_with_its_pixels_and_the_nearest(tmp_path, labels):
    rgb = LEGEND.rgb[labels.numpy()].copy()
    near = LEGEND.rgb[2].astype(int) + (0, 3, -0)
    rgb[0, :3] = near
    rgb[1, 0] = (255, 255, 255)
    with pytest.raises(
        LisError, match=r"mask\.png has the colour #E6A200 in 3 pixels and 1 more colours \(1 pixels\)"
    ):
        read_mask(written(tmp_path, Image.fromarray(rgb)), LEGEND, SIZE)
    with pytest.raises(LisError, match=r"the nearest is #E69F00, 'rim'.*antialiasing"):
        read_mask(tmp_path / "mask.png", LEGEND, SIZE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: Image.fromarray(n * 60), "grey value 180 in 8 pixels.*labels, 0 to 3"),
        (lambda n: Image.fromarray(n.astype(np.uint16) * 256), "16 bits a channel"),
        (lambda n: Image.fromarray(n[:4]), "7 x 4 pixels; 7 x 5 were expected"),
        (lambda n: Image.fromarray(n.T.copy()), "5 x 7 pixels; 7 x 5 were expected"),
        (
            lambda n: Image.fromarray(np.dstack([LEGEND.rgb[n], np.full(SIZE, 128, np.uint8)])),
            "35 half-transparent pixels",
        ),
    ],
)
def test_masks_that_are_refused(tmp_path, labels, make, message):
    with pytest.raises(LisError, match=message):
        read_mask(written(tmp_path, make(labels.numpy())), LEGEND, SIZE)


def test_what_pillow_would_quietly_make_background(tmp_path, labels):
    number = labels.numpy()
    first, second = (Image.fromarray(n) for n in (number, 3 - number))
    path = written(tmp_path, first, save_all=True, append_images=[second])
    with pytest.raises(LisError, match="animation of 2 pictures"):
        read_mask(path, LEGEND, SIZE)
    for colour, pixel in (
        (4, b"\0\1\xff\xff"),
        (2, b"\0\1" * 3),
        (6, b"\0\1" * 3 + b"\xff\xff"),
    ):  # the lower byte
        data = png(7, 5, chunk(b"IDAT", zlib.compress((b"\0" + pixel * 7) * 5)), depth=16, colour=colour)
        path.write_bytes(data)
        with pytest.raises(LisError, match="16 bits a channel"):
            read_mask(path, LEGEND, SIZE)
    rows = zlib.compress(b"".join(b"\0" + bytes(row) for row in number.tolist()))
    palette = chunk(b"PLTE", LEGEND.rgb[:3].tobytes())
    path.write_bytes(png(7, 5, palette, chunk(b"IDAT", rows), colour=3))
    with pytest.raises(LisError, match="number 3 in .* pixels, and a palette of 3 colours"):
        read_mask(path, LEGEND, SIZE)
    palette = chunk(b"PLTE", LEGEND.rgb.tobytes() + LEGEND.rgb[1].tobytes())  # one colour twice is no fault
    rows = zlib.compress(b"".join(b"\0" + bytes(4 if v == 1 else v for v in row) for row in number.tolist()))
    path.write_bytes(png(7, 5, palette, chunk(b"IDAT", rows), colour=3))
    assert torch.equal(read_mask(path, LEGEND, SIZE), labels)


def test_the_most_labels_in_a_large_mask(tmp_path):
    legend = Legend(("background", *(f"part {i}" for i in range(255))))
    labels = torch.randint(0, 256, (300, 200), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image = Image.fromarray(legend.rgb[labels.numpy()])
    assert torch.equal(read_mask(written(tmp_path, image), legend, (300, 200)), labels)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks, depth=8, colour=0):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def hostile():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(buffer, "PNG")
    good = buffer.getvalue()
    jpeg = io.BytesIO()
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(jpeg, "JPEG")
    bomb = zlib.compress(b"\0" * 10**7)
    yield "empty", b""
    yield "text", b"hello"
    yield "jpeg", jpeg.getvalue()
    yield "truncated", good[:-20]
    yield "huge", png(60_000, 60_000, chunk(b"IDAT", bomb))
    yield "large", png(12_000, 12_000, chunk(b"IDAT", bomb))
    yield "no pixels", png(7, 5)
    yield "zero wide", png(0, 5, chunk(b"IDAT", bomb))
    yield "bad checksum", good[:-14] + b"\0\0\0\0" + good[-10:]
    yield "text bomb", png(7, 5, chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 10**8)), chunk(b"IDAT", bomb))
    yield (
        "bad palette",
        png(7, 5).replace(struct.pack(">BBBBB", 8, 0, 0, 0, 0), struct.pack(">BBBBB", 8, 3, 0, 0, 0)),
    )
    for cut in range(8, len(good) - 12, 5):
        yield f"cut at {cut}", good[:cut]


@pytest.mark.parametrize(("name", "data"), list(hostile()), ids=lambda v: v if isinstance(v, str) else "")
def test_hostile_files_are_errors_that_name_the_file(tmp_path, name, data):
    path = tmp_path / "evil.png"
    path.write_bytes(data)
    with pytest.raises(LisError, match=r"evil\.png"):
        read_mask(path, LEGEND, SIZE)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(LisError, match=r"no mask .*none\.png; draw it"):
        read_mask(tmp_path / "none.png", LEGEND, SIZE)
    with pytest.raises(LisError, match="it is a folder"):
        read_mask(tmp_path, LEGEND, SIZE)


def test_pil_told_to_fill_up_truncated_files_is_noticed(tmp_path, labels, monkeypatch):
    path = written(tmp_path, Image.fromarray(labels.numpy()))
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(LisError, match="LOAD_TRUNCATED_IMAGES"):
        read_mask(path, LEGEND, SIZE)


def test_a_folder_comes_back_as_it_was(tmp_path, generator):
    masks = some_masks(generator)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "notes.txt").write_text("mine")
    save_masks(masks, tmp_path / "m")
    again = load_masks(tmp_path / "m")
    assert torch.equal(again.labels, masks.labels) and again.pictures == masks.pictures and again.w is None
    assert (again.legend, again.made, again.generator_hash) == (LEGEND, "by a random number", generator.hash)
    assert (tmp_path / "m" / "notes.txt").read_text() == "mine"
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        "0.png", "1.png", "2.png", "3.png", "legend.json", "notes.txt",
    ]  # fmt: skip


def test_splits_and_numbers(generator):
    masks = some_masks(generator)
    assert [p.seed for p in masks.take("held out").pictures] == [11, 13] and len(masks.take("train")) == 2
    assert torch.equal(masks.take([3, 0]).labels, masks.labels[[3, 0]])
    with pytest.raises(LisError, match="no split 'heldout'.*Did you mean 'held out'"):
        masks.take("heldout")
    with pytest.raises(LisError, match="none of the 2"):
        masks.take("train").take("held out")
    with pytest.raises(LisError, match="picture's number is 4"):
        masks.take([4])


def test_latents_are_those_of_class_seed_and_psi(generator):
    masks = some_masks(generator)
    w = masks.latents(generator)
    for row, picture in zip(w, masks.pictures, strict=True):
        z = torch.from_numpy(np.random.RandomState(picture.seed).randn(1, generator.z_dim)).float()
        assert torch.equal(row, generator.map(z, [picture.label], psi=0.7)[0])


def test_stored_latents_and_generators_without_classes(tmp_path):
    plain = tiny_generator(c_dim=0, classes=None, mapping="unconditional")
    pictures = [LabelledPicture("a.png"), LabelledPicture("b.png", split="held out")]
    labels = torch.zeros(2, 16, 16, dtype=torch.uint8)
    w = torch.randn(2, plain.num_ws, plain.w_dim)
    save_masks(PartMasks(LEGEND, labels, pictures, plain.hash, w=w), tmp_path)
    again = load_masks(tmp_path)
    assert torch.equal(again.latents(plain), w) and torch.equal(again.take("held out").latents(plain), w[1:])
    seeded = PartMasks(LEGEND, labels[:1], [LabelledPicture("a.png", seed=3)], plain.hash)
    assert torch.equal(seeded.latents(plain), plain.map(plain.z_of_seeds([3])))
    with pytest.raises(LisError, match="w has shape"):
        PartMasks(LEGEND, labels, pictures, plain.hash, w=torch.randn(2, 5)).latents(plain)


def test_photographs_have_numbers_and_no_latents(tmp_path, generator):
    labels = torch.zeros(2, 16, 16, dtype=torch.uint8)
    pictures = [LabelledPicture(f"{i}.png", 1, photograph=i, split="held out") for i in (4, 5)]
    save_masks(PartMasks(LEGEND, labels, pictures, made="on photographs"), tmp_path)
    again = load_masks(tmp_path)
    assert again.pictures == tuple(pictures)
    with pytest.raises(LisError, match=r"4\.png shows photograph 4, which has no latent"):
        again.latents(generator)
    with pytest.raises(LisError, match="same picture"):
        PartMasks(LEGEND, labels, [pictures[0], LabelledPicture("other.png", photograph=4)])
    with pytest.raises(LisError, match="a seed and a photograph"):
        LabelledPicture("a.png", 1, seed=3, photograph=4)


def test_another_generator_or_size_is_refused(generator):
    masks = some_masks(generator)
    with pytest.raises(LisError, match="made for the generator"):
        masks.latents(tiny_generator(seed=1))
    small = PartMasks(LEGEND, masks.labels[:, :8], masks.pictures, generator.hash)
    with pytest.raises(LisError, match="16 x 8 pixels"):
        small.latents(generator)


def test_the_hash_is_asked_again_when_weights_change(generator):
    before = generator.hash
    check_generator(generator, before, "made for")
    with torch.no_grad():
        next(generator.parameters()).mul_(2)
    with pytest.raises(LisError, match="made for the generator"):
        check_generator(generator, before, "made for")
    check_generator(generator, generator.hash, "made for")


def test_collected_drawings(tmp_path, generator):
    drawn = torch.randint(0, 4, (16, 16)).to(torch.uint8)
    Image.fromarray(LEGEND.rgb[drawn.numpy()]).save(tmp_path / "x.png")
    picture = LabelledPicture("x.png", 1, 5)
    masks = collect_masks(tmp_path, LEGEND, [picture], generator, made="by hand")
    assert torch.equal(masks.labels[0], drawn) and masks.generator_hash == generator.hash
    with pytest.raises(LisError, match="at least one"):
        collect_masks(tmp_path, LEGEND, [], generator)
    with pytest.raises(LisError, match=r"y\.png"):
        collect_masks(tmp_path, LEGEND, [picture, LabelledPicture("y.png", 1, 6)], generator)


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/a.png", "a/b.png", "..\\a.png", "C:a.png", ".a.png", "a.jpg", "a", "", "a\0.png", 3,
             None, "x" * 300 + ".png"]
)  # fmt: skip
def test_file_names_that_lead_elsewhere_are_refused(tmp_path, generator, name):
    with pytest.raises(LisError, match="a mask is called"):
        LabelledPicture(name, 0, 0)
    save_masks(some_masks(generator), tmp_path)
    described = json.loads((tmp_path / "legend.json").read_text())
    described["pictures"][1]["file"] = name
    (tmp_path / "legend.json").write_text(json.dumps(described))
    with pytest.raises(LisError, match=r"legend\.json.*a mask is called"):
        load_masks(tmp_path)


def change(**changes):
    return lambda described: described | changes


def changed_picture(**changes):
    return lambda described: (
        described | {"pictures": [described["pictures"][0] | changes, *described["pictures"][1:]]}
    )


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (change(format="lis-masks-9"), "'lis-masks-9'; 'lis-masks-1' was expected"),
        (lambda d: [d], "format 'list'"),
        (lambda d: {}, "format None"),
        (change(parts=[]), "parts|names"),
        (change(parts={"a": 1}), "the parts are no list"),
        (change(size=[16]), "size is"),
        (change(size=[16, 10**9]), "1 to 4096"),
        (change(size=[16, 15]), "16 x 16 pixels; 15 x 16"),
        (change(size=["16", 16]), "a side of the masks"),
        (change(pictures=[]), "pictures are missing"),
        (change(pictures={"file": "0.png"}), "pictures are missing"),
        (change(pictures=["0.png"]), "picture 0 is 0.png"),
        (change(made=[1]), "made is"),
        (change(generator_hash=None), "generator_hash is None"),
        (changed_picture(seed=-1), r"seed of 0\.png is -1"),
        (changed_picture(seed=2**32), "seed of"),
        (changed_picture(seed=1.5), "seed of"),
        (changed_picture(seed=None), "neither a seed nor a latent"),
        (changed_picture(psi="1"), "psi of"),
        (changed_picture(psi=float("nan")), "psi of"),
        (changed_picture(**{"class": True}), "class of"),
        (changed_picture(split="test"), "split 'test'"),
        (changed_picture(sede=1), "'sede'.*Did you mean 'seed'"),
        (changed_picture(file="1.png"), "same picture"),
        (changed_picture(file="7.png"), r"no mask .*7\.png"),
        (changed_picture(**{"class": 1, "seed": 11}), "0.png and 1.png are the same picture"),
    ],
)
def test_a_legend_file_that_is_wrong_says_where(tmp_path, generator, alter, message):
    save_masks(some_masks(generator), tmp_path)
    path = tmp_path / "legend.json"
    path.write_text(json.dumps(alter(json.loads(path.read_text()))))
    with pytest.raises(LisError, match=message) as caught:
        load_masks(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_mark_that_editors_begin_files_with_is_no_fault(tmp_path, generator):
    save_masks(some_masks(generator), tmp_path / "m")
    path = tmp_path / "m" / "legend.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(load_masks(tmp_path / "m")) == len(some_masks(generator))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff", "nul"])
def test_a_legend_file_that_is_no_json(tmp_path, text):
    (tmp_path / "legend.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(LisError, match=r"legend\.json"):
        load_masks(tmp_path)


def test_stored_latents_that_do_not_fit(tmp_path, generator):
    masks = some_masks(generator)
    save_masks(masks, tmp_path)
    for tensors, message in (
        ({"v": torch.zeros(4, 12)}, "one tensor 'w'"),
        ({"w": torch.zeros(3, 12)}, r"\[4, W\]"),
        ({"w": torch.full((4, 12), torch.nan)}, "finite"),
        ({"w": torch.zeros(4, 12, dtype=torch.int64)}, "finite floats"),
    ):
        save_tensors(tmp_path / "latents.safetensors", tensors, {})
        with pytest.raises(LisError, match=message):
            load_masks(tmp_path)


def test_what_cannot_be_masks(generator):
    masks = some_masks(generator)
    for labels, message in (
        (masks.labels.long(), "int64"),
        (masks.labels[0], "uint8 .16, 16."),
        (masks.labels[:3], "there are 4 pictures"),
        (masks.labels + 3, r"\.png has the label"),
        (None, "NoneType"),
    ):
        with pytest.raises(LisError, match=message):
            PartMasks(LEGEND, labels, masks.pictures)
    names = [
        replace(p, file=name)
        for p, name in zip(masks.pictures, ("A.png", "a.png", "b.png", "c.png"), strict=True)
    ]
    with pytest.raises(LisError, match="A.png and a.png are the same picture"):  # one file, on some computers
        PartMasks(LEGEND, masks.labels, names)
    with pytest.raises(LisError, match="at least one"):
        PartMasks(LEGEND, torch.zeros(0, 2, 2, dtype=torch.uint8), [])


def test_names_and_folders(tmp_path):
    with pytest.raises(LisError, match="Did you mean 'fashion'"):
        load_masks("fashoin")
    with pytest.raises(LisError, match="there is no"):
        load_masks(tmp_path)
    with pytest.raises(LisError, match="a name or a folder"):
        load_masks(3)


def test_saving_is_all_or_nothing(tmp_path, generator, monkeypatch):
    masks = some_masks(generator)
    save_masks(masks, tmp_path / "m")
    before = {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()}
    calls = []

    def fails_at_the_third(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "no space left")
        write_mask(*arguments)

    monkeypatch.setattr("lis_toolkit.parts.masks.write_mask", fails_at_the_third)
    other = PartMasks(LEGEND, 3 - masks.labels, masks.pictures, generator.hash)
    with pytest.raises(LisError, match="no space left"):
        save_masks(other, tmp_path / "m")
    assert {p.name: p.read_bytes() for p in (tmp_path / "m").iterdir()} == before
