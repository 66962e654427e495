#!/usr/bin/env python3
"""Builds images from the packages of this distribution: ``rootfs/build.py [--set demo|tests|pulls] OUT [IMAGE …]``.

OUT becomes an OCI image layout with one manifest for each image, annotated with its full reference. Needs nothing but
Python ≥ 3.11, apt and dpkg (the pulls: zstandard, too); the package files are kept beside OUT, in ``packages/``. A
second run does nothing while the recipes and this builder stay as they are; ``--force`` builds again, with the newest
packages that apt knows.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from rootfs.apt import C_LOCALE, AptError, Package, PackageCache, PackageIndex  # noqa: E402
from rootfs.ocilayout import Layer, LayoutWriter, platform  # noqa: E402
from rootfs.patterns import pattern_tree  # noqa: E402
from rootfs.pulling import PULL_RECIPES  # noqa: E402
from rootfs.recipes import RECIPES, ImageRecipe, LayerRecipe  # noqa: E402
from rootfs.testing import TEST_RECIPES  # noqa: E402
from rootfs.tree import Tree, applet_links, package_tree, recipe_tree, write_tar  # noqa: E402

__all__ = ["build", "main"]


SETS: Mapping[str, Mapping[str, ImageRecipe]] = {"demo": RECIPES, "tests": TEST_RECIPES, "pulls": PULL_RECIPES}
"""The demo's images are for users. Those of the tests are what manifests found elsewhere name; those of the pulls are
large, or of many layers or files, and packed as registries have them."""
RECIPE_FILES = frozenset({"recipes.py", "pulling.py"})
QUICK = 0
"""gzip's level for images that never leave this machine: none."""

# When files were made that come from no package.
EPOCH = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def say(text: str) -> None:
    print(f"rootfs: {text}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """The command. Exit codes: 0 done, 1 cannot be done, 2 wrong usage."""
    options = parse(arguments)
    known = SETS[options.set]
    out, names = Path(options.out).absolute(), tuple(sorted(options.images or known))
    recipes = [known[name] for name in names]
    stamp_file, stamp = out.with_name(f"{out.name}.stamp"), fingerprint(recipes)
    if not options.force and (out / "index.json").is_file() and read(stamp_file) == stamp:
        say(f"{options.out} is up to date ({', '.join(names)})")
        return 0
    try:
        build(out, recipes, **({"compression": QUICK} if options.set == "tests" else {}))
    except AptError as error:
        say(str(error))
        return 1
    stamp_file.write_text(stamp)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rootfs/build.py", description="Builds images from distribution packages.")
    parser.add_argument("out", metavar="OUT", help="directory that becomes the OCI image layout")
    parser.add_argument("images", metavar="IMAGE", nargs="*", help="which of the set (default: all)")
    parser.add_argument("--set", choices=SETS, default="demo", help="which images (default: those of the demo)")
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    options = parser.parse_args(arguments)
    if unknown := set(options.images) - SETS[options.set].keys():
        parser.error(f"no recipe for {', '.join(sorted(unknown))}")
    return options


def fingerprint(recipes: Sequence[ImageRecipe]) -> str:
    """Changes when the builder, a recipe or the choice of images does."""
    digest = hashlib.sha256(repr(recipes).encode())
    for source in sorted(HERE.glob("*.py")):
        if source.name not in RECIPE_FILES:
            digest.update(source.read_bytes())
    return digest.hexdigest()


def read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def build(out: Path, recipes: Sequence[ImageRecipe], *, compression: int = 6) -> None:
    """Makes the image layout ``out`` anew; an older one is replaced only when the new one is whole. Raises AptError."""
    plans = resolve(recipes)
    cache = PackageCache(out.parent / "packages")
    fetch(cache, {package.name: package for plan in plans for layer in plan for package in layer}.values())
    temporary = out.with_name(f"{out.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    writer, where = LayoutWriter(temporary, compression=compression), platform()
    trees = _Trees(cache)
    built: dict[tuple[int, tuple[Package, ...]], Layer] = {}  # by the identity of the recipe, and what it comes to
    for recipe, plan in zip(recipes, plans, strict=True):
        for layer, packages in zip(recipe.layers, plan, strict=True):
            if (id(layer), packages) not in built:
                built[id(layer), packages] = build_layer(layer, packages, trees)
        layers = [built[id(layer), packages] for layer, packages in zip(recipe.layers, plan, strict=True)]
        digest = writer.add_image((recipe.reference, *recipe.aliases), layers, recipe.config, where)
        size = sum(len(layer.tar) for layer in layers) / 1e6
        say(f"{recipe.reference}  {len(layers)} layers, {size:.1f} MB  {digest[:19]}")
    writer.finish()
    shutil.rmtree(out, ignore_errors=True)
    os.rename(temporary, out)


Plan = list[tuple[Package, ...]]


def resolve(recipes: Sequence[ImageRecipe]) -> list[Plan]:
    """The packages of each layer of each image. A machine whose package lists are empty gets them first."""
    try:
        return _resolve(recipes)
    except AptError:
        say("package lists are missing or old: apt-get update")
        subprocess.run(["apt-get", "update", "-qq"], check=False, env=C_LOCALE)
        return _resolve(recipes)


def _resolve(recipes: Sequence[ImageRecipe]) -> list[Plan]:
    index, plans = PackageIndex(), list[Plan]()
    layers = [layer for recipe in recipes for layer in recipe.layers]
    # All at once first: asking apt costs a third of a second each time, whatever is asked.
    index.closure({p for layer in layers for p in layer.packages}, {p for layer in layers for p in layer.follow})
    for recipe in recipes:
        plan: Plan = []
        below: frozenset[Package] = frozenset()
        for layer in recipe.layers:
            packages = index.closure(layer.packages, layer.follow, layer.without)
            plan.append(tuple(package for package in packages if package not in below))
            below |= frozenset(packages)
        plans.append(plan)
    return plans


def fetch(cache: PackageCache, packages: Iterable[Package]) -> None:
    wanted = list(packages)
    if missing := cache.missing(wanted):
        say(f"fetching {', '.join(package.name for package in missing)}")
        cache.fetch(missing)
    say(f"{len(wanted)} packages at hand")


class _Trees:
    """The files of packages, each read once: images share most of their libraries."""

    def __init__(self, cache: PackageCache) -> None:
        self._cache = cache
        self._known: dict[Package, Tree] = {}

    def of(self, package: Package) -> Tree:
        if package not in self._known:
            self._known[package] = package_tree(self._cache.path(package))
        return self._known[package]


def build_layer(recipe: LayerRecipe, packages: Sequence[Package], trees: _Trees) -> Layer:
    tree: Tree = {}
    for package in packages:
        tree.update(trees.of(package))
    created = max((node.mtime for node in tree.values()), default=EPOCH)
    if recipe.applets is not None:
        tree = applet_links(tree, recipe.applets) | tree
    if recipe.pattern is not None:
        tree |= pattern_tree(recipe.pattern)
    tree |= recipe_tree(recipe.files, created)
    made = [recipe.pattern.name] if recipe.pattern is not None else recipe.files
    contents = ", ".join([f"{package.name} {package.version}" for package in packages] or made)
    say(f"  layer {recipe.name}: {contents}")
    comment = f"rootfs/build.py: {recipe.name}: {contents}"
    return Layer(tar=write_tar(tree), comment=comment, created=created, zstd=recipe.zstd)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
