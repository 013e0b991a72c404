"""Mistakes: what a detector got wrong in many pictures, sorted by kind, the telling ones explained."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from relprop.bar import draws_bar
from relprop.catalogue import SHOWN_METHOD
from relprop.checks import check_count
from relprop.datasets.truth import Annotations, read_truth
from relprop.detectors import Detector
from relprop.detectors.joined import Joined, join_classes
from relprop.detectors.matching import FALSE_POSITIVES, NEAR, THRESHOLD, map_of
from relprop.detectors.misses import MISSES
from relprop.detectors.sources import LoadedDetector
from relprop.errors import InputError, RelpropError
from relprop.explanation.folder import version
from relprop.files import shown_path
from relprop.kept import Kept
from relprop.many.listing import listed_pictures
from relprop.many.pictures import digest
from relprop.many.results import model_digest, preprocess_digest, same_settings
from relprop.methods.method import Method
from relprop.methods.registry import MethodLike, resolve
from relprop.models.pictures import read_picture
from relprop.paths import named_path
from relprop.precision import full_precision
from relprop.reports.detection_seen import DetectorSource, loaded_detector
from relprop.reports.document import plain
from relprop.reports.judging import Judge, found_of, judged_again, mistakes_of, tidy
from relprop.reports.mistake_maps import explain_mistake
from relprop.reports.mistakes_page import mistakes_page
from relprop.reports.report import Page, Report
from relprop.reports.sources import listed, model_facts
from relprop.reports.steps import Progress
from relprop.reports.text import Block, Table, Written, percent
from relprop.storage import check_room, write_file

__all__ = ["COLUMNS", "mistakes"]

_KEPT, _MAPS = "pictures.jsonl", "maps"
_PAGE, _JSON, _CSV = "report.html", "mistakes.json", "mistakes.csv"
_SAME = 3  # equal errors, and nothing done yet: it isn't about one picture or mistake
_SHOWN = 12  # lines of a printed table

COLUMNS = (
    "id", "picture", "kind", "reason", "said", "score", "true", "true_score", "iou", "x0", "y0", "x1", "y1",
    "true_x0", "true_y0", "true_x1", "true_y1", "detection", "anchor", "by", "explained", "inside", "words",
)  # fmt: skip
"""Of `mistakes.csv`: a row a mistake, boxes in pixels of the picture."""


@dataclass(eq=False)
class _Run:
    """What a run needs all the time."""

    out: Path
    judge: Judge
    method: Method
    kept: Kept
    files: dict[str, Path]  # picture -> its file
    tell: Callable[[float, int, str], None]
    failures: dict[str, str]


@draws_bar()
@full_precision
def mistakes(
    detector: DetectorSource,
    images: Any,
    truth: str | Path,
    *,
    out: str | Path,
    method: MethodLike = SHOWN_METHOD,
    most: int = 8,
    progress: Progress | bool | None = None,
) -> Report:
    """What a detector got wrong: what `relprop detect FOLDER --truth FILE --report FOLDER` does.

    Every detection is held against the objects of its picture: false positives by kind (class confusion,
    localisation, both, duplicate, background), misses by what kept the best unit from being a detection. The
    telling ones of each kind are explained. Written are one page that needs nothing else (``report.html``) and the
    same numbers as ``mistakes.json`` and ``mistakes.csv``.

    What was judged and explained is kept as it comes: the same call goes on where it stopped, and more
    explanations are added to those that are there; other settings are refused.

    Args:
        detector: as for `relprop.reports.detection`; it has to have class names.
        images: one or several of: a file, a folder (with all below it), a pattern.
        truth: a COCO instance file, or a folder of VOC's XML (or with `Annotations` in it).
        out: the folder of the report.
        method: as for `relprop.explain`.
        most: how many mistakes of each kind are explained, at most: those with the highest scores, each pair of
            classes in turn; misses count as a kind for each reason, the largest objects first. 0: none.
        progress: True for a bar in a notebook or on a terminal; or a function of
            the steps done, their number, and what is being done.

    Raises:
        InputError: no pictures, a truth that can't be read or says nothing about them, no class that both know; a
            folder of other settings.
        RelpropError: all pictures failed, or every explanation.
    """
    recipe = resolve(method)
    if most != 0:
        check_count("most", most)
    files = listed_pictures(
        [str(one) if isinstance(one, Path) else one for one in listed(images)], below=True
    )
    known = read_truth(truth)
    place = named_path(out)
    check_room(place)
    named = _named(files)
    judged = {name: path for name, path in named.items() if known.key(path) is not None}
    if not judged:
        raise InputError(
            f"Expected pictures that '{shown_path(known.path)}' speaks of but it knows none of the {len(named)} "
            f"(the first: '{shown_path(next(iter(named.values())))}'). Pictures are known by their files' names."
        )
    loaded = loaded_detector(detector)
    judge = _judge(loaded.detector, known)
    same_settings(place, _settings(loaded.detector, known, recipe))
    tell = progress if callable(progress) else lambda done, total, what: None
    run = _Run(place, judge, recipe, Kept(place / _KEPT), judged, tell, {})
    seen = _seen(run)
    rows = [row for name, one in seen.items() for row in _rows(run, name, one, loaded.spec)]
    chosen = chosen_of(rows, most)
    _explain(run, rows, chosen, len(judged))
    document = _document(run, loaded, named, seen, rows, most)
    _write(run, document)
    head = {"relprop": version(), "model": _about(loaded)}
    return Report(head, None, (_page(run, loaded, document),), place)


def _named(files: Sequence[Path]) -> dict[str, Path]:
    """A name for each picture: of its file, or its whole path where several files have that name."""
    counted = Counter(path.name for path in files)
    found: dict[str, Path] = {}
    for path in files:
        name = path.name if counted[path.name] == 1 else path.as_posix()
        found.setdefault(name, path)  # a picture that is named twice is one
    return found


def _judge(detector: Detector, truth: Annotations) -> Judge:
    if detector.classes is None:
        raise InputError(
            "Expected a detector with class names, by which its classes and the truth's are joined, but it has "
            "none. Give it names: --labels FILE, or relprop.detectors.wrap(detector, classes=[...])."
        )
    joined = join_classes(detector.classes, truth.classes, detector.background)
    if all(k is None for k in joined.labels):
        raise InputError(
            "Expected classes that detector and truth both know but no name is the same: "
            f"{_some(joined.only_detector)} against {_some(joined.only_truth)}. Give the detector the truth's "
            "names (--labels FILE)."
        )
    return Judge(detector, detector.classes, truth, joined)


def _settings(detector: Detector, truth: Annotations, method: Method) -> dict[str, Any]:
    """What the results depend on besides the pictures and how many are explained."""
    others = ("raw", "prepare", "score_threshold", "name")
    names = [field.name for field in fields(detector) if field.init and field.name not in others]
    return {
        "report": "mistakes",
        "version": version(),
        "model": model_digest(detector.raw),
        "preprocess": preprocess_digest(lambda picture: detector.prepared(picture).x),
        "threshold": detector.score_threshold,
        "detector": {name: getattr(detector, name) for name in names},
        "method": {"name": method.name, **method.settings()},
        "truth": truth.digest(),
    }


def _seen(run: _Run) -> dict[str, dict[str, Any]]:
    """Every picture judged, in order; those that can't be are failures."""
    found: dict[str, dict[str, Any]] = {}
    for n, (name, path) in enumerate(run.files.items()):
        run.tell(n, len(run.files), f"detecting: {name}")
        try:
            key = ["seen", name, digest(path)]
            if key not in run.kept:
                picture = read_picture(path)
                size = picture.height, picture.width
                there = run.judge.truth.of(path, size)
                run.kept.add(key, {"seen": run.judge.judge(run.judge.detector(picture), there, size)})
            found[name] = run.kept[key]["seen"]
        except Exception as error:  # a damaged file can make a decoder do anything, and so can a network
            text = " ".join(str(error).split()) or "no reason given"
            run.failures[name] = (
                text if isinstance(error, RelpropError) else f"{type(error).__name__}: {text}"
            )
            same = len(run.failures) >= _SAME and len(set(run.failures.values())) == 1
            if same and not found:
                raise  # it isn't about one picture
    if not found:
        name, text = next(iter(run.failures.items()))
        raise InputError(
            f"Expected pictures that can be judged but each of {len(run.failures)} failed, the first so: {name}: "
            f"{text}"
        )
    return found


