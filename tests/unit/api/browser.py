"""A browser as the gateway presents it: one cookie, the headers that a page of Skep sends, an address."""

from __future__ import annotations

from typing import Any

from running_api import Running

PASSWORD = "a sentence that nobody guesses"
HOST = "hive.example:8443"


class Browser:
    """scheme http: loopback without TLS."""

    def __init__(self, running: Running, peer: str = "192.0.2.7", *, host: str = HOST, scheme: str = "https") -> None:
        self.running, self.peer, self.host, self.scheme = running, peer, host, scheme
        self.cookie = ""

    def __call__(
        self, method: str, path: str, body: object = None, *, drop: tuple[str, ...] = (), **more: str
    ) -> tuple[int, dict[str, str], Any]:
        headers = {
            "Authorization": "Bearer",
            "Host": self.host,
            "Origin": f"{self.scheme}://{self.host}",
            "Sec-Fetch-Site": "same-origin",
            "X-Skep": "1",
            "X-Skep-Peer": self.peer,
            "X-Skep-Scheme": self.scheme,
            **({"Cookie": self.cookie} if self.cookie else {}),
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        answer = self.running.request(method, path, body, **{k: v for k, v in headers.items() if k not in drop})
        if "set-cookie" in answer[1]:
            self.cookie = answer[1]["set-cookie"].partition(";")[0]
        return answer

    @property
    def secret(self) -> str:
        return self.cookie.partition("=")[2]

    def sign_in(self, name: str, password: str = PASSWORD) -> tuple[int, dict[str, str], Any]:
        return self("POST", "/v1/sessions", {"name": name, "password": password})
