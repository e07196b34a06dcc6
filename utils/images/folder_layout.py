"""Which files of a folder are images, and which class and split each belongs to.  docs/own-images.md states the rules.

    path/cat/*.png  path/dog/*.jpg              no split named
    path/train/cat/...  path/val/cat/...  path/test/cat/...     val and test may be absent
"""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from utils.console import plural
from utils.errors import UsageError
from utils.images.decoding import SUFFIXES
from utils.images.splits import TEST_FRACTION, VALIDATION_FRACTION

Listed = tuple[str, int, Path]  # an image file: split ("" if the folder names none), label, file

# a folder's name in lower case -> its split
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
          "eval": "val", "evaluation": "val", "test": "test", "testing": "test"}
EVALUATION, VALIDATION, TEST = {"eval", "evaluation"}, {"val", "valid", "validation"}, {"test", "testing"}
LITTER = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__", "thumbs.db",
          "ehthumbs.db", "desktop.ini", "icon\r", "#recycle", "@recycle", "#snapshot", "@recently-snapshot",
          "found.000", "temporary items", "network trash folder"}  # of systems, in lower case; hidden names are, too
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # of a folder's name: trainA -> train, A
IMAGES = {"image", "images", "img", "imgs"}  # words in names of folders that are no classes but kinds of files
COMPANIONS = {"mask", "masks", "label", "labels", "annotation", "annotations", "segmentation", "xml", "json", "txt"}
PARTS = IMAGES | {"part", "parts", "batch", "fold", "chunk", "shard", "split"}
UNLABELLED = {"unlabeled", "unlabelled"}
MASK = re.compile(r"[_-](mask(_\d+)?|seg|segmentation|gt)$", re.IGNORECASE)  # scan_mask.png next to scan.png
EVICTED = ".icloud (not on this machine)"
AMBIGUOUS = {"valid", "dev"}  # splits that may be meant as classes
TABLES = {".csv", ".tsv", ".xlsx"}
MAX_CLASSES = 1000  # what a record holds
SHOWN_CLASSES = 10  # of more, the line that describes a folder shows the first ones


@dataclass
class Files:
    """The files of a folder, with or without those of its sub-folders (find_files)."""

    folder: Path
    images: list[Path] = field(default_factory=list)  # sorted
    left_out: Counter[str] = field(default_factory=Counter)  # ".heic" or another kind of file -> how many

    def in_words(self) -> str:
        """'3 images, 1 .zip', or ""."""
        count = len(self.images)
        return ", ".join(filter(None, [plural(count, "image") * bool(count), self.left_out_in_words()]))

    def why_few(self) -> str:
        """'; not read there: 90 .heic', or ""."""
        words = self.left_out_in_words()
        return f"; not read there: {words}" if words else "" if self.images else "; its folder is empty"

    def left_out_in_words(self) -> str:
        """'90 .heic, 2 linked folders', or ""."""
        sorted_kinds = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        kinds = [f"{count:,} {kind}" for kind, count in sorted_kinds]
        return ", ".join(kinds[:5]) + ", ..." * (len(kinds) > 5)


@dataclass
class Layout:
    """The images of a folder by class and split."""

    classes: tuple[str, ...]
    images: list[Listed]  # sorted by split (training, validation, test), class and file name
    why_few: dict[tuple[str, int], str]  # split, label -> the likely cause if the class has too few images there
    summary: str  # one line: the classes and their counts, where the splits come from, what is left out and why


def find_files(folder: Path, below: bool = True) -> Files:
    """All images in a folder, known by their suffix, and what else it holds except for hidden files and litter.

    below: and of all folders below it.  The images include dead links, and sub-folders that have such a name or cannot
    be listed: decoding them reports the problem.  Linked sub-folders are left out, since they may form a loop.
    """
    found = Files(folder)
    for place, folders, files in os.walk(folder, onerror=lambda error: found.images.append(Path(error.filename))):
        folders[:] = [name for name in folders if below and not is_litter(name)]
        for name in folders:
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                found.images.append(Path(place, name))
            elif Path(place, name).is_symlink():
                found.left_out["linked folders"] += 1
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if is_litter(name):
                if suffix == ".icloud":
                    found.left_out[EVICTED] += 1
                continue
            if suffix in SUFFIXES:
                found.images.append(Path(place, name))
            else:
                found.left_out[suffix if suffix[1:].isalnum() and len(suffix) < 12 else "other files"] += 1
    found.images = sorted(set(found.images))
    stems = {file.with_suffix("") for file in found.images}
    masks = {file for file in found.images if (image := MASK.sub("", file.stem)) != file.stem
             and file.with_name(image) in stems}
    if masks:
        found.images = [file for file in found.images if file not in masks]
        found.left_out["masks next to their images"] += len(masks)
    return found


