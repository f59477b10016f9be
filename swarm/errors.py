"""Every error the library raises at a user's boundary, in one tree.

    TapestryError                 a sentence a person can act on; the command line prints it and exits 1
    ├── UsageError                wrong syntax, or a path that does not exist; exit 2
    ├── IdentityError             key file unreadable, malformed or readable by others
    ├── CharterError              charter malformed, unsigned, expired, or impossible (cap x members < 1)
    ├── PassportError             passport malformed, expired, revoked or signed by the wrong member
    ├── PolicyError               policy file malformed, or it forbids what was asked; ends in its reason code
    │   └── UnlabelledDataError   data without a label: refused, fail closed
    ├── DataError                 data folder missing, empty or unreadable
    ├── StateError                state folder corrupted or not writable; nothing in it is overwritten
    ├── LineageError              a statement or an exit bundle is not what was signed, or what it rests on is missing
    ├── ModelError                transformers refuses the config, or the model is not the charter's
    ├── DeviceError               the accelerator asked for is not there, or its memory holds not even one sequence
    ├── NetworkError              an address that cannot be reached, a port in use, a daemon that does not start
    └── ProtocolError             a stranger's frame broke the rules; its stream is closed, nothing else changes
        └── RulesApartError       its author goes by another epoch or revocation list: documents are to be exchanged

Expected outcomes are values, not errors: `Committed | Aborted | InDoubt`, `Permit | Denied`, `Admitted | Refused`.
"""


class TapestryError(Exception):
    """Root of the tree; the message is one sentence that says what to do."""


class UsageError(TapestryError):
    """The command was typed wrongly, or names a path that does not exist."""


class IdentityError(TapestryError):
    """A key file cannot be used."""


class CharterError(TapestryError):
    """A charter cannot be used."""


class PassportError(TapestryError):
    """A passport cannot be used."""


class PolicyError(TapestryError):
    """A policy file cannot be used, or forbids what was asked."""

    def __init__(self, message: str, code: str = "bad_value") -> None:
        """`code` is one of `swarm.sovereignty.reasons`; the message ends in it."""
        super().__init__(f"{message} [{code}]")
        self.code = code


class UnlabelledDataError(PolicyError):
    """Data without a label is refused."""

    def __init__(self, message: str, code: str = "unlabelled") -> None:
        super().__init__(message, code)


class DataError(TapestryError):
    """A data folder cannot be used."""


class StateError(TapestryError):
    """A state folder cannot be used; what lies in it is kept."""


class LineageError(TapestryError):
    """A statement about a model, or a bundle, does not hold."""


class ModelError(TapestryError):
    """A model cannot be built, or is not the one the charter names."""


class DeviceError(TapestryError):
    """What was asked for cannot be computed on this machine."""


class NetworkError(TapestryError):
    """The network, the address or the daemon failed."""


class ProtocolError(TapestryError):
    """A frame from another peer broke the protocol."""


class RulesApartError(ProtocolError):
    """A frame was made under other rules of the run than those in force here."""
