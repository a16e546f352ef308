"""Two ways to run vLLM, each with its own thread: its core in this process, or in a separate process."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from reasoner.engine import Progress, TokenIds, Usage, UsageMeter
from reasoner.engines.vllm.build import CoreLog
from reasoner.engines.vllm.stream import prepare

WORKER_EXTENSION = "reasoner.engines.vllm.worker.RepairableWorker"
"""The value of vLLM's `worker_extension_cls`: it repairs the sampler where that is needed."""


class CoreDied(Exception):
    """The core failed; everything in flight is lost."""


class CoreFacts(NamedTuple):
    """vLLM's own configuration and renderer, of a running core."""

    config: Any
    renderer: Any


def _needs_repair(engine: Any, args: Any) -> bool:
    """Whether the engine samples with V1's sampler, which `sampler` repairs."""
    return (
        args.worker_extension_cls == WORKER_EXTENSION
        and not engine.vllm_config.use_v2_model_runner
    )


@dataclass(frozen=True, slots=True)
class CoreJob:
    """One sequence to compute: `params` are vLLM's SamplingParams or PoolingParams.

    `cut` gets each output of a stream, the last one too, and returns True where the sequence must end. The core writes
    into the `meter` how often the sequence was preempted, where vLLM says so: in this process, and otherwise with
    vLLM's statistics switched on. The `progress` learns how long the sequence is.
    """

    request_id: str
    token_ids: TokenIds
    params: Any
    priority: int
    cut: Callable[[Any], bool] | None = None
    meter: UsageMeter = field(default_factory=UsageMeter)
    progress: Progress | None = None


def _new_future() -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(slots=True)
class _Flight:
    internal_id: str
    future: "Future[Any]"
    job: CoreJob
    request: Any
    """The scheduler's own record of it, which it forgets at the end."""


_IN_PROCESS: Final[set["InProcessCore"]] = set()
"""The cores that live in this process: vLLM has one set of process groups per process."""
_LOCK: Final = threading.Lock()
_COMPUTING: Final = threading.Lock()
"""One core of this process computes at a time: vLLM keeps the batch of a step in a global."""


