"""What the operations on grants take and answer."""

from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from xoproxy.auth import VIEW, Kind
from xoproxy.rest.names import Named
from xoproxy.rest.operations import Answer, Body, Moment, Name, without_nul

_Value = Annotated[
    str, StringConstraints(min_length=1, max_length=2000), AfterValidator(without_nul)
]
_VALUE = "An object's uuid, a tag, or a filter"
_NEEDED = {
    Kind.EVERYTHING: frozenset[str](),
    Kind.POOL: frozenset({"pool"}),
    Kind.OBJECT: frozenset({"pool", "value"}),
    Kind.TAG: frozenset({"value"}),
    Kind.FILTER: frozenset({"value"}),
}


class ScopeGiven(Body):
    """On what a grant shall be."""

    kind: Kind
    pool: Name | None = Field(None, description="Of a pool or an object: name or id")
    value: _Value | None = Field(None, description=_VALUE)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        given = {name for name in ("pool", "value") if getattr(self, name) is not None}
        if given != _NEEDED[self.kind]:
            needs = " and ".join(sorted(_NEEDED[self.kind])) or "nothing"
            raise ValueError(f"a scope of kind {self.kind.value} needs {needs} beside its kind")
        return self


class GrantAdd(Body):
    """A role's permissions on a scope, for a user or for a group."""

    user: Name | None = Field(None, description="Name or id")
    group: Name | None = Field(None, description="Name or id")
    role: Name
    scope: ScopeGiven
    deny: bool = Field(default=False, description="Take them away instead; a denial always wins")

    @model_validator(mode="after")
    def _is_for_one(self) -> Self:
        if (self.user is None) == (self.group is None):
            raise ValueError("give either user or group")
        return self


class GrantsWanted(Body):
    """Whose grants to list; all without."""

    user: Name | None = Field(None, description="What he has, by himself or by his groups")
    group: Name | None = Field(None, description="What it was given")

    @model_validator(mode="after")
    def _is_of_one(self) -> Self:
        if self.user is not None and self.group is not None:
            raise ValueError("give user or group, not both")
        return self


class WhyAsked(Body):
    """What to explain."""

    user: Name = Field(description="Name or id")
    pool: Name = Field(description="Name or id")
    object: Name = Field(description="Its uuid")
    permission: Name = VIEW


class ScopeInfo(Answer):
    """On what a grant is."""

    kind: Kind
    pool: str | None = Field(description="Id, of a pool or an object")
    value: str | None = Field(description=_VALUE)
    text: str = Field(description="All of it for people, the pool by its name")


class GrantInfo(Answer):
    """A role's permissions on a scope, given or taken away. To a user or to a group."""

    id: str
    user: Named | None
    group: Named | None
    role: str
    scope: ScopeInfo
    deny: bool
    created_at: Moment


class ObjectInfo(Answer):
    """An object of a pool."""

    model_config = ConfigDict(serialize_by_alias=True)

    pool: str
    cls: str = Field(serialization_alias="class")
    uuid: str | None
    name: str = Field(description="Empty when its class has none")


class Reason(Answer):
    """A grant that decides, and through what."""

    grant: str | None = Field(description="Its id; null: the role of the user's account")
    to: str = Field(description='Whom it was given to: "user bob", "group staff"')
    role: str
    deny: bool
    scope: ScopeInfo
    through: ObjectInfo = Field(description="What it is on: the object, or what it goes with")


class Explanation(Answer):
    """Whether somebody may do something to an object, and why."""

    allowed: bool
    user: Named
    permission: str
    object: ObjectInfo
    because: list[Reason] = Field(description="What decides; empty when nothing was granted")
    text: str = Field(description="All of it in one sentence")
