"""The optimiser of every training: AdamW, and Muon for convolution filters, on float32 copies of the weights."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BETAS = (0.9, 0.98)  # AdamW's
MUON_MOMENTUM = 0.9
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic (Jordan et al. 2024)


class MasterOptimiser:
    """AdamW, and optionally Muon, on float32 master copies of the network's weights.

    A bfloat16 weight has 8 significant bits, which would lose a step of a thousandth.  So the step is done on the
    copies and rounded into the network (Micikevicius et al. 2018, section 3.1).  In float32 the copies are the weights
    themselves.  Weight decay applies to matrices and to filters that AdamW updates, not to biases and norms.

    muon_learning_rate: above 0, Muon updates the filters of convolutions without a bias, one (out, k x k x in) matrix
    each.  A norm follows these, so their length has no effect on the network; it is reset to the root of the
    number of filters after each step, which is that of an orthogonal matrix with no more rows than columns, and the
    rate is a step's relative change (Jordan 2024, cifar10-airbench).
    exact: the weights before they were rounded to bfloat16; in float32, they become the copies.
    """

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float, muon_learning_rate: float = 0.0,
                 exact: list[Tensor] | None = None) -> None:
        filters = {id(layer.weight) for layer in network.modules()
                   if isinstance(layer, nn.Conv2d) and layer.bias is None and muon_learning_rate}
        self.learning_rate, self.muon_learning_rate = learning_rate, muon_learning_rate
        self.weights = list(network.parameters())
        # leaves with the weights' memory layout; where weights are not bfloat16, the weights themselves
        self.masters = [before.detach().float().requires_grad_() if p.dtype == torch.bfloat16 else p
                        for p, before in zip(self.weights, exact or self.weights, strict=True)]
        pairs = list(zip(self.weights, self.masters, strict=True))
        self.copies = [(weight, master) for weight, master in pairs if master is not weight]
        self.filters = [(weight, master, torch.zeros_like(master)) for weight, master in pairs if id(weight) in filters]
        others = [master for weight, master in pairs if id(weight) not in filters]
        device = self.masters[0].device
        self.on_gpu = device.type == "cuda"  # then the rates are on the device, where a captured step reads them
        self.scale: float | Tensor = torch.ones((), device=device) if self.on_gpu else 1.0
        self.adamw = torch.optim.AdamW([{"params": [m for m in others if m.ndim > 1], "weight_decay": weight_decay},
                                        {"params": [m for m in others if m.ndim <= 1], "weight_decay": 0.0}],
                                       lr=self.scale * learning_rate, betas=BETAS, fused=self.on_gpu or None,
                                       capturable=self.on_gpu)

    def masters_of(self, module: nn.Module) -> list[Tensor]:
        """The float32 copies of a part of the network's parameters, in the order of module.parameters()."""
        masters = {id(weight): master for weight, master in zip(self.weights, self.masters, strict=True)}
        return [masters[id(weight)] for weight in module.parameters()]

    def scale_learning_rate(self, scale: float) -> None:
        """Set the fraction of the peak learning rates, in [0, 1], for the next steps."""
        if isinstance(self.scale, Tensor):
            self.scale.fill_(scale)
        else:
            self.scale = scale
        for group in self.adamw.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self.learning_rate * scale)
            else:
                group["lr"] = self.learning_rate * scale

    def step(self, loss: Tensor) -> None:
        """Backpropagate, step on the master copies, and round the result into the network."""
        for weight in self.weights:
            weight.grad = None
        loss.backward()
        for weight, master in self.copies:
            master.grad = None if weight.grad is None else weight.grad.float()
        self.adamw.step()
        self._muon_step()
        with torch.no_grad():
            for weight, master in self.copies:
                weight.copy_(master)

    @torch.no_grad()
    def _muon_step(self) -> None:
        for weight, master, average in self.filters:
            out, channels, height, width = master.shape
            assert master.grad is not None  # every convolution is used in every step
            average.lerp_(master.grad, 1 - MUON_MOMENTUM)
            towards = master.grad.lerp(average, MUON_MOMENTUM)  # Nesterov momentum
            # the memory order of channels-last filters, so that nothing is moved; the network's precision is enough for
            # the direction (Jordan et al. 2024 use bfloat16 everywhere)
            matrix = towards.permute(0, 2, 3, 1).flatten(1).to(weight.dtype)
            direction = orthogonalised(matrix).float().view(out, height, width, channels).permute(0, 3, 1, 2)
            rate = self.muon_learning_rate * self.scale
            if isinstance(rate, Tensor):
                master.sub_(direction * rate)
            else:
                master.sub_(direction, alpha=rate)
            master.mul_(out ** 0.5 / master.norm())

    def tensors(self) -> dict[str, Tensor]:
        """References to everything besides the network's weights that the next step depends on, by name."""
        pairs = enumerate(zip(self.weights, self.masters, strict=True))
        named = {f"master.{i}": master for i, (weight, master) in pairs if master is not weight}
        named |= {f"muon.{i}": average for i, (_, _, average) in enumerate(self.filters)}
        return named | {f"adamw.{i}.{key}": value for i, master in enumerate(self.masters)
                        for key, value in self.adamw.state.get(master, {}).items()}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Set AdamW's averages, which exist only after a first step, from a dictionary that `tensors` returned."""
        for name, value in tensors.items():
            kind, *where = name.split(".")
            if kind == "adamw":
                master = self.masters[int(where[0])]
                # in the memory layout of master: the order of additions, and so the last bit, may depend on it
                room = torch.empty_like(master) if value.shape == master.shape else torch.empty_like(
                    value, device=master.device if self.on_gpu else value.device)
                self.adamw.state[master][where[1]] = room.copy_(value)

    def restore_float32(self) -> None:
        """Replace the network's weights by the master copies; from here on it computes in float32."""
        for weight, master in self.copies:
            weight.data = master.detach()


def orthogonalised(matrix: Tensor, steps: int = 3) -> Tensor:
    """Roughly U V^T of a matrix U S V^T: the direction in which all singular values change equally.

    Newton-Schulz iteration with coefficients that bring singular values near 1 in few steps, but not to 1 (Jordan et
    al. 2024, "Muon").  Computes in the matrix's own format; torch's Muon always uses bfloat16, which is slow on
    processors without it.
    """
    a, b, c = NEWTON_SCHULZ
    tall = len(matrix) > matrix.shape[1]
    wide = matrix.T if tall else matrix
    x = F.normalize(wide, dim=(0, 1))  # type: ignore[arg-type]  # the stub has one dim; singular values in [0, 1]
    # Each step multiplies x by p = a + b gram + c gram^2.  All factors commute, so their product is collected: a step
    # multiplies only x's small Gram matrix, by p^2, and x, which is several times as wide, is multiplied once.
    gram, product = x @ x.T, torch.eye(len(x), dtype=x.dtype, device=x.device)
    for step in range(steps):
        p = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        p.diagonal().add_(a)
        product = p @ product
        if step < steps - 1:
            gram = p @ gram @ p
    x = product @ x
    return x.T if tall else x


def schedule(step: int, steps: int, warmup: float) -> float:
    """Fraction of the peak learning rate: linear over the first `warmup` of the steps, then half a cosine to 0."""
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
