"""A folder that any host of static files serves: the chat page, its runtime, and a bundle.

`make web` builds the page into `assets/web`; its `rrwkv-page.json`, and so that of every folder made of it, lists its
files.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from rrwkv_export.atomic import check_target, new_directory, new_file, require_space
from rrwkv_export.bundle import replaceable
from rrwkv_export.errors import ExportError, OutputError
from rrwkv_export.progress import Progress
from rrwkv_runtime.common.reading import read_json
from rrwkv_runtime.errors import BundleError, DamagedBundle, RRWKVError
from rrwkv_runtime.manifest import MANIFEST_NAME, Manifest, resolve_inside, verify_files

MARKER, _WHAT = "rrwkv-page.json", "a page with a bundle"
BUNDLE = "bundle"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a .zip knows: the same bundle gives the same file


def page_folder() -> Traversable:
    """The built page. Raises ExportError where it is not."""
    folder = resources.files("rrwkv_export") / "assets" / "web"
    if not (folder / MARKER).is_file():
        raise ExportError("the chat page is not built; run `make web` in a clone of the repository (it takes Node.js)")
    return folder


def check_web(target: Path, *, overwrite: bool = False) -> None:
    """What `write_web` refuses of its target, for who works long before. Raises ExportError."""
    with resources.as_file(page_folder()) as page:
        _check_bundle_folder(target)
        check_target(target, _replaceable(page, target) if overwrite else None, marker=MARKER, what=_WHAT)


def check_archive(target: Path) -> None:
    """The same of `write_archive`. Raises OutputError."""
    if target.suffix != ".zip":
        raise OutputError(f"{target}: a bundle in one file is known by its ending; name it {target.stem}.zip")
    if target.exists():
        raise OutputError(f"{target} exists already; choose another name")


def write_web(bundle: Path, target: Path, *, overwrite: bool = False, progress: Progress | None = None) -> int:
    """The page with the bundle beside it, whole or not at all; gives the bytes of all files.

    bundle: every file is held against its sha256; of graphs those come along that run by default.
    overwrite: replace such a folder. Raises ExportError, BundleError.
    """
    with resources.as_file(page_folder()) as page:
        manifest = _checked(bundle)
        needed = needed_files(manifest)
        files = [path for path in sorted(page.rglob("*")) if path.is_file()]
        size = sum(path.stat().st_size for path in files) + sum((bundle / name).stat().st_size for name in needed)
        _check_bundle_folder(target)
        require_space(target, size)
        ours = _replaceable(page, target) if overwrite else None
        with new_directory(target, ours, marker=MARKER, what=_WHAT) as made:
            shutil.copytree(page, made, dirs_exist_ok=True, copy_function=shutil.copyfile)
            for name in _told("copying the bundle", needed, progress):
                place = made / BUNDLE / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(resolve_inside(bundle, name), place)
        return size


def write_archive(bundle: Path, target: Path, *, progress: Progress | None = None) -> int:
    """The bundle in one file, as the page and the runtime for browsers read it; gives its bytes.

    It is a .zip that nothing in is compressed, the manifest first. Raises BundleError, OutputError.
    """
    manifest = _checked(bundle)
    needed = needed_files(manifest)
    check_archive(target)
    require_space(target, sum((bundle / name).stat().st_size for name in needed))
    with new_file(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in _told("writing the archive", needed, progress):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.file_size = (bundle / name).stat().st_size  # so that zipfile knows when it takes 64 bits
            with resolve_inside(bundle, name).open("rb") as source, archive.open(entry, "w") as out:
                shutil.copyfileobj(source, out, 1 << 20)
    return target.stat().st_size


def needed_files(manifest: Manifest) -> list[str]:
    """The manifest, and what the graphs that run by default are made of; variants are for phones' engines."""
    graphs = [manifest.graphs[name] for name in manifest.of_variant(None)]
    used = {file for graph in graphs for file in (graph.file, *graph.data)}
    if manifest.tokenizer:
        used.add(manifest.tokenizer.file)
    return [MANIFEST_NAME, *sorted(used)]


def _checked(bundle: Path) -> Manifest:
    manifest = Manifest.load(bundle)
    verify_files(bundle, manifest)
    require_chat(bundle, manifest)
    return manifest


def require_chat(bundle: Path, manifest: Manifest) -> None:
    """Raises BundleError for a bundle that nobody can talk with."""
    if manifest.tokenizer is None:
        raise BundleError(f"{bundle}: it has no tokenizer, and a chat needs one; export it with its tokenizer")


def _told(what: str, names: Sequence[str], progress: Progress | None) -> Iterator[str]:
    for done, name in enumerate(names):
        if progress:
            progress(what, done, len(names))
        yield name


def _replaceable(page: Path, target: Path) -> frozenset[str]:
    """What this page's folder holds, and what the one at the target says that it holds."""
    names = {path.name for path in page.iterdir()} | {BUNDLE}
    with suppress(RRWKVError, TypeError, KeyError, AttributeError):
        listed = read_json(target / MARKER, DamagedBundle)["files"]
        names |= {str(name).partition("/")[0] for name in listed}
    return frozenset(names)


def _check_bundle_folder(target: Path) -> None:
    """Within a folder that may be replaced, the bundle's holds nothing of anybody's. Raises OutputError."""
    folder = target / BUNDLE
    if not (target / MARKER).is_file() or not folder.is_dir():
        return
    if others := sorted({path.name for path in folder.iterdir()} - replaceable(folder)):
        raise OutputError(f"{folder} also holds {others[0]!r}, which would be lost; move it, or choose another name")
