"""Training: from texts, or from a model without mediums, to a checkpoint that `rrwkv export` takes.

    settings      how a model is trained, as a run keeps it
    data          texts as token ids, rows of them, and the tokenizer
    models        what is trained
    objective     the loss of predicting, or the KL divergence of a rounded model from the float one
    optimizer     AdamW, its groups, and the course of the learning rate
    held_out      either on text that is not trained on, by position
    kept, logs    what a run can be gone on with, and what it tells of itself
    folder        the checkpoint that it writes, and its card
    beginnings    a model before the first step: made of nothing, found, given mediums, rounded by a recipe
    begin, run    the folder before the first step; the steps

A run is a folder: the best checkpoint so far, `last/`, and `training/`, which is what it needs to be gone on with. It
is begun whole or not at all; a kill at any moment leaves the last that was kept.
"""
