"""The service on its page, as it stands there, used and abused."""

from __future__ import annotations

import base64
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.cli.test_command_matrix import _png

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

PAGE = Path(__file__).resolve().parents[1] / "docs" / "service.md"


@pytest.fixture(scope="module")
def client() -> Any:
    from fastapi.testclient import TestClient

    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"__name__": "service"}
    exec(compile(code, str(PAGE), "exec"), names)
    return TestClient(names["app"])


def picture(colour: tuple[int, int, int] = (200, 30, 60)) -> bytes:
    file = BytesIO()
    Image.new("RGB", (112, 112), colour).save(file, "PNG")
    return file.getvalue()


def ask(client: Any, data: bytes, name: str = "a.png", **params: str) -> Any:
    return client.post("/explain", files={"picture": (name, data)}, params=params)


def test_an_answer_is_the_commands_document_and_sheet(client: Any) -> None:
    said = ask(client, picture(), method="lrp-composite").json()
    (one,) = said["images"]
    (explained,) = one["explanations"]
    assert explained["method"] == "lrp-composite"
    assert explained["ledger"]["closes"] is True
    sheet = Image.open(BytesIO(base64.b64decode(said["sheet"])))
    assert sheet.format == "PNG"
    assert min(sheet.size) > 100


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_png(60_000), "decompression bomb"),
        (picture()[:-30], "a whole picture"),
        (b"hello", "no picture format fits"),
        (b"", "no picture format fits"),
        (b"\x89PNG\r\n\x1a\n" + bytes(10_000_001), "at most 10,000,000 bytes"),
    ],
    ids=["bomb", "cut", "text", "empty", "large"],
)
def test_bad_uploads_end_in_one_sentence(client: Any, data: bytes, said: str) -> None:
    answer = ask(client, data)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert re.search(said, detail), detail
    assert tempfile.gettempdir() not in detail
    assert "\n" not in detail
    assert ask(client, picture(), method="gradient").status_code == 200  # it goes on


def test_names_that_lead_elsewhere_lead_nowhere(client: Any, tmp_path: Path) -> None:
    aim = tmp_path / "aim.png"
    for name in (str(aim), "../../aim.png", "a.png\x00.py", "picture"):
        assert ask(client, picture(), name, method="gradient").status_code == 200
    assert not aim.exists()
    own = tmp_path / "mine.py"
    own.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef mine(model, x, targets): return x\n")
    answer = ask(client, picture(), method=f"{own}:mine")
    assert answer.status_code == 422
    assert not (tmp_path / "ran").exists()
    assert "Expected" in ask(client, picture(), target="no such class").json()["detail"]


def test_requests_don_t_meet(client: Any) -> None:
    colours = [(200, 30, 60), (20, 200, 60), (30, 30, 220), (240, 240, 240)]
    alone = [ask(client, picture(c), method="gradient-x-input").json() for c in colours]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda c: ask(client, picture(c), method="gradient-x-input").json(), colours)
        )
    for a, b in zip(alone, together, strict=True):
        for one, other in zip(a["images"][0]["predictions"], b["images"][0]["predictions"], strict=True):
            assert one["name"] == other["name"]
            assert one["score"] == pytest.approx(other["score"], rel=1e-5, abs=1e-5)


def test_nothing_is_left_behind(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert ask(client, picture(), method="gradient").status_code == 200
    assert ask(client, b"hello").status_code == 422
    assert list(tmp_path.iterdir()) == []
