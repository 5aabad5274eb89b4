"""Every error that the runtime raises on purpose. One tree, so that one `except` catches all of it.

RRWKVError
├── BundleError            the bundle directory cannot be used
│   ├── DamagedBundle      a file is missing, truncated, changed, or not what the manifest says
│   ├── NewerFormat        the manifest has a format version that this runtime does not know yet
│   └── OlderFormat        the manifest has a format version that this runtime knows no longer
├── StateError             a saved or given state cannot be used with this model
│   └── OtherBundle        it is of another bundle of the same model, which `allow_other_quantization` would allow
├── TokenizerError         a tokenizer file is unusable, or the bundle has none and text was given
│   └── NoTokens           the tokenizer is whole, but has no tokens for some text
├── ProviderError          an execution provider was asked for that is not there, or does not take the graph
├── InputError             token ids, counts or options outside what the model accepts
│   └── UsageError         a command line that is wrong whatever the bundle is
└── Cancelled              a progress callback asked to stop

Messages are one line: what is wrong, the value, what to do.
"""

from __future__ import annotations


class RRWKVError(Exception):
    """Base of all errors of this project; its message is one line meant for a person."""


class BundleError(RRWKVError):
    """The bundle directory cannot be used."""


class DamagedBundle(BundleError):
    """A file of the bundle is missing, truncated, changed, or not what the manifest says."""


class NewerFormat(BundleError):
    """The bundle was written by a newer version of the exporter."""


class OlderFormat(BundleError):
    """The bundle was written by an older version of the exporter."""


class StateError(RRWKVError):
    """A saved or given state does not belong to this model, or its file is damaged."""


class OtherBundle(StateError):
    """A state of another bundle of the same model: another quantization, or the other form of wkv.

    what: the message without its remedy, which is the API's; a program says in its own words how to allow it.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; allow_other_quantization=True takes it all the same")
        self.what = what


class TokenizerError(RRWKVError):
    """A tokenizer file is unusable, or text was given to a bundle without a tokenizer."""


class NoTokens(TokenizerError):
    """The tokenizer is whole, but has no tokens for some text, and none that stands for what it does not know."""

    def __init__(self, remedy: str = "write it otherwise") -> None:
        super().__init__(
            f"the tokenizer has no token for some of this text, and none for what it does not know; {remedy}"
        )


class ProviderError(RRWKVError):
    """An execution provider was asked for that is not there, or that does not take the graph."""


class InputError(RRWKVError, ValueError):
    """Token ids, counts or options outside what the model accepts."""


class UsageError(InputError):
    """A command line that is wrong whatever the bundle is; programs exit with 2, as for one that they cannot parse."""


class Cancelled(RRWKVError):
    """A progress callback asked to stop."""
