"""Encoders: images in, a latent out.  (B, C, H, W) floats in [0, 1] -> (B, latent_dim).

Every encoder holds the statistics of training images that it needs, so its weights suffice to use it.  Call
`fit_to_data` once before training, and `fit_readout` before or after it.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from models.patches import COMPONENTS_FITTED_TO, FITTED_TO, IMAGES_PER_COMPONENT, PatchComponents, PatchFeatures
from utils.compute.convolution import Conv3x3
from utils.compute.precision import round_as_saved
from utils.images.on_device import evaluation_batch
from utils.recipe import check_widths, patch_dimensions, patch_filters, vit_patch, whitening_side

ImageShape = tuple[int, int, int]  # (C, H, W)
COVARIED_PIXELS = 4096  # values per image up to which principal components come from the covariance
WHITENED_PIXELS = 2000 * 32 * 32  # pixels of the images whose patches are extracted at once


class Normalise(nn.Module):
    """(x - mean) / std per channel, with the statistics of training images."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(1, channels, 1, 1))
        self.std = nn.Buffer(torch.ones(1, channels, 1, 1))

    @torch.no_grad()
    def fit_to_data(self, images: Tensor) -> None:
        """images: (N, C, H, W) in [0, 1]."""
        self.mean.copy_(images.mean((0, 2, 3), keepdim=True))
        self.std.copy_(images.std((0, 2, 3), keepdim=True).clamp(min=1e-3))  # a channel may be constant

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class Encoder(nn.Module):
    """Base class of the encoders.  images_to_fit: number of training images for fit_to_data; None: all that
    DeviceData.sample() gives.
    """

    images_to_fit: ClassVar[int | None] = FITTED_TO
    normalise: Normalise

    @property
    def trunk(self) -> nn.Module:
        """The network that is trained: the encoder, or its part whose outputs the readout turns into the latent."""
        return self

    def fit_to_data(self, images: Tensor) -> None:
        """Set what the network takes from the data, not from gradients.  images: (N, C, H, W) in [0, 1]."""
        self.normalise.fit_to_data(images)

    def fit_readout(self, batches: Iterable[Tensor]) -> None:
        """Fit the readout, from the trunk's outputs to the latent, to (B, C, H, W) images in [0, 1]; most have none."""


class Whitening(nn.Module):
    """Frozen first convolution whose outputs are decorrelated over small patches of the data.

    The filters are the eigenvectors of the patches' covariance, divided by the roots of their eigenvalues, each with
    both signs (Page 2019, "How to train your ResNet", 8; Jordan 2024, cifar10-airbench).  No labels are used.
    Always float32, whatever the network's precision: it is 1 % of the work, and a one-channel bfloat16 convolution of
    this size gave wrong numbers in one torch release.
    """

    def __init__(self, channels: int, kernel: int, epsilon: float = 5e-4) -> None:
        super().__init__()
        self.kernel, self.epsilon = kernel, epsilon
        self.out_channels = 2 * channels * kernel * kernel
        self.weight = nn.Buffer(torch.zeros(self.out_channels, channels, kernel, kernel))

    @torch.no_grad()
    def fit_to_data(self, images: Tensor) -> None:
        """images: (N, C, H, W), normalised."""
        k = self.kernel
        images = images.cpu()  # not every device has float64
        size = self.out_channels // 2
        products, count = torch.zeros(size, size, dtype=torch.float64), 0
        for part in images.split(max(1, WHITENED_PIXELS // images[0, 0].numel())):  # patches take k^2 times the memory
            patches = part.unfold(2, k, 1).unfold(3, k, 1)  # (N, C, H-k+1, W-k+1, k, k)
            flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, size).double()
            products, count = products + flat.T @ flat, count + len(flat)
        values, vectors = torch.linalg.eigh(products / count)
        filters = (vectors / (values + self.epsilon).sqrt()).T.reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([filters, -filters]))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)


