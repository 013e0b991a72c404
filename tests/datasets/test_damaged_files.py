"""Damaged and hostile files of every kind that is read: each gives one sentence with the file and the place in it.

Small files are made whole first, so that what is read without an error is known to be readable; then one thing
in one of them is broken.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save, save_file
from tests.matrix import Tally, TooLong, limited, snapshot, unclear
from torch import nn

import relprop
from relprop.benchmark.recipe import read_recipe
from relprop.datasets import COCO, VOC, Folder, ImageNetSegmentation
from relprop.datasets.demo import demo_clip_path
from relprop.errors import InputError, RelpropError
from relprop.models.sampling import Sampling
from relprop.models.sources import read_labels
from relprop.models.state import load_state, read_state
from relprop.video.clip import read_clip

W, H = 20, 10
NESTED = 200_000

#: name -> (what breaks a whole folder, what reads it, what the error says)
Case = tuple[Callable[[Path], object], Callable[[Path], object], str]
CASES: dict[str, Case] = {}


def _read_all(data: Any) -> None:
    data.fingerprint()
    for sample in data:
        assert sample.size == (H, W)


def _picture(path: Path, size: tuple[int, int] = (W, H), mode: str = "RGB", **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path, **options)


def _png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def _secret(folder: Path) -> Path:
    """A picture that lies outside of the data."""
    path = folder.parent / f"{folder.name}-outside" / "secret.png"
    _picture(path)
    return path


def _above(folder: Path) -> str:
    return os.path.relpath(_secret(folder), folder)


# COCO

LIST = "annotations/instances_val2017.json"


def _coco() -> dict[str, Any]:
    square = [2, 1, 8, 1, 8, 5, 2, 5]
    found = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [2, 1, 6, 4], "segmentation": [square]}
    return {
        "categories": [{"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}],
        "images": [{"id": 7, "file_name": "7.jpg", "width": W, "height": H}],
        "annotations": [found],
    }


def _whole_coco(folder: Path) -> None:
    _picture(folder / "val2017" / "7.jpg")
    (folder / LIST).parent.mkdir()
    (folder / LIST).write_text(json.dumps(_coco()))


def _in_coco(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def broken(folder: Path) -> None:
        content = _coco()
        change(content)
        (folder / LIST).write_text(json.dumps(content))

    return broken


def _bytes_of_coco(make: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / LIST).write_bytes(make((folder / LIST).read_bytes()))


def _read_coco(folder: Path) -> None:
    _read_all(COCO(folder))


def _of_annotation(key: str, value: object) -> Callable[[Path], object]:
    return _in_coco(lambda c: c["annotations"][0].update({key: value}))


def _file_name(value: object) -> Callable[[Path], object]:
    return _in_coco(lambda c: c["images"][0].update(file_name=value))


def _linked(folder: Path, picture: Path) -> None:
    secret = _secret(folder)
    picture.unlink()
    picture.symlink_to(secret)


ANNOTATION = r"annotation 1 of picture '7' in .*instances_val2017\.json"
COCO_CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nested": (_bytes_of_coco(lambda _: b"[" * NESTED), "nested too deeply"),
    "nested objects": (_bytes_of_coco(lambda _: b'{"a":' * NESTED), "nested too deeply"),
    "nested in an annotation": (
        _bytes_of_coco(lambda b: b.replace(b'"bbox": [', b'"bbox": ' + b"[" * NESTED)),
        "nested too deeply",
    ),
    "truncated": (_bytes_of_coco(lambda b: b[:-30]), "can't be parsed"),
    "empty": (_bytes_of_coco(lambda _: b""), "can't be parsed"),
    "a list": (_bytes_of_coco(lambda _: b"[]"), "it is \\[\\]"),
    "a number": (_bytes_of_coco(lambda _: b"5"), "it is 5"),
    "null": (_bytes_of_coco(lambda _: b"null"), "it is None"),
    "latin-1": (_bytes_of_coco(lambda b: b.replace(b"person", b"pers\xf6n")), "can't be parsed"),
    "gzip": (_bytes_of_coco(gzip.compress), "compressed with gzip"),
    "half a number": (_bytes_of_coco(lambda b: b + b"5"), "can't be parsed"),
    "endless digits": (_bytes_of_coco(lambda b: b.replace(b"[2, 1", b"[2, " + b"1" * 9000)), "can't be parsed"),
    "no categories": (_in_coco(lambda c: c.pop("categories")), "no list 'categories'"),
    "categories as an object": (_in_coco(lambda c: c.update(categories={})), "no list 'categories'"),
    "a category as text": (_in_coco(lambda c: c["categories"].append("dog")), "entry 2 of 'categories'"),
    "a category without id": (_in_coco(lambda c: c["categories"][1].pop("id")), "id of entry 1 of 'categories'"),
    "a category id as a list": (_in_coco(lambda c: c["categories"][1].update(id=[1])), "no whole number"),
    "a category's name as a number": (_in_coco(lambda c: c["categories"][1].update(name=5)), "no text but 5"),
    "two categories of one id": (_in_coco(lambda c: c["categories"][1].update(id=1)), "id 1 comes twice"),
    "no images": (_in_coco(lambda c: c.pop("images")), "no list 'images'"),
    "images null": (_in_coco(lambda c: c.update(images=None)), "no list 'images'"),
    "no image": (_in_coco(lambda c: c.update(images=[])), "at least one picture"),
    "an image as a list": (_in_coco(lambda c: c["images"].append([])), "entry 1 of 'images'"),
    "an image without id": (_in_coco(lambda c: c["images"][0].pop("id")), "id of entry 0 of 'images'"),
    "an image id as text": (_in_coco(lambda c: c["images"][0].update(id="7")), "no whole number but '7'"),
    "two images of one id": (_in_coco(lambda c: c["images"].append(c["images"][0])), "id 7 comes twice"),
    "an image without a file": (_in_coco(lambda c: c["images"][0].pop("file_name")), "file_name of entry 0"),
    "a file's name as a number": (_file_name(7), "file_name of entry 0"),
    "a size as text": (_in_coco(lambda c: c["images"][0].update(width="20")), "pixels, as .* says"),
    "another size": (_in_coco(lambda c: c["images"][0].update(width=21)), "pixels, as .* says"),
    "no annotations": (_in_coco(lambda c: c.pop("annotations")), "no list 'annotations'"),
    "an annotation as text": (_in_coco(lambda c: c["annotations"].append("x")), "entry 1 of 'annotations'"),
    "no image_id": (_in_coco(lambda c: c["annotations"][0].pop("image_id")), "entry 0 of 'annotations'"),
    "an image_id as a list": (_of_annotation("image_id", [7]), "entry 0 of 'annotations'"),
    "an image_id as text": (_of_annotation("image_id", "7"), "entry 0 of 'annotations'"),
    "a category_id as a list": (_of_annotation("category_id", [1]), rf"category_id .* \[1\] in {ANNOTATION}"),
    "a category_id as text": (_of_annotation("category_id", "1"), f"category_id .* '1' in {ANNOTATION}"),
    "a category_id as a real number": (_of_annotation("category_id", 1.5), f"category_id .* 1.5 in {ANNOTATION}"),
    "a category_id as truth": (_of_annotation("category_id", True), f"category_id .* True in {ANNOTATION}"),
    "no category_id": (_in_coco(lambda c: c["annotations"][0].pop("category_id")), f"None in {ANNOTATION}"),
    "an unknown category": (_of_annotation("category_id", 99), f"99 in {ANNOTATION}"),
    "a box of three": (_of_annotation("bbox", [1, 2, 3]), f"four numbers .* in {ANNOTATION}"),
    "a box of texts": (_of_annotation("bbox", ["1", "2", "3", "4"]), f"four numbers .* in {ANNOTATION}"),
    "a box of NaN": (_of_annotation("bbox", [float("nan"), 1, 2, 3]), f"four numbers .* in {ANNOTATION}"),
    "a box without end": (_of_annotation("bbox", [0, 0, float("inf"), 3]), f"four numbers .* in {ANNOTATION}"),
    "a box of huge numbers": (_of_annotation("bbox", [0, 0, 10**400, 3]), f"four numbers .* in {ANNOTATION}"),
    "a negative box": (_of_annotation("bbox", [5, 5, -2, 3]), f"with an area .* in {ANNOTATION}"),
    "a box outside": (_of_annotation("bbox", [500, 5, 2, 3]), f"inside the picture .* in {ANNOTATION}"),
    "a box null": (_of_annotation("bbox", None), f"four numbers .* in {ANNOTATION}"),
    "no polygon": (_of_annotation("segmentation", []), f"{ANNOTATION}' can't be used"),
    "a polygon of two corners": (_of_annotation("segmentation", [[1, 1, 2, 2]]), f"{ANNOTATION}' can't be used"),
    "a polygon of text": (_of_annotation("segmentation", [["a"] * 6]), f"{ANNOTATION}' can't be used"),
    "a polygon of huge numbers": (_of_annotation("segmentation", [[1e300] * 6]), f"{ANNOTATION}' can't be used"),
    "a mask as text": (_of_annotation("segmentation", "x" * 10_000), f"{ANNOTATION}' can't be used"),
    "runs of another size": (
        _of_annotation("segmentation", {"size": [9, 9], "counts": [81]}),
        f"{ANNOTATION}' can't be used",
    ),
    "runs that are too few": (
        _of_annotation("segmentation", {"size": [H, W], "counts": [5, 5]}),
        f"{ANNOTATION}' can't be used",
    ),
    "runs that come round": (
        _of_annotation("segmentation", {"size": [H, W], "counts": [2**62] * 4 + [H * W]}),
        f"{ANNOTATION}' can't be used",
    ),
    "runs of no code": (
        _of_annotation("segmentation", {"size": [H, W], "counts": "äöü"}),
        f"{ANNOTATION}' can't be used",
    ),
    "a file above": (
        lambda f: _file_name(os.path.relpath(_secret(f), f / "val2017"))(f),
        "leads out of it|none is there",
    ),
    "a file elsewhere": (lambda f: _file_name(str(_secret(f)))(f), "leads out of it|none is there"),
    "a drive's file": (_file_name("C:\\pictures\\7.jpg"), "none is there"),
    "a link that leads out": (lambda f: _linked(f, f / "val2017" / "7.jpg"), "picture 7 of .* leads out of it"),
    "a file with a zero byte": (_file_name("7\0.jpg"), "none is there"),
    "half a character": (_file_name("\ud800.jpg"), "none is there"),
    "a picture cut off": (
        lambda f: (f / "val2017" / "7.jpg").write_bytes((f / "val2017" / "7.jpg").read_bytes()[:300]),
        r"7\.jpg' can't be decoded",
    ),
    "a list that waits": (lambda f: ((f / LIST).unlink(), os.mkfifo(f / LIST)), "FIFO"),
    "a picture that waits": (
        lambda f: ((f / "val2017" / "7.jpg").unlink(), os.mkfifo(f / "val2017" / "7.jpg")),
        "none is there",
    ),
}  # fmt: skip

# VOC

XML = (
    "<annotation><object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    "</object></annotation>"
)


def _whole_voc(folder: Path) -> None:
    _picture(folder / "JPEGImages" / "1.jpg")
    _picture(folder / "SegmentationClass" / "1.png", mode="P")
    for name, text in {"Annotations/1.xml": XML, "ImageSets/Main/test.txt": "1\n"}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)


def _read_voc(folder: Path) -> None:
    _read_all(VOC(folder))


def _xml(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "Annotations/1.xml").write_text(XML.replace(old, new))


def _bytes(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def _gone(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def _waits(name: str) -> Callable[[Path], object]:
    return lambda folder: ((folder / name).unlink(), os.mkfifo(folder / name))


def _folder_there(name: str) -> Callable[[Path], object]:
    return lambda folder: ((folder / name).unlink(), (folder / name).mkdir())


LAUGHS = "".join(f"<!ENTITY a{i + 1} '&a{i};&a{i};'>" for i in range(30))
BOMB = f"<!DOCTYPE a [<!ENTITY a0 'ha'>{LAUGHS}]><annotation>&a30;</annotation>"
THING = r"object 1 of '.*1\.xml'"
VOC_CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no XML": (_bytes("Annotations/1.xml", b"not XML"), r"1\.xml' can't be parsed"),
    "XML cut off": (_bytes("Annotations/1.xml", XML[:60].encode()), r"1\.xml' can't be parsed"),
    "XML empty": (_bytes("Annotations/1.xml", b""), r"1\.xml' can't be parsed"),
    "XML of another encoding": (_bytes("Annotations/1.xml", XML.encode("utf-32")), r"1\.xml' can't be parsed"),
    "XML of no encoding": (
        _bytes("Annotations/1.xml", b"<?xml version='1.0' encoding='klingon'?>" + XML.encode()),
        r"1\.xml' can't be parsed",
    ),
    "an XML bomb": (_bytes("Annotations/1.xml", BOMB.encode()), r"1\.xml' can't be parsed"),
    "an XML that reads a file": (
        _bytes(
            "Annotations/1.xml",
            b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><annotation>&x;</annotation>",
        ),
        r"1\.xml'",
    ),
    "XML nested": (_bytes("Annotations/1.xml", b"<a>" * NESTED + b"</a>" * NESTED), r"1\.xml"),
    "XML gone": (_gone("Annotations/1.xml"), "does not exist"),
    "XML waits": (_waits("Annotations/1.xml"), "FIFO"),
    "XML a folder": (_folder_there("Annotations/1.xml"), "which is a folder"),
    "no object": (_bytes("Annotations/1.xml", b"<annotation/>"), "at least one object"),
    "no name": (_xml("<name>dog</name>", ""), f"got '' in {THING}"),
    "another class": (_xml("dog", "unicorn"), f"'unicorn' in {THING}"),
    "no box": (_xml("bndbox", "box"), f"{THING} has none"),
    "no corner": (_xml("<xmax>9</xmax>", ""), f"number for xmax but got None in {THING}"),
    "a corner of text": (_xml(">9</xmax", ">right</xmax"), f"'right' in {THING}"),
    "a corner of NaN": (_xml(">9</xmax", ">nan</xmax"), f"with an area .* in {THING}"),
    "a corner without end": (_xml(">9</xmax", ">inf</xmax"), f"inside the picture .* in {THING}"),
    "corners exchanged": (_xml(">9</xmax", ">0</xmax"), f"with an area .* in {THING}"),
    "a huge corner": (_xml(">9</xmax", f">{'9' * 500}</xmax"), f"inside the picture .* in {THING}"),
    "a picture gone": (_gone("JPEGImages/1.jpg"), "does not exist"),
    "a picture of text": (_bytes("JPEGImages/1.jpg", b"hello"), "no picture format fits"),
    "PostScript": (_bytes("JPEGImages/1.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n"), "no picture format fits"),
    "a mask cut off": (
        lambda f: (f / "SegmentationClass/1.png").write_bytes((f / "SegmentationClass/1.png").read_bytes()[:60]),
        r"1\.png' can't be decoded",
    ),
    "a mask of another size": (lambda f: _picture(f / "SegmentationClass/1.png", (9, 9), "P"), "is 9 x 9"),
    "a mask in colours": (lambda f: _picture(f / "SegmentationClass/1.png"), "has mode RGB"),
    "a mask of 16 bits": (lambda f: _picture(f / "SegmentationClass/1.png", mode="I;16"), "has mode I"),
    "a mask of an unknown class": (
        lambda f: Image.new("L", (W, H), 77).save(f / "SegmentationClass/1.png"),
        "holds 77",
    ),
    "a mask that is a bomb": (_bytes("SegmentationClass/1.png", _png(60_000)), "decompression bomb"),
    "a mask that leads out": (
        lambda f: _linked(f, f / "SegmentationClass" / "1.png"),
        "in the list of split 'test', which leads out",
    ),
    "a list empty": (_bytes("ImageSets/Main/test.txt", b"\n"), "test.txt' but it is empty"),
    "a list that isn't UTF-8": (_bytes("ImageSets/Main/test.txt", b"\xff\xfe1\n"), "UTF-8"),
    "a list that waits": (_waits("ImageSets/Main/test.txt"), "known split"),
    "a name twice": (_bytes("ImageSets/Main/test.txt", b"1\n1\n"), "'1' is there twice"),
    "a name that leads out": (
        lambda f: (f / "ImageSets/Main/test.txt").write_text(
            os.path.relpath(_secret(f).with_suffix(""), f / "JPEGImages")
        ),
        "leads out",
    ),
    "a name with a zero byte": (_bytes("ImageSets/Main/test.txt", b"1\0\n"), "Expected the name of a file"),
}  # fmt: skip

# A folder with a CSV


def _whole_csv(folder: Path) -> None:
    _picture(folder / "a.png")
    _picture(folder / "mask.png", mode="L")
    (folder / "labels.csv").write_text("file,label,x0,y0,x1,y1,mask\na.png,cat,1,1,9,9,mask.png\n")


def _read_csv(folder: Path) -> None:
    _read_all(Folder(folder))


def _csv(old: str, new: str) -> Callable[[Path], object]:
    def broken(folder: Path) -> None:
        path = folder / "labels.csv"
        path.write_text(path.read_text().replace(old, new))

    return broken


CSV_CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (_bytes("labels.csv", b""), r"line 1 of '.*labels\.csv'"),
    "a header alone": (_bytes("labels.csv", b"file,label\n"), "it is empty"),
    "gone": (_gone("labels.csv"), "does not exist"),
    "waits": (_waits("labels.csv"), "FIFO"),
    "latin-1": (_bytes("labels.csv", "file,label\na.png,Käfer\n".encode("latin-1")), "UTF-8"),
    "UTF-16": (_bytes("labels.csv", "file,label\na.png,cat\n".encode("utf-16")), "UTF-8"),
    "another header": (_csv("label,", "klass,"), "the column label"),
    "a column twice": (_csv("x0,y0", "x0,x0"), "column|columns"),
    "a cell less": (_csv(",mask.png", ""), "line 2 of"),
    "no label": (_csv("cat", ""), "a label but line 2"),
    "a corner of text": (_csv("1,1,9", "1,one,9"), "four numbers .*line 2"),
    "a corner of NaN": (_csv("1,1,9", "1,nan,9"), "an area .*line 2"),
    "a box without area": (_csv("1,1,9,9", "9,9,1,1"), "an area .*line 2"),
    "a cell without end": (_csv("cat", "c" * 200_000), "can't be read: field larger"),
    "a picture gone": (_csv("a.png", "b.png"), "does not exist"),
    "a picture above": (lambda f: _csv("a.png", _above(f))(f), "line 2 of .* leads out"),
    "a picture elsewhere": (lambda f: _csv("a.png", str(_secret(f)))(f), "line 2 of .* leads out"),
    "a picture linked": (lambda f: _linked(f, f / "a.png"), "line 2 of .* leads out"),
    "a picture that waits": (_waits("a.png"), "FIFO"),
    "a device": (_csv("a.png", "/dev/zero"), "leads out"),
    "a mask above": (lambda f: _csv("mask.png", _above(f))(f), "line 2 of .* leads out"),
    "a mask gone": (_gone("mask.png"), "does not exist"),
    "a loop of links": (
        lambda f: ((f / "a.png").unlink(), (f / "a.png").symlink_to("a.png")),
        "name of a file|can't be reached",
    ),
}  # fmt: skip

# ImageNet segmentation


def _whole_mat(folder: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "gtsegs_ijcv.mat", "w") as mat:
        refs, value = mat.create_group("#refs#"), mat.create_group("value")

        def cell(item: Any) -> np.ndarray:
            out = np.empty((1, 1), dtype=h5py.ref_dtype)
            out[0, 0] = item
            return out

        image = refs.create_dataset("image", data=np.zeros((3, W, H), np.uint8))
        mask = refs.create_dataset("mask", data=np.zeros((W, H), np.uint8))
        refs.create_dataset("cell", data=cell(mask.ref))
        value["img"], value["gt"] = cell(image.ref), cell(refs["cell"].ref)


def _in_mat(change: Callable[[Any], object]) -> Callable[[Path], object]:
    def broken(folder: Path) -> None:
        import h5py

        with h5py.File(folder / "gtsegs_ijcv.mat", "r+") as mat:
            change(mat)

    return broken


def _other(mat: Any, name: str, data: Any = None, **options: Any) -> None:
    """Another array under a reference: references lead to the place, so its content is exchanged."""
    import h5py

    made = mat["#refs#"].create_dataset(f"other-{name}", data=data, **options)
    out = np.empty((1, 1), dtype=h5py.ref_dtype)
    out[0, 0] = made.ref
    if name == "image":
        mat["value/img"][...] = out
    else:
        mat["#refs#/cell"][...] = out


def _read_mat(folder: Path) -> None:
    _read_all(ImageNetSegmentation(folder / "gtsegs_ijcv.mat"))


MAT_CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (_gone("gtsegs_ijcv.mat"), "does not exist"),
    "waits": (_waits("gtsegs_ijcv.mat"), "FIFO"),
    "text": (_bytes("gtsegs_ijcv.mat", b"no MATLAB"), "MATLAB 7.3"),
    "cut off": (
        lambda f: (f / "gtsegs_ijcv.mat").write_bytes((f / "gtsegs_ijcv.mat").read_bytes()[:900]),
        "MATLAB 7.3|something else",
    ),
    "no masks": (_in_mat(lambda m: m.__delitem__("value/gt")), "something else"),
    "no value": (_in_mat(lambda m: m.__delitem__("value")), "something else"),
    "one channel": (_in_mat(lambda m: _other(m, "image", np.zeros((W, H), np.uint8))), "uint8 of shape"),
    "a picture of real numbers": (_in_mat(lambda m: _other(m, "image", np.zeros((3, W, H)))), "uint8 of shape"),
    "another size": (_in_mat(lambda m: _other(m, "mask", np.zeros((3, 3), np.uint8))), "the picture's size"),
    "a picture that claims a terabyte": (
        _in_mat(lambda m: _other(m, "image", shape=(3, 10**6, 10**6), dtype="u1", chunks=(1, 10, 10))),
        "claims the shape",
    ),
    "references to nothing": (_in_mat(lambda m: m["value/img"].__setitem__((0, 0), None)), "can't be read"),
    "numbers in place of references": (
        _in_mat(lambda m: (m.__delitem__("value/img"), m["value"].create_dataset("img", data=[[5]]))),
        "can't be read",
    ),
    "a table without end": (
        _in_mat(
            lambda m: (
                m.__delitem__("value/img"),
                m["value"].create_dataset("img", shape=(10**10, 1), dtype="u8", chunks=(10, 1)),
            )
        ),
        "something else",
    ),
}  # fmt: skip

# State dicts


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def _whole_state(folder: Path) -> None:
    save_file(_net().state_dict(), folder / "net.safetensors")
    torch.save(_net().state_dict(), folder / "net.pth")


def _load(name: str) -> Callable[[Path], object]:
    return lambda folder: load_state(_net(), read_state(folder / name), name)


def _cut(name: str, share: float) -> Callable[[Path], object]:
    def broken(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return broken


def _with(key: str, make: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], object]:
    def broken(folder: Path) -> None:
        state = _net().state_dict()
        torch.save(state | {key: make(state[key])}, folder / "net.pth")

    return broken


STATE_CASES: dict[str, tuple[Callable[[Path], object], Callable[[Path], object], str]] = {
    **{
        f"{name} cut at {share}": (_cut(name, share), _load(name), "can't be read|run code")
        for name in ("net.pth", "net.safetensors")
        for share in (0, 0.01, 0.3, 0.7, 0.99)
    },
    "a header without end": (
        _bytes("net.safetensors", struct.pack("<Q", 2**62) + b"{}"), _load("net.safetensors"), "can't be read"
    ),
    "a pickle that runs": (_bytes("net.pth", b"cos\nsystem\n(S'touch owned'\ntR."), _load("net.pth"), "run code"),
    "whole numbers": (_with("0.weight", lambda t: t.to(torch.int8)), _load("net.pth"), "0.weight is int8"),
    "complex numbers": (_with("0.bias", lambda t: t.to(torch.complex64)), _load("net.pth"), "0.bias is complex64"),
    "truth": (_with("1.weight", lambda t: t > 0), _load("net.pth"), "1.weight is bool"),
    "8 bits": (_with("1.bias", lambda t: t.to(torch.float8_e5m2)), _load("net.pth"), "1.bias is float8_e5m2"),
    "a counter of real numbers": (
        _with("1.num_batches_tracked", lambda t: t.float()), _load("net.pth"), "num_batches_tracked is float32"
    ),
    "sparse": (_with("0.weight", lambda t: t.to_sparse()), _load("net.pth"), "0.weight is a tensor of a sparse"),
}  # fmt: skip

# Saved explanations


def _whole_explanation(folder: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    relprop.explain(net, torch.ones(1, 3, 2, 2), 0, "lrp-0").save(folder / "e")


def _read_explanation(folder: Path) -> None:
    relprop.Explanation.load(folder / "e")


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def broken(folder: Path) -> None:
        path = folder / "e" / "manifest.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return broken


def _numbers(folder: Path) -> None:
    """Other numbers under the checksum of a manifest that was changed with them."""
    import hashlib

    data = save({"relevance": torch.zeros(1), "input": torch.zeros(1), "targets": torch.zeros(1)})
    (folder / "e" / "relevance.safetensors").write_bytes(data)
    facts = {"sha256": hashlib.sha256(data).hexdigest()}
    _manifest(lambda m: m["files"].update({"relevance.safetensors": facts}))(folder)


SAVED_CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (_gone("e/manifest.json"), "no readable manifest"),
    "a manifest that waits": (_waits("e/manifest.json"), "no readable manifest"),
    "a manifest cut off": (_cut("e/manifest.json", 0.5), "no readable manifest"),
    "a manifest nested": (_bytes("e/manifest.json", b"[" * NESTED), "no readable manifest"),
    "a manifest of bytes": (_bytes("e/manifest.json", b"\xff\xff"), "no readable manifest"),
    "a manifest as a list": (_bytes("e/manifest.json", b"[]"), "manifest of format"),
    "another format": (_manifest(lambda m: m.update(format="x")), "manifest of format"),
    "a later version": (_manifest(lambda m: m.update(format_version=99)), "format version"),
    "a version as a list": (_manifest(lambda m: m.update(format_version=[1])), "format version"),
    "files as a list": (_manifest(lambda m: m.update(files=["a"])), "to list files"),
    "files without numbers": (_manifest(lambda m: m.update(files={})), "to list files"),
    "a file above": (_manifest(lambda m: m["files"].update({"../../x": {}})), "to list files"),
    "a file that isn't there": (_manifest(lambda m: m["files"].update({"more.bin": {}})), "does not exist"),
    "numbers gone": (_gone("e/relevance.safetensors"), "does not exist"),
    "numbers that wait": (_waits("e/relevance.safetensors"), "FIFO"),
    "numbers cut off": (_cut("e/relevance.safetensors", 0.5), "checksum differs"),
    "a figure changed": (_bytes("e/explanation.png", b"x"), "checksum differs"),
    "other numbers": (_numbers, "Expected relevance of shape|Expected input of shape"),
    "a method as a number": (_manifest(lambda m: m.update(method=5)), "'method'"),
    "settings as a list": (_manifest(lambda m: m.update(settings=[])), "'settings'"),
    "no place": (_manifest(lambda m: m.pop("at")), "'at'"),
    "signed as text": (_manifest(lambda m: m.update(signed="yes")), "'signed'"),
    "shapes as text": (_manifest(lambda m: m.update(shapes="(1,)")), "don't fit together"),
    "a plan as a number": (_manifest(lambda m: m.update(plan=5)), "don't fit together"),
    "a plan's row without a node": (_manifest(lambda m: m["plan"]["rows"][0].clear()), "don't fit together"),
    "a ledger as a list": (_manifest(lambda m: m.update(ledger=[1])), "don't fit together"),
    "a ledger of words": (_manifest(lambda m: m["ledger"].update(start="much")), "don't fit together"),
    "outputs of another kind": (_manifest(lambda m: m.update(outputs="mapping")), "don't fit together"),
}  # fmt: skip

# Labels, recipes, clips

TEXT_CASES: dict[str, tuple[bytes | None, Callable[[Path], object], str]] = {
    "labels.txt": (b"\xff\xfe", read_labels, "UTF-8"),
    "labels-empty.txt": (b" \n\n", read_labels, "is empty"),
    "labels.json": (b"{", read_labels, "can't be used"),
    "labels-numbers.json": (b"[1]", read_labels, "something else"),
    "labels-hole.json": (b'{"0": "cat", "2": "dog"}', read_labels, "index '1' is missing"),
    "labels-nested.json": (b"[" * NESTED, read_labels, "nested too deeply"),
    "labels-gone.txt": (None, read_labels, "does not exist"),
    "recipe.toml": (b"[data", read_recipe, "TOML"),
    "recipe-nested.toml": (b"a=" + b"[" * NESTED, read_recipe, "nested too deeply"),
    "recipe-bytes.toml": (b"\xff", read_recipe, "UTF-8"),
    "recipe-digits.toml": (b"a=" + b"9" * 9000, read_recipe, "TOML"),
    "recipe-gone.toml": (None, read_recipe, "does not exist"),
    "clip.avi": (b"", lambda p: read_clip(p, Sampling()), "no film format fits"),
    "clip.mp4": (b"\0\0\0\x18ftypisom", lambda p: read_clip(p, Sampling()), "table of contents"),
    "clip.gif": (b"GIF89a" + b"\xff" * 20, lambda p: read_clip(p, Sampling()), "film"),
    "clip-large.gif": (b"GIF89a\xff\xff\xff\xff\0\0\0;", lambda p: read_clip(p, Sampling()), "bomb|film"),
    "clip-gone.avi": (None, lambda p: read_clip(p, Sampling()), "does not exist"),
}  # fmt: skip


def _cut_clip(share: float) -> Callable[[Path], object]:
    def broken(folder: Path) -> None:
        film = Path(demo_clip_path()).read_bytes()
        (folder / "clip.avi").write_bytes(film[: int(len(film) * share)])

    return broken


def _whole_text(_: Path) -> None:
    pass


def _table() -> list[
    tuple[str, Callable[[Path], object], Callable[[Path], object], Callable[[Path], object], str]
]:
    """Name, what makes a whole folder, what breaks it, what reads it, what the error says."""
    found = []
    for kind, whole, read, cases in (
        ("COCO", _whole_coco, _read_coco, COCO_CASES),
        ("VOC", _whole_voc, _read_voc, VOC_CASES),
        ("CSV", _whole_csv, _read_csv, CSV_CASES),
        ("MATLAB", _whole_mat, _read_mat, MAT_CASES),
        ("saved", _whole_explanation, _read_explanation, SAVED_CASES),
    ):
        found += [(f"{kind}: {name}", whole, broken, read, said) for name, (broken, said) in cases.items()]
    for name, (broken, read, said) in STATE_CASES.items():
        found.append((f"weights: {name}", _whole_state, broken, read, said))
    for name, (data, read_text, said) in TEXT_CASES.items():
        broken = _whole_text if data is None else _bytes(name, data)
        found.append((name, _whole_text, broken, lambda f, n=name, r=read_text: r(f / n), said))
    for share in (0.001, 0.1, 0.5):
        found.append((f"clip cut at {share}", _whole_text, _cut_clip(share), _read_clip, "cut off|film"))
    return found


def _read_clip(folder: Path) -> None:
    read_clip(folder / "clip.avi", Sampling())


@pytest.mark.parametrize("whole", [_whole_coco, _whole_voc, _whole_csv, _whole_mat, _whole_explanation])
def test_whole_files_are_read(whole: Callable[[Path], object], tmp_path: Path) -> None:
    read = {
        _whole_coco: _read_coco,
        _whole_voc: _read_voc,
        _whole_csv: _read_csv,
        _whole_mat: _read_mat,
        _whole_explanation: _read_explanation,
    }[whole]
    whole(tmp_path)
    read(tmp_path)


def test_a_list_with_a_mark_and_links_inside_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    _whole_coco(folder)
    (folder / LIST).write_bytes(b"\xef\xbb\xbf" + (folder / LIST).read_bytes())
    (folder / "val2017" / "7.jpg").rename(folder / "val2017" / "same.jpg")
    (folder / "val2017" / "7.jpg").symlink_to("same.jpg")
    (tmp_path / "linked").symlink_to(folder)
    _read_coco(tmp_path / "linked")
    (folder / "val2017").rename(tmp_path / "elsewhere")  # a folder of pictures may lie on another disk
    (folder / "val2017").symlink_to(tmp_path / "elsewhere")
    _read_coco(folder)


def test_every_damaged_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    tally = Tally()
    for number, (name, whole, broken, read, said) in enumerate(_table()):
        folder = tmp_path / f"{number:03}"
        folder.mkdir()
        whole(folder)
        broken(folder)
        before = snapshot(folder)
        tally.tried += 1
        try:
            with limited(120):
                read(folder)
            tally.unclear.append(f"{name}: nothing was said")
        except TooLong as error:
            tally.hang.append(f"{name}: {error}")
        except RelpropError as error:
            wrong = unclear(str(error), said)
            if wrong is None and not isinstance(error, InputError):
                wrong = "is no InputError"
            if wrong is None and not str(error).startswith("Expected"):
                wrong = "doesn't say what was expected"
            if wrong is not None:
                tally.unclear.append(f"{name}: {wrong}: {str(error)[:300]}")
        except Exception as error:
            tally.unclear.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
        if snapshot(folder) != before or Path("owned").exists():
            tally.lost.append(name)
    print(tally)
    assert tally.tried >= 105
    assert tally.clear == tally.tried, str(tally)