def _said(error: Exception) -> str:
    """An error in a line."""
    text = " ".join(str(error).split()) or "no reason given"
    return text if isinstance(error, RelpropError) else f"{type(error).__name__}: {text}"


def _rows(run: _Run, name: str, seen: dict[str, Any], spec: str) -> list[dict[str, Any]]:
    """The mistakes of a picture, with what was explained of them so far unknown."""
    return [
        row | {"words": _words(row, run.judge.detector), "command": _command(run, row, spec)}
        for row in mistakes_of(name, seen)
    ]


def chosen_of(rows: Sequence[Mapping[str, Any]], most: int) -> list[int]:
    """Which mistakes are explained: of each kind, and of each reason of a miss, up to so many.

    The pairs of classes take turns, the most frequent first, and of a pair the highest score comes first (of
    misses the largest object), so that each frequent confusion has an example.

    Args:
        rows: the mistakes.
        most: of each kind.

    Returns:
        Their places among the rows, in order.
    """
    kinds: dict[tuple[str, str | None], dict[tuple[Any, Any], list[int]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for n, row in enumerate(rows):
        pair = (row["true"], None) if row["kind"] == "missed" else (row["said"], row["true"])
        kinds[row["kind"], row["reason"]][pair].append(n)
    chosen: list[int] = []
    for pairs in kinds.values():
        queues = sorted(pairs.values(), key=lambda places: (-len(places), places[0]))
        for places in queues:
            places.sort(key=lambda n: (-_weight(rows[n]), n))
        turns = [places[turn] for turn in range(most) for places in queues if turn < len(places)]
        chosen += turns[:most]
    return sorted(chosen)


def _weight(row: Mapping[str, Any]) -> float:
    if row["kind"] != "missed":
        return float(row["score"])
    x0, y0, x1, y1 = row["true_box"]
    return float((x1 - x0) * (y1 - y0))


def _explain(run: _Run, rows: list[dict[str, Any]], chosen: Sequence[int], pictures: int) -> None:
    """Explain the chosen mistakes that are not explained yet, and note in every row what is there."""
    last = ""
    ready: tuple[Any, Any, Any] | None = None
    digests: dict[str, str] = {}
    troubles: list[str] = []
    done = 0
    for step, n in enumerate(chosen):
        row = rows[n]
        name = row["picture"]
        run.tell(pictures + step, pictures + len(chosen), f"explaining: {name}")
        if name not in digests:
            digests[name] = digest(run.files[name])
        key = ["why", name, digests[name], row["id"]]
        if key not in run.kept or not _whole(run, run.kept[key]["why"]):
            if last != name:
                picture = read_picture(run.files[name])
                prepared = run.judge.detector.prepared(picture)
                ready, last = (picture, prepared, run.judge.detector(prepared)), name
            assert ready is not None
            picture, prepared, found = ready
            try:
                made = explain_mistake(
                    run.judge.detector, prepared, found, picture, row, run.judge.names, run.method
                )
            except Exception as error:
                text = _said(error)
                troubles.append(text)
                if not done and len(troubles) >= _SAME and len(set(troubles[-_SAME:])) == 1:
                    raise  # it isn't about one mistake
                row["problem"] = text
                continue
            facts = made.facts | _written(run, digests[name], row["id"], made.photo, made.maps)
            run.kept.add(key, {"why": facts})
        done += 1
        row["explained"] = run.kept[key]["why"]
    if troubles and not done:
        raise RelpropError(
            f"Expected mistakes that can be explained but each failed, the first so: {troubles[0]}"
        )
    for row in rows:
        row.setdefault("explained", None)
        row.setdefault("problem", None)


def _written(run: _Run, digested: str, key: str, photo: bytes, maps: Sequence[bytes]) -> dict[str, Any]:
    """Write the pictures of a mistake, and say where they are."""
    stem = f"{_MAPS}/{digested[:16]}-{key}"
    write_file(run.out / f"{stem}.webp", photo)
    files = [f"{stem}-{k}.webp" for k in range(len(maps))]
    for file, data in zip(files, maps, strict=True):
        write_file(run.out / file, data)
    return {"photo": f"{stem}.webp", "files": files}


def _whole(run: _Run, why: Mapping[str, Any]) -> bool:
    return all((run.out / file).is_file() for file in (why["photo"], *why["files"]))


def _document(
    run: _Run,
    loaded: LoadedDetector,
    named: Mapping[str, Path],
    seen: Mapping[str, dict[str, Any]],
    rows: Sequence[dict[str, Any]],
    most: int,
) -> dict[str, Any]:
    truth, joined = run.judge.truth, run.judge.joined
    return {
        "pictures": {
            "given": len(named),
            "judged": len(seen),
            "without_truth": len(named) - len(run.files),
            "failed": len(run.failures),
        },
        "truth": {
            "path": str(truth.path),
            "kind": truth.kind,
            "pictures": truth.count,
            "classes": _about_classes(joined, seen),
        },
        "settings": {
            "method": {"name": run.method.name, **run.method.settings()},
            "threshold": loaded.detector.score_threshold,
            "iou_hit": THRESHOLD,
            "iou_near": NEAR,
            "most": most,
        },
        "summary": _summary(run, seen, rows),
        "failures": [{"picture": name, "problem": text} for name, text in run.failures.items()],
        "judged": [{"picture": name, "size": one["size"]} for name, one in seen.items()],
        "mistakes": list(rows),
    }


def _about_classes(joined: Joined, seen: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    unknown = Counter(o["name"] for one in seen.values() for o in one["objects"] if o["label"] < 0)
    unjudged = Counter(
        d["name"] for one in seen.values() for d in one["detections"] if d["kind"] == "unjudged"
    )
    return {
        "joined": sum(k is not None for k in joined.labels),
        "renamed": [list(pair) for pair in joined.renamed],
        "only_truth": {name: unknown[name] for name in joined.only_truth},
        "only_detector": {name: unjudged[name] for name in joined.only_detector},
    }


def _summary(
    run: _Run, seen: Mapping[str, dict[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    again = [judged_again(one) for one in seen.values()]
    objects, matched = [o for o, _ in again], [m for _, m in again]
    mean, each = map_of([found_of(one) for one in seen.values()], objects, matched)
    kinds = Counter(d["kind"] for one in seen.values() for d in one["detections"])
    names = run.judge.names
    wanted = Counter(names[int(k)] for o in objects for k in o.labels[o.wanted])
    missed = [row for row in rows if row["kind"] == "missed"]
    lost = Counter(row["true"] for row in missed)
    confused = Counter((row["true"], row["said"]) for row in rows if row["kind"] == "confusion")
    alone = Counter(
        (row["true"], row["said"]) for row in rows if row["kind"] == "confusion" and row["by"] is None
    )
    return {
        "detections": sum(kinds.values()),
        "objects": sum(wanted.values()),
        "hits": kinds["hit"],
        "ignored": kinds["ignored"],
        "unjudged": kinds["unjudged"],
        "false_positives": {kind: kinds[kind] for kind in FALSE_POSITIVES},
        "missed": {reason: sum(row["reason"] == reason for row in missed) for reason in MISSES},
        "median_side": {
            "found": _side(_found_boxes(seen)),
            **{
                reason: _side([row["true_box"] for row in missed if row["reason"] == reason])
                for reason in MISSES
            },
        },
        "map50": tidy(mean) if each else None,
        "explained": sum(row["explained"] is not None for row in rows),
        "confusions": [
            {"true": true, "said": said, "count": count, "not_found": alone[true, said]}
            for (true, said), count in sorted(confused.items(), key=lambda item: (-item[1], item[0]))
        ],
        "classes": [
            {
                "name": name,
                "objects": wanted[name],
                "found": wanted[name] - lost[name],
                "ap50": tidy(each[k]),
                "called_otherwise": sum(n for (true, _), n in confused.items() if true == name),
                "false_positives": sum(row["said"] == name for row in rows if row["kind"] != "missed"),
            }
            for k, name in sorted(((k, names[k]) for k in each), key=lambda pair: (-wanted[pair[1]], pair[1]))
        ],
    }


def _found_boxes(seen: Mapping[str, dict[str, Any]]) -> list[Sequence[float]]:
    """The boxes of all objects that were found."""
    return [
        one["objects"][d["object"]]["box"]
        for one in seen.values()
        for d in one["detections"]
        if d["kind"] == "hit"
    ]


def _side(boxes: Sequence[Sequence[float]]) -> float | None:
    """The middle one of the boxes' sides (the root of the area) in pixels of the picture; None without any."""
    sides = [math.sqrt((x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in boxes]
    return tidy(statistics.median(sides)) if sides else None


def _words(row: Mapping[str, Any], detector: Detector) -> str:
    """One mistake in a sentence or two."""
    said, true = row["said"], row["true"]
    at = f"{said} {row['score']:.2f}"
    other = "" if row["true_score"] is None else f" This unit scores {row['true_score']:.2g} for {true}."
    if row["by"] is not None:
        other += f" Detection {row['by']} found the {true}."
    match row["kind"]:
        case "confusion":
            return f"Said {at} where there is {true} (IoU {row['iou']:.2f}).{other}"
        case "localisation":
            found = "" if row["by"] is None else f" Detection {row['by']} found it."
            return (
                f"Said {at}, and {true} is there, but the box has an IoU of {row['iou']:.2f} with it.{found}"
            )
        case "both":
            return f"Said {at} beside {true} (IoU {row['iou']:.2f}): wrong class and a poor box.{other}"
        case "duplicate":
            return (
                f"Said {at}, but detection {row['by']} has found this {true} already; suppression lets boxes live "
                f"that overlap by {detector.nms_threshold:g} or less."
            )
        case "background":
            return f"Said {at} where nothing is marked (IoU {row['iou']:.2f} with the nearest object)."
    return f"Missed {true}: {_why_missed(row, detector)}"


def _why_missed(row: Mapping[str, Any], detector: Detector) -> str:
    true, score = row["true"], f"{row['true_score']:.2g}"
    best = f"unit {row['anchor']} (IoU {row['iou']:.2f})"
    most = "" if row["said"] == true else f"; it says {row['said']} {row['score']:.2g}"
    match row["reason"]:
        case "suppressed":
            return f"{best} scored {score}, but detection {row['by']} suppressed it."
        case "neighbour":
            return f"detection {row['by']}, which lies on it, was counted for another {true}."
        case "wrong class":
            called = "another class" if row["by"] is None else f"detection {row['by']}, of another class,"
            return f"{called} lies there; for {true} {best} scored {score}{most}."
        case "poor box":
            of = (
                "no unit's box lies well on it"
                if row["by"] is None
                else f"detection {row['by']} lies badly on it"
            )
            return f"{of}; the best is {best}, {score}{most}."
        case "cut":
            return f"{best} scored {score}, but more boxes were over the threshold than are kept."
    return f"the best is {best}, with {score} below the threshold of {detector.score_threshold:g}{most}."


def _command(run: _Run, row: Mapping[str, Any], spec: str) -> str:
    """What explains this mistake on a page of its own."""
    import shlex

    words = ["relprop", "detect", str(run.files[row["picture"]]), "--model", spec]
    if row["detection"] is None:
        words += ["--anchor", str(row["anchor"]), "--target", row["true"]]
        rival = row["said"] if row["said_label"] != row["true_label"] else None
    else:
        words += ["--box", str(row["detection"])]
        rival = row["true"] if row["true_label"] not in (None, -1, row["said_label"]) else None
    words += [] if rival is None else ["--versus", rival]
    return " ".join(shlex.quote(word) for word in words)


def _write(run: _Run, document: dict[str, Any]) -> None:
    found = plain(document)
    write_file(
        run.out / _JSON,
        (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode(errors="backslashreplace"),
    )
    held = io.StringIO()
    writer = csv.DictWriter(held, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(_cells(row) for row in found["mistakes"])
    write_file(run.out / _CSV, held.getvalue().encode())
    write_file(run.out / _PAGE, mistakes_page(found, run.files, run.out, run.judge.detector.name).encode())


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    corners = dict(zip(("x0", "y0", "x1", "y1"), row["box"], strict=True))
    if row["true_box"] is not None:
        corners |= dict(zip(("true_x0", "true_y0", "true_x1", "true_y1"), row["true_box"], strict=True))
    why = row["explained"]
    return row | corners | {
        "explained": "yes" if why else "",
        "inside": why["maps"][0]["inside"] if why else None,
    }  # fmt: skip


def _about(loaded: LoadedDetector) -> dict[str, Any]:
    return model_facts(loaded.spec, loaded.weights) | {"threshold": loaded.detector.score_threshold}


def _page(run: _Run, loaded: LoadedDetector, document: dict[str, Any]) -> Page:
    summary, pictures = document["summary"], document["pictures"]
    wrong = summary["false_positives"]
    missed = sum(summary["missed"].values())
    mean = "–" if summary["map50"] is None else f"{100 * summary['map50']:.1f} %"
    kinds = [
        [kind, str(n), percent(n, summary["detections"]), FALSE_POSITIVES[kind]] for kind, n in wrong.items()
    ]
    kinds.append(["missed", str(missed), percent(missed, summary["objects"]), "an object that was not found"])
    kinds += [
        [f"  {reason}", str(n), percent(n, summary["objects"]), MISSES[reason]]
        for reason, n in summary["missed"].items()
        if n
    ]
    pairs = [
        [one["true"], one["said"], str(one["count"]), str(one["not_found"])]
        for one in summary["confusions"][:_SHOWN]
    ]
    truth, least = shown_path(run.judge.truth.path), f"{loaded.detector.score_threshold:g}"
    left = pictures["without_truth"]
    counted = (
        f"{summary['objects']} objects, {summary['hits']} found; {summary['detections']} detections over {least}; "
        f"mAP at IoU {THRESHOLD:g} of these: {mean}"
    )
    text: list[Block] = [
        f"{pictures['judged']} pictures through {loaded.spec} (weights: {loaded.weights}) against '{truth}'",
        counted,
        *_class_notes(document["truth"]["classes"]),
        *([f"{left} pictures are not in the truth."] if left else []),
        "",
        Table(["mistake", "how many", "of all", "what it is"], kinds, (1, 2)),
        "",
        Table(["is", "was called", "times", "not found itself"], pairs, (2, 3)),
        "",
        *(f"FAILED, {one['picture']}: {one['problem']}" for one in document["failures"][:_SHOWN]),
        f"{summary['explained']} mistakes explained by {run.method.name}",
        Written("Report", Path(_PAGE)),
        Written("Numbers", Path(_JSON)),
        Written("Table", Path(_CSV)),
        "",
    ]
    files = {"page": Path(_PAGE), "json": Path(_JSON), "csv": Path(_CSV)}
    problems = [row for row in document["mistakes"] if row["problem"]]
    unclosed = any(row["explained"] and row["explained"]["adds_up"] == "NO" for row in document["mistakes"])
    return Page({}, document | {"files": files}, tuple(text), unclosed or bool(run.failures or problems))


def _class_notes(classes: Mapping[str, Any]) -> list[str]:
    """What is said of classes that one side alone knows, and of those that have two names."""
    notes = []
    if classes["renamed"]:
        pairs = ", ".join(f"{a} = {b}" for a, b in classes["renamed"])
        notes.append(f"Of two names: {pairs}.")
    if classes["only_truth"]:
        count = sum(classes["only_truth"].values())
        names = _some(list(classes["only_truth"]))
        notes.append(f"The detector doesn't know {names}: {count} objects, which count as no misses.")
    if any(classes["only_detector"].values()):
        judged = {name: n for name, n in classes["only_detector"].items() if n}
        count = sum(judged.values())
        notes.append(
            f"The truth doesn't speak of {_some(list(judged))}: {count} detections, which are not judged."
        )
    return notes


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown or "none"
