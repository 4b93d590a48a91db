"""Long work in a panel: its bar, its stop button, its mistakes."""

import asyncio
from contextlib import suppress
from threading import Event, Thread, current_thread

import pytest

from billing_lib.errors import NotReady
from billing_lib.panels.office import Message, ProgressBar
from billing_lib.workflow.steps import Progress


def test_work_moves_the_bar_and_gives_its_result() -> None:
    message = Message()
    progress, seen = ProgressBar(message), []

    def work(step: Progress) -> int:
        step(1, 4, "freeze")
        seen.append((progress.bar.value, progress.bar.max, progress.label.value))
        return 7

    progress.start(work, lambda result: message.say(f"got {result}"))
    progress.wait()
    assert seen == [(1, 4, "freeze (1 of 4)")]
    assert "got 7" in message.widget.value
    assert progress.widget.layout.display == "none"


def test_the_result_is_shown_in_the_thread_that_takes_the_clicks() -> None:
    seen: list[object] = []

    async def click() -> None:
        settled = asyncio.Event()
        progress = ProgressBar(Message())

        def then(worker: Thread) -> None:
            seen.extend([current_thread() is kernel, worker is kernel, progress.running])
            settled.set()

        progress.start(lambda step: current_thread(), then)
        await asyncio.wait_for(settled.wait(), 10)

    kernel = Thread(target=lambda: asyncio.run(click()))
    kernel.start()
    kernel.join()
    assert seen == [True, False, False]


def test_stopping_ends_it_before_the_next_step() -> None:
    message = Message()
    progress, begun, stopped, done = ProgressBar(message), Event(), Event(), []

    def work(step: Progress) -> None:
        step(0, 2, "first")
        begun.set()
        stopped.wait(10)
        step(1, 2, "second")
        done.append("second")

    progress.start(work, lambda _: done.append("all"))
    assert begun.wait(10)
    progress.start(work, lambda _: done.append("twice"))
    assert "something is under way" in message.widget.value
    progress.stop.click()
    stopped.set()
    progress.wait()
    assert done == []
    assert "stopped; nothing of it was done" in message.widget.value


def test_a_mistake_is_a_sentence() -> None:
    message = Message()
    progress = ProgressBar(message)

    def work(step: Progress) -> None:
        raise NotReady("the month is not over")

    progress.start(work, lambda _: None)
    progress.wait()
    assert 'role="alert"' in message.widget.value
    assert "the month is not over" in message.widget.value


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("breaks", "outcome"),
    [("work", "nothing was written"), ("then", "the work itself was done")],
)
def test_a_defect_is_named_with_its_outcome(breaks: str, outcome: str) -> None:
    message = Message()
    progress = ProgressBar(message)

    def fail(_: object) -> None:
        raise ZeroDivisionError

    def succeed(_: object) -> None:
        pass

    progress.start(*((fail, succeed) if breaks == "work" else (succeed, fail)))
    with suppress(ZeroDivisionError):
        progress.wait()
    assert f"the program has a defect here; {outcome}, and its log says more" in (
        message.widget.value
    )
