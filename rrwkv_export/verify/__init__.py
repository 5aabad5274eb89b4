"""Hold a bundle against the float64 reference, or a provider against the CPU: on which ids, in which ways, within what.

ids        which tokens are compared: text, every special token, and some at random
bound      what no token's keys can exceed, which decides the form of wkv
reference  what is right, and what float32 arithmetic costs of it
compare    the error of logits and of states
checks     every way in which a runtime may split a text, measured
parity     the result, and why it is allowed
"""

from rrwkv_export.verify.bound import KeyBound, key_bound
from rrwkv_export.verify.checks import chunk_lengths, token_by_token, verify
from rrwkv_export.verify.compare import logits_error, states_error
from rrwkv_export.verify.ids import Sample, draw_sample, verification_length
from rrwkv_export.verify.parity import Check, Parity
from rrwkv_export.verify.reference import Float32Cost, Reference, compute_reference, cpu_reference

__all__ = [
    "Check",
    "Float32Cost",
    "KeyBound",
    "Parity",
    "Reference",
    "Sample",
    "chunk_lengths",
    "compute_reference",
    "cpu_reference",
    "draw_sample",
    "key_bound",
    "logits_error",
    "states_error",
    "token_by_token",
    "verification_length",
    "verify",
]
