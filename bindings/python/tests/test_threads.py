"""redmux.sync between threads: closes and Ctrl-C in the middle of a take, and a thread of the client that nothing ends."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import redmux
import redmux._core
import redmux.sync
from redmux._native import lib
from redmux._records import BLOCK, LOST, Block, Record
from redmux._sync.operations import Replies

from .support import WithServer


class Heard(logging.Handler):
    """Waits for a line of log with this part."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part, self.came = part, threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.part in self.format(record):
            self.came.set()



def after(owner: Any, name: str, then: Callable[[Any], object]) -> Any:
    """A patch: `then` is called with the result of each call of a function, on its thread."""
    function = getattr(owner, name)

    def call(*arguments: Any) -> Any:
        result = function(*arguments)
        then(result)
        return result

    return mock.patch.object(owner, name, call)


def every_other(ctrl_c: list[int]) -> Callable[[Any], None]:
    """Ctrl-C behind every other call that did what it is there for; the list counts the calls."""

    def then(result: Any) -> None:
        if not (isinstance(result, int) and result):  # a status that is not OK
            ctrl_c[0] += 1
            if ctrl_c[0] % 2:
                raise KeyboardInterrupt

    return then


def lent(block: Block) -> bool:
    """Whether it holds what the library lends."""
    return bool(BLOCK.unpack_from(block.buffer)[0])


