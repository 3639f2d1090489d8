"""Releases of XAPI: their order, the products that carry them, and what a host says of itself.

The data model dates everything by release: first by code names, since 2020 by version numbers. A
numbered release is newer than every named one, as XAPI itself compares them; the few code names
that were given to numbered releases later are aliases here. Code names, products and API versions
are those of XAPI's own table (idl, release_order_full).
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# Code name, brand, product version, API version, platform version (none was told before 6.0).
_PRODUCTS: Final = (
    ("rio", "XenServer", "4.0", (1, 1), ""),
    ("miami", "XenServer", "4.1", (1, 2), ""),
    ("symc", "XenServer", "4.1.1", (1, 2), ""),
    ("orlando", "XenServer", "5.0", (1, 3), ""),
    ("orlando-update-1", "XenServer", "5.0.1", (1, 3), ""),
    ("george", "XenServer", "5.5", (1, 6), ""),
    ("midnight-ride", "XenServer", "5.6", (1, 7), ""),
    ("cowley", "XenServer", "5.6.100", (1, 8), ""),
    ("boston", "XenServer", "6.0", (1, 9), "1.4.90"),
    ("tampa", "XenServer", "6.1", (1, 10), "1.6.10"),
    ("clearwater", "XenServer", "6.2", (2, 0), "1.8.0"),
    ("vgpu-tech-preview", "XenServer", "6.2.0", (2, 0), "1.8.0"),
    ("vgpu-productisation", "XenServer", "6.2.0", (2, 1), "1.8.0"),
    ("clearwater-felton", "XenServer", "6.2.0", (2, 2), "1.8.0"),
    ("clearwater-whetstone", "XenServer", "6.2.0", (2, 2), "1.8.0"),
    ("creedence", "XenServer", "6.5", (2, 3), "1.9.0"),
    ("cream", "XenServer", "6.5.0", (2, 4), "1.9.0"),
    ("indigo", "XenServer", "6.5.0", (2, 4), "1.9.0"),
    ("dundee", "XenServer", "7.0", (2, 5), "2.1.0"),
    ("ely", "XenServer", "7.1", (2, 6), "2.2.0"),
    ("falcon", "XenServer", "7.2", (2, 7), "2.3.0"),
    ("inverness", "XenServer", "7.3", (2, 8), "2.4.0"),
    ("jura", "XenServer", "7.4", (2, 9), "2.5.0"),
    ("kolkata", "XenServer", "7.5", (2, 10), "2.6.0"),
    ("lima", "XenServer", "7.6", (2, 11), "2.7.0"),
    ("naples", "XenServer", "8.0", (2, 12), "3.0.0"),
    ("oslo", "XenServer", "8.0.50", (2, 13), "3.0.50"),
    ("quebec", "XenServer", "8.1", (2, 14), "3.1.0"),
    ("stockholm", "XenServer", "8.2", (2, 15), "3.2.0"),
    ("stockholm_psr", "XenServer", "8.2.1", (2, 15), "3.2.1"),
)
_NUMBERED: Final = ("XCP-ng", "8.3", (2, 21), "3.4.0")

# Numbered releases by the names that products have for them (by their dates; XCP-ng 8.3 came
# with 24.19.2), and what the brands left unsaid.
_ALIASES: Final = {
    "nile-preview": "23.18.0",
    "nile": "24.10.0",
    "8": "24.10.0",
    "8.3": "24.19.1",
    "5.6-fp1": "cowley",
    "6.2-sp1": "vgpu-productisation",
    "6.5-sp1": "cream",
}
_NUMBER: Final = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")
_OF_A_RELEASE: Final = re.compile(r"product_|platform_|xapi|xencenter_|xen$|linux$|dbv$|db_schema$")


class UnknownReleaseError(ValueError):
    """A name that is no release; the text lists those that are."""


@dataclass(frozen=True, slots=True)
class Release:
    """One release. `name` is the data model's."""

    name: str
    brand: str
    product: str
    api: tuple[int, int]
    platform: str

    def host(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a host's record with what this release says of itself."""
        major, minor = self.api
        numbers = [*self.product.split("."), "0", "0"][:3]
        kept = {
            key: value
            for key, value in record.get("software_version", {}).items()
            if not _OF_A_RELEASE.match(key)
        }
        version = {
            "product_brand": self.brand,
            "product_version": ".".join(numbers),
            "product_version_text": ".".join(numbers[:2]),
            "product_version_text_short": ".".join(numbers[:2]),
        }
        if self.platform:
            version |= {"platform_name": "XCP", "platform_version": self.platform}
        if _NUMBER.fullmatch(self.name):
            version |= {"xapi": self.name.rpartition(".")[0], "xapi_build": self.name}
        told = {"API_version_major": major, "API_version_minor": minor}
        return {**record, **told, "software_version": {**kept, **version}}

    def estate(self, estate: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """Return an estate whose hosts run this release."""
        hosts = estate.get("host", {})
        return {**estate, "host": {ref: self.host(record) for ref, record in hosts.items()}}


class Timeline:
    """The releases of a data model in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [name for name in names if name not in _ALIASES and not _is_stray(name)]
        self._places = {name: place for place, name in enumerate(self._names)}

    def place(self, name: str) -> int:
        """Return where a release stands; one that the data model does not list is its first."""
        return self._places.get(name, 0)

    def find(self, text: str) -> Release:
        """Find a release by its name, a product's version, or any number of XAPI's.

        Raises:
            UnknownReleaseError: nothing is called so.
        """
        name = _ALIASES.get(text, text)
        if name.startswith("1.249."):  # the line of 8.2, all that is older has a code name
            name = "stockholm_psr"
        for wanted in (name, name.rpartition(".")[0]):  # 7.1.2 is a 7.1
            for product in _PRODUCTS:
                if wanted in {product[0], product[2]}:
                    return Release(*product)
        found = _NUMBER.fullmatch(name)
        numbered = self._newest_until(_key(name)) if found else None
        if numbered is None:
            raise UnknownReleaseError(
                f"no release is called {text!r}; there are {', '.join(p[0] for p in _PRODUCTS)}, "
                f"versions of XAPI from 1.249 to {self._names[-1]}, and versions of XenServer and "
                "XCP-ng such as 6.0, 7.6, 8.2 and 8.3"
            )
        return Release(numbered, *_NUMBERED)

    def _newest_until(self, wanted: tuple[int, ...]) -> str | None:
        """Return the newest listed release of a series that is not newer than a number."""
        listed = (_key(name) for name in self._names if _NUMBER.fullmatch(name))
        older = [key for key in listed if key[0] == wanted[0] and key <= wanted]
        return ".".join(map(str, max(older))) if older else None


def _is_stray(name: str) -> bool:
    """Whether a name is neither a product's nor a number (orinoco: nothing is dated by it)."""
    return name not in {product[0] for product in _PRODUCTS} and not _NUMBER.fullmatch(name)


@functools.cache
def _key(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in version.removeprefix("v").split(".")]
    return tuple([*numbers, 0, 0][:3])
