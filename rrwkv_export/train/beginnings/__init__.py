"""Models before the first step: made of nothing, found and gone on with, given mediums, or rounded by a recipe."""
