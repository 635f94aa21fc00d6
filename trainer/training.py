"""The state of a training run, and one iteration of it. It knows players, not methods."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import GradientAccumulationPlugin, broadcast_object_list, gather_object, set_seed
from torch import Tensor

from likeness.command import BadInput
from shards.reading.order import Place
from shards.records import LabelSchema
from trainer import methods
from trainer.checkpoints import files as checkpoints
from trainer.checkpoints import random_state
from trainer.checkpoints.files import Checkpoint, Snapshot, State
from trainer.checkpoints.weights import load_network, on_host
from trainer.config import Config
from trainer.method import Batch, Losses, Synthesizer
from trainer.perceptual import load_loss_network
from trainer.players import norm_statistics, zero
from trainer.players.ema import MovingAverages
from trainer.players.engines import Engine, make_engine, set_trainable
from trainer.ranks import environment
from trainer.ranks.rendezvous import join_again, leave
from trainer.speed import arithmetic
from trainer.speed.compiling import compile_networks
from trainer.speed.recompute import recompute_in


class Training:
    """Everything that changes while training: networks, averages, optimizers, and how far they are."""

    def __init__(self, config: Config, schema: LabelSchema, resume: Checkpoint | None) -> None:
        self.config = config
        self.schema = schema
        self.images = self.steps = 0
        self.place = Place()
        # The watchdog is to speak first: it knows which rank is meant.
        timeout = timedelta(seconds=2 * config.faults.timeout_s + 60)
        environment.check(config.precision, config.accumulate, config.speed.compile)
        if environment.asked_for_zero():
            zero.check(config)
        with environment.meeting():
            join_again(timeout)
            self.accelerator = Accelerator(
                mixed_precision="bf16" if config.precision == "bf16" else "no",
                # Said here, so that the environment is not asked: the run cuts batches and compiles networks itself.
                gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
                dynamo_backend="no",
                kwargs_handlers=[
                    # Every player uses all its parameters; norms that keep buffers see to it that all ranks' are equal.
                    DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
                    # accelerate thinks of GPUs only, where DeepSpeed is concerned.
                    InitProcessGroupKwargs(timeout=timeout, **({"backend": "gloo"} if zero.on_cpu() else {})),
                ],
            )
        self.device = self.accelerator.device
        # After the accelerator, which turns TF32 on beside a compiler of its own.
        arithmetic.use(config.precision)
        set_seed(config.seed)
        self.method = methods.find(config.method)(config.options, self.schema)
        self._check_launch()
        if self.method.needs_perceptual:
            loss = config.perceptual
            self.method.perceptual = load_loss_network(
                loss.weights, loss.divisor, loss.imagenet_norm, loss.resize_below
            )
        norm_statistics.check(self.method.learning_networks(), config)
        self._place_networks()
        self._frozen = self._freeze()
        # Looked for once, after the networks are on their device: a walk through all modules costs every iteration.
        self._statistics = norm_statistics.buffers_of(self.method.learning_networks())
        self.averages = MovingAverages(
            {name: self.method.networks[name] for name in self.method.synthesizers}, config.optimizer.ema
        )
        self.run_id: str | None = None
        self.settled = not self.method.settling or resume is not None
        """Whether the averages' norms have the statistics of the averages' weights; a checkpoint's have."""
        if resume is not None:
            self._restore_networks(resume)
        elif config.start is not None:
            self._begin_with(config.start)
        elif self.method.needed_from_start:
            raise BadInput(
                f"start is not set, but {config.method} with these options begins with "
                f"{' and '.join(self.method.needed_from_start)} of another run, which do not learn at first; set start "
                "to its folder"
            )
        self.players = self.method.stage(self.images).players
        self.engines = self._make_engines()
        if resume is not None:
            self._restore_optimizers({player: resume.tensors(f"{player}.optimizer") for player in self._saved(resume)})

    def _check_launch(self) -> None:
        """Raises BadInput when the method cannot be trained with the processes that the launcher has started."""
        method, ranks = self.method, self.accelerator.num_processes
        if method.alone is not None and ranks > 1:
            raise BadInput(f"{self.config.method} trains on a single process here, not on {ranks}: {method.alone}")
        wide = self.config.batch * ranks
        if uneven := [start for start in method.stage_starts if start % wide]:
            raise BadInput(
                f"a stage begins after {uneven[0]:,} images, in the middle of a step of {wide} ({self.config.batch} on "
                f"{ranks} ranks); let the stages' lengths in options be multiples of {wide}"
            )
        if len(method.stage_starts) > 1 and environment.asked_for_zero():
            raise BadInput(
                f"{self.config.method} trains in stages, each with optimizers of its own, which has not been tried "
                "with DeepSpeed; launch it without"
            )

    def _make_engines(self) -> dict[str, Engine]:
        """An engine for each player of the stage at hand."""
        engines = {}
        for player, names in self.players.items():
            # Parameters that rest, as after another player's turn, would be left out of what ranks share.
            set_trainable(self.method.networks, names)
            # One engine per player. Not one for all, because players are differentiated in turns, and DDP waits for a
            # gradient of every parameter that it holds. Not one per network, because a player's losses run through
            # several of them at once, also past their `forward`.
            engines[player] = make_engine(
                {name: self.method.networks[name] for name in names},
                self.config.optimizer.of(player),
                self.accelerator,
                self.config.batch,
                self.config.accumulate,
            )
        return engines

    def _enter_stage(self) -> None:
        """Gives the players of a new stage their engines. Networks that learned before keep their moments."""
        players = self.method.stage(self.images).players
        if players == self.players:
            return
        moments = {player: engine.state() for player, engine in self.engines.items()}
        self.engines = {}
        # accelerate holds whatever it has prepared until it is told to let go.
        self.accelerator.free_memory()
        self.players = players
        self.engines = self._make_engines()
        self._restore_optimizers(moments)

    def _place_networks(self) -> None:
        """Moves networks to the device, and sets how they are computed there."""
        speed = self.config.speed
        memory_format = torch.channels_last if speed.channels_last else torch.contiguous_format
        networks = [*self.method.networks.values()]
        if self.method.perceptual is not None:
            networks.append(self.method.perceptual)
        if speed.recompute:
            recompute_in(networks)
        for network in networks:
            network.to(device=self.device, memory_format=memory_format)  # type: ignore[call-overload]
        if speed.compile:
            compile_networks(networks, self.device)

    def _freeze(self) -> frozenset[str]:
        """Puts networks that no player ever steps in eval mode, norms included, without gradients. Returns their names.

        Among them are pools of past pictures, whose buffers go on changing as they are used.
        """
        frozen = frozenset(self.method.networks) - self.method.learning_networks().keys()
        for name in frozen:
            self.method.networks[name].eval().requires_grad_(False)
        return frozen

    def step(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """One iteration: the players in their turns, each over all parts of the batch.

        Returns figures by name, of this rank (losses, and gradient norms; means over the turns in which they occur),
        and a () float32 flag: 1 where a loss or gradient was not finite on any rank. Then neither that player nor
        those after it have been stepped, and norms have the statistics that they had before. Nothing here waits for
        the device, except torch's synchronised batch norm for its counts.
        """
        self._enter_stage()
        if self.config.speed.channels_last:
            batch = batch.to(memory_format=torch.channels_last)
        turns = self.method.turns(self.images)
        # A play is a generator that stands still between turns: what it painted for one player is still there for the
        # next, which sees the networks as the turns before have left them.
        plays = [self.method.play(part, self.images) for part in batch.parts(self.config.accumulate)]
        # Norms with running statistics change them in the forward pass, before anybody knows that a loss is not finite.
        running = [(buffer, buffer.clone()) for buffer in self._statistics]
        figures: dict[str, list[Tensor]] = {}
        skip = torch.zeros((), dtype=torch.float32, device=self.device)
        for player in turns:
            losses, norm = self._turn(player, plays, skip)
            for name, value in losses.items():
                figures.setdefault(f"{player}/{name}", []).append(value)
            figures.setdefault(f"gradient/{player}", []).append(norm)
            # The norm is of gradients that the ranks have averaged already, so that all ranks see the same flag. It
            # stays on the device, where nobody waits for it: hence `where` and no `if`, here and below.
            skip = torch.maximum(skip, 1 - torch.isfinite(norm).float())
        for play in plays:
            # Whatever comes after the last turn would be lost, and nobody would miss it.
            if (left := next(play, None)) is not None:
                raise RuntimeError(
                    f"{self.config.method} yields {left[0]!r} after the last of its turns, {', '.join(turns)}"
                )
        for buffer, before in running:
            buffer.copy_(torch.where(skip > 0, before, buffer))
        self.steps += 1
        self.images += self.config.batch * self.accelerator.num_processes
        self.averages.update(self.method.networks, {name: self._steps_of(name) for name in self.averages.networks})
        self.settled = not self.method.settling
        return {name: sum(values[1:], values[0]) / len(values) for name, values in figures.items()}, skip

    def _turn(
        self, player: str, plays: Sequence[Generator[tuple[str, Losses], None, None]], skip: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """A player's turn, over all parts of a batch. Returns its losses, means over the parts, and its gradient norm.

        skip: () float32, 1 where an earlier player was skipped; then this one is, too.
        """
        if player not in self.players:
            raise RuntimeError(
                f"{self.config.method} has no player {player!r} now; there are {', '.join(self.players)}"
            )
        parts = len(plays)
        # The other players' networks pass gradients on, as a discriminator does to the generator, and gather none.
        set_trainable(self.method.networks, self.players[player])
        engine = self.engines[player]
        losses: dict[str, Tensor] = {}
        for number, play in enumerate(plays, start=1):
            played, terms = engine.run(lambda play=play: next(play, (None, {})), number == parts)  # type: ignore[misc]
            if played != player:
                raise RuntimeError(f"{self.config.method} yields {played!r} where its turns say {player!r}")
            total = torch.stack(list(terms.values())).sum() / parts
            # A loss that is not finite, or a player before this one that was skipped, spoils every gradient on
            # every rank, so that all ranks skip the same steps without asking each other.
            # 0 times a finite loss is 0, and times infinity or NaN it is NaN, which reaches the other ranks with the
            # averaged gradients. Multiplied by, not added: an added constant has no gradient.
            spoiled = 0 * total.detach() + torch.where(skip > 0, torch.nan, 0.0)
            engine.backward(total * (1 + spoiled), number == parts)
            for name, value in {**terms, "total": total * parts}.items():
                losses[name] = losses.get(name, torch.zeros((), device=self.device)) + value.detach() / parts
        optimizer = self.config.optimizer
        rate = self.method.rate(player, self.images, optimizer.schedule)
        return losses, engine.step(optimizer.of(player).learning_rate * rate)

    def settle(self, batches: Iterable[Batch]) -> None:
        """Gives the averages' norms statistics of their own from these batches, where the method asks for it.

        To be called by all ranks with the same batches, of `SETTLING_BATCH` samples, before the averages are looked at
        or saved. Leaves training itself as it is: the next step gives the averages the statistics of what learns.
        """
        if self.settled:
            return
        averages = self.averages.networks
        painters = {name: averages[name] for name in self.method.stage(self.images).synthesizers}
        settling = [network for name, network in painters.items() if name not in self._frozen]
        norm_statistics.settle(settling, batches, lambda batch: self.method.settle(painters, batch))
        self.settled = True

    def _steps_of(self, network: str) -> int:
        """The iterations since a network began to learn; those of the run for one that did at once, or never does."""
        for start in self.method.stage_starts:
            if network in (name for names in self.method.stage(start).players.values() for name in names):
                wide = self.config.batch * self.accelerator.num_processes
                return (self.images - start) // wide if start else self.steps
        return self.steps

    def snapshot(self, manifest: str, figures: dict[str, float]) -> Snapshot | None:
        """A copy of everything that a checkpoint holds, in host memory; on rank 0, None elsewhere.

        To be called by all ranks: each gives its random state, and may hold a part of the optimizers' state.
        figures: what was measured of these very weights.
        """
        gathered = gather_object([random_state.capture()])
        # Before the other ranks leave: under ZeRO each holds a part of the moments, and gives it here.
        optimizers = {f"{player}.optimizer": engine.state() for player, engine in self.engines.items()}
        if not self.accelerator.is_main_process:
            return None
        tensors = {name: network.state_dict() for name, network in self.method.networks.items()}
        tensors |= {f"{name}.ema": network.state_dict() for name, network in self.averages.networks.items()}
        tensors |= optimizers
        tensors |= {f"random-{rank}": state for rank, (state, _) in enumerate(gathered)}
        plain = {f"random-{rank}": state for rank, (_, state) in enumerate(gathered)}
        state = State(
            images=self.images,
            steps=self.steps,
            epoch=self.place.epoch,
            position=self.place.position,
            ranks=self.accelerator.num_processes,
            config=self.config.model_dump(mode="json"),
            schema=self.schema.to_json(),
            manifest=manifest,
            run_id=self.run_id,
            files={},
            figures=figures,
        )
        return Snapshot(state, on_host(tensors), plain)

    def synthesizer(self) -> Synthesizer:
        """The averaged networks, painting as they do at this moment."""
        return Synthesizer(self.method, self.averages.networks, self.images)

    def _restore_networks(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        difference = self.schema.difference(LabelSchema.from_json(state.schema))
        if difference:
            raise BadInput(f"{checkpoint.folder} was trained on another label schema: {difference}")
        for name, network in self.method.networks.items():
            network.load_state_dict(checkpoint.tensors(name))
        for name, network in self.averages.networks.items():
            network.load_state_dict(checkpoint.tensors(f"{name}.ema"))
        self.images, self.steps = state.images, state.steps
        self.place = Place(state.epoch, state.position)
        self.run_id = state.run_id

    def _saved(self, checkpoint: Checkpoint) -> list[str]:
        """The players whose moments a checkpoint holds: those of the stage in which it was written."""
        ending = ".optimizer.safetensors"
        return [file.removesuffix(ending) for file in checkpoint.state.files if file.endswith(ending)]

    def _restore_optimizers(self, moments: dict[str, dict[str, Tensor]]) -> None:
        """Gives parameters their moments, whichever player they had them of; those that have none begin without."""
        known = {name: value for tensors in moments.values() for name, value in tensors.items()}
        for player, engine in self.engines.items():
            own = tuple(f"{name}." for name in self.players[player])
            engine.restore({name: value for name, value in known.items() if name.startswith(own)})

    def _begin_with(self, start: Path) -> None:
        """Takes over the networks that a checkpoint has of this method's; the others stay as they were drawn.

        What has no parameters, a pool of past pictures, begins empty.
        Raises BadInput when there is none, when it has other label channels, or naming a tensor of another shape.
        """
        folder = checkpoints.find(start)
        if folder is None:
            raise BadInput(f"start: no checkpoint at {start}; give a run's folder or one of its checkpoint-… folders")
        checkpoint = Checkpoint(folder)
        theirs = LabelSchema.from_json(checkpoint.state.schema)
        sized = replace(theirs, height=self.schema.height, width=self.schema.width)
        if difference := self.schema.difference(sized):
            raise BadInput(f"start: {folder} was trained on another label schema: {difference}")
        if missing := [
            name for name in self.method.needed_from_start if f"{name}.safetensors" not in checkpoint.state.files
        ]:
            raise BadInput(
                f"start: {folder} has no network {missing[0]}, which does not learn at first with these options; "
                "start from a checkpoint that has it"
            )
        for name, network in self.method.networks.items():
            if f"{name}.safetensors" in checkpoint.state.files and any(True for _ in network.parameters()):
                tensors = self.method.taken_over(name, checkpoint.tensors(name))
                load_network(network, tensors, f"start: {folder}/{name}.safetensors")
        for name, network in self.averages.networks.items():
            if f"{name}.ema.safetensors" in checkpoint.state.files:
                tensors = self.method.taken_over(name, checkpoint.tensors(f"{name}.ema"))
                load_network(network, tensors, f"start: {folder}/{name}.ema.safetensors")

    def restore_random(self, checkpoint: Checkpoint) -> None:
        """To be called right before the first step: building loaders and trackers may draw numbers.

        On another number of processes than before there are no states to go on with: every process gets one of its
        own, drawn from the seed and the images seen.
        """
        rank = self.accelerator.process_index
        if checkpoint.state.ranks != self.accelerator.num_processes:
            drawn = np.random.default_rng((self.config.seed, self.images, rank)).integers(2**32)
            set_seed(int(drawn))
            return
        random_state.restore(checkpoint.tensors(f"random-{rank}"), checkpoint.plain(f"random-{rank}"))

    def leave(self) -> None:
        """See `rendezvous.leave`."""
        leave(self.accelerator)

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is up on any rank; all ranks get the same answer."""
        if self.accelerator.num_processes == 1:
            return flag
        total = self.accelerator.reduce(torch.tensor(float(flag), device=self.device))
        return bool(total.item() > 0)

    def share(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        return broadcast_object_list([value])[0]
