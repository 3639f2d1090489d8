"""Why a pool gave no usable answer, as it is told: a sentence and a code, no addresses.

Apart from the carriers, so that the process that speaks XML-RPC can use it without loading them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """What clients and operators get to see.

    Args:
        message: one sentence for a person.
        code: UNREACHABLE, TIMEOUT, CERTIFICATE or NOT_XAPI, as `pool_link.error` shows it.
    """

    message: str
    code: str


TIMEOUT = Trouble("The pool did not answer in time.", "TIMEOUT")
OTHER_CERTIFICATE = Trouble("The certificate is not the accepted one.", "CERTIFICATE")
UNTRUSTED = Trouble("The pool's certificate is not trusted.", "CERTIFICATE")
OLD_TLS = Trouble(
    "The pool speaks only versions of TLS before 1.2, which are not safe.", "CERTIFICATE"
)
UNKNOWN_NAME = Trouble("The pool's name cannot be resolved.", "UNREACHABLE")
REFUSED = Trouble("The pool does not accept connections.", "UNREACHABLE")
NOT_HTTP = Trouble("The answer is not HTTP.", "NOT_XAPI")
NOT_XAPI = Trouble("The answer is not XAPI's.", "NOT_XAPI")
TOO_LARGE = Trouble("The answer is larger than allowed.", "NOT_XAPI")
BROKEN = Trouble("The connection to the pool broke.", "UNREACHABLE")


def wrong_status(status: int) -> Trouble:
    return Trouble(f"The answer is not XAPI's (HTTP status {status}).", "NOT_XAPI")


_OLD_TLS_REASONS = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION"})


def is_old_tls(error: BaseException | None) -> bool:
    """Tell whether the two sides found no version of TLS in common."""
    while error is not None:
        if getattr(error, "reason", None) in _OLD_TLS_REASONS:
            return True
        error = error.__cause__ or error.__context__
    return False
