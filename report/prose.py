"""The report's own prose: what the tasks are, how the numbers are to be read, what they do not say."""

from utils.records.schema import HEADLINE

TITLE = "Structured latent representations: results"

# task -> what is learned, in two or three sentences
ABOUT = {
    "1.2.1": "An encoder and a decoder learn to give an image back through the latent; no label is used. "
             "The encoder is then frozen.",
    "1.2.2": "An encoder and a classifier are trained together, with all labels and no decoder. "
             "That classifier gives the headline accuracy.",
    "1.2.3": "An encoder learns to give two augmented views of one image similar latents; no label is used. "
             "The encoder is then frozen.",
    "rotation": "An encoder learns to tell by how many quarter turns an image was rotated; no label is used. "
                "The encoder is then frozen.",
    "control": "What the scores give without any learning of the latent: an encoder with random weights, and the "
               "first 128 principal components of the pixels. The classifiers on top are those of every other latent.",
}

# (term, explanation)
READING = [
    ("Test accuracy",
     f"The mean over seeds of {HEADLINE}: the share of test images whose class an MLP names from the frozen 128-d "
     "latent. In task 1.2.2 the classifier is the one that was trained with the encoder."),
    ("SD (n)",
     "Sample standard deviation over n seeds: how far the result moves when training is repeated. "
     "One run has no standard deviation; a dash stands there."),
    ("95 % interval",
     "Wilson's score interval (1927) of the mean accuracy, with the number of test images as its n: how far the result "
     "could move with another test set of the same size and kind. It does not cover the seeds."),
    ("Reference, difference",
     "The accuracy that the task is known for, and test accuracy minus reference in percentage points. "
     "Where the interval contains the reference, the difference can be chance."),
    ("Linear, kNN",
     "Means over seeds of two more scores of the same 128-d latent: a linear classifier, and the vote of the 20 "
     "nearest training latents by cosine similarity."),
    ("Controls",
     "The same scores of a latent that nothing was learned for: an encoder left at its random weights, and the first "
     "128 principal components of the pixels. What a method does not add to these it has not learned."),
    ("Effective rank",
     "The exponential of the entropy of the latent's normalised singular values (Roy and Vetterli 2007): how many of "
     "the 128 dimensions are in use."),
    ("Alignment, uniformity",
     "Mean squared distance of two views' normalised latents, and the log of the mean Gaussian potential of pairs of "
     "them (Wang and Isola 2020). Lower is better for both."),
    ("Map agreement",
     "Of each point on a 2-D map the share of its 10 nearest points that are of the same class, averaged: what "
     "'well clustered' means here as a number. The maps of raw pixels are what it must beat."),
    ("McNemar's test",
     "Two rows named on the same test images: of those that only one of them names rightly, each falls to either side "
     "with chance 1/2 if the two are equally good (exact, two-sided). Holm's correction is for all pairs of the data "
     "set. It compares two trained networks, one seed each, not the two methods over all seeds."),
    ("Choosing",
     "Whatever is chosen (the epoch, the recipe) is chosen on validation images. "
     "The test set is read once, after the last step."),
    ("Minutes",
     "Mean wall time of a whole run, training and scoring."),
]

LIMITS = [
    "The interval covers the sampling of the test images, the standard deviation the seeds of training. Neither covers "
    "the choice of the validation split, which the recipes hold fixed.",
    "The references are single known accuracies without seeds or intervals of their own.",
    "MNIST and CIFAR-10 have been used to compare methods for many years; a small gain on their test sets need not "
    "carry over to new images.",
    "A t-SNE map shows neighbourhoods. It does not show distances between clusters, and it is no score.",
    "A record is checked for agreement with itself and with its arrays. That finds slips and careless edits; "
    "it does not prove that a run took place.",
]

