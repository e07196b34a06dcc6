"""The report's own words: names of tasks, methods and data sets, how to read the numbers, and their limits."""

from typing import NamedTuple

TITLE = "Structured latent representations: results"
DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "digits": "Digits"}  # in the order of the tables
CONTROLS = {"random": "frozen random encoder", "pca": "PCA"}  # methods of task control


class Task(NamedTuple):
    """A task: its title in words, what is learned in two or three sentences, and a heading other than the title."""

    title: str
    about: str
    heading: str = ""


TASKS = {
    "1.2.1": Task("autoencoding",
                  "An encoder and a decoder learn to reconstruct an image through the latent, without labels. "
                  "The encoder is then frozen."),
    "1.2.2": Task("classification-guided",
                  "An encoder and a classifier are trained together, with all labels and without a decoder. "
                  "That classifier gives the headline accuracy."),
    "1.2.3": Task("contrastive",
                  "An encoder learns to map two augmented views of one image to similar latents, without labels. "
                  "The encoder is then frozen."),
    "rotation": Task("rotation prediction",
                     "An encoder learns to predict by how many quarter turns an image was rotated, without labels. "
                     "The encoder is then frozen.", "Rotation prediction (beyond the coursework)"),
    "control": Task("control",
                    "The same scores for latents that were not learned: an encoder with random weights, and the first "
                    "128 principal components of the pixels. The classifiers on top are trained as for every other "
                    "latent.", "Controls"),
}

READING = {  # term: explanation
    "Test accuracy":
        "The share of test images that an MLP on the frozen 128-d latent classifies correctly, mean over seeds. "
        "In task 1.2.2 the classifier is the one that was trained with the encoder.",
    "SD (n)":
        "Sample standard deviation over n seeds: how much the result varies when training is repeated. "
        "A single run has none and shows a dash.",
    "95 % interval":
        "Wilson's score interval (1927) of the mean accuracy, with the number of test images as its n: how much the "
        "result could vary with another test set of the same size and kind. It does not cover the seeds.",
    "Reference, difference":
        "The accuracy given as the task's reference, and test accuracy minus reference in percentage points. "
        "Where the interval contains the reference, the difference may be due to chance.",
    "Linear, kNN":
        "Two more scores of the same 128-d latent, means over seeds: a linear classifier, and the vote of the 20 "
        "nearest training latents by cosine similarity.",
    "Controls":
        "The same scores for two latents that were not learned: an encoder left at its random weights, and the first "
        "128 principal components of the pixels. Only what a method adds to these was learned.",
    "Effective rank":
        "The exponential of the entropy of the latent's normalised singular values (Roy and Vetterli 2007): how many "
        "of the 128 dimensions are in use.",
    "Alignment, uniformity":
        "The mean squared distance between the normalised latents of two views of an image, and the log of the mean "
        "Gaussian potential over pairs of images (Wang and Isola 2020). Lower is better for both.",
    "Map agreement":
        "The average share of a point's 10 nearest points on a 2-D map that are of its own class: 'well clustered' as "
        "a number. The maps of the raw pixels are the baseline.",
    "McNemar's test":
        "Compares two rows on the same test images. If the two are equally good, an image that exactly one of them "
        "classifies correctly is equally likely to be either's (exact, two-sided). Holm's correction covers all pairs "
        "of the data set. The test compares two trained networks, one seed each, not the two methods over all seeds.",
    "Selection":
        "Every selection (of the epoch, of the recipe) uses the validation images. The test set is evaluated once, "
        "after training.",
    "Minutes":
        "Wall time of a whole run, training and scoring, mean over seeds.",
}

LIMITS = [
    "The interval covers the sampling of the test images, and the standard deviation covers the seeds of training. "
    "Neither covers the choice of the validation split, which is the same for all runs.",
    "The references are single accuracies without seeds or intervals of their own.",
    "MNIST and CIFAR-10 have been used to compare methods for many years; a small gain on their test sets need not "
    "carry over to new images.",
    "A t-SNE map shows neighbourhoods. It does not show distances between clusters, and it is not a score.",
    "Each record is checked for consistency with itself and with its arrays. That finds slips and careless edits; "
    "it does not prove that a run took place.",
]