class InProcessCore:
    """vLLM's engine core in this process, stepped by one thread. The fastest to start on a CPU.

    Its creation starts it. Its methods may be called from any thread; their futures resolve from its own.

    Accounting is exact: between steps, the scheduler knows what an aborted request computed.
    """

    def __init__(self, args: Any, log: CoreLog) -> None:
        self.started: Future[CoreFacts] = _new_future()
        self._args = args
        self._log = log
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._flights: dict[str, _Flight] = {}
        self._progress: dict[str, Progress] = {}
        self._engine: Any = None
        self._dead: CoreDied | None = None
        self._thread = threading.Thread(
            target=self._live, name="vllm-core", daemon=True
        )
        with _LOCK:
            _IN_PROCESS.add(self)
        self._thread.start()

    def submit(self, job: CoreJob) -> "Future[Any]":
        """The finished `RequestOutput` of a job, or `CoreDied`."""
        future = _new_future()
        self._inbox.put(lambda: self._add(job, future))
        return future

    def abort(self, request_id: str) -> "Future[Usage | None]":
        """Abort a job; its exact usage, or None where that is unknown."""
        return self._between_steps(lambda: self._abort(request_id))

    def reset_caches(self) -> "Future[Any]":
        """Empty the prefix cache; nothing may be in flight."""
        return self._between_steps(
            lambda: None if self._dead else self._engine.reset_prefix_cache()
        )

    def _between_steps(self, work: Callable[[], Any]) -> "Future[Any]":
        future = _new_future()

        def run() -> None:
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

        self._inbox.put(run)
        return future

    def close(self) -> None:
        """Stop and free all resources."""
        self._inbox.put(None)
        self._thread.join(timeout=30)

    def _live(self) -> None:
        try:
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.llm_engine import LLMEngine

            with self._log.recording(self._args), _COMPUTING:
                self._engine = LLMEngine.from_engine_args(
                    self._args, usage_context=UsageContext.LLM_CLASS
                )
            prepare(self._engine.output_processor, self._progress)
            if _needs_repair(self._engine, self._args):
                self._engine.collective_rpc("repair")
        except BaseException as error:
            self._shut_down()
            self.started.set_exception(error)
            return
        self.started.set_result(
            CoreFacts(self._engine.vllm_config, self._engine.renderer)
        )
        try:
            while self._serve_inbox():
                if self._dead is None and self._engine.has_unfinished_requests():
                    self._step()
        finally:
            self._shut_down()

    def _shut_down(self) -> None:
        """Free the engine. The last one of this process also ends the process groups, which all of them share."""
        with _LOCK:
            _IN_PROCESS.discard(self)
            if self._engine is not None:
                core = self._engine.engine_core
                if _IN_PROCESS:
                    core._finalizer.detach()  # It would end the process groups.
                    core.engine_core.model_executor.shutdown()
                    core.engine_core.scheduler.shutdown()
                else:
                    core.shutdown()
                self._engine = None

    def _serve_inbox(self) -> bool:
        """Run the commands since the last step; wait for one when there is no work. False means close."""
        idle = self._dead is not None or not self._engine.has_unfinished_requests()
        while idle or not self._inbox.empty():
            command = self._inbox.get()
            if command is None:
                return False
            command()
            idle = False
        return True

    def _step(self) -> None:
        try:
            with _COMPUTING:
                outputs = self._engine.step()
        except Exception as error:
            self._die(error)
            return
        for output in outputs:
            flight = self._flights.get(output.request_id)
            if flight is None:
                continue
            ends = flight.job.cut is not None and flight.job.cut(output)
            if not output.finished:
                if not ends:
                    continue
                self._engine.abort_request([output.request_id])
                output.outputs[0].finish_reason = "abort"
            del self._flights[output.request_id]
            if flight.request is not None:
                flight.job.meter.preemptions = flight.request.num_preemptions
            flight.future.set_result(output)

    def _die(self, error: Exception) -> None:
        self._dead = CoreDied(f"{type(error).__name__}: {error}")
        for flight in self._flights.values():
            flight.future.set_exception(self._dead)
        self._flights.clear()

    def _add(self, job: CoreJob, future: "Future[Any]") -> None:
        if self._dead:
            future.set_exception(self._dead)
            return
        try:
            prompt = {"prompt_token_ids": list(job.token_ids)}
            if job.progress:
                self._progress[job.request_id] = job.progress
            internal = self._engine.add_request(
                job.request_id, prompt, job.params, priority=job.priority
            )
        except Exception as error:
            self._progress.pop(job.request_id, None)
            future.set_exception(error)
            return
        request = self._engine.engine_core.engine_core.scheduler.requests.get(internal)
        self._flights[job.request_id] = _Flight(internal, future, job, request)

    def _abort(self, request_id: str) -> Usage | None:
        flight = self._flights.pop(request_id, None)
        if flight is None or self._dead:
            return None
        request = self._engine.engine_core.engine_core.scheduler.requests.get(
            flight.internal_id
        )
        state = self._engine.output_processor.request_states.get(flight.internal_id)
        self._engine.abort_request([request_id])
        if request is None or state is None:
            return None
        if request.num_output_tokens == 0:
            return Usage(
                min(request.num_computed_tokens, request.num_prompt_tokens), 0, 0
            )
        return Usage(
            request.num_prompt_tokens,
            state.num_cached_tokens,
            request.num_output_tokens,
        )


