"""Write src/relprop/datasets/classes/imagenet.json: which ImageNet-1k classes show a class of VOC or COCO.

python scripts/make_synset_map.py synset_words.txt           # writes the map
python scripts/make_synset_map.py synset_words.txt --check   # compares only; exit code 1 where it differs

synset_words.txt has a line a class in the order of the usual 1000 outputs: "n01440764 tench, Tinca tinca".
The rules below name classes by their first name, "first … last" by a run of lines. They were written by hand:
a synset belongs to a class where every picture of it shows the whole object, as the data set defines it
(VOC 2007's annotation guidelines; COCO has none, so the plain meaning of the name). docs/datasets.md says
which of them are judgement calls.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "src" / "relprop" / "datasets" / "classes" / "imagenet.json"

# COCO's 80 classes in order. "n…" picks one of two classes of the same first name.
COCO: dict[str, list[str]] = {
    "person": ["ballplayer", "groom", "scuba diver"],
    "bicycle": ["bicycle-built-for-two", "mountain bike"],
    "car": [
        "beach wagon", "cab", "convertible", "jeep", "limousine", "minivan", "Model T", "racer", "sports car",
    ],
    "motorcycle": ["moped", "motor scooter"],
    "airplane": ["airliner", "warplane"],
    "bus": ["minibus", "school bus", "trolleybus"],
    "train": [
        "bullet train", "electric locomotive", "freight car", "passenger car", "steam locomotive", "streetcar",
    ],
    "truck": ["fire engine", "garbage truck", "moving van", "pickup", "tow truck", "trailer truck"],
    "boat": [
        "aircraft carrier", "canoe", "catamaran", "container ship", "fireboat", "gondola", "lifeboat", "liner",
        "pirate", "schooner", "speedboat", "trimaran", "yawl",
    ],
    "traffic light": ["traffic light"],
    "fire hydrant": [],
    "stop sign": [],
    "parking meter": ["parking meter"],
    "bench": ["park bench"],
    "bird": ["cock … great grey owl", "black grouse … black swan", "white stork … albatross"],
    "cat": ["tabby … Egyptian cat"],
    "dog": ["Chihuahua … Mexican hairless"],
    "horse": ["sorrel"],
    "sheep": ["ram", "bighorn"],
    "cow": ["ox"],
    "elephant": ["tusker", "Indian elephant", "African elephant"],
    "bear": ["brown bear … sloth bear"],
    "zebra": ["zebra"],
    "giraffe": [],
    "backpack": ["backpack"],
    "umbrella": ["umbrella"],
    "handbag": ["purse"],
    "tie": ["bolo tie", "bow tie", "Windsor tie"],
    "suitcase": [],
    "frisbee": [],
    "skis": ["ski"],
    "snowboard": [],
    "sports ball": [
        "baseball", "basketball", "croquet ball", "golf ball", "ping-pong ball", "rugby ball", "soccer ball",
        "tennis ball", "volleyball",
    ],
    "kite": [],
    "baseball bat": [],
    "baseball glove": [],
    "skateboard": [],
    "surfboard": [],
    "tennis racket": ["racket"],
    "bottle": ["beer bottle", "pill bottle", "pop bottle", "water bottle", "wine bottle"],
    "wine glass": ["goblet"],
    "cup": ["coffee mug", "cup"],
    "fork": [],
    "knife": ["cleaver"],
    "spoon": ["wooden spoon"],
    "bowl": ["mixing bowl", "soup bowl"],
    "banana": ["banana"],
    "apple": ["Granny Smith"],
    "sandwich": ["cheeseburger"],
    "orange": ["orange"],
    "broccoli": ["broccoli"],
    "carrot": [],
    "hot dog": ["hotdog"],
    "pizza": ["pizza"],
    "donut": [],
    "cake": [],
    "chair": ["barber chair", "folding chair", "rocking chair", "throne"],
    "couch": ["studio couch"],
    "potted plant": ["pot"],
    "bed": ["four-poster"],
    "dining table": ["dining table"],
    "toilet": ["toilet seat"],
    "tv": ["monitor", "screen", "television"],
    "laptop": ["laptop", "notebook"],
    "mouse": ["mouse"],
    "remote": ["remote control"],
    "keyboard": ["computer keyboard"],
    "cell phone": ["cellular telephone"],
    "microwave": ["microwave"],
    "oven": ["rotisserie", "stove"],
    "toaster": ["toaster"],
    "sink": ["washbasin"],
    "refrigerator": ["refrigerator"],
    "book": ["comic book"],
    "clock": ["analog clock", "digital clock", "wall clock"],
    "vase": ["vase"],
    "scissors": [],
    "teddy bear": ["teddy"],
    "hair drier": ["hand blower"],
    "toothbrush": [],
}  # fmt: skip

# VOC's 20 classes in order, as COCO spells them.
VOC: dict[str, str] = {
    "aeroplane": "airplane", "bicycle": "bicycle", "bird": "bird", "boat": "boat", "bottle": "bottle",
    "bus": "bus", "car": "car", "cat": "cat", "chair": "chair", "cow": "cow", "diningtable": "dining table",
    "dog": "dog", "horse": "horse", "motorbike": "motorcycle", "person": "person",
    "pottedplant": "potted plant", "sheep": "sheep", "sofa": "couch", "train": "train", "tvmonitor": "tv",
}  # fmt: skip

# Where VOC's guidelines say otherwise: "includes tricycles, unicycles"; trains don't include trams.
VOC_MORE: dict[str, list[str]] = {"bicycle": ["tricycle", "unicycle"]}
VOC_LESS: dict[str, list[str]] = {"train": ["streetcar"]}

Entry = tuple[int, str, str]


def read(path: Path) -> list[Entry]:
    """(index, WordNet id, first name) of every line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    split = [line.strip().split(" ", 1) for line in lines if line.strip()]
    return [(i, wnid, names.split(",")[0].strip()) for i, (wnid, names) in enumerate(split)]


