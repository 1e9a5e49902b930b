"""What a client is given in Python's words: None, bytes, durations, and what the application is asked for."""

from __future__ import annotations

import math
from typing import Any
from unittest import mock

import redmux
import redmux.sync
from redmux import _calls

from .support import Fixture, WithServer

NOBODY = "redis://127.0.0.1:1"


class Options(WithServer):
    def set_by(self, *arguments: Any, **given: Any) -> dict[str, str]:
        """The options that are set for a client."""
        said: dict[str, str] = {}
        option_text = _calls.option_text

        def text(key: str, value: Any) -> str:
            said[key] = option_text(key, value)
            return said[key]

        with mock.patch.object(_calls, "option_text", text), redmux.sync.connect(*arguments, **{"lazy": True, **given}):
            return said

    def test_none_is_as_if_it_were_not_given(self) -> None:
        self.assertNotIn("password", self.set_by(NOBODY, password=None))
        with redmux.sync.connect(self.server.url, password=None, user=None) as client:
            self.assertEqual(client.publish("x", "y"), 0)

    def test_bytes_are_text(self) -> None:
        self.assertEqual(self.set_by(NOBODY, password=b"secret")["password"], "secret")

    def test_the_time_to_connect_may_be_without_an_end(self) -> None:
        with redmux.sync.connect(self.server.url, connect_timeout=math.inf) as client:
            self.assertEqual(client.publish("x", "y"), 0)
        for given, option in ((math.inf, "600000ms"), (7200, "600000ms"), (30, "30000ms"), (0, "10ms")):
            self.assertEqual(self.set_by(NOBODY, connect_timeout=given)["connect_timeout"], option)

    def test_the_time_of_an_attempt_is_the_addresss_where_none_is_given(self) -> None:
        self.assertNotIn("connect_timeout", self.set_by(NOBODY + "?connect_timeout=30s"))

    def test_no_credentials_and_a_password_alone_are_answers(self) -> None:
        server = Fixture("--password", "secret")
        self.addCleanup(server.end)
        for url, answer in ((self.server.url, None), (server.url, (None, "secret")), (server.url, "secret")):
            with redmux.sync.connect(url, credentials=lambda answer=answer: answer) as client:
                self.assertEqual(client.publish("x", "y"), 0)
        with self.assertRaisesRegex(redmux.TimeoutError, "(?i)auth"):
            redmux.sync.connect(server.url, credentials=lambda: None, connect_timeout=1)
