"""The state of a training run, and one iteration of it. It knows players, not methods."""

from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast_object_list, gather_object, set_seed
from torch import Tensor, nn

from shards.command import BadInput
from shards.order import Place
from shards.records import LabelSchema
from trainer import checkpoint as checkpoints
from trainer import methods
from trainer.checkpoint import Checkpoint, State
from trainer.config import Config
from trainer.ema import MovingAverages
from trainer.method import Batch
from trainer.schedules import linear_decay
from trainer.vgg import load_vgg19


class Player(nn.Module):
    """The networks that one optimizer steps, as one module.

    Its forward calls what it is given, so that one distributed wrapper per player synchronises whatever a
    method does with these networks, also where it calls past their `forward`.
    """

    def __init__(self, networks: dict[str, nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(networks)

    def forward(self, thunk: Any) -> Any:
        return thunk()


class Training:
    """Everything that changes while training: networks, averages, optimizers, and how far they are."""

    def __init__(self, config: Config, schema: LabelSchema, resume: Checkpoint | None) -> None:
        self.config = config
        self.schema = schema
        self.images = self.steps = 0
        self.place = Place()
        self.accelerator = Accelerator(
            mixed_precision="bf16" if config.precision == "bf16" else "no",
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        self.device = self.accelerator.device
        set_seed(config.seed)
        kind = methods.find(config.method)
        self.method = kind(config.options, self.schema)
        for network in self.method.networks.values():
            network.to(self.device)
        if kind.needs_perceptual:
            loss = config.perceptual
            self.method.perceptual = load_vgg19(loss.weights, loss.divisor, loss.imagenet_norm, loss.resize_below).to(
                self.device
            )
        self.averages = MovingAverages(
            {name: self.method.networks[name] for name in kind.synthesizers}, config.optimizer.ema
        )
        self.scopes: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        for player, names in kind.players.items():
            scope = Player({name: self.method.networks[name] for name in names})
            self.scopes[player] = self.accelerator.prepare_model(scope)
            self.optimizers[player] = torch.optim.Adam(
                scope.parameters(), lr=config.optimizer.learning_rate, betas=config.optimizer.betas
            )
        self.run_id: str | None = None
        if resume is not None:
            self._restore(resume)

    def _parameter_names(self, player: str) -> list[str]:
        networks = {name: self.method.networks[name] for name in self.method.players[player]}
        return [f"{name}.{key}" for name, network in networks.items() for key, _ in network.named_parameters()]

    def step(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One iteration: every player in turn. Returns losses and gradient norms by name."""
        rate = self.config.optimizer.learning_rate * linear_decay(
            self.images, self.config.optimizer.constant_images, self.config.optimizer.decay_images
        )
        plays = self.method.play(batch, self.images)
        losses: dict[str, Tensor] = {}
        norms: dict[str, Tensor] = {}
        for player, names in self.method.players.items():
            for name, network in self.method.networks.items():
                network.requires_grad_(name in names)
            played, terms = self.scopes[player](lambda: next(plays))
            if played != player:
                raise RuntimeError(f"{self.config.method} yields {played!r} where its players say {player!r}")
            total = torch.stack(list(terms.values())).sum()
            self.accelerator.backward(total)
            parameters = list(self.scopes[player].parameters())
            norms[f"gradient/{player}"] = torch.nn.utils.get_total_norm(
                [parameter.grad for parameter in parameters if parameter.grad is not None]
            )
            optimizer = self.optimizers[player]
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses |= {f"{player}/{name}": value for name, value in terms.items()}
            losses[f"{player}/total"] = total
        plays.close()
        self.steps += 1
        self.images += self.config.batch * self.accelerator.num_processes
        self.averages.update(self.method.networks, self.steps)
        return losses, norms

    def save(self, manifest: str) -> None:
        """Writes a checkpoint; rank 0 writes, all ranks give their random state."""
        random_tensors, random_plain = checkpoints.random_state()
        gathered = gather_object([(random_tensors, random_plain)])
        if self.accelerator.is_main_process:
            tensors = {name: network.state_dict() for name, network in self.method.networks.items()}
            tensors |= {f"{name}.ema": network.state_dict() for name, network in self.averages.networks.items()}
            tensors |= {
                f"{player}.optimizer": checkpoints.optimizer_tensors(optimizer, self._parameter_names(player))
                for player, optimizer in self.optimizers.items()
            }
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
            )
            checkpoints.save(self.config.run, state, tensors, plain)
            checkpoints.prune(self.config.run, self.config.checkpoint.keep)
        self.accelerator.wait_for_everyone()

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        difference = self.schema.difference(LabelSchema.from_json(state.schema))
        if difference:
            raise BadInput(f"{checkpoint.folder} was trained on another label schema: {difference}")
        for name, network in self.method.networks.items():
            network.load_state_dict(checkpoint.tensors(name))
        for name, network in self.averages.networks.items():
            network.load_state_dict(checkpoint.tensors(f"{name}.ema"))
        for player, optimizer in self.optimizers.items():
            checkpoints.restore_optimizer(
                optimizer, self._parameter_names(player), checkpoint.tensors(f"{player}.optimizer")
            )
        self.images, self.steps = state.images, state.steps
        self.place = Place(state.epoch, state.position)
        self.run_id = state.run_id

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
        checkpoints.restore_random(checkpoint.tensors(f"random-{rank}"), checkpoint.plain(f"random-{rank}"))

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is up on any rank; all ranks get the same answer."""
        if self.accelerator.num_processes == 1:
            return flag
        total = self.accelerator.reduce(torch.tensor(float(flag), device=self.device))
        return bool(total.item() > 0)

    def share(self, value: str | None) -> str | None:
        """Rank 0's value, on every rank."""
        shared: list[str | None] = broadcast_object_list([value])
        return shared[0]