class Threads(WithServer):
    @contextmanager
    def logs(self, part: str) -> Iterator[None]:
        """What is done inside leads to a line of log with this part."""
        heard, logger = Heard(part), logging.getLogger("redmux")
        logger.addHandler(heard)
        try:
            yield
            self.assertTrue(heard.came.wait(30), f"nothing with {part!r} was logged")
        finally:
            logger.removeHandler(heard)

    # --- Ctrl-C

    def test_ctrl_c_in_the_middle_of_a_take_loses_no_message_and_gives_none_twice(self) -> None:
        for owner, name in ((lib, "inbox_take"), (Block, "copy"), (redmux._core, "decode_events"), (lib, "block_release")):
            with self.subTest(name), redmux.sync.connect(self.server.url) as client, client.subscribe("x") as sub:
                for n in range(3000):
                    client.post("x", str(n))
                client.barrier()
                seen: list[str] = []
                calls = [0]
                with after(owner, name, every_other(calls)):
                    while True:
                        try:
                            message = sub.next_nowait()
                        except KeyboardInterrupt:
                            continue
                        if message is None:
                            break
                        seen.append(message.text())
                self.assertEqual(seen, [str(n) for n in range(3000)])
                self.assertGreater(calls[0], 1)

    def test_a_gather_whose_end_ctrl_c_swallowed_can_be_left(self) -> None:
        left = threading.Event()

        def ask(client: redmux.sync.Client) -> None:
            try:
                with client.gather("nobody") as gather, after(lib, "inbox_take", every_other([0])):
                    gather.all()
            except KeyboardInterrupt:
                left.set()

        with redmux.sync.connect(self.server.url) as client:
            thread = threading.Thread(target=ask, args=(client,))
            thread.start()
            self.assertTrue(left.wait(20))
            thread.join()

    def test_what_a_handler_of_a_signal_waits_for_takes_nothing_from_what_it_interrupts(self) -> None:
        with redmux.sync.connect(self.server.url) as client:
            inside: list[int] = []

            def publish_too(_: Any) -> None:  # as a signal's handler does, which runs behind any call
                if not inside:
                    inside.append(0)
                    inside.append(client.publish("y", "inside"))

            with after(Block, "copy", publish_too):
                self.assertEqual(client.publish("x", "outside", timeout=30), 0)
            inside.clear()
            with after(lib, "inbox_take", publish_too):
                self.assertEqual(client.publish("x", "outside", timeout=30), 0)
            self.assertEqual(inside, [0, 0])

    # --- promises

    def test_a_promise_whose_end_came_with_its_beginning_ends(self) -> None:
        take = Replies.take
        with redmux.sync.connect(self.server.url) as client:
            def late(replies: Replies, *limit: int) -> list[Record]:
                """Taken when all of it has come: another that was made later is over."""
                with mock.patch.object(Replies, "take", take), self.assertRaises(redmux.TimeoutError):
                    client.promise("later", timeout=0.02).wait()
                return take(replies, *limit)

            with mock.patch.object(Replies, "take", late), self.assertRaises(redmux.TimeoutError):
                client.promise("x", timeout=0.01).wait()

    def test_a_promise_is_in_effect_when_it_is_returned_also_where_something_else_is_told_before(self) -> None:
        lost = [Record(LOST, 0, -303, 0, 0, 1, 0, b"", b"", b"")]
        take, slices = Replies.take, iter([lost, lost])
        with redmux.sync.connect(self.server.url) as client:
            with mock.patch.object(Replies, "take", lambda replies, *limit: next(slices, None) or take(replies, *limit)):
                promise = client.promise("x", timeout=30)
            self.assertEqual(list(slices), [])
            self.assertEqual(self.server.do("publish", channel="x", data="kept"), 1)
            self.assertEqual(promise.wait(), b"kept")

    def test_two_threads_may_wait_for_one_promise(self) -> None:
        got: list[bytes] = []
        slices, inside, take = [0], threading.Event(), lib.inbox_take

        def kept_in_the_second(inbox: int, limit: int, address: int) -> int:
            if threading.current_thread() is thread:
                slices[0] += 1
                if slices[0] == 2:
                    self.server.do("publish", channel="x", data="kept")
                inside.set()
            status: int = take(inbox, limit, address)
            return status

        with redmux.sync.connect(self.server.url) as client:
            promise = client.promise("x", timeout=30)
            thread = threading.Thread(target=lambda: got.append(promise.wait()))
            with mock.patch.object(lib, "inbox_take", kept_in_the_second):
                thread.start()
                self.assertTrue(inside.wait(30))
                self.assertEqual(promise.wait(), b"kept")
                thread.join()
        self.assertEqual(got, [b"kept"])

    # --- closes

    def test_what_was_not_read_is_gone_with_a_close(self) -> None:
        heard: list[str] = []
        with redmux.sync.connect(self.server.url) as client, client.subscribe("x") as sub, client.subscribe("x") as other:
            for n in range(3):
                client.post("x", str(n))
            client.barrier()
            self.assertEqual(sub.next(10).text(), "0")
            sub.close()
            with self.assertRaises(redmux.ClosedError):
                sub.next(10)
            for message in other:
                heard.append(message.text())
                other.close()
        self.assertEqual(heard, ["0"])

    def test_a_callback_that_closes_its_subscription_is_the_last(self) -> None:
        heard, begun, go_on = [], threading.Event(), threading.Event()

        def close(message: redmux.Message) -> None:
            heard.append(message.text())
            begun.set()
            go_on.wait(30)
            if message.text() == "1":
                sub.close()

        with redmux.sync.connect(self.server.url) as client:
            sub = client.subscribe("x", on_message=close)
            client.publish("x", "0")
            self.assertTrue(begun.wait(30))
            for n in range(1, 4):
                client.post("x", str(n))
            client.barrier()
            go_on.set()
            later = threading.Event()
            with client.subscribe("y", on_message=lambda _: later.set()):
                client.post("y", "")
                self.assertTrue(later.wait(30))
        self.assertEqual(heard, ["0", "1"])

    def test_a_close_takes_no_block_away_from_who_copies_it(self) -> None:
        for what in ("subscription", "client"):
            with self.subTest(what), redmux.sync.connect(self.server.url) as client:
                sub = client.subscribe("x")
                taken, closed, still, read = threading.Event(), threading.Event(), [], []
                copy = Block.copy

                def slow(block: Block) -> Any:
                    if threading.current_thread() is thread:
                        taken.set()
                        closed.wait(30)
                        still.append(lent(block))
                    return copy(block)

                client.post("x", "y")
                client.barrier()
                with mock.patch.object(Block, "copy", slow):
                    thread = threading.Thread(target=lambda: read.extend(sub))
                    thread.start()
                    self.assertTrue(taken.wait(30))
                    (sub if what == "subscription" else client).close()
                    closed.set()
                    thread.join()
                self.assertEqual(set(still), {True})
                self.assertEqual([message.data for message in read], [b"y"])
                client.close()
                self.assertEqual(lib.debug_live(), 0)

    def test_a_close_while_a_take_returns_leaves_no_block(self) -> None:
        taken, closed, take = threading.Event(), threading.Event(), lib.inbox_take

        def late(inbox: int, limit: int, address: int) -> int:
            """The block is written behind the close, as it is where the close comes just before the take's end."""
            scratch = Block()
            status: int = take(inbox, limit, scratch.address)
            if status == 0 and not closed.is_set():
                taken.set()
                closed.wait(30)
            ctypes.memmove(address, scratch.address, BLOCK.size)
            ctypes.memset(scratch.address, 0, BLOCK.size)
            return status

        client = redmux.sync.connect(self.server.url)
        sub = client.subscribe("x")
        for _ in range(3000):
            client.post("x", "y")
        client.barrier()
        with mock.patch.object(lib, "inbox_take", late):
            thread = threading.Thread(target=lambda: list(sub))
            thread.start()
            self.assertTrue(taken.wait(30))
            client.close_nowait()
            closed.set()
            thread.join()
        self.assertEqual(lib.debug_live(), 0)

    def test_a_close_takes_no_block_away_from_the_clients_own_thread(self) -> None:
        taken, joined, still = threading.Event(), threading.Event(), []
        client = redmux.sync.connect(self.server.url, on_state=lambda *_: None)
        copy, thread = Block.copy, client._thread
        assert thread is not None

        def slow(block: Block) -> Any:
            if block is client._block and not joined.is_set():
                taken.set()
                joined.wait(30)
                still.append(lent(block))
            return copy(block)

        def join(_: float | None = None) -> None:
            joined.set()
            threading.Thread.join(thread)

        with mock.patch.object(Block, "copy", slow), mock.patch.object(thread, "join", join):
            client.stop()
            self.assertTrue(taken.wait(30))
            client.close()
        self.assertEqual(still, [True])

    # --- the client's own thread

    def test_what_fails_in_the_clients_thread_is_logged_and_the_thread_goes_on(self) -> None:
        heard = threading.Semaphore(0)

        def on_message(message: redmux.Message) -> None:
            heard.release()
            if message.data == b"exit":
                raise SystemExit

        with redmux.sync.connect(self.server.url) as client:
            sub = client.subscribe("x", on_message=on_message)
            with self.logs("SystemExit"):
                client.post("x", "exit")
            poll = lib.poll

            def busy(inbox: int, *more: int) -> Any:
                return -202 if inbox == sub._inbox else poll(inbox, *more)

            with mock.patch.object(lib, "poll", busy), self.logs("another reader is in this subscription"):
                client.post("x", "not taken")
            sub.close()
            with client.subscribe("y", on_message=on_message):
                self.assertTrue(heard.acquire(timeout=30))  # the one that asked to exit
                client.post("y", "and the next")
                self.assertTrue(heard.acquire(timeout=30))

    def test_a_flood_on_one_subscription_leaves_its_turn_to_another(self) -> None:
        heard: list[str] = []
        begun, go_on, all_of_them = threading.Event(), threading.Event(), threading.Semaphore(0)

        def note(message: redmux.Message) -> None:
            heard.append(message.channel)
            all_of_them.release()

        with redmux.sync.connect(self.server.url) as client:
            client.subscribe("first", on_message=lambda _: (begun.set(), go_on.wait(30)))
            for flooded in "ab":
                client.subscribe(flooded, on_message=note)
            client.post("first", "")
            self.assertTrue(begun.wait(30))
            for _ in range(5000):
                client.post("a", "")
                client.post("b", "")
            client.barrier()
            go_on.set()
            for _ in range(10_000):
                self.assertTrue(all_of_them.acquire(timeout=30))
        self.assertGreater(sum(one != other for one, other in zip(heard, heard[1:])), 5)

    def test_a_thread_of_callbacks_looks_only_where_something_came(self) -> None:
        looked: list[int] = []
        heard = threading.Event()
        with redmux.sync.connect(self.server.url) as client:
            quiet = [client.subscribe(f"quiet:{n}", on_message=print) for n in range(20)]
            client.subscribe("x", on_message=lambda message: heard.set() if message.data == b"last" else None)
            with after(client, "_serve", lambda _: None), mock.patch.object(
                quiet[0], "_take", side_effect=lambda *_: looked.append(0)
            ):
                for n in range(20):
                    client.publish("x", str(n))
                client.publish("x", "last")
                self.assertTrue(heard.wait(30))
        self.assertLessEqual(len(looked), 2)  # its beginning may still have been ahead

    def test_a_request_for_which_there_is_no_thread_fails_and_the_next_is_served(self) -> None:
        start, failures = threading.Thread.start, iter([RuntimeError("can't start new thread")])

        def short(thread: threading.Thread) -> None:
            if thread.name == "redmux x" and (error := next(failures, None)):
                raise error
            start(thread)

        with mock.patch.object(threading.Thread, "start", short), redmux.sync.connect(self.server.url) as client:
            with client.respond("x", lambda request: request.data) as responder:
                with self.assertRaisesRegex(redmux.RemoteError, "can't start new thread"), self.assertLogs("redmux"):
                    client.request("x", "one", timeout=30)
                self.assertEqual(client.request("x", "two", timeout=30).data, b"two")
                responder.drain(30)  # nothing is in work any more

    def test_a_client_whose_thread_cannot_start_leaves_nothing(self) -> None:
        def none(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with redmux.sync.connect(self.server.url) as client:
            before = lib.debug_live()
            with mock.patch.object(threading.Thread, "start", none):
                for make in (
                    lambda: redmux.sync.connect(self.server.url, on_state=lambda *_: None),
                    lambda: client.subscribe("x", on_message=lambda _: None),
                    lambda: client.respond("x", lambda request: None),
                ):
                    with self.assertRaises(RuntimeError):
                        make()
            client.flush()
            self.assertEqual(lib.debug_live(), before)
            heard = threading.Event()
            with client.subscribe("x", on_message=lambda _: heard.set()):
                client.post("x", "y")
                self.assertTrue(heard.wait(30))

    def test_a_callback_subscription_that_overflows_says_so(self) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def on_message(_: redmux.Message) -> None:
            begun.set()
            go_on.wait(30)

        with redmux.sync.connect(self.server.url) as client:
            with client.subscribe("x", on_message=on_message, inbox_records=1, inbox_policy="close"):
                client.post("x", "at work")
                self.assertTrue(begun.wait(30))
                for _ in range(3):
                    client.post("x", "waits")
                client.barrier()
                with self.logs("its inbox was full"):
                    go_on.set()

    # --- what nobody waits for

    def test_what_nobody_waits_for_does_not_pile_up_in_a_thread_that_never_waits(self) -> None:
        turn, told, failures = threading.Semaphore(0), threading.Semaphore(0), []

        def edit(sub: redmux.sync.Subscription) -> None:
            for n in range(300):
                turn.acquire()
                try:
                    (sub.remove_nowait if n % 2 else sub.add_nowait)("x")
                except redmux.Error as error:
                    failures.append((n, error))
                told.release()

        with redmux.sync.connect(self.server.url, inbox_bytes="8k") as client, client.subscribe() as sub:
            thread = threading.Thread(target=edit, args=(sub,))
            thread.start()
            for _ in range(300):
                turn.release()
                told.acquire()
                client.flush()
                sub.wait_active()
                sub.next_nowait()
            thread.join()
        self.assertEqual(failures, [])
