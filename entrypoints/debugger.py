"""SageMaker Debugger's hook, for jobs with a Debugger configuration."""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

# smdebug.core.config_constants: CONFIG_FILE_PATH_ENV_STR and DEFAULT_CONFIG_FILE_PATH.
CONFIG_VARIABLE = "SMDEBUG_CONFIG_FILE_PATH"
DEFAULT_CONFIG = "/opt/ml/input/config/debughookconfig.json"

# Errors of smdebug and its dependencies, of any kind; the training then continues without Debugger.
# Debugger._attach adds smdebug's own error.
_FAILURES: tuple[type[Exception], ...] = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError),
    *(OSError, RuntimeError, TypeError, ValueError),
)


def _widened(value: Any) -> Any:
    bfloat16 = isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16
    return value.float() if bfloat16 else value


class Debugger:
    """Record what the job's Debugger configuration asks for.

    Debugging must not end a training: the first failure is one warning, and recording stops.
    """

    def __init__(self, network: nn.Module, loss: nn.Module) -> None:
        """Attach to a network and its loss; do nothing without a Debugger configuration."""
        self._hook: Any = None
        self._failures = _FAILURES
        self._warned = False
        if not Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG)).is_file():
            return
        if importlib.util.find_spec("smdebug") is None:
            self._warn("smdebug is not installed")
            return
        self._guarded(lambda: self._attach(network, loss))

    def training(self) -> None:
        """Count the following forward passes as training steps."""
        self._set_mode("TRAIN")

    def evaluating(self) -> None:
        """Count the following forward passes as evaluation steps."""
        self._set_mode("EVAL")

    def scalar(self, name: str, value: float) -> None:
        """Record one number of this step."""
        if (hook := self._hook) is not None:
            self._guarded(lambda: hook.save_scalar(name, value))

    def close(self) -> None:
        """Write what is still in memory, and stop recording."""
        if self._hook is not None:
            self._guarded(self._hook.close)
            self._hook = None

    def _attach(self, network: nn.Module, loss: nn.Module) -> None:
        # smdebug reads this at import; "info" logs a line per parameter.
        os.environ.setdefault("SMDEBUG_LOG_LEVEL", "warning")
        from smdebug.exceptions import SMDebugError
        from smdebug.pytorch import Hook

        self._failures = (*_FAILURES, SMDebugError)
        self._let_writers_fail()
        self._hook = hook = Hook.create_from_json_file()
        # Activations are bfloat16 under autocast; NumPy has no such type.
        make_array = hook._make_numpy_array
        hook._make_numpy_array = lambda value: make_array(_widened(value))
        # smdebug registers these bound methods; an error in one would end the forward pass.
        for name in ("forward_pre_hook", "forward_hook"):
            setattr(hook, name, self._quiet(getattr(hook, name)))
        # This one returns the function that receives a parameter's gradient.
        make_backward_hook = hook.backward_hook
        hook.backward_hook = lambda name: self._quiet(make_backward_hook(name))
        hook.register_module(network)
        hook.register_loss(loss)

    def _let_writers_fail(self) -> None:
        """Stop a training from waiting for ever for a smdebug thread that cannot write (full disk)."""
        from smdebug.core.tfevent.event_file_writer import _EventLoggerThread

        run = _EventLoggerThread.run

        def run_to_the_end(thread: Any) -> None:
            try:
                run(thread)
            except self._failures as error:
                self._warn(f"{type(error).__name__}: {error}")
                # Callers that put into its queue, or wait until it is empty, continue.
                while thread._queue.get() is not thread._sentinel_event:
                    thread._queue.task_done()
                thread._queue.task_done()

        _EventLoggerThread.run = run_to_the_end

    def _set_mode(self, mode: str) -> None:
        if (hook := self._hook) is not None:
            from smdebug import modes

            self._guarded(lambda: hook.set_mode(modes[mode]))

    def _quiet(self, method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            if self._hook is not None:
                self._guarded(lambda: method(*arguments))

        return call

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except self._failures as error:
            self._warn(f"{type(error).__name__}: {error}")

    def _warn(self, reason: str) -> None:
        if self._warned:  # meanwhile, by the writer's thread
            return
        self._warned = True
        if self._hook is not None:
            atexit.unregister(self._hook._cleanup)  # it would fail again, with a traceback
        self._hook = None
        print(f"warning: Debugger records nothing from here on ({reason})", file=sys.stderr, flush=True)