class AsyncCore:
    """vLLM's AsyncLLM with its engine core in a separate process, on an event loop in one thread. For GPUs.

    Its methods are those of `InProcessCore`.
    """

    method = "generate"
    """The method of vLLM that runs a job."""

    def __init__(self, args: Any, log: CoreLog) -> None:
        self.started: Future[CoreFacts] = _new_future()
        self._args = args
        self._log = log
        self._loop = asyncio.new_event_loop()
        self._engine: Any = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._progress: dict[str, Progress] = {}
        self._thread = threading.Thread(
            target=self._live, name="vllm-async", daemon=True
        )
        self._thread.start()

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._start())
        except BaseException as error:
            if self._engine is not None:
                self._engine.shutdown(timeout=1)
                self._engine = None
            self.started.set_exception(error)
            return
        self.started.set_result(
            CoreFacts(self._engine.vllm_config, self._engine.renderer)
        )
        self._loop.run_forever()
        # Tasks that vLLM left running would warn when Python collects them.
        remaining = asyncio.all_tasks(self._loop)
        for task in remaining:
            task.cancel()
        self._loop.run_until_complete(
            asyncio.gather(*remaining, return_exceptions=True)
        )
        self._loop.close()

    async def _start(self) -> None:
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        with self._log.recording(self._args):
            # vLLM chooses the sizes of batches by this: a strategy sends many requests at once, as its class `LLM`.
            self._engine = AsyncLLM.from_engine_args(
                self._args, usage_context=UsageContext.LLM_CLASS
            )
        prepare(self._engine.output_processor, self._progress)
        if _needs_repair(self._engine, self._args):
            await self._engine.collective_rpc("repair")

    def submit(self, job: CoreJob) -> "Future[Any]":
        future = _new_future()
        self._loop.call_soon_threadsafe(self._spawn, job, future)
        return future

    def _spawn(self, job: CoreJob, future: "Future[Any]") -> None:
        task = self._tasks[job.request_id] = self._loop.create_task(
            self._generate(job, future)
        )
        if job.progress:
            self._progress[job.request_id] = job.progress
        task.add_done_callback(lambda _: self._forget(job.request_id))

    def _forget(self, request_id: str) -> None:
        del self._tasks[request_id]
        self._progress.pop(request_id, None)

    async def _generate(self, job: CoreJob, future: "Future[Any]") -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            output = await self._last(job)
        except asyncio.CancelledError:
            future.set_exception(CoreDied("it was closed"))
            raise
        except EngineDeadError as error:
            future.set_exception(CoreDied(str(error)))
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(output)

    async def _last(self, job: CoreJob) -> Any:
        """The output that ends the stream, by itself or because it is cut."""
        output, run = None, getattr(self._engine, self.method)
        stream = run(
            {"prompt_token_ids": list(job.token_ids)},
            job.params,
            job.request_id,
            priority=job.priority,
        )
        async with aclosing(stream) as outputs:
            async for output in outputs:
                if job.cut and job.cut(output) and not output.finished:
                    output.outputs[0].finish_reason = "abort"
                    await self._engine.abort(job.request_id)
                    break
        if statistics := getattr(output, "metrics", None):
            job.meter.preemptions = statistics.num_preemptions
        return output

    def abort(self, request_id: str) -> "Future[Usage | None]":
        return asyncio.run_coroutine_threadsafe(self._abort(request_id), self._loop)

    def reset_caches(self) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(
            self._engine.reset_prefix_cache(), self._loop
        )

    async def _abort(self, request_id: str) -> Usage | None:
        processor = self._engine.output_processor
        internal = processor.external_req_ids.get(request_id, [])
        states = [
            processor.request_states[name]
            for name in internal
            if name in processor.request_states
        ]
        if not states and (task := self._tasks.get(request_id)):
            # vLLM is still reading the prompt, in a thread, and would not notice.
            task.cancel()
            return Usage()
        await self._engine.abort(request_id)
        if not states:
            return None
        state = states[0]
        generated = state.detokenizer.num_output_tokens() if state.detokenizer else 0
        return Usage(state.prompt_len, state.num_cached_tokens, generated)

    def close(self) -> None:
        if self._engine is not None:
            self._loop.call_soon_threadsafe(self._stop)
            self._thread.join(timeout=30)

    def _stop(self) -> None:
        self._engine.shutdown(timeout=1)
        self._engine = None
        self._loop.stop()


class PoolingCore(AsyncCore):
    """An `AsyncCore` for a model that rates sequences instead of generating."""

    method = "encode"

    async def _abort(self, request_id: str) -> Usage | None:
        # A rating is one step of the core, and nothing here shows whether that step was made.
        await self._engine.abort(request_id)
        return None


Core = InProcessCore | AsyncCore
