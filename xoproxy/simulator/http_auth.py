"""Who may use XAPI's HTTP handlers, and the task that a transfer is part of.

XAPI looks for credentials in this order (xapi_http.ml): `session_id` in a cookie, then in the
query; the `pool_secret` cookie, which no client of this simulator has; Basic authentication,
for which a session is made and ended with the request. Without any of them, or with wrong ones,
the answer is 401, whose realm is the handler's name in the data model (`http_actions`).
"""

import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from xoproxy.simulator.database import Database, RowMissingError
from xoproxy.simulator.failures import XapiError, as_xapi
from xoproxy.simulator.http import Head, PageError
from xoproxy.simulator.sessions import Sessions
from xoproxy.simulator.tasks import Tasks

ORIGINATOR: Final = "xapi/26.17"  # of the sessions that are made for Basic authentication
_BASIC: Final = "Basic "


@dataclass(frozen=True, slots=True)
class HttpAuth:
    """Lets requests in.

    Args:
        db, sessions, tasks: the pool's.
    """

    db: Database
    sessions: Sessions
    tasks: Tasks

    @contextlib.asynccontextmanager
    async def admit(self, head: Head, realm: str, label: str = "") -> AsyncIterator[str]:
        """Check who asks, and follow the request with a task; yields the session.

        A task named by `task_id` ends with the request. Otherwise, if there is a `label`, a
        task of that name (under `subtask_of`, if given) exists as long as the request runs.
        Raises PageError(401); what the body raises as a failure of XAPI's becomes a page (500).
        """
        async with self._session(head, realm) as session:
            try:
                async with self._with_task(head, label, session):
                    yield session
            except (XapiError, RowMissingError) as error:
                raise PageError(500) from error

    @contextlib.asynccontextmanager
    async def _with_task(self, head: Head, label: str, session: str) -> AsyncIterator[None]:
        if given := _parameter(head, "task_id"):
            async with self._following(given):
                yield
        elif label:
            task = self.tasks.create(label, session=session)
            if parent := _parameter(head, "subtask_of"):
                self.db.write("task", task, "subtask_of", parent)
            try:
                yield
            finally:
                self.tasks.drop(task)
        else:
            yield

    @contextlib.asynccontextmanager
    async def _session(self, head: Head, realm: str) -> AsyncIterator[str]:
        refused = PageError(401, {"WWW-Authenticate": f'Basic realm="{realm}"'})
        if session := _parameter(head, "session_id"):
            try:
                self.sessions.check(session)
            except XapiError:
                raise refused from None
            yield session
            return
        header = head.headers.get("authorization", "")
        if "pool_secret" in head.cookies or not header:
            raise refused
        try:
            session = await self.sessions.login(*_basic(header), ORIGINATOR)
        except XapiError:
            raise refused from None
        try:
            yield session
        finally:
            self.sessions.logout(session)

    @contextlib.asynccontextmanager
    async def _following(self, task: str) -> AsyncIterator[None]:
        """End the task as the request ends: answers that are no failures of XAPI complete it."""
        try:
            yield
        except (XapiError, RowMissingError) as error:
            self.tasks.fail(task, as_xapi(error))
            raise
        except PageError as error:
            if error.status == 500:  # noqa: PLR2004  (an exception in XAPI)
                self.tasks.fail(task, XapiError("INTERNAL_ERROR", error.reason))
            else:
                self.tasks.succeed(task, "")
            raise
        except BaseException:  # the client left, or the pool stops
            self.tasks.fail(task, XapiError("INTERNAL_ERROR", "End_of_file"))
            raise
        else:
            self.tasks.succeed(task, "")


def _parameter(head: Head, name: str) -> str:
    return head.cookies.get(name) or head.query.get(name, "")


def _basic(header: str) -> tuple[str, str]:
    """Return user and password. XAPI fails on what it does not know (500)."""
    try:
        text = base64.b64decode(header.removeprefix(_BASIC), validate=True).decode()
    except ValueError:  # no base64, or no text
        text = ""
    user, colon, password = text.partition(":")
    if not header.startswith(_BASIC) or not colon:
        raise PageError(500)
    return user, password