class Method(NamedTuple):
    """How a method learns: its key in the records, a heading, its source, and its loss.

    typst: the loss in Typst's mathematics, without dollar signs; alt: the loss in words.
    """

    key: str
    name: str
    source: str
    text: str
    typst: str
    alt: str


# In the order of the tables
METHODS = [
    Method("plain", "1.2.1 plain: L1 reconstruction", "Bourlard and Kamp 1988; Hinton and Salakhutdinov 2006",
           "A decoder g reconstructs the image x from the latent f(x); D is the number of pixels times channels. The "
           "mean absolute error leaves edges sharper than the squared error does, because its optimum is the median.",
           "cal(L) = 1/(N D) sum_(i=1)^N lr(|| x_i - g(f(x_i)) ||)_1",
           "the loss is the mean over N images and D values of the absolute difference of x and g of f of x"),
    Method("denoising", "1.2.1 denoising", "Vincent et al. 2010",
           "The encoder receives the image with added Gaussian noise; the decoder reconstructs the clean image.",
           "cal(L) = 1/(N D) sum_(i=1)^N lr(|| x_i - g(f(x_i + epsilon_i)) ||)_1, quad epsilon_i tilde cal(N)(0, "
           "sigma^2 I)",
           "as L1 reconstruction, but the encoder receives x plus Gaussian noise of standard deviation sigma"),
    Method("masked", "1.2.1 masked", "He et al. 2022, MAE; here with all pixels in the loss",
           "The encoder receives the image with a random part of its patches blanked by the mask m.",
           "cal(L) = 1/(N D) sum_(i=1)^N lr(|| x_i - g(f(m_i dot.o x_i)) ||)_1, quad m_i in {0, 1}^D",
           "as L1 reconstruction, but the encoder receives x times a random mask of zeros and ones"),
    Method("patches", "1.2.1 patches: reconstruction of whitened patch features",
           "features: Coates and Ng 2012; reconstruction from a corrupted copy: Vincent et al. 2010",
           "The decoder h reconstructs not the pixels but frozen features φ(x): how strongly each location of the "
           "image resembles each of many whitened patches, averaged over the quarters of the image. The target is "
           "their first K principal components (directions U, variances Λ, mean μ), each divided by its standard "
           "deviation so that all components count equally. The encoder receives a random crop t(x) in other colours. "
           "A second decoder, of pixels, is trained alongside by L1 and does not shape the latent.",
           "cal(L) = 1/(N K) sum_(i=1)^N lr(|| h(f(t(x_i))) - Lambda^(-1 \\/ 2) U^top (phi(x_i) - mu) ||)^2",
           "the mean over N images and K components of the squared difference between h of f of the changed image and "
           "the whitened principal components of the features of the whole image"),
    Method("joint", "1.2.2 joint: cross-entropy with label smoothing", "Szegedy et al. 2016",
           "Encoder and a linear classifier p are trained together. Of the C classes, the true one, y, has the target "
           "1 − s + s/C, and each of the others s/C.",
           "cal(L) = -1/N sum_(i=1)^N sum_(c=1)^C ((1 - s) [c = y_i] + s/C) log p_c (f(x_i))",
           "the loss is the mean cross-entropy of the predicted class probabilities with smoothed one-hot targets"),
    Method("simclr", "1.2.3 simclr: NT-Xent", "Chen et al. 2020, eq. 1",
           "Two augmented views of each of N images give 2N projections z. Each anchor i must identify its partner "
           "j(i) among the 2N − 1 others by cosine similarity s over the temperature.",
           "cal(L) = -1/(2N) sum_(i=1)^(2N) log (exp(s(z_i, z_(j(i))) \\/ tau)) / (sum_(k != i) exp(s(z_i, z_k) "
           "\\/ tau)), quad s(u, v) = (u^top v) / (||u|| thin ||v||)",
           "the mean over 2N anchors of minus the log of the softmax, over the other projections, of the cosine "
           "similarity to the partner divided by the temperature tau"),
    Method("dcl", "1.2.3 dcl: decoupled contrastive loss", "Yeh et al. 2022, eq. 6",
           "NT-Xent without the positive pair in the denominator, where it would weaken the gradient in small batches.",
           "cal(L) = -1/(2N) sum_(i=1)^(2N) (s(z_i, z_(j(i))) / tau - log sum_(k in.not {i, j(i)}) exp(s(z_i, "
           "z_k) \\/ tau))",
           "as NT-Xent, but the sum in the denominator leaves out the partner"),
    Method("vicreg", "1.2.3 vicreg", "Bardes et al. 2022, eqs. 1 to 6",
           "The two views' projections Z and Z' must agree (invariance), every dimension must keep a standard "
           "deviation of 1 over the batch (variance v), and no two dimensions may correlate (covariance c).",
           "cal(L) &= lambda/(N D) sum_(i=1)^N ||z_i - z'_i||^2 + mu/2 (v(Z) + v(Z')) + nu (c(Z) + c(Z')) \\ "
           "v(Z) &= 1/D sum_d max(0, 1 - sqrt(\"Var\"(z^d) + epsilon)) \\ "
           "c(Z) &= 1/D sum_(d != e) \"Cov\"(Z)_(d e)^2",
           "a weighted sum of the squared distance of the views, a hinge on each dimension's standard deviation "
           "and the squared off-diagonal covariances"),
    Method("byol", "1.2.3 byol", "Grill et al. 2020, eq. 2",
           "A prediction head q of the online network (weights θ) predicts the projection of a target network, whose "
           "weights ξ are a moving average of θ and receive no gradient. The loss is averaged over both directions.",
           "cal(L) = 1/N sum_(i=1)^N (2 - 2 s(q(z_i^theta), z'_i^xi)), quad xi <- m xi + (1 - m) theta",
           "two minus two times the cosine of the prediction and the target's projection; the target's weights are "
           "a moving average with momentum m"),
    Method("moco", "1.2.3 moco: InfoNCE with a queue", "He et al. 2020, eq. 1; van den Oord et al. 2018",
           "A query q must identify its key among K queued keys of earlier batches. All keys come from a momentum "
           "encoder, a moving average of the trained one.",
           "cal(L) = -1/N sum_(i=1)^N log (exp(s(q_i, k_i) \\/ tau)) / (exp(s(q_i, k_i) \\/ tau) + sum_(j=1)^K "
           "exp(s(q_i, k'_j) \\/ tau))",
           "the mean of minus the log of the softmax of the similarity of query and key against the queued keys"),
    Method("cmc", "1.2.3 cmc: two views and patch features", "after Tian et al. 2020, eqs. 2 to 4",
           "The first term is the decoupled loss of two augmented views (1.2.3 dcl). The others pair each view with "
           "u, a linear map of frozen patch features of the image without augmentation. By a second projection z, a "
           "view must identify its own image's u among the N of the batch, and u its view. The latent is the encoding "
           "of the image together with the strongest components of those features.",
           "cal(L) &= cal(L)_(\"DCL\") + 1/2 (cal(L)_1 + cal(L)_2) \\ cal(L)_v &= -1/(2 N) sum_(i=1)^N (log "
           "(exp(s(z_i^v, u_i) \\/ tau)) / (sum_j exp(s(z_i^v, u_j) \\/ tau)) + log (exp(s(z_i^v, u_i) \\/ tau)) "
           "/ (sum_j exp(s(z_j^v, u_i) \\/ tau)))",
           "the decoupled contrastive loss plus the mean over both views of minus the log of the softmax of the "
           "similarity of view and features over the batch, in both directions"),
    Method("rotnet", "rotation: cross-entropy of four rotations", "Gidaris et al. 2018",
           "The image is rotated by a random number r of quarter turns R, which a linear head p predicts from the "
           "latent.",
           "cal(L) = -1/N sum_(i=1)^N log p_(r_i) (f(R^(r_i) x_i)), quad r_i in {0, 1, 2, 3}",
           "the mean of minus the log probability of the true rotation given the rotated image's latent"),
]