class ConvBlock(nn.Module):
    """conv - pool - norm - GELU - conv - norm - GELU; halves height and width (rounding down).  cifar10-airbench."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = Conv3x3(channels, width, pooled=True)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = Conv3x3(width, width)
        self.norm2 = nn.BatchNorm2d(width)
        for conv in (self.conv1, self.conv2):
            # the first filters start as the identity, so that the deep network starts as a shallow one
            nn.init.dirac_(conv.weight[: min(conv.in_channels, width)])

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


def pool(features: Tensor, pooling: str) -> Tensor:
    """(B, W, h, w) -> (B, W) for "max" and "mean"; (B, W h w) for "flatten", which keeps positions."""
    if pooling == "flatten":
        return features.flatten(1)
    return features.amax((2, 3)) if pooling == "max" else features.mean((2, 3))


class ConvEncoder(Encoder):
    """The small convolutional network of cifar10-airbench with a linear latent on top.

    Departures: the norms' scales are trained and their momentum is 0.1 (there fixed, and 0.4), and the whitening has no
    bias.
    image_shape: (C, H, W); widths: channels of each block; pooling: how the last feature map is pooled, see pool().
    """

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int, pooling: str) -> None:
        super().__init__()
        channels, height, width = image_shape
        kernel = whitening_side(image_shape)
        self.pooling = pooling
        self.normalise = Normalise(channels)
        self.whitening = Whitening(channels, kernel)
        sizes = (self.whitening.out_channels, *widths)
        self.blocks = nn.Sequential(*(ConvBlock(before, after) for before, after in pairwise(sizes)))
        shrink = 2 ** len(widths)
        rows, columns = (height - kernel + 1) // shrink, (width - kernel + 1) // shrink
        self.latent = nn.Linear(sizes[-1] * (rows * columns if pooling == "flatten" else 1), latent_dim)

    def fit_to_data(self, images: Tensor) -> None:
        super().fit_to_data(images)
        self.whitening.fit_to_data(self.normalise(images))

    def maps(self, x: Tensor) -> list[Tensor]:
        """The output of each block, (B, width, h, w)."""
        x = F.gelu(self.whitening(self.normalise(x)).to(self.latent.weight.dtype))
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        return self.latent(pool(self.maps(x)[-1], self.pooling))  # (B, latent_dim)


def calibrate_norms(module: nn.Module, images: Tensor) -> None:
    """Set the norms' statistics to those of these images; in an untrained network they are 0 and 1, regardless of its
    activations.

    They are means over batches of nearly equal size, each from the whole set, because a folder is sorted by class.
    """
    batches = -(-len(images) // evaluation_batch(images.shape[1:]))
    update_bn([images[start::batches] for start in range(batches)], module)


def averaged(maps: Tensor, grid: int | tuple[int, int]) -> Tensor:
    """(B, W, h, w) -> (B, W, grid, grid), the means of cells that may differ in size.

    MPS needs equal cells (torch 2.14), so there the CPU computes the means.
    """
    there = maps.cpu() if maps.device.type == "mps" else maps
    return F.adaptive_avg_pool2d(there, grid).to(maps.device)


class ConvDepthsEncoder(Encoder):
    """The convolutional encoder, read at every depth: (B, C, H, W) in [0, 1] -> (B, latent_dim).

    The latent holds the first principal components, each divided by its standard deviation, of the pooled outputs of
    all blocks: means in the cells of a 3x3 grid (first of several blocks) or of a 2x2 grid (the others), and maxima of
    the last block.  Each number is standardised and divided by the root of its part's size, so that all parts weigh
    equally; the last block has two parts.  No label is used.  Contrastive training makes the last layers discard what
    distinguishes two views; earlier ones keep it.
    """

    images_to_fit = COMPONENTS_FITTED_TO

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int, pooling: str) -> None:
        super().__init__()
        self.conv = ConvEncoder(image_shape, widths, latent_dim, pooling)  # its linear latent only serves to train it
        self.grids = [3 if depth == 0 < len(widths) - 1 else 2 for depth in range(len(widths))]
        counts = [width * grid**2 for width, grid in zip(widths, self.grids, strict=True)] + [widths[-1]]
        self.mean = nn.Buffer(torch.zeros(sum(counts)))
        self.components = nn.Buffer(torch.zeros(sum(counts), latent_dim))  # the strongest first
        self.weight = nn.Buffer(torch.cat([torch.full((count,), count ** -0.5) for count in counts]), persistent=False)

    @property
    def trunk(self) -> nn.Module:
        return self.conv

    def fit_to_data(self, images: Tensor) -> None:
        self.conv.fit_to_data(images)
        calibrate_norms(self.conv, images)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, the sum of the counts) float32."""
        maps = self.conv.maps(x)
        pooled = [averaged(m, grid).flatten(1) for m, grid in zip(maps, self.grids, strict=True)]
        return torch.cat([*pooled, maps[-1].amax((2, 3))], 1).float()

    @torch.no_grad()
    def fit_readout(self, batches: Iterable[Tensor]) -> None:
        was_training = self.training
        self.eval()
        round_as_saved(self.conv)  # first, since components of low variance amplify every difference below them
        count, size, shift = 0, len(self.mean), None
        total, products = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64)
        for batch in batches:
            x = self.features(batch)
            shift = x.mean(0) if shift is None else shift  # or a constant's variance would be rounding
            x = x - shift
            total += x.sum(0).cpu()  # not every device has float64
            products += (x.T @ x).cpu()
            count += len(x)
        mean = total / count
        covariance = products / count - torch.outer(mean, mean)
        assert shift is not None  # there is a batch
        mean, variance = mean + shift.cpu().double(), covariance.diagonal()
        varies = variance > 1e-10 * mean.square()
        scale = torch.where(varies, self.weight.cpu().double() / variance.clamp(min=1e-12).sqrt(), 0.0)
        variances, directions = torch.linalg.eigh(scale[:, None] * covariance * scale)  # rising
        kept = min(self.components.shape[1], size, count // IMAGES_PER_COMPONENT)  # the others stay 0
        variances, directions = variances.flip(0)[:kept], directions.flip(1)[:, :kept]
        directions = directions * directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
        if kept < self.components.shape[1]:
            print(f"{count:,} images determine only {kept} of {self.components.shape[1]} components; the others are 0",
                  flush=True)
        self.mean.copy_(mean)
        self.components.zero_()
        self.components[:, :kept] = scale[:, None] * directions / variances.clamp(min=1e-9).sqrt()
        self.train(was_training)

    def forward(self, x: Tensor) -> Tensor:
        return ((self.features(x) - self.mean) @ self.components).to(self.conv.latent.weight.dtype)


class ConvPatchEncoder(Encoder):
    """A convolutional encoder, concatenated with the strongest principal components of frozen patch features.

    In contrastive multiview coding each view of an image has its own encoder, and the representation is the
    concatenation of their outputs (Tian et al. 2020, section 3.2).  The components have variance 1, and a norm gives
    the convolutional part variance 1 on training crops, so that all dimensions count about equally.
    """

    images_to_fit = COMPONENTS_FITTED_TO

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int, pooling: str) -> None:
        super().__init__()
        filters = patch_filters(image_shape)
        self.patch_dim = patch_dimensions("conv_patches", latent_dim, image_shape)
        self.conv_dim = latent_dim - self.patch_dim
        encoder = ConvEncoder(image_shape, widths, self.conv_dim, pooling)
        # takes images of any size, (B, C, h, w) in [0, 1] -> (B, conv_dim)
        self.conv = nn.Sequential(encoder, nn.BatchNorm1d(self.conv_dim, affine=False))
        self.components = PatchComponents(image_shape, filters, filters)  # takes whole images; the strongest come last

    def fit_to_data(self, images: Tensor) -> None:
        encoder = self.conv[0]
        assert isinstance(encoder, ConvEncoder)
        encoder.fit_to_data(images)
        self.components.fit_to_data(images)

    def forward(self, x: Tensor) -> Tensor:
        z = self.conv(x)
        return torch.cat([z, self.components(x, z.dtype)[:, -self.patch_dim :].to(z.dtype)], 1)


