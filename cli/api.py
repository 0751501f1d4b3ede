"""The command line's way to the daemon: address and token are found in the home, never typed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from cli.console import Console
from marina.errors import DaemonNotRunningError, MarinaError, NetworkError
from storage.paths import Home

TIMEOUT_S = 60.0
_EXIT_BY_STATUS = {400: 2, 401: 5, 402: 6, 403: 5, 404: 4, 422: 8, 503: 3, 504: 7, 507: 1}


class RemoteError(MarinaError):
    """What the daemon answered instead of data."""

    def __init__(self, message: str, *, code: str, exit_code: int) -> None:
        super().__init__(message)
        self.code = code
        self.exit_code = exit_code


class Daemon:
    """The daemon of one home."""

    def __init__(self, console: Console) -> None:
        """Find the daemon.

        Raises:
            DaemonNotRunningError: none runs for this home.
        """
        self._home = Home(console.home)
        try:
            facts = json.loads(self._home.daemon_address.read_text())
            token = self._home.api_token.read_text().strip()
        except (OSError, ValueError) as err:
            raise _not_running(console) from err
        self._console = console
        self.base_url: str = facts["url"]
        self.pid: int = facts["pid"]
        self._client = httpx.Client(
            base_url=self.base_url,
            headers={"authorization": f"Bearer {token}"},
            timeout=console.timeout_s or TIMEOUT_S,
            trust_env=False,
            # Reading all certificates of the machine takes 0.1 s, which plain loopback does not need.
            verify=self.base_url.startswith("https:"),
        )

    def url(self, path: str) -> str:
        """Return the whole address of a path."""
        return self.base_url + path

    def get(self, path: str, **query: object) -> Any:
        """Return the data of a GET."""
        return self._call("GET", path, params={key: str(value) for key, value in query.items()})

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Return the data of a POST; values of None are left out."""
        return self._call("POST", path, body=body)

    def delete(self, path: str) -> Any:
        """Return the data of a DELETE."""
        return self._call("DELETE", path, body={})

    def stream(self, path: str, body: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """Yield the events of a POST that tells its progress; the last is its result.

        Raises:
            RemoteError: the daemon failed to do it.
        """
        sent = {key: value for key, value in body.items() if value is not None}
        try:
            with self._client.stream("POST", path, json=sent, timeout=self._stream_timeout()) as reply:
                if reply.is_error:
                    reply.read()
                    self._data(reply)
                for line in reply.iter_lines():
                    event = json.loads(line)
                    if event.get("event") == "error":
                        raise _remote(event["error"])
                    yield event
        except httpx.HTTPError as err:
            raise self._lost(err) from err

    def download(self, path: str) -> Iterator[bytes]:
        """Yield the bytes of a GET."""
        try:
            with self._client.stream("GET", path) as reply:
                if reply.is_error:
                    reply.read()
                    self._data(reply)
                yield from reply.iter_bytes()
        except httpx.HTTPError as err:
            raise self._lost(err) from err

    def is_running(self) -> bool:
        """Return whether it still answers."""
        try:
            return self._client.get("/livez", timeout=1.0).is_success
        except httpx.HTTPError:
            return False

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Any:
        sent = None if body is None else {key: value for key, value in body.items() if value is not None}
        try:
            return self._data(self._client.request(method, path, params=params, json=sent))
        except httpx.HTTPError as err:
            raise self._lost(err) from err

    def _data(self, reply: httpx.Response) -> Any:
        envelope = reply.json()
        if reply.is_success:
            return envelope.get("data")
        raise _remote({"httpStatus": reply.status_code, **envelope["error"]})

    def _stream_timeout(self) -> httpx.Timeout:
        # Progress comes at least every few seconds, but a large file may take minutes between two events.
        return httpx.Timeout(self._console.timeout_s or TIMEOUT_S, read=self._console.timeout_s or 3600.0)

    def _lost(self, err: httpx.HTTPError) -> MarinaError:
        if isinstance(err, httpx.ConnectError):
            return _not_running(self._console)
        if isinstance(err, httpx.TimeoutException):
            return NetworkError("the daemon did not answer in time: see 'marina logs', or raise --timeout")
        return NetworkError("the connection to the daemon broke off: see 'marina logs'")


def _not_running(console: Console) -> DaemonNotRunningError:
    start = "marina up" if console.home == Console.default_home() else f"marina up --home {console.home}"
    return DaemonNotRunningError(f"no daemon runs for {console.home}: start it with '{start}'")


def _remote(error: dict[str, Any]) -> RemoteError:
    metadata = error.get("metadata") or {}
    status = error.get("httpStatus")
    exit_code = metadata.get("exitCode") or _EXIT_BY_STATUS.get(status or 0, 1)
    return RemoteError(str(error.get("message")), code=str(error.get("code")), exit_code=int(exit_code))