def pick(rules: list[str], entries: list[Entry]) -> list[Entry]:
    """The classes that rules name, in the order of their indices."""
    by_name: dict[str, list[Entry]] = {}
    for entry in entries:
        by_name.setdefault(entry[2], []).append(entry)

    def one(name: str) -> Entry:
        if len(by_name.get(name, [])) != 1:
            raise SystemExit(f"{name!r} names {len(by_name.get(name, []))} classes, not one")
        return by_name[name][0]

    found: set[Entry] = set()
    for rule in rules:
        first, _, last = rule.partition(" … ")
        found.update(entries[one(first)[0] : one(last or first)[0] + 1])
    return sorted(found)


def build(entries: list[Entry]) -> dict[str, dict[str, list[Entry]]]:
    """Source → class → classes of ImageNet."""
    coco = {name: pick(rules, entries) for name, rules in COCO.items()}
    voc = {}
    for name, spelled in VOC.items():
        rules = [r for r in COCO[spelled] if r not in VOC_LESS.get(name, [])] + VOC_MORE.get(name, [])
        voc[name] = pick(rules, entries)
    return {"voc": voc, "coco": coco}


def text(found: dict[str, dict[str, list[Entry]]]) -> str:
    """JSON with a synset a line."""
    sources = []
    for source, classes in found.items():
        blocks = []
        for name, entries in classes.items():
            lines = ",\n".join(f"   {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
            blocks.append(f'  "{name}": [\n{lines}\n  ]' if entries else f'  "{name}": []')
        sources.append(f' "{source}": {{\n' + ",\n".join(blocks) + "\n }")
    return "{\n" + ",\n".join(sources) + "\n}\n"


def main() -> None:
    """Read the names, write or compare the map, and print how many synsets each class has."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("synset_words", type=Path)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    args = parser.parse_args()
    entries = read(args.synset_words)
    if len(entries) != 1000:
        raise SystemExit(f"expected 1000 lines but got {len(entries)}")
    found = build(entries)
    if args.check:
        if not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text(found):
            raise SystemExit(f"{TARGET.name} differs from what the rules give")
    else:
        TARGET.write_text(text(found), encoding="utf-8")
    for source, classes in found.items():
        print(f"{source}:", ", ".join(f"{name} {len(e)}" for name, e in classes.items()))


if __name__ == "__main__":
    main()
