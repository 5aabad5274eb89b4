"""What a bundle knows: tasks whose answers are right or wrong, in lm-evaluation-harness and without it.

tasks      the tasks that come along
pairs      a context and what may follow it, as token ids
scoring    log-likelihoods; a context that several continuations share is read once
answers    what was right, and what one bundle lost against another, with standard errors
run        a bundle over tasks
harness    the model type `rrwkv` of lm-evaluation-harness, an extra; `python -m rrwkv_export.evaluate` is its command
"""
