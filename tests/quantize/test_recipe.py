"""Recipes: what they may say, and what they then say of each matrix."""

from __future__ import annotations

import pytest
from checkpoint_files import SMALL

from rrwkv_export.architectures.linears import linears
from rrwkv_export.commands.quantize import SCHEMES
from rrwkv_export.errors import RecipeError
from rrwkv_export.quantize import recipes
from rrwkv_export.quantize.recipe import parse_recipe
from rrwkv_export.quantize.recipes import TEXT, recipe_text, shipped_recipe

SITES = {linear.name: linear for linear in linears(SMALL)}


def test_sites_are_all_matrices():
    assert sum(linear.parameters for linear in SITES.values()) > 0.95 * SMALL.parameters()
    assert next(iter(SITES)) == "emb"
    assert list(SITES)[-1] == "head"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_shipped_recipes_cover_every_matrix(scheme):
    recipe = shipped_recipe(scheme)
    assert recipe.scheme == scheme
    assert all((recipe.choice(linear).weights < 32) == (scheme != "float32") for linear in SITES.values())
    assert TEXT.is_file()


def test_more_particular_and_later_tables_win():
    recipe = parse_recipe(
        'scheme = "mine"\n[default]\nweights = 8\n[roles."att.*"]\nblock = 64\n[roles."att.key"]\nblock = 16\n'
        '[layers.1."att.key"]\nweights = 4\n'
    )
    assert recipe.choice(SITES["blocks.0.att.value"]).block == 64
    assert recipe.choice(SITES["blocks.0.att.key"]).block == 16
    assert [recipe.choice(SITES[f"blocks.{i}.att.key"]).weights for i in (0, 1)] == [8, 4]
    resolved = recipe.resolved(list(SITES.values()))
    assert resolved["layers"]["1"]["att.key"]["weights"] == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "scheme is missing"),
        ("scheme = ", "not TOML"),
        ('scheme = "x"\ncolour = 1', "colour is not known"),
        ('scheme = "x"\n[default]\nbits = 8', "default.bits is not known"),
        ('scheme = "x"\n[default]\nweights = 5', "must be one of 4, 8, 16, 32, not 5"),
        ('scheme = "x"\n[default]\nweights = true', "not True"),
        ('scheme = "x"\n[default]\nequalize = 2', "from 0 to 1"),
        ('scheme = "x"\n[default]\npercentile = 20', "over 50"),
        ('scheme = "x"\n[roles.key]\nweights = 8', "'key' is no role"),
        ('scheme = "x"\n[layers.a.head]\nweights = 8', "whole number"),
        ('scheme = "x"\ntarget = "vax"', "target must be one of"),
        ('scheme = "x"\nroles = 3', "roles must be a table"),
    ],
)
def test_what_is_not_known_is_an_error(text, said):
    with pytest.raises(RecipeError, match=said):
        parse_recipe(text)


def test_an_embedding_is_not_rounded_to_four_bits():
    with pytest.raises(RecipeError, match="emb"):
        parse_recipe('scheme = "x"\n[default]\nweights = 4').choice(SITES["emb"])


def test_an_installation_without_its_recipes_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "_FOLDER", tmp_path)
    for read in (shipped_recipe, recipe_text):
        with pytest.raises(RecipeError, match="rrwkv-export are not there; install it again"):
            read("int8", "rwkv7")
