"""What the app refuses, without a browser."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

import relprop
from relprop.app.uploads import MOST_BYTES, uploaded_picture
from relprop.datasets import demo_image_path
from relprop.errors import InputError


@pytest.mark.parametrize(
    "path", ["gradio_api/file=/etc/passwd", "gradio_api/info", "gradio_api/proxy=http://example.org", "docs"]
)
def test_paths_that_the_page_does_not_need_are_refused(address: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/{path}")


def test_another_host_is_refused(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "evil.example:80"}))


def test_uploads(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(whole, "PNG")
    cases = {
        "whole.png": (whole.getvalue(), None),
        "cut.png": (whole.getvalue()[:60], "can't be decoded"),
        "words.png": (b"no picture", "no picture format"),
    }
    for name, (data, error) in cases.items():
        file = tmp_path / "uploads" / "a" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
        if error is None:
            assert uploaded_picture(str(file), tmp_path).size == (64, 64)
        else:
            with pytest.raises(InputError, match=error) as raised:
                uploaded_picture(str(file), tmp_path)
            assert str(tmp_path) not in str(raised.value)
        assert not file.parent.exists()
    huge = tmp_path / "uploads" / "b" / "huge.png"
    huge.parent.mkdir()
    with huge.open("wb") as out:
        out.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match="at most 32 MB"):
        uploaded_picture(str(huge), tmp_path)
    huge.parent.mkdir()
    Image.new("1", (9000, 9000)).save(huge)
    with pytest.raises(InputError, match="40,000,000 pixels"):
        uploaded_picture(str(huge), tmp_path)
    with pytest.raises(InputError, match="uploaded on this page"):
        uploaded_picture(f"{tmp_path}/../../etc/passwd", tmp_path)


def test_a_second_answer_is_the_same_as_one_alone() -> None:
    with relprop.reports.Conversation("scenes-resnet", demo_image_path()) as talk:
        talk.ask(method="lrp-composite")
        second = talk.ask(method="lrp-composite", target=2, versus=1)
    alone = relprop.reports.picture(
        "scenes-resnet", demo_image_path(), method="lrp-composite", target=2, versus=1
    )
    name = "demo_scene/lrp-composite"
    assert (second.numbers[name].relevance - alone.numbers[name].relevance).abs().max() < 1e-5
    assert second.document["images"][0]["targets"] == alone.document["images"][0]["targets"]
