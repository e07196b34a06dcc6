"""Frozen features of whitened patches, and their principal components as targets.

The features use no label and no gradient: the filters are patches of the training images themselves (Coates and Ng
2012, "Learning feature representations with k-means"; departure: random patches instead of centroids).
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from utils.compute import distributed
from utils.compute.convolution import forward_flops
from utils.compute.precision import DTYPES
from utils.errors import UsageError
from utils.images.on_device import DeviceData, evaluation_batch, to_float
from utils.recipe import PATCH_GRID, patch_features

CONTRAST = 0.0154  # added to a patch's variance, pixels in [0, 1]; 100 x Coates and Ng's 10 for pixels in [0, 255]
WHITENING = 0.01  # added to the eigenvalues of the patches' covariance
THRESHOLD = 1.0  # of the rectification, in standard deviations of a whitened patch along the filter
PATCHES_PER_IMAGE = 60  # to fit the whitening
FITTED_TO = 2000  # images to fit filters and statistics
COMPONENTS_FITTED_TO = 10_000  # images to fit principal components, at least
IMAGES_PER_COMPONENT = 10  # at least, or its variance is not known well enough to divide by
CHUNK = 4  # images at once on a CPU, so that the responses stay in its cache until they are pooled


class PatchFeatures(nn.Module):
    """(B, C, H, W) in [0, 1] -> (B, 2 x filters x PATCH_GRID^2) float32, standardised.  Frozen.

    Every patch of the image is normalised for brightness and contrast and compared with `filters` whitened patches.
    The parts of the responses above THRESHOLD and below -THRESHOLD are averaged over the cells of a grid; a square root
    reduces their skew.
    """

    def __init__(self, image_shape: tuple[int, int, int], filters: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.side = 6 if min(height, width) >= 16 else 3
        if min(height, width) < self.side + PATCH_GRID - 1:
            raise UsageError(f"images of {height} x {width} pixels are too small for patch features; choose "
                             "another --method or --encoder")
        self.filters = nn.Buffer(torch.zeros(filters, channels, self.side, self.side))
        self.pooling = nn.Buffer(cells(height - self.side + 1, width - self.side + 1), persistent=False)
        self.mean = nn.Buffer(torch.zeros(patch_features(filters)))
        self.std = nn.Buffer(torch.ones(patch_features(filters)))

    @torch.no_grad()
    def fit_to_data(self, images: Tensor) -> None:
        """Filters and statistics from training images, (N, C, H, W) in [0, 1]; a function of the images alone."""
        device, images = images.device, images.cpu()
        generator = Generator().manual_seed(0)
        count, size = self.filters.shape[0], self.filters[0].numel()
        patches = images.unfold(2, self.side, 1).unfold(3, self.side, 1).permute(0, 2, 3, 1, 4, 5)
        places = patches.shape[1] * patches.shape[2]
        chosen = torch.randint(places, (len(images), PATCHES_PER_IMAGE), generator=generator)
        row, column = chosen // patches.shape[2], chosen % patches.shape[2]
        flat = patches[torch.arange(len(images))[:, None], row, column].reshape(-1, size).double()
        flat = flat - flat.mean(1, keepdim=True)
        flat = flat / (flat.var(1, keepdim=True) + CONTRAST).sqrt()
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        whitening = vectors / (values + WHITENING).sqrt() @ vectors.T  # symmetric (ZCA)
        picked = flat[torch.randperm(len(flat), generator=generator)[:count]]
        filters = F.normalize(picked @ whitening, dim=1) @ whitening
        filters = filters - filters.mean(1, keepdim=True)  # so that a filter ignores the patch's mean
        self.filters[: len(filters)] = filters.reshape(-1, *self.filters.shape[1:])
        features = self.raw(images.to(device), torch.float32)
        self.mean.copy_(features.mean(0))
        self.std.copy_(features.std(0) + 1e-3)

    @torch.no_grad()
    def raw(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The features before standardisation; dtype: of the convolution and the pooling."""
        filters = self.filters.to(dtype).contiguous(memory_format=torch.channels_last)
        pooling = self.pooling.to(dtype)
        out = []
        for part in x.split(CHUNK if x.device.type == "cpu" else len(x)):
            mean, square = (F.avg_pool2d(t.mean(1, keepdim=True), self.side, 1) for t in (part, part.square()))
            size = self.filters[0].numel()
            variance = (square - mean.square()).clamp(min=0) * (size / (size - 1))
            response = F.conv2d(part.to(dtype).contiguous(memory_format=torch.channels_last), filters)
            response.mul_((variance + CONTRAST).rsqrt().to(dtype))  # (b, filters, h, w)
            response = response.permute(0, 2, 3, 1).flatten(1, 2)  # (b, h w, filters), without moving memory
            halves = (-THRESHOLD - response).relu_(), response.sub_(THRESHOLD).relu_()
            out.append(torch.cat([(pooling @ half).flatten(1) for half in halves], 1).float().sqrt())
        return torch.cat(out)

    def forward(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        return (self.raw(x, dtype) - self.mean) / self.std


def cells(height: int, width: int) -> Tensor:
    """(PATCH_GRID^2, height x width): weights that average a map over the cells of a grid, as adaptive pooling does."""
    weights = torch.zeros(PATCH_GRID, PATCH_GRID, height, width)
    for row in range(PATCH_GRID):
        for column in range(PATCH_GRID):  # where the number of rows is odd, neighbours share one
            cell = weights[row, column, row * height // PATCH_GRID : -(-(row + 1) * height // PATCH_GRID),
                           column * width // PATCH_GRID : -(-(column + 1) * width // PATCH_GRID)]
            cell.fill_(1).div_(cell.shape[0]).div_(cell.shape[1])
    return weights.view(PATCH_GRID**2, -1)


class PatchComponents(nn.Module):
    """(B, C, H, W) in [0, 1] -> (B, components), the strongest last.  Frozen.

    The first principal components of the patch features over the training images, each divided by its standard
    deviation.  Otherwise a few components would dominate, and those that vary most in images say least about what the
    images show (Balestriero and LeCun 2024).
    """

    def __init__(self, image_shape: tuple[int, int, int], filters: int, components: int) -> None:
        super().__init__()
        self.features = PatchFeatures(image_shape, filters)
        self.mean = nn.Buffer(torch.zeros_like(self.features.mean))
        self.components = nn.Buffer(torch.zeros(len(self.mean), components))

    @torch.no_grad()
    def fit_to_data(self, images: Tensor) -> None:
        """Filters and components from training images, (N, C, H, W) in [0, 1]."""
        self.features.fit_to_data(images[:: max(1, len(images) // FITTED_TO)])
        features = self.features(images)
        self.mean.copy_(features.mean(0))
        centred = features - self.mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))  # rising
        wanted = self.components.shape[1]
        count = min(wanted, len(images) // IMAGES_PER_COMPONENT)  # the others stay 0
        if count < wanted:
            print(f"{len(images):,} images determine only {count} of {wanted} components of patch features; the others "
                  "are 0", flush=True)
        if count:
            self.components[:, -count:] = directions[:, -count:] / variances[-count:].clamp(min=1e-6).sqrt()

    @torch.no_grad()
    def forward(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Components of mean 0 and variance 1 over the training images.  dtype: see PatchFeatures.raw."""
        return (self.features(images, dtype) - self.mean) @ self.components


def patch_targets(fitted: PatchComponents, data: DeviceData, precision: str) -> tuple[Tensor, float]:
    """Components of every image, computed once: the targets of two methods, both without labels.

    1.2.1 patches reconstructs them from the latent, 1.2.3 cmc contrasts views with them.  Returns (N, components)
    float32, row i for data.images[i] without augmentation, and the FLOPs spent.
    """
    distributed.copy_first(fitted.buffers())  # the sign of an eigenvector may differ between machines
    print(f"patch features of {len(data.images):,} images, once", flush=True)  # minutes, before the training's estimate
    targets = torch.empty(len(data.images), fitted.components.shape[1], device=fitted.components.device)
    batch = evaluation_batch(data.image_shape)
    for part, target in zip(data.images.split(batch), targets.split(batch), strict=True):
        target.copy_(fitted(to_float(part), DTYPES[precision]))
    return targets, len(targets) * forward_flops(fitted, *data.image_shape)
