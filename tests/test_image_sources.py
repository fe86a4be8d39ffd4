"""Own images: every kind of source, every mode of PIL, and files that are not what they say."""

import io
import itertools
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile, ImageOps

from lis_toolkit.datasets import Photographs
from lis_toolkit.errors import LisError
from lis_toolkit.own_images.decoding import UnreadableImage, read_picture, to_channels
from lis_toolkit.own_images.listing import list_images
from lis_toolkit.own_images.sources import ImageSource, open_images

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 9, 3), dtype=np.uint8)  # [H, W, C]


def slow_rgb(image):
    """What a viewer with a white page shows, by PIL's own conversions."""
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")


def as_tensor(image):
    pixels = np.array(image, dtype=np.float32) * np.float32(1 / 255)  # as convert_range rounds
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def write(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


# ---------------------------------------------------------------------------------------------------------- decoding

MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")


@pytest.mark.parametrize("mode", MODES)
def test_modes_against_pils_own_conversion(mode):
    alpha = Image.fromarray(RNG.integers(0, 256, (12, 9), dtype=np.uint8))
    base = Image.fromarray(PIXELS)
    if mode in ("LA", "La"):
        image = Image.merge("LA", (base.convert("L"), alpha)).convert(mode)
    elif mode in ("RGBA", "RGBa"):
        image = Image.merge("RGBA", (*base.split(), alpha)).convert(mode)
    elif mode == "PA":
        image = base.convert("P").convert("PA")
    else:
        image = base.convert(mode)
    x, note = read_picture(image)
    assert x.dtype == torch.float32 and x.shape == (3 if mode not in ("1", "L", "LA", "La") else 1, 12, 9)
    if mode in ("La", "RGBa"):  # PIL composites straight alpha only
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[mode])
    expected = as_tensor(slow_rgb(image))
    torch.testing.assert_close(to_channels(x, 3), expected, atol=1.01 / 255, rtol=0)  # PIL rounds to bytes
    assert ("transparent parts laid on white" in note) == (mode in ("LA", "La", "RGBA", "RGBa"))


def test_a_transparent_palette_and_colour_keys_are_laid_on_white(tmp_path):
    image = Image.fromarray(PIXELS).convert("P")
    clear = image.getpixel((4, 5))
    path = write(tmp_path / "p.png", image, transparency=clear)
    x, note = read_picture(path)
    torch.testing.assert_close(x, as_tensor(slow_rgb(Image.open(path))), atol=1e-6, rtol=0)
    assert x[:, 5, 4].tolist() == [1, 1, 1] and "white" in note
    key = tuple(int(v) for v in PIXELS[3, 2])
    assert (
        read_picture(write(tmp_path / "k.png", Image.fromarray(PIXELS), transparency=key))[0][:, 3, 2].min()
        == 1
    )
    grey = Image.fromarray(PIXELS).convert("L")
    path = write(tmp_path / "g.png", grey, transparency=grey.getpixel((1, 1)))
    assert read_picture(path)[0].shape == (1, 12, 9) and read_picture(path)[0][0, 1, 1] == 1


def test_16_bit_grey_keeps_its_bits(tmp_path):
    values = RNG.integers(0, 65536, (12, 9), dtype=np.uint16)
    for name in ("a.png", "a.tif"):
        x, _ = read_picture(write(tmp_path / name, Image.fromarray(values)))
        torch.testing.assert_close(x[0], torch.from_numpy(values / 65535).float(), atol=1e-7, rtol=0)
    big = Image.frombytes("I;16B", (9, 12), values.astype(">u2").tobytes())
    torch.testing.assert_close(read_picture(big)[0], x)
    (tmp_path / "a.ppm").write_bytes(b"P5 9 12 65535\n" + values.astype(">u2").tobytes())
    torch.testing.assert_close(read_picture(tmp_path / "a.ppm")[0], x)