def read_layout(path: Path) -> Layout:
    """The classes, splits and images of a folder.  Raises UsageError if it does not fit, OSError."""
    if not path.is_dir():
        raise UsageError(f"{path} is not a folder; an archive must be unpacked" if path.exists() else
                         f"there is no folder {path}")
    trees, left_out = _find_splits(path)
    _check_names(path, trees)
    _check_classes(path, trees, left_out)
    inner = _check_nesting(next(iter(trees.values())))
    classes = tuple(next(iter(trees.values())).folders)
    found = {(split, label): tree.folders[name] for split, tree in trees.items() for label, name in enumerate(classes)}
    unread = Files(path, left_out=sum((files.left_out for files in found.values()), Counter[str]()))
    if words := unread.left_out_in_words():
        left_out.append(f"{words} in class folders (no suffix that is read; links are not followed)")
    images = [(split, label, file) for (split, label), files in found.items() for file in files.images]
    counts = Counter(label for _, label, _ in images)
    return Layout(classes, images, {key: files.why_few() for key, files in found.items()},
                  f"{_classes_in_words(classes, [counts[label] for label in range(len(classes))])}{inner}; "
                  f"{_splits_in_words(trees)}; left out: {', '.join(left_out) or 'nothing'}")


@dataclass
class _Tree:
    """A folder of class folders."""

    path: Path
    loose: Files  # in the folder itself
    folders: dict[str, Files]  # what each sub-folder holds, with all below it, sorted by name

    def labelled(self) -> list[str]:
        """The sub-folders with images."""
        return [name for name, files in self.folders.items() if files.images]

    def count(self) -> int:
        return len(self.loose.images) + sum(len(files.images) for files in self.folders.values())


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or left by a system."""
    return name.startswith(".") or name.lower() in LITTER


def _sub_folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not is_litter(child.name))


def _by_name(folders: list[Path]) -> dict[str, Files]:
    """What each folder holds.  Names are composed (NFC), since macOS decomposes them and other systems do not.

    Raises UsageError for two names that differ only in that, and for a folder that cannot be read.
    """
    found: dict[str, Files] = {}
    for folder in folders:
        name = unicodedata.normalize("NFC", folder.name)
        if name in found:
            raise UsageError(f"{folder.parent}: two folders are called {name!r}, with their accents composed and "
                             "decomposed; merge or rename them")
        found[name] = find_files(folder)
        if folder in found[name].images:  # so find_files reports a folder that cannot be listed
            raise UsageError(f"{folder} cannot be read; change its permissions")
    return dict(sorted(found.items()))


def _tree(folder: Path) -> _Tree:
    return _Tree(folder, find_files(folder, below=False), _by_name(_sub_folders(folder)))


def _find_splits(path: Path) -> tuple[dict[str, _Tree], list[str]]:
    """The class folders of each split, or of "" if the folder names none, and what is left out and why.

    Raises UsageError if folders may be splits as well as classes.
    """
    named: dict[str, _Tree] = {}  # split -> its folder, if that holds images
    loose, folders = find_files(path, below=False), _sub_folders(path)
    others = _by_name([folder for folder in folders if folder.name.lower() not in SPLITS])
    left_out = [f"{words} outside the class folders" for words in [loose.in_words()] if words]
    names = {folder.name.lower() for folder in folders}
    for_test = EVALUATION if names & VALIDATION and not names & TEST else set()  # training, validation, evaluation
    for folder in [one for one in folders if one.name.lower() in SPLITS]:
        name = folder.name
        split = "test" if name.lower() in for_test else SPLITS[name.lower()]
        if not (tree := _tree(folder)).count():
            left_out.append(f"{name}/ (no images)")
        elif split in named:
            raise UsageError(f"{path}: {named[split].path.name!r} and {name!r} both name the same split; rename or "
                             "move one of them")
        else:
            named[split] = tree
    full = [name for name, files in others.items() if files.images]
    if full and not any(tree.labelled() for tree in named.values()):
        table = TABLES & loose.left_out.keys()  # with the labels of a flat train/
        if [tree.path.name.lower() for tree in named.values()] == ["train"] and not table:  # trains, next to cars
            others[named["train"].path.name] = find_files(named["train"].path)
            named = {}
        elif "train" in named:
            raise UsageError(f"{path}: {' and '.join(repr(tree.path.name) for tree in named.values())} hold images but "
                             f"no class folders, next to {', '.join(map(repr, full[:3]))}; move them away or rename "
                             "them")
        left_out += map(_unlabelled, named.values())
        named = {}
    if not named:
        return {"": _Tree(path, loose, dict(sorted(others.items())))}, left_out
    _check_splits(path, named, full)
    classes = {name.lower() for name in named["train"].folders}
    splits: dict[str, _Tree] = {split: named[split] for split in ("train", "val", "test") if split in named}
    for split, tree in list(splits.items()):
        labelled = tree.labelled()
        if not labelled or (len(labelled) == 1 and labelled[0].lower() not in classes):  # test/*, or test/unknown/*
            left_out.append(_unlabelled(tree))
            del splits[split]
        elif words := tree.loose.in_words():
            left_out.append(f"{words} in {tree.path.name}/ outside its class folders")
    left_out += [f"{plural(len(others[name].images), 'image')} in {name!a}, which is no split" for name in full]
    return splits, left_out


def _unlabelled(tree: _Tree) -> str:
    rename = " (read as a split; rename it if it is a class)" * (tree.path.name.lower() in AMBIGUOUS)
    return f"{plural(tree.count(), 'image')} in {tree.path.name}/, which has no class folders{rename}"


def _check_splits(path: Path, named: dict[str, _Tree], others: list[str]) -> None:
    """Raises UsageError unless the folders of splits hold labelled training images."""
    if "train" not in named:
        raise UsageError(f"{path} has {' and '.join(repr(tree.path.name) for tree in named.values())} but no images in "
                         "train; the training images must be in train/CLASS")
    train = named["train"].path.name
    if not named["train"].labelled():
        raise UsageError(f"{path}: {train!r} holds images but no class folders, so they have no labels; move them to "
                         f"{train}/CLASS")
    if others and len(named) == 1:
        raise UsageError(f"{path}: {train!r} holds class folders as a split does, but "
                         f"{', '.join(map(repr, others[:3]))} next to it hold images too; move these away, or rename "
                         f"{train!r} if it is a class")


def _check_names(path: Path, trees: dict[str, _Tree]) -> None:
    """Raises UsageError where the folders' names say that they are no classes: train_cat and test_cat, part_1 and
    part_2, YOLO's images and labels, or seg_train with the classes and seg_pred without.
    """
    for split, tree in trees.items():
        words = {name: {word.lower() for word in WORDS.findall(name)} for name in tree.folders}
        splits = {name: {SPLITS.get(re.sub("(set|data)?s?$", "", word)) for word in said}
                  for name, said in words.items()}
        train = [name for name in splits if "train" in splits[name]]
        other = [name for name in splits if {"val", "test"} & splits[name] and name not in train]
        if train and other:
            raise UsageError(f"{path}: the folders {train[0]!r} and {other[0]!r} are named after splits and not after "
                             "classes; move the images into train/CLASS, val/CLASS and test/CLASS")
        named = not split and any(found - {None} for found in splits.values())
        deep = [name for name, files in tree.folders.items() if named and _holds_folders(files)]
        if len(deep) == 1 < len(tree.labelled()) and splits[deep[0]] - {None}:
            raise UsageError(f"{path}: {deep[0]!r} is named after a split, and it alone holds sub-folders of images; "
                             f"if these are the classes, give folder:{tree.folders[deep[0]].folder}, or else move "
                             "their images up")
        if unlabelled := [name for name in words if words[name] & UNLABELLED]:
            raise UsageError(f"{tree.path}: {unlabelled[0]!r} names images without a class; move it away")
        if len({re.sub(r"\d+", "", name) for name in words}) == 1 < len(words) and PARTS & set().union(*words.values()):
            raise UsageError(f"{tree.path}: the folders {_some([*words])} look like parts of one data set and not like "
                             "classes, because only their numbers differ; the images must be in one folder per class")
        kinds = [bool(said & IMAGES) - bool(said & COMPANIONS) for said in words.values()]
        if {1, -1} <= {*kinds} or any(said & COMPANIONS and said & SPLITS.keys() for said in words.values()):
            raise UsageError(f"{tree.path}: the folders {_some([*words])} are kinds of files and not classes; the "
                             "images must be in one folder per class")


def _holds_folders(files: Files) -> bool:
    """Whether a folder, or the only one in it, holds two or more sub-folders with images."""
    places = [file.relative_to(files.folder).parts[:-1] for file in files.images]
    while all(places) and len({place[0] for place in places}) == 1:
        places = [place[1:] for place in places]
    return len({place[0] for place in places if place}) > 1


def _check_classes(path: Path, trees: dict[str, _Tree], left_out: list[str]) -> None:
    """Raises UsageError unless all splits have the same classes, which have a number and names that fit."""
    first, *others = trees.values()
    for other in others:
        if differing := sorted({*first.folders}.symmetric_difference(other.folders)):
            raise UsageError(f"{path}: {first.path.name} and {other.path.name} must have the same classes, but only "
                             f"one has {', '.join(map(repr, differing[:5]))}")
    for name in first.folders:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{path}: the folder name {name!r} is not UTF-8 text; rename it") from None
    inner, count = first, plural(len(first.folders), "class folder")
    while len(inner.labelled()) == 1:
        inner = _tree(inner.folders[inner.labelled()[0]].folder)
    deeper = inner is not first and len(inner.labelled()) > 1  # images/CLASS, next to folders without images
    if deeper or not 2 <= len(first.folders) <= MAX_CLASSES:
        cause = f"; left out: {', '.join(left_out)}" if left_out else ""
        if deeper:
            count = "1 class folder" + " with images" * (len(first.folders) > 1)
            cause = (f"; {inner.path.name!r} holds folders of images itself: " + (
                f"give folder:{inner.path}" if first.path == path else f"move these up into {first.path.name}"))
        raise UsageError(f"{first.path} has {count}; the images must be in 2 to {MAX_CLASSES} sub-folders, one per "
                         f"class{cause}")


def _check_nesting(first: _Tree) -> str:
    """What to say of sub-folders of the class folders, or "".

    Raises UsageError if the class folders look like batches or splits that hold the class folders: if they hold hardly
    any images of their own, and mostly sub-folders of the same names; or if one of them holds the others once more.
    """
    places = {name: [file.relative_to(files.folder).parts[:-1] for file in files.images]
              for name, files in first.folders.items()}
    while len({place[0] for inside in places.values() for place in inside if place}) == 1:  # images/ in every class
        places = {name: [place[1:] for place in inside] for name, inside in places.items()}
    inner_names = {name: sorted({place[0] for place in inside if place}) for name, inside in places.items()}
    for name, inner in inner_names.items():
        again = [other for other in inner if other in first.folders]
        if len(again) > 1 or again and again == inner:
            raise UsageError(f"{first.path}: {name!r} holds sub-folders with the names of classes "
                             f"({_some(again)}); move it away, or move its images into the class folders")
    own = sum(not place for inside in places.values() for place in inside)
    spelled = {name.lower(): name for names in inner_names.values() for name in names}
    counts = Counter(name for names in inner_names.values() for name in dict.fromkeys(map(str.lower, names)))
    shared = sorted(spelled[name] for name, count in counts.items() if count > 1)
    note = f", which include their sub-folders ({_some([*spelled.values()])})"
    if len(counts) < 2:
        return ""
    if own * 10 > first.count():
        return note
    if all(len(name) == 1 and name.isalpha() and one.lower().startswith(name.lower())
           for name, inner in inner_names.items() for one in inner):
        raise UsageError(f"{first.path}: the folders {_some([*first.folders])} are first letters and not classes; move "
                         "their sub-folders up")
    if 2 * sum(count for count in counts.values() if count > 1) < counts.total():
        return note * (len(counts) > len(first.folders))
    inside = {name.lower() for name in shared}
    cause = ("they are splits, which must be above the classes: train/CLASS and test/CLASS"
             if counts.keys() <= SPLITS.keys() else
             "each class holds images and their masks or labels; move these away"
             if inside & IMAGES and inside & COMPANIONS else
             "they look like parts of one data set and not like classes; move the images into one folder per class, or "
             "into train/CLASS, val/CLASS and test/CLASS")
    raise UsageError(f"{first.path}: the folders {_some([*first.folders])} hold the same sub-folders "
                     f"({_some(shared)}): {cause}")


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + ", ..." * (len(names) > 3)


def _classes_in_words(classes: tuple[str, ...], counts: list[int]) -> str:
    """'2 classes (cat 20, dog 10)'."""
    each = [f"{name if name.isprintable() and name.strip() == name else ascii(name)} {count:,}"
            for name, count in zip(classes, counts, strict=True)]
    if len(each) > SHOWN_CLASSES:
        each[SHOWN_CLASSES - 1:] = ["...", f"{each[-1]}: {min(counts):,} to {max(counts):,} images each"]
    return f"{len(classes)} classes ({', '.join(each)})"


def _splits_in_words(trees: dict[str, _Tree]) -> str:
    """'training: train/, validation: val/, test: 20 % of train/'."""
    test, validation = (f"{100 * fraction:.0f} %" for fraction in (TEST_FRACTION, VALIDATION_FRACTION))
    if "" in trees:
        return f"no split folders: {test} of each class are for test, {validation} of the others for validation"
    train, *others = (f"{trees[split].path.name}/" if split in trees else "" for split in ("train", "val", "test"))
    return (f"training: {train}, validation: {others[0] or f'{validation} of the training images'}, "
            f"test: {others[1] or f'{test} of {train}'}")
