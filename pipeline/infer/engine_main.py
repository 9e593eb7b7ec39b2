"""The child of a Replica of one GPU: it loads the model, and answers until it is killed or breaks.

In: a ReplicaConfig, then lists of groups, and what of them is called off. Out: a report when the model is
loaded, then one whenever answers are finished or steps are done, and at the end the error, as a
RanksLostError. `engine_process` starts
python -m pipeline.infer.engine_main SOCKET PARENT. It survives no error of its engine: after one of a GPU's,
nothing more can be computed in the process.
"""

import traceback
from contextlib import suppress
from threading import Thread

from model.checkpoint import load_model
from pipeline.child_process import Wire, be_called, end_now, join_parent
from pipeline.infer.device import take_device
from pipeline.infer.engine_factory import make_engine
from pipeline.infer.engine_loop import Abort, EngineLoop
from pipeline.infer.ranks import Outbox, RanksLostError, Report
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.plan.model_place import model_folder


def serve(wire: Wire) -> None:
    """Answers, and raises whatever ends that."""
    config: ReplicaConfig = wire.receive()
    outbox = Outbox()
    device, dtype = take_device(config)
    model = load_model(model_folder(config.plan.model), device=device, dtype=dtype)
    loop = EngineLoop(make_engine(model, config), outbox.deliver, outbox.break_off)
    be_called("quire-engine")  # before, while it loads, it has the name of its Python
    report = Report(steps=0, completions=[], seconds=0.0)
    wire.send(report)
    Thread(target=_read, args=(wire, loop, outbox), name="reader", daemon=True).start()
    while True:
        steps, report = report.steps, outbox.take()
        if report.steps > steps:  # an idle engine has no news
            wire.send(report)


def _read(wire: Wire, loop: EngineLoop, outbox: Outbox) -> None:
    """Messages go to the engine as they come, so that none waits for the end of a step."""
    try:
        while True:
            message = wire.receive()
            if isinstance(message, Abort):
                loop.abort(message.ids)
            else:
                loop.submit(message)
    except BaseException as error:
        outbox.break_off(error)


def main() -> None:
    """Serves, and says at the end why it ends."""
    wire = join_parent()
    try:
        serve(wire)
    except BaseException as error:  # every error: the parent must hear of it, and this process ends
        traceback.print_exc()
        words = str(error).partition("\n")[0]
        with suppress(OSError):
            wire.send(RanksLostError(f"{type(error).__name__}: {words}"))
    end_now(1)


if __name__ == "__main__":
    main()
