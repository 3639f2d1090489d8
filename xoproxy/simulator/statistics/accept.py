"""What a client would like best: the Accept header, as XAPI reads it (http.ml, Accept)."""

from collections.abc import Sequence


def preferred(header: str, offered: Sequence[str]) -> str | None:
    """Return the best of what is offered, the first one if the client does not mind.

    Raises:
        ValueError: the header makes no sense.
    """
    wanted = [_item(item) for item in header.split(",") if item]
    for quality in sorted({quality for quality, _ in wanted}, reverse=True):
        ranges = [kind for q, kind in wanted if q == quality]
        for kind in offered:
            if any(_matches(kind, r) for r in ranges):
                return kind
    return None


def _item(text: str) -> tuple[float, str]:
    kind, *parameters = text.strip().split(";")
    if kind.count("/") != 1:
        raise ValueError(text)
    quality = 1.0
    for parameter in parameters:
        name, equals, value = parameter.strip().partition("=")
        if not equals:
            raise ValueError(text)
        if name == "q":
            quality = float(value)
    return quality, kind


def _matches(kind: str, asked: str) -> bool:
    main, sub = asked.split("/")
    return main == "*" or asked == kind or (sub == "*" and kind.startswith(f"{main}/"))
