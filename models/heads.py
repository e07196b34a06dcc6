"""Heads: small networks on top of a latent, for training and for scoring it."""

from collections import OrderedDict

from torch import Tensor, nn


class ProjectionHead(nn.Sequential):
    """linear - norm - ReLU - linear (Chen et al. 2020, section 4.2).  (B, latent_dim) -> (B, out_dim)."""

    def __init__(self, latent_dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__(OrderedDict(
            linear1=nn.Linear(latent_dim, hidden_dim, bias=False), norm=nn.BatchNorm1d(hidden_dim), relu=nn.ReLU(),
            linear2=nn.Linear(hidden_dim, out_dim, bias=False)))


class LinearHead(nn.Module):
    """One linear layer.  (B, latent_dim) -> (B, classes) float32 logits."""

    def __init__(self, latent_dim: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(latent_dim, classes)

    def forward(self, z: Tensor) -> Tensor:
        return self.linear(z).float()


class MLPClassifier(nn.Module):
    """The classifier that scores a frozen latent: two hidden layers.  (B, latent_dim) -> (B, classes) logits."""

    def __init__(self, latent_dim: int, hidden_dim: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, hidden_dim), nn.BatchNorm1d(hidden_dim), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden_dim, hidden_dim), nn.BatchNorm1d(hidden_dim), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden_dim, classes))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)