def test_floating_files_need_a_named_range(tmp_path):
    values = RNG.random((12, 9), dtype=np.float32)
    path = write(tmp_path / "f.tif", Image.fromarray(values * 2 - 1))
    with pytest.raises(UnreadableImage, match="'F'.*no range.*range="):
        open_images(path).read(0)
    torch.testing.assert_close(open_images(path, range="signed").read(0)[0], torch.from_numpy(values))
    with pytest.raises(UnreadableImage, match="run from -.*unit range from 0 to 1"):
        open_images(path, range="unit").read(0)
    lab = write(tmp_path / "lab.tif", Image.new("LAB", (4, 4)))
    with pytest.raises(UnreadableImage, match="'LAB' is not supported"):
        read_picture(lab)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = write(tmp_path / f"a.{suffix}", Image.fromarray(PIXELS), exif=exif)
    expected = as_tensor(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    x, note = read_picture(path)
    assert torch.equal(x, expected) and x.shape[1:] == ((9, 12) if orientation > 4 else (12, 9))
    assert suffix == "tif" or ("EXIF" in note) == (orientation > 1)  # PIL turns TIFFs itself


def test_damaged_exif_keeps_the_picture_and_is_told(tmp_path):
    path = write(tmp_path / "a.png", Image.fromarray(PIXELS), exif=b"Exif\0\0MM\0*\0\0")
    x, note = read_picture(path)
    assert torch.equal(x, as_tensor(Image.fromarray(PIXELS)))
    assert note == "EXIF data damaged, orientation not known"


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_the_first_frame_of_several(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if suffix == "webp" else {}
    path = write(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
    x, note = read_picture(path)
    assert torch.equal(x, as_tensor(frames[0])) and note == "first of several frames"


def png_of_size(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def corrupt_files(folder):
    """Files that no picture can be had from: name -> what the reason must say."""
    photo = Image.effect_noise((64, 64), 80).convert("RGB")
    jpeg = write(folder / "whole.jpg", photo).read_bytes()
    png = write(folder / "whole.png", photo).read_bytes()
    contents = {
        "empty.png": (b"", "empty"),
        "text.jpg": (b"this is no picture", "not an image in a known format"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "head only.jpg": (jpeg[:40], "."),
        "truncated.png": (png[: len(png) // 2], "truncated|broken"),
        "bad crc.png": (png.replace(b"IDAT", b"IDAX", 1), "."),
        "truncated.gif": (write(folder / "w.gif", photo).read_bytes()[:900], "."),
        "truncated.bmp": (write(folder / "w.bmp", photo).read_bytes()[:900], "truncated"),
        "truncated.tif": (write(folder / "w.tif", photo).read_bytes()[:900], "."),
        "truncated.webp": (write(folder / "w.webp", photo).read_bytes()[:200], "."),
        "short.ppm": (b"P6 64 64 255\n" + bytes(99), "truncated|not enough"),
        "bomb.png": (png_of_size(60_000, 60_000), "limit|decompression bomb"),
        "large.png": (png_of_size(10_000, 10_000), "more than PIL's limit"),
        "no width.png": (png_of_size(0, 10), "."),
        "script.png": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
            "not an image in a known",
        ),
        "pickle.tif": (b"\x80\x04cos\nsystem\n(S'touch ran'\ntR.", "not an image in a known format"),
    }
    for name in ("whole.jpg", "whole.png", "w.gif", "w.bmp", "w.tif", "w.webp"):
        (folder / name).unlink()
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    reasons = {name: reason for name, (_, reason) in contents.items()}
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    return {**reasons, "gone.png": "no such file", "pipe.png": "not a regular file"}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_corrupt_files_say_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    reasons = corrupt_files(tmp_path / "in")
    source = open_images(tmp_path / "in")
    assert sorted(source.names) == sorted(reasons) and len(reasons) == 18
    for i, name in enumerate(source.names):
        with pytest.raises(UnreadableImage, match=reasons[name]) as caught:
            source.read(i)
        assert caught.value.reason and str(caught.value) == f"{name}: {caught.value.reason}"
    assert os.listdir(tmp_path) == ["in"]  # nothing was executed


def fuzz_corpus():
    photo = Image.effect_noise((24, 20), 80).convert("RGB")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    files = {}
    for name, image, options in [
        ("a.jpg", photo, {"exif": exif}),
        ("p.jpg", photo, {"progressive": True}),
        ("c.jpg", photo.convert("CMYK"), {}),
        ("a.png", photo.convert("RGBA"), {}),
        ("p.png", photo.convert("P"), {"transparency": 3}),
        ("a.gif", photo, {"save_all": True, "append_images": [photo]}),
        ("a.bmp", photo, {}),
        ("a.tif", photo, {"exif": exif}),
        ("z.tif", photo, {"compression": "tiff_lzw"}),
        ("a.webp", photo, {}),
        ("a.ppm", photo, {}),
    ]:
        buffer = io.BytesIO()
        image.save(buffer, format=Image.registered_extensions()[Path(name).suffix], **options)
        files[name] = buffer.getvalue()
    return files


FUZZ = fuzz_corpus()


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(sorted(FUZZ)),
    cut=st.one_of(st.none(), st.floats(0, 1)),
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=6
    ),
)
def test_any_damage_gives_a_picture_or_a_reason(tmp_path_factory, name, cut, changes):
    content = bytearray(FUZZ[name])
    for place, data in changes:
        at = int(place * len(content))
        content[at : at + len(data)] = data
    path = tmp_path_factory.getbasetemp() / f"fuzz{Path(name).suffix}"
    path.write_bytes(content if cut is None else content[: int(cut * len(content))])
    try:
        x, note = read_picture(path)
    except UnreadableImage as error:
        assert error.reason.strip()
    else:
        assert x.ndim == 3 and x.shape[0] in (1, 3) and x.dtype == torch.float32 and isinstance(note, str)
        assert x.min() >= 0 and x.max() <= 1
    if cut is None and not changes:
        assert torch.isfinite(x).all()


def test_pils_switch_for_truncated_files_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jpg", Image.fromarray(PIXELS))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(LisError, match="LOAD_TRUNCATED_IMAGES") as caught:
        open_images(path).read(0)
    assert not isinstance(
        caught.value, UnreadableImage
    )  # nobody's fault but the setting's: the whole run stops


def test_channels():
    x = torch.rand(3, 5, 4)
    expected = 0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2]
    torch.testing.assert_close(to_channels(x, 1), expected[None])
    assert torch.equal(to_channels(x[:1], 3), torch.cat([x[:1]] * 3)) and to_channels(x, 3) is x


# ----------------------------------------------------------------------------------------------------------- folders


def solid(value, size=(3, 2)):
    return Image.new("L", size, value)


def test_a_folder_in_natural_order_with_classes_and_notes(tmp_path):
    names = [
        "cats/2.png",
        "cats/10.png",
        "cats/deep/1.JPG",
        "dogs/a1b2.webp",
        "dogs/a1b10.bmp",
        "dogs/A1b3.ppm",
    ]
    for value, name in enumerate(reversed(names)):
        write(tmp_path / name, solid(value * 40))
    for other in (
        "readme.txt",
        "cats/table.csv",
        "dogs/notes.txt",
        ".hidden.png",
        ".cache/x.png",
        "cats/none",
    ):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).write_bytes(b"")
    source = open_images(tmp_path)
    assert source.names == ["cats/2.png", "cats/10.png", "cats/deep/1.JPG", "dogs/a1b2.webp", "dogs/A1b3.ppm",
                            "dogs/a1b10.bmp"]  # fmt: skip
    assert source.labels == ["cats"] * 3 + ["dogs"] * 3 and source.kind == "folder" and source.in_threads
    assert source.notes == ["other files left out: 4 (.txt 2, .csv 1, no extension 1)"]
    for i, name in enumerate(source.names):
        assert torch.equal(source.read(i), as_tensor(Image.open(tmp_path / name)))
    assert open_images(tmp_path / "cats" / "deep").labels is None
    write(tmp_path / "0.png", solid(3))
    mixed = open_images(str(tmp_path))
    assert mixed.names[0] == "0.png" and mixed.labels[:2] == [None, "cats"]
    assert repr(mixed) == "ImageSource(folder: 7 images, 2 labels)"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.from_regex(r"[ab0-9]{1,4}\.png", fullmatch=True), min_size=1, max_size=8, unique=True))