def hidden_layers(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """A linear layer and a GELU per width.  (B, inputs) -> (B, widths[-1])."""
    sizes = pairwise((inputs, *widths))
    return nn.Sequential(*(layer for before, after in sizes for layer in (nn.Linear(before, after), nn.GELU())))


class MLPEncoder(Encoder):
    """Fully connected: flatten, one GELU layer per width, linear latent.  pooling is ignored."""

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int, pooling: str) -> None:
        super().__init__()
        pixels = math.prod(image_shape)
        self.normalise = Normalise(image_shape[0])
        self.hidden = hidden_layers(pixels, widths)
        self.latent = nn.Linear((pixels, *widths)[-1], latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalise(x).flatten(1)
        return self.latent(self.hidden(x.to(self.latent.weight.dtype)))  # (B, latent_dim)


class ResNet18Encoder(Encoder):
    """torchvision's ResNet18 (He et al. 2016) with the small-image stem (Chen et al. 2020, B.9) and a linear latent.

    The stem is a 3x3 convolution of stride 1 without max pooling, so that 32 x 32 pixels give a map of 4 x 4.
    """

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int, pooling: str) -> None:
        from torchvision.models import resnet18  # here, because torchvision takes a second to import

        super().__init__()
        channels, height, width = image_shape
        self.pooling = pooling
        self.normalise = Normalise(channels)
        network = resnet18()
        network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
        del network.avgpool, network.fc  # replaced by our own pooling and latent
        self.network = network
        places = -(-height // 8) * -(-width // 8)  # three of the four stages halve, rounding up
        self.latent = nn.Linear(512 * (places if pooling == "flatten" else 1), latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        net = self.network
        x = net.relu(net.bn1(net.conv1(self.normalise(x).to(self.latent.weight.dtype))))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))  # (B, 512, h, w)
        return self.latent(pool(x, self.pooling))  # (B, latent_dim)


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and MLP with residuals (Dosovitskiy et al. 2021, eqs. 2 and 3).  (B, N, W) -> (B, N, W).

    Attention is written out because torch's FLOP counter does not see its fused kernels; at 64 tokens they gain little.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, n, w = x.shape
        q, k, v = self.query_key_value(self.norm1(x)).view(b, n, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(2, 3) * (w // self.heads) ** -0.5).softmax(3)  # (B, heads, N, N)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(b, n, w))
        return x + self.mlp(self.norm2(x))


class VisionTransformerEncoder(Encoder):
    """A small vision transformer (Dosovitskiy et al. 2021) with a linear latent.

    widths: one number per block, all equal, a multiple of 32 (heads have 32 dimensions).  Patches have 4 x 4 pixels, on
    images smaller than 16 x 16 they have 2 x 2.  Departure: no class token; the last tokens form a feature map, which
    is pooled as in the other encoders.
    """

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int, pooling: str) -> None:
        super().__init__()
        channels, height, width = image_shape
        patch = vit_patch(image_shape)
        self.pooling, self.grid, w = pooling, (height // patch, width // patch), widths[0]
        self.normalise = Normalise(channels)
        self.patches = nn.Conv2d(channels, w, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, self.grid[0] * self.grid[1], w))
        self.blocks = nn.Sequential(*(TransformerBlock(w, w // 32) for _ in widths))
        self.norm = nn.LayerNorm(w)
        self.latent = nn.Linear(w * (self.grid[0] * self.grid[1] if pooling == "flatten" else 1), latent_dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(self.normalise(x).to(self.latent.weight.dtype)).flatten(2).transpose(1, 2)  # (B, N, W)
        x = self.norm(self.blocks(x + self.position))
        return self.latent(pool(x.transpose(1, 2).unflatten(2, self.grid), self.pooling))  # (B, latent_dim)


class PatchEncoder(Encoder):
    """Frozen patch features, one hidden layer, linear latent.  (B, C, H, W) in [0, 1] -> (B, latent_dim).

    widths: the number of filters and the units of the hidden layer.  pooling is ignored.
    """

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int, pooling: str) -> None:
        super().__init__()
        filters, hidden = widths
        self.features = PatchFeatures(image_shape, filters)
        self.hidden = nn.Linear(len(self.features.mean), hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.latent = nn.Linear(hidden, latent_dim)

    def fit_to_data(self, images: Tensor) -> None:
        self.features.fit_to_data(images)

    def forward(self, x: Tensor) -> Tensor:
        dtype = self.latent.weight.dtype
        x = self.features(x, dtype).to(dtype)
        return self.latent(F.gelu(self.norm(self.hidden(x))))


class PCAEncoder(Encoder):
    """Principal components of the pixels, a control: the best linear latent for squared error.

    Dimensions beyond the number of pixels stay 0.  widths and pooling are ignored.
    """

    images_to_fit = None

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int, pooling: str) -> None:
        super().__init__()
        pixels = math.prod(image_shape)
        self.mean = nn.Buffer(torch.zeros(pixels))
        self.components = nn.Buffer(torch.zeros(latent_dim, pixels))

    @torch.no_grad()
    def fit_to_data(self, images: Tensor) -> None:
        from sklearn.decomposition import PCA

        flat = images.flatten(1).cpu().numpy()
        # for larger images neither the covariance nor a second copy of the data fits into memory
        large = flat.shape[1] > COVARIED_PIXELS
        pca = PCA(min(len(self.components), *flat.shape), svd_solver="randomized" if large else "covariance_eigh",
                  copy=not large, random_state=0).fit(flat)
        self.mean.copy_(torch.from_numpy(pca.mean_))
        self.components[: len(pca.components_)] = torch.from_numpy(pca.components_).to(self.components)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.mean) @ self.components.T  # (B, latent_dim)


class PatchPCAEncoder(Encoder):
    """The strongest components of the frozen patch features, a control for what is learned from those features.

    widths and pooling are ignored.
    """

    images_to_fit = COMPONENTS_FITTED_TO

    def __init__(self, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int, pooling: str) -> None:
        super().__init__()
        filters = patch_filters(image_shape)
        self.components = PatchComponents(image_shape, filters, latent_dim)

    def fit_to_data(self, images: Tensor) -> None:
        self.components.fit_to_data(images)

    def forward(self, x: Tensor) -> Tensor:
        return self.components(x)


ENCODERS: dict[str, type[Encoder]] = {
    "conv": ConvEncoder, "conv_depths": ConvDepthsEncoder, "mlp": MLPEncoder, "resnet18": ResNet18Encoder,
    "vit": VisionTransformerEncoder, "patches": PatchEncoder, "conv_patches": ConvPatchEncoder, "pca": PCAEncoder,
    "patch_pca": PatchPCAEncoder}


def build_encoder(kind: str, image_shape: ImageShape, widths: tuple[int, ...], latent_dim: int,
                  pooling: str) -> Encoder:
    """kind: a key of ENCODERS.  Raises UsageError where the encoder cannot have these widths."""
    check_widths(kind, widths)
    return ENCODERS[kind](image_shape, widths, latent_dim, pooling)