# How each method learns: name, source, what it is in a sentence or two, its loss in Typst's mathematics and in words
METHODS = [
    {"name": "1.2.1 plain: L1 reconstruction",
     "source": "Bourlard and Kamp 1988; Hinton and Salakhutdinov 2006",
     "text": "A decoder g gives the image x back from the latent f(x); D is the number of pixels and channels. The "
             "mean absolute error leaves edges sharper than the squared error does, as its optimum is the median.",
     "typst": "cal(L) = 1/(N D) sum_(i=1)^N lr(|| x_i - g(f(x_i)) ||)_1",
     "alt": "the loss is the mean over N images and D values of the absolute difference of x and g of f of x"},
    {"name": "1.2.1 denoising",
     "source": "Vincent et al. 2010",
     "text": "The encoder sees the image with added Gaussian noise; the clean image is to be given back.",
     "typst": "cal(L) = 1/(N D) sum_(i=1)^N lr(|| x_i - g(f(x_i + epsilon_i)) ||)_1, quad epsilon_i tilde cal(N)(0, "
              "sigma^2 I)",
     "alt": "as L1 reconstruction, but the encoder sees x plus Gaussian noise of standard deviation sigma"},
    {"name": "1.2.1 masked",
     "source": "He et al. 2022, MAE; here with all pixels in the loss",
     "text": "The encoder sees the image with a random part of its patches blanked by the mask m.",
     "typst": "cal(L) = 1/(N D) sum_(i=1)^N lr(|| x_i - g(f(m_i dot.o x_i)) ||)_1, quad m_i in {0, 1}^D",
     "alt": "as L1 reconstruction, but the encoder sees x times a random mask of zeros and ones"},
    {"name": "1.2.1 patches: reconstruction of whitened patch features",
     "source": "features: Coates and Ng 2012; reconstruction from a corrupted copy: Vincent et al. 2010",
     "text": "Not the pixels are given back but φ(x), frozen features: how strongly each place of the image resembles "
             "each of many whitened patches, averaged over the quarters of the image. The target is their first K "
             "principal components (directions U, variances Λ, mean μ), each divided by its deviation, so that what "
             "varies most does not count most. The encoder sees a random crop t(x) in other colours. A decoder of "
             "pixels learns beside it, by L1, and does not shape the latent.",
     "typst": "cal(L) = 1/(N K) sum_(i=1)^N lr(|| h(f(t(x_i))) - Lambda^(-1 \\/ 2) U^top (phi(x_i) - mu) ||)^2",
     "alt": "the mean over N images and K components of the squared difference between h of f of the changed image and "
            "the whitened principal components of the features of the whole image"},
    {"name": "1.2.2 joint: cross-entropy with label smoothing",
     "source": "Szegedy et al. 2016",
     "text": "Encoder and a linear classifier p are trained together. C classes; the true one, y, has the target 1 "
             "− s + s/C, the others s/C.",
     "typst": "cal(L) = -1/N sum_(i=1)^N sum_(c=1)^C ((1 - s) [c = y_i] + s/C) log p_c (f(x_i))",
     "alt": "the loss is the mean cross-entropy of the predicted class probabilities with smoothed one-hot targets"},
    {"name": "1.2.3 simclr: NT-Xent",
     "source": "Chen et al. 2020, eq. 1",
     "text": "Two augmented views of each of N images give 2N projections z. Each anchor i is to pick its partner "
             "j(i) among the 2N − 1 others by cosine similarity s over the temperature.",
     "typst": "cal(L) = -1/(2N) sum_(i=1)^(2N) log (exp(s(z_i, z_(j(i))) \\/ tau)) / (sum_(k != i) exp(s(z_i, z_k) "
              "\\/ tau)), quad s(u, v) = (u^top v) / (||u|| thin ||v||)",
     "alt": "the mean over 2N anchors of minus the log of the softmax, over the other projections, of the cosine "
            "similarity to the partner divided by the temperature tau"},
    {"name": "1.2.3 dcl: decoupled contrastive loss",
     "source": "Yeh et al. 2022, eq. 6",
     "text": "NT-Xent without the positive pair in the denominator, which otherwise weakens the gradient in small "
             "batches.",
     "typst": "cal(L) = -1/(2N) sum_(i=1)^(2N) (s(z_i, z_(j(i))) / tau - log sum_(k in.not {i, j(i)}) exp(s(z_i, "
              "z_k) \\/ tau))",
     "alt": "as NT-Xent, but the sum in the denominator leaves out the partner"},
    {"name": "1.2.3 vicreg",
     "source": "Bardes et al. 2022, eqs. 1 to 6",
     "text": "The two views' projections Z and Z' are to agree (invariance), every dimension is to keep a standard "
             "deviation of 1 over the batch (variance v) and no two are to correlate (covariance c).",
     "typst": "cal(L) &= lambda/(N D) sum_(i=1)^N ||z_i - z'_i||^2 + mu/2 (v(Z) + v(Z')) + nu (c(Z) + c(Z')) \\ "
              "v(Z) &= 1/D sum_d max(0, 1 - sqrt(\"Var\"(z^d) + epsilon)) \\ "
              "c(Z) &= 1/D sum_(d != e) \"Cov\"(Z)_(d e)^2",
     "alt": "a weighted sum of the squared distance of the views, a hinge on each dimension's standard deviation "
            "and the squared off-diagonal covariances"},
    {"name": "1.2.3 byol",
     "source": "Grill et al. 2020, eq. 2",
     "text": "A prediction head q of the learned network (weights θ) is to foretell the projection of a target "
             "network, whose weights ξ follow slowly and get no gradient; both directions are averaged.",
     "typst": "cal(L) = 1/N sum_(i=1)^N (2 - 2 s(q(z_i^theta), z'_i^xi)), quad xi <- m xi + (1 - m) theta",
     "alt": "two minus two times the cosine of the prediction and the target's projection; the target's weights are "
            "a moving average with momentum m"},
    {"name": "1.2.3 moco: InfoNCE with a queue",
     "source": "He et al. 2020, eq. 1; van den Oord et al. 2018",
     "text": "A query q is to pick its key among K queued keys of earlier batches, all made by a slowly following "
             "network.",
     "typst": "cal(L) = -1/N sum_(i=1)^N log (exp(s(q_i, k_i) \\/ tau)) / (exp(s(q_i, k_i) \\/ tau) + sum_(j=1)^K "
              "exp(s(q_i, k'_j) \\/ tau))",
     "alt": "the mean of minus the log of the softmax of the similarity of query and key against the queued keys"},
    {"name": "1.2.3 cmc: two views and patch features",
     "source": "after Tian et al. 2020, eqs. 2 to 4",
     "text": "The decoupled loss of two augmented views (1.2.3 dcl); and each view's other projection z is to pick its "
             "own image among the N of the batch by u, a linear map of what frozen features of whitened "
             "patches tell of the intact images, and u its view. The latent is what encodes the views beside the "
             "strongest components of those features.",
     "typst": "cal(L) &= cal(L)_(\"DCL\") + 1/2 (cal(L)_1 + cal(L)_2) \\ cal(L)_v &= -1/(2 N) sum_(i=1)^N (log "
              "(exp(s(z_i^v, u_i) \\/ tau)) / (sum_j exp(s(z_i^v, u_j) \\/ tau)) + log (exp(s(z_i^v, u_i) \\/ tau)) "
              "/ (sum_j exp(s(z_j^v, u_i) \\/ tau)))",
     "alt": "the decoupled contrastive loss plus the mean over both views of minus the log of the softmax of the "
            "similarity of view and features over the batch, in both directions"},
    {"name": "rotation: cross-entropy of four rotations",
     "source": "Gidaris et al. 2018",
     "text": "The image is turned by a random number r of quarter turns R, which a linear head p tells from the "
             "latent.",
     "typst": "cal(L) = -1/N sum_(i=1)^N log p_(r_i) (f(R^(r_i) x_i)), quad r_i in {0, 1, 2, 3}",
     "alt": "the mean of minus the log probability of the true rotation given the rotated image's latent"},
]