def test_natural_order_of_any_names(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("n")
    for name in names:
        (folder / name).touch()
    found = [path.name for path in list_images(folder)[0]]

    def before(a, b):
        runs_a, runs_b = ([list(g) for _, g in itertools.groupby(n, str.isdigit)] for n in (a, b))
        for x, y in zip(runs_a, runs_b, strict=False):
            x, y = "".join(x), "".join(y)
            if x != y and x.isdigit() and y.isdigit() and int(x) != int(y):
                return int(x) < int(y)
            if x != y and not (x.isdigit() and y.isdigit()):
                return x < y if x.isdigit() == y.isdigit() else x.isdigit()
        return a < b

    assert sorted(found) == sorted(names)
    assert all(before(a, b) for a, b in itertools.pairwise(found) if "." not in (a[0], b[0]))


def test_links_are_followed_once_and_loops_end(tmp_path):
    write(tmp_path / "root" / "z" / "1.png", solid(1))
    write(tmp_path / "elsewhere" / "2.png", solid(2))
    (tmp_path / "root" / "z" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "a").symlink_to(tmp_path / "root" / "z")  # sorts before what it points to
    (tmp_path / "root" / "b").symlink_to(tmp_path / "elsewhere")
    source = open_images(tmp_path / "root")
    assert source.names == ["b/2.png", "z/1.png"]
    assert source.notes == [
        "folder a was met before and left out",
        "folder z/loop was met before and left out",
    ]


def test_a_folder_that_cannot_be_read_is_noted(tmp_path, monkeypatch):
    write(tmp_path / "a" / "1.png", solid(1))
    write(tmp_path / "b" / "2.png", solid(1))
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert open_images(tmp_path).notes == ["folder a can't be read: Permission denied"]


def test_names_that_are_not_utf8(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    solid(7).save(os.fsdecode(path), format="PNG")
    source = open_images(tmp_path)
    assert source.names == ["caf\\xe9.png"] and source.read(0)[0, 0, 0] == pytest.approx(7 / 255)
    source.names[0].encode()
    assert source.identity["images"] == 1


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(LisError, match="no images.*It is empty"):
        open_images(tmp_path / "empty")
    (tmp_path / "empty" / "a.txt").touch()
    with pytest.raises(LisError, match=r"There: other files left out: 1 \(.txt 1\)"):
        open_images(tmp_path / "empty")
    with pytest.raises(LisError, match="no file or folder"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(LisError, match="not expanded"):
        open_images(str(tmp_path / "*.png"))
    for nothing in ([], iter(()), torch.zeros(0, 1, 4, 4), np.zeros((0, 9, 9), np.uint8)):
        with pytest.raises(LisError, match="no images"):
            open_images(nothing)


# ------------------------------------------------------------------------------------------------------ other sources

BYTES = RNG.integers(0, 256, (5, 7, 6, 3), dtype=np.uint8)  # [N, H, W, C]
UNIT = torch.from_numpy(BYTES).permute(0, 3, 1, 2).float() / 255  # [N, C, H, W]


class Items(torch.utils.data.Dataset):
    """A data set of given items; an exception among them is raised."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        if isinstance(self.items[i], Exception):
            raise self.items[i]
        return self.items[i]


class Numbered:
    """What has a length and items by number, without being a Dataset."""

    def __len__(self):
        return 5

    def __getitem__(self, i):
        return Image.fromarray(BYTES[i])


def every_source(folder):
    """Kind -> a source of the same five images."""
    pil = [Image.fromarray(x) for x in BYTES]
    files = [write(folder / f"{i}.png", image) for i, image in enumerate(pil)]
    np.save(folder / "x.npy", BYTES)
    (folder / "only").mkdir()
    for file in files:
        (folder / "only" / file.name).hardlink_to(file)
    return {
        "folder": folder / "only",
        "paths": files,
        "iterator of paths": (str(f) for f in files),
        "NHWC bytes": BYTES,
        "NCHW bytes": BYTES.transpose(0, 3, 1, 2),
        "NHWC unit": UNIT.permute(0, 2, 3, 1).numpy(),
        "NHWC double": UNIT.permute(0, 2, 3, 1).double().numpy(),
        "npy": folder / "x.npy",
        "tensor": UNIT.clone().requires_grad_(),
        "byte tensor": torch.from_numpy(BYTES).permute(0, 3, 1, 2),
        "PIL": pil,
        "tensors": list(UNIT),
        "pairs": [(image, i) for i, image in enumerate(pil)],
        "dataset": Items(pil),
        "labelled dataset": Items([(x, torch.tensor(i)) for i, x in enumerate(UNIT)]),
        "series": pd.Series(files, index=range(5, 0, -1)),
        "sequence of its own": Numbered(),
        "photographs": Photographs(UNIT, torch.tensor([0, 1, 1, 0, 1]), ("cat", "dog")),
        "table": pd.DataFrame({"file": files, "label": ["a", "b", None, "a", "b"]}),
    }


LABELS = {"pairs": [0, 1, 2, 3, 4], "labelled dataset": [0, 1, 2, 3, 4],
          "photographs": ["cat", "dog", "dog", "cat", "dog"], "table": ["a", "b", None, "a", "b"]}  # fmt: skip


def test_every_kind_of_source_gives_the_same_images(tmp_path):
    for kind, source in every_source(tmp_path).items():
        images = open_images(source)
        assert isinstance(images, ImageSource) and len(images) == 5, kind
        for i in range(5):
            x, label, note = images.load(i)
            assert x.dtype == torch.float32 and not x.requires_grad and note == "", kind
            torch.testing.assert_close(x, UNIT[i], atol=1e-7, rtol=0, msg=kind)
            assert label == LABELS.get(kind, [None] * 5)[i], kind
        with pytest.raises(LisError, match="no image 5"):
            images.read(5)


def test_what_is_read_is_ones_own(tmp_path):
    pixels, unit = BYTES.copy(), UNIT.clone()
    for source in (pixels, unit, list(unit), unit.permute(0, 2, 3, 1).numpy()):
        open_images(source).read(0).fill_(0.5)
    assert np.array_equal(pixels, BYTES) and torch.equal(unit, UNIT)


def test_a_folder_that_goes_away_is_not_a_matter_of_single_images(tmp_path):
    write(tmp_path / "in" / "1.png", solid(1))
    source = open_images(tmp_path / "in")
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    with pytest.raises(LisError, match="the folder .*in is gone") as caught:
        source.read(0)
    assert not isinstance(caught.value, UnreadableImage)


def test_the_same_source_has_the_same_identity_and_a_changed_one_another(tmp_path):
    first = {kind: open_images(s).identity for kind, s in every_source(tmp_path / "a").items()}
    assert first.pop("iterator of paths") == first.pop("series") == first["paths"]
    assert len({str(i) for i in first.values()}) == len(first)
    again = (tmp_path / "a", tmp_path / "b")
    again[0].rename(again[1])
    assert open_images(again[1] / "only").identity == first["folder"]  # wherever the folder lies
    (again[1] / "only" / "3.png").touch()
    assert open_images(again[1] / "only").identity["content"] != first["folder"]["content"]
    changed = UNIT.clone()
    changed[4, 0, 0, 0] += 0.01
    for kind in ("tensor", "tensors", "labelled dataset"):
        make = {"tensor": lambda x: x, "tensors": list,
                "labelled dataset": lambda x: Items([(v, i) for i, v in enumerate(x)])}[kind]  # fmt: skip
        assert open_images(make(UNIT)).identity == first[kind], kind
        assert open_images(make(changed)).identity != first[kind], kind
    assert open_images(BYTES, labels=range(5)).identity != open_images(BYTES, labels=[0] * 5).identity
    source = open_images(BYTES)
    relabelled = open_images(source, labels=list("abcde"))
    assert source.labels is None and relabelled.labels == list("abcde")
    assert source.identity != relabelled.identity


def test_grey_arrays_and_named_ranges():
    grey = RNG.random((4, 6, 5), dtype=np.float32)
    for source, value_range in [
        (grey, None),
        (grey.astype(np.float64), "unit"),
        (grey * 2 - 1, "signed"),
        (grey * 255, "byte"),
        (torch.from_numpy(grey)[:, None] * 2 - 1, "signed"),
        ([row for row in grey * 255], "byte"),
        (grey.astype(">f4"), None),
    ]:
        images = open_images(source, range=value_range)
        torch.testing.assert_close(images.read(2), torch.from_numpy(grey[2:3]), atol=1e-6, rtol=0)
    whole = RNG.integers(0, 256, (4, 6, 5))
    torch.testing.assert_close(
        open_images(whole, range="byte").read(1), torch.from_numpy(whole[1:2] / 255).float()
    )
    assert open_images(grey > 0.5).read(0).unique().tolist() == [0, 1]
    flags = open_images((grey > 0.5).astype(np.uint8), range="unit")
    assert flags.read(0).unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN"), (np.inf, "infinite"), (1.5, "0 to 1"), (-2, "-2")]
)
def test_one_bad_image_among_good_ones(value, message):
    x = UNIT.clone()
    x[3, 1, 2, 2] = value
    images = open_images(x)
    assert torch.equal(images.read(2), UNIT[2])
    with pytest.raises(UnreadableImage, match=f"image 3: .*{message}"):
        images.read(3)


REFUSED = {
    "a number": (7, "can't be taken from a int"),
    "bytes": (b"abc", "can't be taken from a bytes"),
    "objects": (np.array([[[None]]]), "dtype object"),
    "complex": (np.zeros((2, 4, 4), np.complex64), "dtype complex64"),
    "int64": (np.zeros((2, 4, 4), np.int64), 'dtype int64.*range="byte"'),
    "both layouts": (np.zeros((2, 3, 8, 3), np.uint8), r"may be \[N, C, H, W\] or \[N, H, W, C\]"),
    "no channels": (np.zeros((2, 8, 8, 4), np.uint8), "with C = 1 or 3"),
    "one CHW image": (np.zeros((3, 8, 8), np.uint8), r"x\[None\]"),
    "one HWC image": (np.zeros((8, 8, 3), np.uint8), r"x\[None\]"),
    "one row": (np.zeros(8, np.uint8), r"shape \[8\]"),
    "CHW tensor": (torch.zeros(3, 8, 8), r"x\[None\]"),
    "NHWC tensor": (torch.zeros(2, 8, 8, 3), r"\[N, 1 or 3, H, W\]"),
    "table": (pd.DataFrame({"path": ["a"]}), "named 'file'"),
    "hole in a table": (pd.DataFrame({"file": ["a.png", None]}), "row 1 of the table"),
    "loader": (torch.utils.data.DataLoader([torch.zeros(3, 4, 4)]), "pass the loader's .dataset"),
    "dict": ({"a.png": 1}, "can't be taken from a dict"),
    "stream": (
        type("S", (torch.utils.data.IterableDataset,), {"__iter__": lambda self: iter(())})(),
        "map-style",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_source_is_refused(case):
    source, message = REFUSED[case]
    with pytest.raises(LisError, match=message):
        open_images(source)


def test_bad_ranges_labels_and_items():
    with pytest.raises(LisError, match="no value range 'bytes'.*'byte'"):
        open_images(BYTES, range="bytes")
    for labels, message in [
        (["a"], "1 labels and 5 images"),
        ("abcde", "one for each"),
        (["a", 1, 2, 3, 4], "text and numbers"),
        ([0.5] * 5, "label 0 is 0.5"),
        ([True] * 5, "bool"),
    ]:
        with pytest.raises(LisError, match=message):
            open_images(BYTES, labels=labels)
    assert open_images(BYTES, labels=np.array([1, 2, 3, 4, 5])).labels == [1, 2, 3, 4, 5]
    assert open_images(BYTES, labels=pd.Series([1, 2, None, 4, 5])).labels == [1, 2, None, 4, 5]
    assert open_images(BYTES, labels=pd.array(["a", "b", pd.NA, "c", "d"])).labels == [
        "a",
        "b",
        None,
        "c",
        "d",
    ]
    items = open_images(Items([UNIT[0], {"image": UNIT[1]}, ZeroDivisionError("oh"), (UNIT[3], [1, 2, 3])]))
    with pytest.raises(UnreadableImage, match="image 1: a dict is no image"):
        items.read(1)
    with pytest.raises(UnreadableImage, match="image 2: ZeroDivisionError: oh"):
        items.read(2)
    with pytest.raises(LisError, match=r"the label of image 3 is \[1, 2, 3\].*labels="):
        items.read(3)
    assert open_images(items, labels=[None] * 4).read(3).shape == (3, 7, 6)


def test_npy_files_are_mapped_and_never_unpickled(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(LisError, match="o.npy is not a complete .npy"):
        open_images(tmp_path / "o.npy")
    np.save(tmp_path / "x.npy", BYTES)
    images = open_images(tmp_path / "x.npy")
    base = images._fetch(0)
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    whole = (tmp_path / "x.npy").read_bytes()
    for content in (whole[:-1], whole[:20], b"", b"\x80\x04."):
        (tmp_path / "x2.npy").write_bytes(content)
        with pytest.raises(LisError, match="x2.npy is not a complete"):
            open_images(tmp_path / "x2.npy")
